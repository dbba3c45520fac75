"""Runs a campaign and holds its outcome against the truth; see docs/campaign.md."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from campaign import archive, harm, stage
from campaign.blows import DATABASE
from campaign.clock import RIGHT, Dial, MachineClock, can_be_set
from campaign.director import QUIET, Director, journals
from campaign.evidence import Evidence, Outage, Verdict
from campaign.history import Aftermath, judge_history
from campaign.oracle import judge
from campaign.recorders import GO, truth_path
from campaign.recovery import Watcher, injected, recoveries
from campaign.schedule import HISTORY_DELAY, Schedule, draw
from campaign.stage import WorkerProcess
from campaign.starvation import Starvation
from support.folder import folder

from etl.config import duration
from etl.simulator import truth
from etl.store import database, embedded

DATA = "data"
TEMPORARY = "cdr-campaign-"
"""How the folder of a campaign begins that nobody keeps."""
"""Folder of the worker's data_dir."""
JOURNAL_LIMIT = "8MB"
"""Enough for any outage here, and little enough for a journal to have several segments: at least 20 fit below it."""
SKEWED = 1.0
"""Seconds of room after `HISTORY_DELAY`."""


def main(arguments: Sequence[str]) -> int:
    """Run one campaign; exit code 1 if an obligation is broken."""
    options = _options(arguments)
    plan = draw(options.seed, options.seconds, options.recorders)
    faults = sum(len(each.faults.moments()) for each in plan.recorders)
    print(
        f"campaign seed={plan.seed} for={plan.seconds:g}s: {len(plan.recorders)} recorders with {faults} faults,"
        f" {len(plan.steps)} steps against us",
        flush=True,
    )
    with folder(options.keep, TEMPORARY) as where:
        (where / "schedule.txt").write_text(str(plan))
        outcome = campaign(plan, where)
        report = "\n".join(outcome.lines())
        (where / "result.txt").write_text(report)
        if options.result:
            options.result.write_text(json.dumps(_for_the_ledger(outcome)))
    print(report)
    return 1 if outcome.broken else 0


def _for_the_ledger(outcome: Outcome) -> dict[str, object]:
    return {
        "checked": sum(each.checked for each in outcome.verdicts),
        "excused": sum(each.excused for each in outcome.verdicts),
        "broken": outcome.broken,
        "faults": dict(outcome.faults),
        "recovery": {name: list(each) for name, each in outcome.recovery.items()},
    }


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.campaign", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--for", dest="seconds", type=seconds_of, default=60.0, metavar="60s")
    parser.add_argument("--recorders", type=int, choices=range(1, 9), default=3, metavar="1..8")
    parser.add_argument("--keep", type=Path, help="keep logs, truth and database in this folder")
    parser.add_argument("--result", type=Path, help="write what the ledger keeps of the result into this file")
    return parser.parse_args(arguments)


def seconds_of(text: str) -> float:
    """Seconds of an option such as `60s`."""
    return duration(text).total_seconds()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a campaign: `faults` counts what was injected, by name; `recovery` says how long it took after each
    until all was well again, in seconds; `left_out` is what this machine could not be hit by."""

    verdicts: Sequence[Verdict]
    faults: Mapping[str, int]
    recovery: Mapping[str, Sequence[float]]
    left_out: Sequence[str]

    @property
    def broken(self) -> list[str]:
        """A line for each breach."""
        return [f"{each.obligation}: {breach}" for each in self.verdicts for breach in each.broken]

    def lines(self) -> Iterator[str]:
        """The result for the reader."""
        for verdict in self.verdicts:
            yield from verdict.lines()
        yield from (f"left out: {each}" for each in self.left_out)
        yield "injected: " + ", ".join(f"{count} {name}" for name, count in sorted(self.faults.items()))


def campaign(plan: Schedule, where: Path) -> Outcome:
    """Run it in a folder of its own and judge what came of it."""
    with ExitStack() as stack:
        cluster = stack.enter_context(stage.database(where))
        with ExitStack() as scene:
            director = _scene(plan, where, cluster, scene)
            watcher = scene.enter_context(Watcher(cluster.url()))
            starvation = scene.enter_context(Starvation())
            director.begin()
            (where / GO).touch()
            director.play(plan.steps[1:], plan.seconds)
            stage.wait_for((where / "quiet").exists, 120, "all calls have ended")
            director.settle()
            aftermath = recover(plan, where, cluster, director.worker)
            director.rest()
            left = tuple(journals(director.worker))
        outages = (*director.outages, *starvation.outages())
        evidence = _evidence(plan, where, cluster, outages, director.dial)
    verdicts = [
        *judge(evidence),
        *judge_history(evidence, aftermath),
        Verdict("the stopped worker leaves no journal behind", 1, left),
    ]
    left_out = [what for what, wanted, found in (
        ("a small disk: none can be mounted here", plan.setting.small_disk, director.small_disk),
        ("steps of the clock: libfaketime does not work here", plan.setting.clock, director.dial is not None),
    ) if wanted and not found]  # fmt: skip
    return Outcome(verdicts, injected(evidence), recoveries(evidence, watcher.samples), left_out)


def _scene(plan: Schedule, where: Path, cluster: embedded.Cluster, scene: ExitStack) -> Director:
    """Recorders, network, disk and clock, and the workers among them."""
    ports = scene.enter_context(stage.recorders(plan, where))
    network = scene.enter_context(stage.network(plan.setting.links, where, cluster, ports))
    if network is not None:
        ports = {**ports, **network.ports}
    dial = Dial(where) if plan.setting.clock and can_be_set(where) else None
    small = plan.setting.small_disk and scene.enter_context(harm.small_disk(where / DATA))
    director = Director(cluster, *_workers(plan, where, cluster, ports, dial), network, dial, small)
    scene.callback(director.end)
    return director


def recover(plan: Schedule, where: Path, cluster: embedded.Cluster, worker: WorkerProcess) -> Aftermath:
    """What a person would do when all is well again, beside the worker: get back what is missing, and check."""
    log, began = where / "recovery.log", datetime.now(UTC)
    time.sleep(HISTORY_DELAY + SKEWED)
    reconciled = stage.command(worker.config, log, "reconcile")
    if plan.filling:
        _wait_for_gaps(cluster, began)
    filled = stage.command(worker.config, log, "backfill", "gaps")
    with database.connect(cluster.url()) as connection:
        since, until = archive.first_subscriptions(connection), datetime.now(UTC)
    span = ("--from", max(since.values()).isoformat(), "--to", until.isoformat())
    verified = stage.command(worker.config, log, "verify", *span)
    repaired = verified
    if verified == 5:
        stage.command(worker.config, log, "verify", "--repair", *span)
        repaired = stage.command(worker.config, log, "verify", *span)
    with database.connect(cluster.url()) as connection:
        states, found = archive.gap_states(connection, began), archive.findings(connection)
        recent = archive.gaps_since(connection, began)
    return Aftermath(
        began, reconciled, filled, verified, repaired, since, until, states, recent, found, plan.history is None
    )


def _wait_for_gaps(cluster: embedded.Cluster, until: datetime) -> None:
    """The worker fills the gaps that have ended by itself; what it leaves is for the command to try."""
    deadline = time.monotonic() + QUIET
    with database.connect(cluster.url()) as connection:
        while "open" in archive.gap_states(connection, until).values() and time.monotonic() < deadline:
            time.sleep(0.5)


def _workers(
    plan: Schedule, where: Path, cluster: embedded.Cluster, ports: Mapping[str, int], dial: Dial | None
) -> tuple[WorkerProcess, WorkerProcess, WorkerProcess]:
    """The worker, a second one on its data_dir, and a stranger with one of its own."""
    made = []
    url = cluster.url() if DATABASE not in ports else f"postgresql://postgres@127.0.0.1:{ports[DATABASE]}/postgres"
    for name, data_dir in (("worker", DATA), ("second", DATA), ("stranger", "data-of-stranger")):
        config = where / f"{name}.toml"
        more = f'backfill_gaps = {str(plan.filling).lower()}\njournal_limit = "{JOURNAL_LIMIT}"\n'
        text = stage.configuration(url, where / data_dir, plan.recorders, ports, more=more)
        config.write_text(text + stage.history(plan, where, ports), encoding="utf-8")
        made.append(WorkerProcess(config, where / data_dir, where / f"{name}.log", dial.environment() if dial else {}))
    first, second, third = made
    return first, second, third


def _evidence(
    plan: Schedule, where: Path, cluster: embedded.Cluster, outages: tuple[Outage, ...], dial: Dial | None
) -> Evidence:
    clock = MachineClock(tuple(dial.turns)) if dial else RIGHT
    told = [*(f"{each.span.start} .. {each.span.end} {each.blow} {each.recorder or ''}" for each in outages),
            *(f"{each.at} the clock is {each.ahead} ahead" for each in clock.turns)]  # fmt: skip
    (where / "outages.txt").write_text("\n".join(sorted(told)))
    with database.connect(cluster.url()) as connection:
        held = archive.read(connection)
    truths = {each.name: truth.load(truth_path(where, each.name)) for each in plan.recorders}
    return Evidence(truths, {each.name: each for each in plan.recorders}, held, outages, clock)
