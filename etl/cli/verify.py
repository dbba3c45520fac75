"""`cdr verify`: read the history afresh and compare it with the archive."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

import typer

from etl import config
from etl.calls.history import SKEW
from etl.cli.accept import whoever
from etl.cli.archive import Archive, opened
from etl.cli.common import ConfigOption, JsonOption, data, finish, note, print_json_list, set_up_logging, span, table
from etl.cli.progress import shown
from etl.config import Settings
from etl.errors import UsageError
from etl.ingest.interpret import Interpreter
from etl.jobs import verify as jobs
from etl.jobs.history import Source, sources
from etl.model import Interval
from etl.store.audit import Author
from etl.store.database import Connection, require_schema
from etl.store.verify import Finding, findings

SHOWN = 200
"""Findings in a table; JSON has all of them."""
LEGEND = {
    "compared": "records of the history that were compared",
    "missing": "in the history, not archived",
    "different": "archived otherwise than the history has it",
    "extra": "archived, not in the history",
    "underived": "rows that do not follow from the facts kept of them: changed by hand",
    "mended": "of these, put right",
    "late": "not in the history, which may still show them",
    "erased": "erased here",
    "expired": "older than retention.keep",
    "filtered": "left out by a recorder's extensions",
    "unfinished": "shown by the history as not finished",
    "outside": "shown by the history, began before or after",
    "skipped": "files without a record",
    "unreadable": "documents and records that could not be understood",
}
"""What is counted, in the order in which it is shown."""


class From(StrEnum):
    """Which history to read."""

    HTTP = "http"
    FILE = "file"


def verify(
    from_: Annotated[str, typer.Option("--from", help="Calls that started at or after this time.")],
    to: Annotated[str, typer.Option("--to", help="Calls that started before this time.")],
    config_file: ConfigOption = None,
    source: Annotated[
        From | None, typer.Option(help="Which history to read; default: http if it is configured.")
    ] = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Store what is missing or differs, and derive rows again. Deletes nothing.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Compare the archive with the history, call by call.

    The history is read afresh, and compared field by field. Also checks that every row follows from the facts that are
    kept of it, which shows what was changed by hand. The run is stored, without values; they are shown here only.

    Exit code 4 if the history could not be read whole, 5 if anything differs and is not repaired.

    Example: cdr verify --from 2026-03-01 --to 2026-03-02 --repair
    """
    set_up_logging()
    settings = config.load(config_file)
    past = _past(from_, to, datetime.now(UTC) + SKEW)
    try:
        with opened(settings) as archive, _source(settings, source) as history, _begun(archive) as connection:
            report = _run(archive, connection, settings, history, past, repair)
            (_print if as_json else _show)(report, connection)
    except KeyboardInterrupt:
        note("interrupted: nothing is left half done; the same command begins anew")
        raise typer.Exit(1) from None
    finish(0 if report.agrees else 5)


def _past(from_: str, to: str, latest: datetime) -> Interval:
    """The span to compare, which ends at `latest` at the latest: there is no history of the future."""
    asked = span(from_, to)
    if asked.start >= latest:
        raise UsageError(f"--from {from_} lies in the future")
    if asked.end > latest:
        note(f"the future is left out: what began before {latest:%Y-%m-%d %H:%M:%S} UTC is compared")
    return Interval(asked.start, min(asked.end, latest))


@contextmanager
def _begun(archive: Archive) -> Iterator[Connection]:
    archive.start()
    with archive.connect() as connection:
        require_schema(connection)
        yield connection


@contextmanager
def _source(settings: Settings, wanted: From | None) -> Iterator[Source]:
    """The history to read. Raises UsageError where it is not configured."""
    with sources(settings) as configured:
        chosen = [each for each in configured if wanted in (None, each.name)]
        if not chosen:
            tables = {From.HTTP: "[history.http]", From.FILE: "[history.files]"}
            missing = tables[wanted] if wanted else " or ".join(tables.values())
            raise UsageError(f"there is no history to compare with: add {missing} to the configuration")
        yield chosen[0]


def _run(
    archive: Archive, connection: Connection, settings: Settings, history: Source, past: Interval, repair: bool
) -> jobs.Report:
    with ExitStack() as stack:
        mending = None
        if repair:
            second = stack.enter_context(archive.connect())
            mending = jobs.Repair(second, Interpreter(settings), Author(whoever(), None))
        watch = stack.enter_context(shown("verify"))
        return jobs.verify(connection, settings, history, past, repair=mending, on_progress=watch)


def _show(report: jobs.Report, connection: Connection) -> None:
    listed = list(findings(connection, SHOWN))
    if listed:
        table(("finding", "call", "field", "archived", "should be"), (row for each in listed for row in _rows(each)))
        data.print()
    counts = report.counts
    table(("calls", "", ""), [(counts[name], name, words) for name, words in LEGEND.items() if name in counts])
    total = sum(report.counts.get(kind, 0) for kind in ("missing", "different", "extra", "underived"))
    if total > len(listed):
        note(f"{total - len(listed):,} more findings; --json has all of them")
    for line in _remarks(report):
        note(line)


def _rows(finding: Finding) -> Iterator[tuple[object, ...]]:
    """A line for each field, the first with the call."""
    kind = f"{finding.kind}, mended" if finding.mended else finding.kind
    head: tuple[object, object] = (kind, finding.call_id)
    if not finding.told:
        yield (*head, *_WHOLE[finding.kind])
    for name, pair in sorted((finding.told or {}).items()):
        archived, expected = pair if isinstance(pair, list) else (pair, None)
        yield (*head, name, _word(archived), _word(expected))
        head = ("", "")


_WHOLE: Mapping[str, tuple[str, str, str]] = {
    "missing": ("", "nothing", "a row"),
    "underived": ("", "facts without a row", "a row"),
    "extra": ("", "a row", "nothing, says the history"),
}
"""What is said of a call as a whole."""


def _word(value: object) -> str:
    return "nothing" if value is None else str(value)


def _remarks(report: jobs.Report) -> Iterator[str]:
    counts = report.counts
    shown_any = any(counts.get(name) for name in ("compared", "outside", "filtered", "unfinished"))
    if counts.get("extra") and not shown_any:
        yield (
            "The history shows no call at all of this time: a wrong login, tenant or zone does that, too. Check the"
            " settings under [history] before you believe it."
        )
    if report.unproven:
        yield "Not all of the history could be understood: a call is called extra if its record is among that."
    if counts.get("mended") and report.left:
        yield f"{report.left:,} findings cannot be repaired from this history; docs/history.md says why."
    yield "The archive and the history agree." if report.agrees else f"Run {report.run} is stored."


def _print(report: jobs.Report, connection: Connection) -> None:
    head = {
        "run": report.run,
        "source": report.source,
        "from": report.span.start,
        "to": report.span.end,
        "agrees": report.agrees,
        "counts": report.counts,
        "left": report.left,
    }
    print_json_list(head, "findings", findings(connection))
