"""Runs a campaign and holds its outcome against the truth; see docs/campaign.md."""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from campaign import archive, stage
from campaign.evidence import Evidence, Outage, Verdict
from campaign.history import Aftermath, judge_history
from campaign.oracle import judge
from campaign.recorders import truth_path
from campaign.schedule import GIVE_UP, HISTORY_DELAY, REFETCH_AFTER, Do, Schedule, Step, draw
from campaign.stage import WorkerProcess

from etl.config import duration
from etl.model import Interval
from etl.simulator import truth
from etl.store import database, embedded
from etl.store.sessions import ownerless

QUIET = 45.0
"""Seconds, at the most, that the worker gets to finish when all calls have ended and all is well again."""


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
    with folder(options.keep) as where:
        (where / "schedule.txt").write_text(str(plan))
        verdicts = campaign(plan, where)
        report = "\n".join(line for verdict in verdicts for line in verdict.lines())
        (where / "result.txt").write_text(report)
    print(report)
    return 1 if any(verdict.broken for verdict in verdicts) else 0


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.campaign", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--for", dest="seconds", type=_seconds, default=60.0, metavar="60s")
    parser.add_argument("--recorders", type=int, choices=range(1, 9), default=3, metavar="1..8")
    parser.add_argument("--keep", type=Path, help="keep logs, truth and database in this folder")
    return parser.parse_args(arguments)


def _seconds(text: str) -> float:
    return duration(text).total_seconds()


@contextmanager
def folder(keep: Path | None) -> Iterator[Path]:
    """A new folder that the database's user may enter, too; deleted afterwards unless it is to be kept."""
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        yield keep.resolve()
        return
    where = Path(tempfile.mkdtemp(prefix="cdr-campaign-"))
    where.chmod(0o755)
    try:
        yield where
    finally:
        shutil.rmtree(where, ignore_errors=True)


def campaign(plan: Schedule, where: Path) -> list[Verdict]:
    """Run it in a folder of its own and judge what came of it."""
    with stage.database(where) as cluster:
        with stage.recorders(plan, where) as ports:
            director = Director(cluster, *_workers(plan, where, cluster, ports))
            try:
                director.play(plan.steps, plan.seconds)
                stage.wait_for((where / "quiet").exists, 120, "all calls have ended")
                director.settle()
                aftermath = recover(plan, where, cluster, director.worker)
                director.rest()
            finally:
                director.end()
        evidence = _evidence(plan, where, cluster, director.outages)
    left = tuple(journals(director.worker))
    return [
        *judge(evidence),
        _nothing_ongoing(evidence, aftermath.reconciled),
        *judge_history(evidence, aftermath),
        Verdict("the stopped worker leaves no journal behind", 1, left),
    ]


def recover(plan: Schedule, where: Path, cluster: embedded.Cluster, worker: WorkerProcess) -> Aftermath:
    """What a person would do when all is well again, beside the worker: get back what is missing, and check."""
    log = where / "recovery.log"
    time.sleep(HISTORY_DELAY + SKEWED)
    reconciled = stage.command(worker.config, log, "reconcile")
    if plan.filling:
        _wait_for_gaps(cluster)
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
        states, found = archive.gap_states(connection), archive.findings(connection)
    return Aftermath(reconciled, filled, verified, repaired, since, until, states, found, plan.history is None)


def _wait_for_gaps(cluster: embedded.Cluster) -> None:
    """The worker fills the gaps that have ended by itself; what it leaves is for the command to try."""
    deadline = time.monotonic() + QUIET
    with database.connect(cluster.url()) as connection:
        while "open" in archive.gap_states(connection).values() and time.monotonic() < deadline:
            time.sleep(0.5)


def _nothing_ongoing(evidence: Evidence, code: int) -> Verdict:
    """All calls have ended or were forgotten, so one reconcile leaves none that goes on. 5 is for what lies in gaps."""
    calls = evidence.archive.calls
    broken = [f"{call_id} is still ongoing" for call_id, row in calls.items() if row["state"] == "ongoing"]
    broken += [f"cdr reconcile ended with exit code {code}: see reconcile.log"] if code not in (0, 5) else []
    return Verdict("after one cdr reconcile no call goes on", len(calls), tuple(broken))


def journals(worker: WorkerProcess) -> list[str]:
    """The journals in a worker's data_dir, its own one too."""
    root = worker.data_dir / "journal"
    return [path.name for path in root.iterdir()] if root.exists() else []


