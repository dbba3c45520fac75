"""`cdr doctor`: what is in order, what is not, and what to do about it."""

from __future__ import annotations

from etl import config
from etl.cli.archive import opened
from etl.cli.common import ConfigOption, JsonOption, data, finish, note, print_json, safe, set_up_logging
from etl.errors import UsageError
from etl.jobs import doctor as job
from etl.jobs.doctor import Finding, Verdict
from etl.store.database import Connection

_MARKS = {Verdict.OK: "ok     ", Verdict.ADVICE: "advice ", Verdict.PROBLEM: "PROBLEM"}


def doctor(config_file: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Check all that the archive needs.

    Configuration, database, recorders, history, zones, clocks, disk; says what to do about each finding. It disturbs no
    worker: recorders are asked for their list once, over connections of their own, and nothing is stored.

    Exit code: the first that applies of 2 (configuration), 3 (database), 1 (disk), 4 (a recorder or history out of
    reach), 5 (anything else amiss), 0.

    Example: cdr doctor --json
    """
    set_up_logging()
    findings: list[Finding] = []
    try:
        settings = config.load(config_file)
        with opened(settings) as archive:

            def connect() -> Connection:
                archive.start(upgrade=False)
                return archive.connect()

            for finding in job.examine(settings, connect):
                findings.append(finding)
                if not as_json:
                    _show(finding)
    except UsageError as error:
        findings.append(job.failed("configuration", "configuration", error))
        if not as_json:
            _show(findings[-1])
    code = job.exit_code(findings)
    if as_json:
        print_json({"findings": findings, "exit_code": code})
    else:
        problems = sum(finding.verdict is Verdict.PROBLEM for finding in findings)
        note("nothing amiss" if not problems else f"{problems} problem{'s' if problems > 1 else ''} found")
    finish(code)


def _show(finding: Finding) -> None:
    subject = "" if finding.subject == finding.check else f" {safe(finding.subject)}"
    data.print(f"{_MARKS[finding.verdict]} {finding.check}{subject}: {safe(finding.told)}", soft_wrap=True)
    if finding.advice:
        data.print(f"        -> {safe(finding.advice)}", soft_wrap=True)
