"""Does to us what the schedule says, and writes down when we were hit, by what, and when it was over."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

import psycopg
from campaign import harm
from campaign.blows import DATABASE, Do, Step
from campaign.clock import Dial
from campaign.evidence import Blow, Outage
from campaign.proxy import WAYS, Network
from campaign.schedule import GIVE_UP, REFETCH_AFTER
from campaign.stage import STOP_TIMEOUT, WorkerProcess, wait_for

from etl.model import Interval
from etl.store import database, embedded
from etl.store.sessions import ownerless

QUIET = 45.0
"""Seconds, at the most, that the worker gets to finish when all calls have ended and all is well again."""
WORKER = "worker"


@dataclass
class Director:
    """Hits the workers and what they stand on. `network` and `dial` are None where the campaign has none."""

    cluster: embedded.Cluster
    worker: WorkerProcess
    second: WorkerProcess
    stranger: WorkerProcess
    network: Network | None = None
    dial: Dial | None = None
    small_disk: bool = False
    outages: list[Outage] = field(default_factory=list)
    _since: dict[str, tuple[Blow, datetime]] = field(default_factory=dict)
    _taken: list[psycopg.Connection[tuple[object, ...]]] = field(default_factory=list)

    def begin(self) -> None:
        """Start the worker, and wait until it is up: what it needs for that on a busy machine tests nothing."""
        self.worker.start()
        self._be_up()

    def play(self, steps: Sequence[Step], seconds: float) -> None:
        """All steps but the first start, in order; returns when `seconds` are over.

        What takes longer than planned moves what follows.
        """
        began = time.monotonic()
        for step in steps:
            wait = began + step.at - time.monotonic()
            time.sleep(max(0.0, wait))
            began += max(0.0, -wait)
            _STEPS[step.do](self, step)
        time.sleep(max(0.0, began + seconds - time.monotonic()))

    # The worker

    def _start(self, step: Step) -> None:
        self.worker.start()
        self._over(WORKER)

    def _kill(self, step: Step) -> None:
        self._begin(WORKER, Blow.KILL)
        self.worker.kill()

    def _stop(self, step: Step) -> None:
        self._begin(WORKER, Blow.STOP)
        self.worker.stop()

    def _freeze(self, step: Step) -> None:
        self._begin(WORKER, Blow.FREEZE)
        self.worker.send(signal.SIGSTOP)

    def _thaw(self, step: Step) -> None:
        self.worker.send(signal.SIGCONT)
        self._over(WORKER)

    def _wipe(self, step: Step) -> None:
        """Delete the dead worker's data_dir, unless another one lives in it."""
        if not self.second.running:
            self.worker.wipe()
            self._turns_out(Blow.WIPE)

    def _damage(self, step: Step) -> None:
        """The same for damage."""
        if not self.second.running and harm.damage(self.worker.data_dir / "journal", step.target, int(step.amount)):
            self._turns_out(Blow.DAMAGE)

    def _turns_out(self, blow: Blow) -> None:
        """What began as a kill has become worse."""
        self._since[WORKER] = (blow, self._since[WORKER][1])

    # What it stands on

    def _fill_disk(self, step: Step) -> None:
        """A worker that finds it full when it starts says so and ends: let the one be up that is to live with it."""
        if self.small_disk:
            self._be_up()
            self._begin("disk", Blow.DISK)
            harm.fill(self.worker.data_dir)

    def _empty_disk(self, step: Step) -> None:
        harm.empty(self.worker.data_dir)
        self._over("disk")

    def _set_clock(self, step: Step) -> None:
        if self.dial is None:
            return
        self._be_up()
        self._begin("clock", Blow.CLOCK)
        self.dial.set(step.amount)
        self._over("clock")

    def _be_up(self) -> None:
        wait_for(lambda: self.worker.came_up, STOP_TIMEOUT, "the worker is up")

    def _crash_database(self, step: Step) -> None:
        self._begin(DATABASE, Blow.CRASH)
        self.cluster.stop("immediate")

    def _start_database(self, step: Step) -> None:
        self.cluster.start()
        self._over(DATABASE)

    def _take_connections(self, step: Step) -> None:
        """Until there are none left; then those of the workers are ended and taken, too."""
        self._begin(DATABASE, Blow.CONNECTIONS)
        self._take_all()
        self._taken[0].execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'client backend'"
            " AND application_name NOT LIKE 'campaign%'"
        )
        self._take_all()

    def _take_all(self) -> None:
        deadline = time.monotonic() + 1
        while time.monotonic() < deadline:
            try:
                self._taken.append(psycopg.connect(self.cluster.url(), application_name="campaign", autocommit=True))
            except psycopg.OperationalError:
                time.sleep(0.05)  # one that was ended is free in a moment

    def _give_connections(self, step: Step) -> None:
        for each in self._taken:
            with suppress(psycopg.Error):
                each.close()
        self._taken.clear()
        self._over(DATABASE)

    # The network

    def _slow_database(self, step: Step) -> None:
        self._begin(DATABASE, Blow.SLOW)
        self._network.delay(DATABASE, step.amount)

    def _fast_database(self, step: Step) -> None:
        self._network.delay(DATABASE, 0.0)
        self._over(DATABASE)

    def _stall(self, step: Step) -> None:
        self._begin(step.target, Blow.DATABASE_STALLED if step.target == DATABASE else Blow.STALLED)
        self._network.stall(step.target, WAYS[int(step.amount)])

    def _flow(self, step: Step) -> None:
        if step.do is Do.CUT:
            self._network.cut(step.target)
        self._network.flow(step.target)
        self._over(step.target, None if step.target == DATABASE else step.target)

    @property
    def _network(self) -> Network:
        assert self.network is not None
        return self.network

    # Other workers

    def _start_second(self, step: Step) -> None:
        (self.second if step.do is Do.START_SECOND else self.stranger).start()
        self._begin("other", Blow.SECOND)

    def _end_second(self, step: Step) -> None:
        for other in (self.second, self.stranger):
            if other.running:
                other.kill() if step.do is Do.KILL_SECOND else other.stop()
        self._over("other")

    # The end

    def settle(self) -> None:
        """Give the worker quiet time until nothing more is owed."""
        deadline = time.monotonic() + QUIET
        time.sleep(3)
        while not self._settled() and time.monotonic() < deadline:
            time.sleep(0.5)

    def rest(self) -> None:
        """Stop the workers that still run."""
        self._begin(WORKER, Blow.LAST_STOP)
        for each in (self.worker, self.stranger):
            if each.running:
                each.stop()
        self._over(WORKER)

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
        """Whatever happened, leave no process and no connection behind."""
        for worker in (self.worker, self.second, self.stranger):
            worker.end()
        for each in self._taken:
            with suppress(psycopg.Error):
                each.close()

    def _begin(self, what: str, blow: Blow) -> None:
        self._since[what] = (blow, datetime.now(UTC))

    def _over(self, what: str, recorder: str | None = None) -> None:
        """A blow to `what` is over; it struck one recorder only, or (None) all."""
        if what in self._since:
            blow, since = self._since.pop(what)
            self.outages.append(Outage(blow, Interval(since, datetime.now(UTC)), recorder))


def journals(worker: WorkerProcess) -> list[str]:
    """The journals in a worker's data_dir, its own one too, and without those that were set aside as damaged."""
    root = worker.data_dir / "journal"
    return [path.name for path in root.iterdir() if ".damaged-" not in path.name] if root.exists() else []


_STEPS: Mapping[Do, Callable[[Director, Step], None]] = {
    Do.START: Director._start,
    Do.KILL: Director._kill,
    Do.WIPE: Director._wipe,
    Do.DAMAGE: Director._damage,
    Do.STOP: Director._stop,
    Do.FREEZE: Director._freeze,
    Do.THAW: Director._thaw,
    Do.FILL_DISK: Director._fill_disk,
    Do.EMPTY_DISK: Director._empty_disk,
    Do.SET_CLOCK: Director._set_clock,
    Do.CRASH_DATABASE: Director._crash_database,
    Do.START_DATABASE: Director._start_database,
    Do.TAKE_CONNECTIONS: Director._take_connections,
    Do.GIVE_CONNECTIONS: Director._give_connections,
    Do.SLOW_DATABASE: Director._slow_database,
    Do.FAST_DATABASE: Director._fast_database,
    Do.STALL: Director._stall,
    Do.FLOW: Director._flow,
    Do.CUT: Director._flow,
    Do.START_SECOND: Director._start_second,
    Do.START_STRANGER: Director._start_second,
    Do.KILL_SECOND: Director._end_second,
    Do.STOP_SECOND: Director._end_second,
}