def _workers(
    plan: Schedule, where: Path, cluster: embedded.Cluster, ports: Mapping[str, int]
) -> tuple[WorkerProcess, WorkerProcess, WorkerProcess]:
    """The worker, a second one on its data_dir, and a stranger with one of its own."""
    made = []
    for name, data_dir in (("worker", "data"), ("second", "data"), ("stranger", "data-of-stranger")):
        config = where / f"{name}.toml"
        more = f"backfill_gaps = {str(plan.filling).lower()}\n"
        text = stage.configuration(cluster.url(), where / data_dir, plan.recorders, ports, more=more)
        config.write_text(text + stage.history(plan, where, ports), encoding="utf-8")
        made.append(WorkerProcess(config, where / data_dir, where / f"{name}.log"))
    first, second, third = made
    return first, second, third


def _evidence(plan: Schedule, where: Path, cluster: embedded.Cluster, outages: Sequence[Outage]) -> Evidence:
    with database.connect(cluster.url()) as connection:
        held = archive.read(connection)
    truths = {each.name: truth.load(truth_path(where, each.name)) for each in plan.recorders}
    return Evidence(truths, {each.name: each for each in plan.recorders}, held, tuple(outages))


@dataclass
class Director:
    """Does the steps at their time, and writes down when we were out, and why."""

    cluster: embedded.Cluster
    worker: WorkerProcess
    second: WorkerProcess
    stranger: WorkerProcess
    outages: list[Outage] = field(default_factory=list)
    _since: dict[str, datetime] = field(default_factory=dict)

    def play(self, steps: Sequence[Step], seconds: float) -> None:
        """All steps in order; returns when `seconds` are over."""
        began = time.monotonic()
        for step in steps:
            time.sleep(max(0.0, began + step.at - time.monotonic()))
            self.do(step.do)
        time.sleep(max(0.0, began + seconds - time.monotonic()))

    def do(self, what: Do) -> None:
        """One step."""
        match what:
            case Do.START:
                self.worker.start()
                self._over("worker")
            case Do.KILL:
                self._begin("worker")
                self.worker.kill()
            case Do.STOP:
                self._begin("worker")
                self.worker.stop()
            case Do.WIPE:
                self._wipe()
            case Do.FREEZE:
                self._begin("worker")
                self.worker.send(signal.SIGSTOP)
            case Do.THAW:
                self.worker.send(signal.SIGCONT)
                self._over("worker")
            case Do.CRASH_DATABASE:
                self._begin("database")
                self.cluster.stop("immediate")
            case Do.START_DATABASE:
                self.cluster.start()
                self._over("database")
            case _:
                self._second(what)

    def _second(self, what: Do) -> None:
        if what is Do.START_SECOND:
            self.second.start()
        elif what is Do.START_STRANGER:
            self.stranger.start()
        else:
            for other in (self.second, self.stranger):
                if other.running:
                    other.kill() if what is Do.KILL_SECOND else other.stop()

    def _wipe(self) -> None:
        """Delete the dead worker's data_dir, unless another one lives in it."""
        if not self.second.running:
            self.worker.wipe()
            self._begin("wiped")

    def settle(self) -> None:
        """Give the worker quiet time until nothing more is owed."""
        deadline = time.monotonic() + QUIET
        time.sleep(3)
        while not self._settled() and time.monotonic() < deadline:
            time.sleep(0.5)

    def rest(self) -> None:
        """Stop the workers that still run."""
        self._begin("worker")
        for each in (self.worker, self.stranger):
            if each.running:
                each.stop()
        self._over("worker")

    def _settled(self) -> bool:
        """No session without an owner, no journal of a dead process, and no call that is still to be asked for."""
        owed = (
            "SELECT count(*) FROM cdr.fact f JOIN cdr.call c USING (call_id, id_time) WHERE "
            "(f.kind = 'end' AND c.state = 'ended' AND now() - f.first_observed_at < make_interval(secs => %(late)s))"
            " OR (f.kind = 'detail' AND f.observed_at = f.first_observed_at AND "
            "now() - f.observed_at < make_interval(secs => %(late)s))"
        )
        with database.connect(self.cluster.url()) as connection:
            row = connection.execute(owed, {"late": GIVE_UP + REFETCH_AFTER + 3}).fetchone()
            return row == (0,) and not ownerless(connection) and len(journals(self.worker)) == 1

    def end(self) -> None:
        """Whatever happened, leave no process behind."""
        for worker in (self.worker, self.second, self.stranger):
            worker.end()

    def _begin(self, what: str) -> None:
        self._since[what] = datetime.now(UTC)

    def _over(self, what: str) -> None:
        """An outage is over. One of the worker with its data_dir deleted is `wiped`: it reaches further back."""
        since = self._since.pop(what, None)
        wiped = what == "worker" and self._since.pop("wiped", None) is not None
        if since is not None:
            self.outages.append(Outage("wiped" if wiped else what, Interval(since, datetime.now(UTC))))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
