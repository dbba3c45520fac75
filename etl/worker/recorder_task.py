"""One recorder, supervised by itself: sessions with back-off, the list after each, and the details.

Whatever goes wrong with one recorder stays in here; another one never waits for it.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain, repeat
from uuid import UUID, uuid4

import structlog

from etl.calls.backoff import Backoff
from etl.calls.details import Details, Outcome, Request
from etl.calls.facts import is_finished
from etl.config import Recorder, Worker
from etl.errors import CdrError, DatabaseError, RecorderUnavailable
from etl.ingest.interpret import Source
from etl.jobs.reconcile import Means, Reconciliation, Report
from etl.model import Json
from etl.protocol.answers import Answer, DetailAnswer, Failed, ListAnswer, NotUnderstood, UnknownCall
from etl.recorder.clock import Clock, Watch
from etl.recorder.queries import Queries
from etl.recorder.session import Ending, Session
from etl.recorder.sink import Scribe, Sink
from etl.store.database import Connection
from etl.worker.metrics import Metrics

LIST_PAUSES = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
"""Seconds between two tries to get a whole list within one session."""
COMPLAINTS = 8
"""Kinds of trouble that are not told again while they go on."""
RECHECK = 5.0
"""Seconds until what a comparison left open is looked at again; doubled each time, up to the period."""
FAILURE_PAUSE = 10.0
"""Seconds before a supervisor starts again after a failure that is our own."""


@dataclass(slots=True)
class Standing:
    """How a recorder stands at the moment, for the status page and /readyz."""

    state: str = "starting"
    since: datetime | None = None
    last_error: str = ""
    sessions: int = 0
    kinds: set[str] = field(default_factory=set)


class RecorderTask:
    """Runs one recorder until it is stopped. It is the `Listener` of its own sessions."""

    def __init__(
        self,
        recorder: Recorder,
        worker_id: str,
        settings: Worker,
        source: Source,
        sink: Sink,
        clock: Clock,
        metrics: Metrics,
        dice: Callable[[], float] = random.random,
    ) -> None:
        self.recorder = recorder
        self.standing = Standing()
        self._worker_id = worker_id
        self._settings = settings
        self._clock = clock
        self._metrics = metrics
        self._dice = dice
        self._log = structlog.get_logger().bind(recorder=recorder.name)
        self._source = source
        self._scribe = Scribe(recorder.name, sink)
        self._queries = Queries(recorder, source.dialect, self._scribe, clock, settings.document_limit)
        self._watch = Watch(clock, settings.margin)
        self._backoff = Backoff()
        self._details = Details(
            concurrency=recorder.detail_concurrency,
            give_up=settings.detail_give_up.total_seconds(),
            refetch_after=settings.refetch_after.total_seconds(),
        )
        self._complaints: deque[dict[str, str]] = deque(maxlen=COMPLAINTS)
        self._session: Session | None = None
        self._subscribed = asyncio.Event()
        self._list_wanted = asyncio.Event()
        self._comparison_wanted = asyncio.Event()
        self.reconciliation: Reconciliation | None = None
        self._listed = False
        self._work = asyncio.Event()
        self._stopping = asyncio.Event()
        self._fetches: set[asyncio.Task[None]] = set()
        self._open_gate = asyncio.Event()
        self._open_gate.set()

    # What the worker asks of us

    async def run(self) -> None:
        """Until `stop`: sessions, lists and details side by side."""
        self._metrics.connected.labels(self.recorder.name).set(0)
        loops = (self._lists, self._ask_details, self._reconcile)
        helpers = [asyncio.create_task(self._forever(loop)) for loop in loops]
        try:
            await self._forever(self._sessions)
        finally:
            for task in (*helpers, *self._fetches):
                task.cancel()
            await asyncio.gather(*helpers, *self._fetches, return_exceptions=True)
            await self._queries.close()

    def stop(self) -> None:
        """End the session cleanly and return from `run`."""
        self._stopping.set()
        self._open_gate.set()
        self._end_session("stop", "the worker was stopped")

    def hold(self, reason: str, told: str) -> None:
        """Close the session and open no other until `release`."""
        self._open_gate.clear()
        self.standing.last_error = told
        self._end_session(reason, told)

    def release(self) -> None:
        """Sessions may be opened again."""
        self._open_gate.set()

    def means(
        self,
        connect: Callable[[], Connection],
        loaded: Callable[[], Awaitable[None]],
        locked_runs: set[Json],
    ) -> Means:
        """What a reconciliation of this recorder works with."""
        return Means(
            source=self._source,
            queries=self._queries,
            scribe=self._scribe,
            connect=connect,
            loaded=loaded,
            locked_runs=locked_runs,
            concurrency=self.recorder.detail_concurrency,
            give_up=self._settings.detail_give_up,
            in_hand=self._details.__contains__,
            finished=self._take_up,
        )

    def resume_detail(self, call_id: str, ended_ago: float, *, refetch: bool) -> None:
        """Take up a detail that an earlier process left open; `ended_ago` in seconds."""
        now = self._clock.elapsed()
        if refetch:
            self._details.resume_refetch(call_id, now - ended_ago)
        else:
            self._details.resume_end(call_id, now - ended_ago)
        self._work.set()

    def compare(self) -> None:
        """Calls became known that may have ended unheard: compare again. After the first list that is done anyway."""
        if self._listed:
            self._comparison_wanted.set()

    @property
    def subscribed(self) -> bool:
        """A confirmed session lives."""
        return self._subscribed.is_set()

    # What the session tells us (Listener)

    def opened(self, session: UUID) -> None:
        self._log.debug("connected", session=str(session))

    def confirmed(self, session: UUID) -> None:
        self._set_state("subscribed")
        self._complaints.clear()
        self._metrics.connected.labels(self.recorder.name).set(1)
        self._log.info("subscribed", session=str(session))
        self._listed = False
        self._subscribed.set()
        self._list_wanted.set()
        self._work.set()

    def interrupted(self, session: UUID) -> None:
        self._log.warning("reading was interrupted; coverage goes on with the next list", session=str(session))
        if self.subscribed:
            self._listed = False
            self._list_wanted.set()

    def heard(self, kind: str) -> None:
        self._metrics.messages.labels(self.recorder.name, kind).inc()
        if self._listed:
            self._backoff.healthy()

    def ended(self, call_id: str) -> None:
        if not self._details.ended(call_id, self._clock.elapsed()):
            self._log.error("too many details in hand; this call waits for reconcile", in_hand=len(self._details))
        self._work.set()

    # Sessions

    async def _sessions(self) -> None:
        while not self._stopping.is_set():
            await _either(self._stopping, self._backoff.next(self._clock.elapsed(), self._dice()))
            await self._open_gate.wait()
            if not self._stopping.is_set():
                await self._one_session()

    async def _one_session(self) -> None:
        self._session = session = Session(
            uuid4(),
            self._worker_id,
            self.recorder,
            self._source.dialect,
            self._scribe,
            self,
            self._clock,
            margin=self._settings.margin,
            limit=self._settings.document_limit,
            watch=self._watch,
        )
        if self.standing.sessions:
            self._metrics.reconnects.labels(self.recorder.name).inc()
        self.standing.sessions += 1
        try:
            ending = await session.run()
            self._report(ending)
        except RecorderUnavailable as error:
            self._set_state("unreachable", str(error))
            self._complain("unreachable", error=str(error))
        finally:
            self._session = None
            self._listed = False
            self._subscribed.clear()
            self._list_wanted.clear()
            self._metrics.connected.labels(self.recorder.name).set(0)

    def _report(self, ending: Ending) -> None:
        self._set_state("disconnected", "" if ending.reason == "stop" else ending.told)
        if ending.reason == "stop":
            self._log.info("session ended", reason=ending.reason, told=ending.told)
        else:
            self._complain("session ended", reason=ending.reason, told=ending.told)

    def _complain(self, event: str, **told: str) -> None:
        """Say once what stands in the way of a subscription: it is tried again and again."""
        if told in self._complaints:
            self._log.debug(event, **told)
        else:
            self._complaints.append(told)
            self._log.warning(event, **told)

    def _end_session(self, reason: str, told: str) -> None:
        if self._session is not None:
            self._session.close(reason, told)

    def _set_state(self, state: str, error: str | None = None) -> None:
        if state != self.standing.state:
            self.standing.since = self._clock.now()
        self.standing.state = state
        if error is not None:
            self.standing.last_error = error

    # The list that makes a session's coverage count

    async def _lists(self) -> None:
        while True:
            await self._list_wanted.wait()
            for pause in chain(LIST_PAUSES, repeat(LIST_PAUSES[-1])):
                self._list_wanted.clear()
                if not self.subscribed or await self._ask_list():
                    break
                await _either(self._list_wanted, pause)

    async def _ask_list(self) -> bool:
        """Whether there is a whole list, and no other is wanted since it was asked for."""
        session = self._session
        if session is None:
            return True
        try:
            answer = await self._queries.call_list(session.id)
        except CdrError as error:
            self._set_error(str(error))
            return False
        if not isinstance(answer, ListAnswer):
            self._set_error(f"recorder {self.recorder.name}: {_told(answer)}")
            return False
        self._comparison_wanted.set()
        if self._list_wanted.is_set():  # a pause while the list was under way wants another one
            return False
        self._listed = self._session is session
        return True

    def _set_error(self, told: str) -> None:
        self.standing.last_error = told
        self._log.warning("no list yet", error=told)

    # Details

    async def _ask_details(self) -> None:
        while True:
            await self._subscribed.wait()
            self._work.clear()
            now = self._clock.elapsed()
            for request in self._details.due(now):
                task = asyncio.create_task(self._fetch(request))
                self._fetches.add(task)
                task.add_done_callback(self._fetches.discard)
            next_at = self._details.next_at()
            await _either(self._work, None if next_at is None else max(next_at - now, 0.01))

    async def _fetch(self, request: Request) -> None:
        outcome = Outcome.FAILED
        try:
            outcome = await self._outcome(request)
        finally:
            self._metrics.detail_requests.labels(self.recorder.name, outcome.value).inc()
            self._details.answered(request.call_id, outcome, self._clock.elapsed())
            self._work.set()

    async def _outcome(self, request: Request) -> Outcome:
        session = self._session
        if session is None:
            return Outcome.FAILED
        try:
            answer = await self._queries.call_detail(session.id, request.call_id, request.purpose)
        except RecorderUnavailable as error:
            self._log.info("no detail yet", error=str(error))
            return Outcome.FAILED
        except Exception:  # noqa: BLE001 - a supervisor like `_forever`: one detail must not stop the others
            self._log.exception("a detail failed unexpectedly; this is a bug, please report it")
            return Outcome.FAILED
        if isinstance(answer, DetailAnswer):
            finished = is_finished(answer.record, self._source.reading)
            return Outcome.FINISHED if finished else Outcome.UNFINISHED
        return Outcome.UNKNOWN if isinstance(answer, UnknownCall) else Outcome.FAILED

    # Reconciliation

    async def _reconcile(self) -> None:
        """After every (re)connect, and once a period; the first period is cut short at random, so that recorders
        take turns. What a run left open is looked at again after growing pauses."""
        every = self._settings.reconcile_every.total_seconds()
        pause, again = every * self._dice(), RECHECK
        trigger = "periodic"
        while True:
            await _either(self._comparison_wanted, pause)
            await self._subscribed.wait()
            if self._comparison_wanted.is_set():
                trigger = "connect"
            self._comparison_wanted.clear()
            settled = await self._run_reconciliation(trigger, shared=trigger == "periodic" and again == RECHECK)
            pause, again = (every, RECHECK) if settled else (min(again, every), again * 2)
            trigger = "periodic" if settled else trigger

    async def _run_reconciliation(self, trigger: str, *, shared: bool) -> bool:
        """One run; False where something was left open: the database was out of reach, or a question unanswered."""
        session = self._session
        if self.reconciliation is None or session is None:
            return True
        since = self._clock.now() - self._settings.reconcile_every / 2 if shared else None
        try:
            report = await self.reconciliation.run(session.id, trigger, unless_since=since)
        except DatabaseError as error:
            self._count_run("failed")
            self._log.info("comparing waits for the database", error=str(error))
            return False
        self._tell(report)
        # A run of another that was under way may have asked before we were connected.
        return report.settled and not (report.busy and trigger == "connect")

    def _tell(self, report: Report) -> None:
        self._count_run("busy" if report.busy else "failed" if report.failure else "done")
        for action in report.actions:
            self._metrics.reconcile_actions.labels(self.recorder.name, action.act.value).inc()
        if report.failure:
            self._log.warning("not reconciled", error=report.failure)
        elif report.actions:
            counts = Counter(action.act.value for action in report.actions)
            self._log.info("reconciled", **counts)

    def _take_up(self, call_id: str) -> None:
        """A first finished record is provisional, whoever asked for it."""
        self._details.resume_refetch(call_id, self._clock.elapsed())
        self._work.set()

    def _count_run(self, result: str) -> None:
        self._metrics.reconcile_runs.labels(self.recorder.name, result).inc()

    # Supervision

    async def _forever(self, loop: Callable[[], object]) -> None:
        """Run a loop again after a failure of our own: loudly, with a pause, never touching other recorders."""
        while not self._stopping.is_set():
            try:
                await loop()  # type: ignore[misc]
                return
            except asyncio.CancelledError:
                raise
            except CdrError as error:
                self._set_state("failed", str(error))
                self._log.error("failed", error=str(error))
            except Exception as error:  # noqa: BLE001 - the supervisor: one recorder must not stop the others
                self._set_state("failed", f"{type(error).__name__}: {error}")
                self._log.exception("failed unexpectedly; this is a bug, please report it")
            await _either(self._stopping, FAILURE_PAUSE)


def _told(answer: Answer) -> str:
    """Why an answer is no list, for the user."""
    if isinstance(answer, Failed):
        return f"it refused the list (code {answer.code}): {answer.text}"
    if isinstance(answer, NotUnderstood):
        return f"its list is not understood ({answer.reason}: {answer.detail}); it is in quarantine"
    return "it answered the list with something else"


async def _either(event: asyncio.Event, seconds: float | None) -> None:
    """Wait for the event, but no longer than that."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass
