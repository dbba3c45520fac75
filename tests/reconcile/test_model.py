"""A recorder, two workers and an archive in virtual time: whatever the interleaving, the laws hold.

No sockets and no database: what the recorder says is written and read as real documents, the archive is the merge's
oracle, and what a run does between its documents is played by hand, in the order of `etl.jobs.reconcile`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from uuid import UUID

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from support.merge_oracle import Row, keep, merge
from support.recorders import NOON, detail, document, ended, failed, keepalive, listed, started, subscribed

from etl.calls import coverage, gaps
from etl.calls.coverage import SessionState
from etl.calls.details import Outcome
from etl.calls.intervals import FOREVER, Spans, intersect, span, union
from etl.calls.reconcile import Act, Plan, Rule, Stored, conclude, plan, wants_second_list
from etl.config import Settings
from etl.ingest.interpret import Interpreter
from etl.model import FINISHED, Draft, Fact, Interval, Json, Kind, State, What

MARGIN = timedelta(seconds=1)
GIVE_UP = timedelta(seconds=20)
WRITTEN_AFTER = timedelta(seconds=2)
"""Until then the recorder does not know the record of a call that has ended."""
INTERPRETER = Interpreter(
    Settings.model_validate({"recorder": [{"name": "ny-1", "host": "recorder.example", "port": 1}]})
)


@dataclass
class Call:
    """The truth about a call."""

    id: str
    ended_at: datetime | None = None
    forgotten: bool = False

    def going_on(self) -> bool:
        return self.ended_at is None and not self.forgotten


@dataclass
class Question:
    """A request on its way: `answer` is what the recorder said, None while it has not read it."""

    asked: str
    asked_at: datetime
    note: dict[str, Json]
    call_id: str = ""
    ids: frozenset[str] = frozenset()
    outcome: Outcome = Outcome.FAILED
    answer: bytes | None = None


@dataclass
class Run:
    """A reconciliation under way; `step` names what comes next."""

    lost: set[str]
    step: str = "list"
    lists: list[tuple[frozenset[str], datetime]] = field(default_factory=list)
    asked_at: datetime = NOON
    plan: Plan | None = None
    before: dict[str, Stored] = field(default_factory=dict)
    open: int = 0
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    answers: dict[str, tuple[bytes, datetime]] = field(default_factory=dict)
    failed: bool = False


@dataclass
class Worker:
    """A process: what dies with it."""

    name: str
    offset: timedelta = timedelta()
    latest: datetime = NOON
    session: UUID | None = None
    inbox: list[tuple[datetime, bytes]] = field(default_factory=list)
    silent: bool = False
    journal: list[Draft] = field(default_factory=list)
    committed: int = 0
    loaded: int = 0
    questions: list[Question] = field(default_factory=list)
    owed: set[str] = field(default_factory=set)
    run: Run | None = None


@dataclass(frozen=True)
class Event:
    """A start or an end at the recorder; `moments` are the times of it by each worker's clock."""

    call_id: str
    kind: Kind
    at: datetime
    moments: dict[str, datetime]


class House(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = NOON
        self.calls: dict[str, Call] = {}
        self.events: list[Event] = []
        self.workers = [Worker("w0"), Worker("w1")]
        self.facts: dict[str, list[Fact]] = {}
        self.sessions: dict[UUID, SessionState] = {}
        self.owners: dict[UUID, str] = {}
        self.opened: dict[UUID, datetime] = {}
        self.forgotten: dict[str, list[tuple[datetime, datetime, datetime]]] = {"w0": [], "w1": []}
        self.set_back: dict[str, list[tuple[datetime, datetime, datetime]]] = {"w0": [], "w1": []}
        self.received: set[str] = set()
        self.heard: dict[str, set[tuple[str, Kind]]] = {"w0": set(), "w1": set()}
        self.unknown: set[str] = set()
        self.number = 0
        self.rows: dict[str, Row] = {}

    # The recorder

    @rule()
    def a_call_begins(self) -> None:
        self.number += 1
        call = Call(f"54bc{self.number:04x}-561f-11e0-b752-005056c00008")
        self.calls[call.id] = call
        self._publish(call, Kind.START, started(call.id))

    @rule(which=st.integers(0, 99))
    def a_call_ends(self, which: int) -> None:
        going_on = [call for call in self.calls.values() if call.going_on()]
        if going_on:
            call = going_on[which % len(going_on)]
            call.ended_at = self.now
            self._publish(call, Kind.END, ended(call.id))

    @rule()
    def the_recorder_restarts(self) -> None:
        """It forgets the calls that go on, and all its connections."""
        for call in self.calls.values():
            call.forgotten = call.forgotten or call.going_on()
        for worker in self.workers:
            self._hang_up(worker, "closed")

    @rule(which=st.integers(0, 99))
    def the_recorder_forgets_a_record(self, which: int) -> None:
        over = [call for call in self.calls.values() if call.ended_at]
        if over:
            over[which % len(over)].forgotten = True

    def _publish(self, call: Call, kind: Kind, message: bytes) -> None:
        self.now += timedelta(microseconds=7)  # nothing else happens at that very moment
        self.events.append(Event(call.id, kind, self.now, {each.name: self.now + each.offset for each in self.workers}))
        self._send_all(message)

    def _send_all(self, message: bytes) -> None:
        for worker in self.workers:
            if worker.session and not worker.silent:
                worker.inbox.append((self.now, message))

    @rule()
    def the_recorder_shows_life(self) -> None:
        self._send_all(keepalive())

    @rule(which=st.integers(0, 99), error=st.sampled_from([False, False, False, True]))
    def the_recorder_reads_a_question(self, which: int, *, error: bool) -> None:
        waiting = [each for worker in self.workers for each in worker.questions if each.answer is None]
        if waiting:
            self._answer(waiting[which % len(waiting)], error=error)

    def _answer(self, question: Question, *, error: bool) -> None:
        if error:
            question.answer = failed("1")
        elif question.asked == "list":
            question.ids = frozenset(call.id for call in self.calls.values() if call.going_on())
            question.outcome, question.answer = Outcome.FINISHED, listed("1", *sorted(question.ids))
        else:
            question.outcome, question.answer = self._detail(self.calls[question.call_id])

    def _detail(self, call: Call) -> tuple[Outcome, bytes]:
        if call.going_on():
            record = f'<verbacdr state="0"><ccdr_id>{call.id}</ccdr_id></verbacdr>'
            request = '<Request type="GetCallDetails" id="1"/>'
            return Outcome.UNFINISHED, document(f'<Response code="0">{request}{record}</Response>')
        if call.forgotten or call.ended_at is None or self.now - call.ended_at < WRITTEN_AFTER:
            self.unknown.add(call.id)
            return Outcome.UNKNOWN, failed("1", "Call cannot be found")
        return Outcome.FINISHED, detail("1", call.id)

    # Time

    @rule(seconds=st.sampled_from([0.1, 0.5, 1.5, 5.0, 30.0]))
    def time_goes_by(self, seconds: float) -> None:
        """What is on its way over a good connection arrives within the margin."""
        until = self.now + timedelta(seconds=seconds)
        while self.now < until:
            self.now = min(until, self.now + MARGIN / 2)
            for worker in self.workers:
                while worker.inbox and not worker.silent and self.now - worker.inbox[0][0] >= MARGIN / 2:
                    self._deliver(worker)

    @rule(which=st.integers(0, 1), seconds=st.sampled_from([-60.0, -5.0, -1.5, 1.5, 7.0, 90.0]))
    def a_clock_is_set(self, which: int, seconds: float) -> None:
        worker = self.workers[which]
        before = self.now + worker.offset
        worker.offset += timedelta(seconds=seconds)
        after = self.now + worker.offset
        if after < before:
            self.set_back[worker.name].append((self.now, after, before))
        note: dict[str, Json] = {"from": before.isoformat(), "to": after.isoformat()}
        self._write(worker, What.STEPPED, note=note)

    @rule(which=st.integers(0, 1), seconds=st.sampled_from([0.4, 3.0]))
    def a_worker_stands_still(self, which: int, seconds: float) -> None:
        worker = self.workers[which]
        begin = self._stamp(worker)
        waiting, worker.inbox = worker.inbox, []
        worker_silent, worker.silent = worker.silent, True
        self.time_goes_by(seconds)
        worker.silent = worker_silent
        self._write(worker, What.PAUSED, note={"from": begin.isoformat()})
        worker.inbox = waiting
        while worker.inbox and not worker.silent:
            self._deliver(worker)

    @rule(rounds=st.integers(1, 4), which=st.integers(0, 1))
    def all_goes_well_for_a_while(self, rounds: int, which: int) -> None:
        """So that the rare things happen to workers and runs that have got somewhere."""
        self.a_worker_connects(which)
        self.a_run_begins(which)
        for _ in range(rounds):
            for number, worker in enumerate(self.workers):
                self.a_worker_connects(number)
                for question in list(worker.questions):
                    if question.answer is None:
                        self._answer(question, error=False)
                    self._receive(worker, question)
                self._flush(worker)
                self.a_worker_asks_for_a_record(number, last=True)
            self.a_run_goes_on()
            self.the_recorder_shows_life()
            self.time_goes_by(1.0)

    # Workers

    @rule(which=st.integers(0, 1))
    def a_worker_connects(self, which: int) -> None:
        worker = self.workers[which]
        if worker.session is None:
            self.number += 1
            worker.session = UUID(int=self.number)
            self.owners[worker.session] = worker.name
            self.opened[worker.session] = self.now
            self._write(worker, What.OPENED, note={"worker": worker.name, "extensions": []})
            self.now += timedelta(milliseconds=1)
            self._write(worker, What.DOCUMENT, subscribed("1"), {"asked": "subscribe"})
            worker.silent = False
            self._ask(worker, "list")

    @rule(which=st.integers(0, 1))
    def a_list_for_the_session(self, which: int) -> None:
        if self.workers[which].session:
            self._ask(self.workers[which], "list")

    @rule(which=st.integers(0, 1))
    def a_connection_dies_silently(self, which: int) -> None:
        self.workers[which].silent = True
        self.workers[which].inbox.clear()

    @rule(which=st.integers(0, 1))
    def a_worker_hangs_up(self, which: int) -> None:
        self._hang_up(self.workers[which], "lost")

    def _hang_up(self, worker: Worker, reason: str) -> None:
        if worker.session:
            self._write(worker, What.CLOSED, note={"reason": reason})
            worker.session = None
            worker.inbox.clear()
        worker.questions.clear()
        worker.run = None

    @rule(which=st.integers(0, 1))
    def a_worker_is_killed(self, which: int) -> None:
        """What was not committed is gone; whoever comes next adopts the journal and ends the session."""
        worker = self.workers[which]
        lost = [draft.note["to"] for draft in worker.journal[worker.committed :] if draft.what is What.STEPPED]
        self.forgotten[worker.name] += [step for step in self.set_back[worker.name] if step[1].isoformat() in lost]
        del worker.journal[worker.committed :]
        self._load(worker)
        state = self.sessions.get(worker.session) if worker.session else None
        if state is not None and state.live:
            at = max(self._stamp(worker), state.last_read or state.opened_at)
            self.sessions[state.id] = coverage.closed(state, at, "killed", MARGIN)
        worker.session, worker.run = None, None
        worker.inbox.clear()
        worker.questions.clear()
        worker.owed.clear()

    @rule(which=st.integers(0, 1))
    def a_message_arrives(self, which: int) -> None:
        worker = self.workers[which]
        if worker.inbox and not worker.silent:
            self._deliver(worker)

    def _deliver(self, worker: Worker) -> None:
        _, message = worker.inbox.pop(0)
        self._write(worker, What.DOCUMENT, message)
        if b"CallEnd" in message:
            worker.owed.add(message.split(b'<Call id="')[1].split(b'"')[0].decode())

    @rule(which=st.integers(0, 99))
    def an_answer_arrives(self, which: int) -> None:
        answered = [(worker, each) for worker in self.workers for each in worker.questions if each.answer is not None]
        if answered:
            self._receive(*answered[which % len(answered)])

    def _receive(self, worker: Worker, question: Question) -> None:
        assert question.answer is not None
        worker.questions.remove(question)
        self._write(worker, What.DOCUMENT, question.answer, question.note)
        if question.outcome is Outcome.FINISHED and question.asked == "detail":
            worker.owed.discard(question.call_id)
        if worker.run and question.note.get("run"):
            self._heard(worker, worker.run, question)

    @rule(which=st.integers(0, 1), last=st.booleans())
    def a_worker_asks_for_a_record(self, which: int, *, last: bool) -> None:
        worker = self.workers[which]
        for call_id in sorted(worker.owed)[:1]:
            over = self.calls[call_id].ended_at
            purpose = "last" if last and over and self.now - over > GIVE_UP else "end"
            self._ask(worker, "detail", call_id, purpose=purpose)

    @rule(which=st.integers(0, 1))
    def the_disk_catches_up(self, which: int) -> None:
        self.workers[which].committed = len(self.workers[which].journal)

    @rule(which=st.integers(0, 1))
    def the_database_catches_up(self, which: int) -> None:
        self._load(self.workers[which])

    # Runs

    @rule(which=st.integers(0, 1))
    def a_run_begins(self, which: int) -> None:
        worker = self.workers[which]
        if worker.session and all(each.run is None for each in self.workers):
            states = {call_id for call_id, row in self._rows().items() if row.state is State.LOST}
            worker.run = Run(states)
            worker.run.asked_at = self._ask(worker, "list", run="run")

    @precondition(lambda self: any(worker.run for worker in self.workers))
    @rule()
    def a_run_goes_on(self) -> None:
        for worker in self.workers:
            if worker.run and not worker.run.open:
                self._go_on(worker, worker.run)

    def _heard(self, worker: Worker, run: Run, question: Question) -> None:
        at = worker.latest
        if question.asked == "list":
            run.failed = run.failed or question.outcome is not Outcome.FINISHED
            run.lists.append((question.ids, at))
        else:
            run.outcomes[question.call_id] = question.outcome
            run.answers[question.call_id] = (question.answer or b"", at)
        run.open -= 1

    def _go_on(self, worker: Worker, run: Run) -> None:
        if run.failed and not run.plan:
            worker.run = None
        elif run.step == "list":
            self._compare(worker, run)
        elif run.step == "asked" and run.plan and wants_second_list(run.plan, run.outcomes):
            self.time_goes_by(1.5)
            if worker.run:
                run.step = "second"
                self._ask(worker, "list", run="run")
        elif run.step == "second" and run.plan and not run.failed:
            run.step = "asked again"
            for action in run.plan.asks():
                if run.outcomes.get(action.call_id) is Outcome.UNKNOWN:
                    self._ask(worker, "detail", action.call_id, run="run", purpose="reconcile")
        else:
            self._conclude(worker, run)

    def _compare(self, worker: Worker, run: Run) -> None:
        self._flush(worker)
        (ids, _), before = run.lists[0], self._stored()
        stored = {call.call_id: call if call.call_id not in run.lost & ids else _lost(call) for call in before.values()}
        run.plan = self._planned(worker, run, ids, list(stored.values()))
        run.before, run.step = stored, "asked"
        for action in run.plan.asks():
            self._ask(worker, "detail", action.call_id, run="run", purpose="reconcile")

    def _planned(self, worker: Worker, run: Run, ids: frozenset[str], stored: list[Stored]) -> Plan:
        found = plan("ny-1", run.asked_at, ids, stored)
        assert plan("ny-1", run.asked_at, sorted(ids), reversed(stored)) == found, "the plan is idempotent"
        actions = [each for each in found.actions if not (each.rule is Rule.NO_RECORD and each.call_id in worker.owed)]
        return Plan(found.recorder, found.asked_at, found.listed, tuple(actions))

    def _conclude(self, worker: Worker, run: Run) -> None:
        assert run.plan is not None
        self._flush(worker)
        now = self._stored()
        valid = {
            call_id: outcome
            for call_id, outcome in run.outcomes.items()
            if now[call_id].state is run.before[call_id].state
        }
        second = run.lists[1][0] if len(run.lists) > 1 and not run.failed else None
        before = run.asked_at - GIVE_UP
        final = {call.call_id for call in run.before.values() if call.end_seen_at and call.end_seen_at <= before}
        for action in conclude(run.plan, valid, second, final):
            if action.act is Act.ABSENT:
                raw, answered_at = run.answers[action.call_id]
                seen_at = run.lists[-1][1] if action.rule is Rule.MISSED_END else answered_at
                note: dict[str, Json] = {"call_id": action.call_id, "seen_at": seen_at.isoformat()}
                self._write(worker, What.ABSENT, raw, note)
        worker.run = None

    # Bookkeeping

    def _stamp(self, worker: Worker) -> datetime:
        worker.latest = max(worker.latest, self.now + worker.offset)
        return worker.latest

    def _write(self, worker: Worker, what: What, body: bytes = b"", note: dict[str, Json] | None = None) -> None:
        session = worker.session or UUID(int=0)
        worker.journal.append(Draft(self._stamp(worker), "ny-1", session, what, body, note or {}))

    def _ask(self, worker: Worker, asked: str, call_id: str = "", **note: Json) -> datetime:
        at = self._stamp(worker)
        told: dict[str, Json] = {"channel": "query", "asked": asked, "requested_at": at.isoformat(), **note}
        if call_id:
            told["call_id"] = call_id
        worker.questions.append(Question(asked, at, told, call_id))
        if worker.run and note.get("run"):
            worker.run.open += 1
        elif note.get("run"):
            raise AssertionError("a question of no run")
        return at

    def _flush(self, worker: Worker) -> None:
        worker.committed = len(worker.journal)
        self._load(worker)

    def _load(self, worker: Worker) -> None:
        for draft in worker.journal[worker.loaded : worker.committed]:
            told = INTERPRETER.interpret(draft)
            assert not told.quarantined
            for fact in told.facts:
                self.facts.setdefault(fact.call_id, []).append(fact)
                self.rows.pop(fact.call_id, None)
                self.received.add(fact.call_id)
                self.heard[worker.name].add((fact.call_id, fact.kind))
            state = coverage.fold(self.sessions.get(draft.session), draft, told.heard, MARGIN)
            if state is not None:
                self.sessions[draft.session] = state
            if draft.what is What.STEPPED:
                self._withdraw(worker, draft)
        worker.loaded = worker.committed

    def _withdraw(self, worker: Worker, draft: Draft) -> None:
        """As the loader does: no session of a worker vouches for time that comes again."""
        after = datetime.fromisoformat(str(draft.note["to"]))
        if after < datetime.fromisoformat(str(draft.note["from"])):
            for state in self.sessions.values():
                if self.owners[state.id] == worker.name and state.id != draft.session:
                    self.sessions[state.id] = coverage.withdrawn(state, after, MARGIN)

    def _rows(self) -> dict[str, Row]:
        for call_id in self.facts.keys() - self.rows.keys():
            self.rows[call_id] = merge(self.facts[call_id])
        return self.rows

    def _stored(self) -> dict[str, Stored]:
        return {call_id: self._as_stored(call_id, row) for call_id, row in self._rows().items()}

    def _as_stored(self, call_id: str, row: Row) -> Stored:
        ends = [
            kept.first_observed_at
            for kind, kept in keep(self.facts[call_id]).items()
            if kind in {Kind.END, *FINISHED} or "end_time" in kept.fact.values
        ]
        only_listed = row.source is Kind.LIST
        return Stored(call_id, row.state, row.first_seen_at, min(ends, default=None), only_listed)

    # The laws

    @invariant()
    def nothing_received_is_lost(self) -> None:
        assert self._rows().keys() == self.received

    @invariant()
    def no_call_is_ended_or_lost_by_absence_alone(self) -> None:
        for call_id, row in self._rows().items():
            kinds = {fact.kind for fact in self.facts[call_id]}
            if self.calls[call_id].going_on():
                assert row.state is State.ONGOING, f"{call_id} goes on, and is {row.state} with us"
            if row.state is State.LOST:
                assert call_id in self.unknown, "the recorder never said that it does not know it"
            elif row.state is not State.ONGOING:
                assert kinds & {Kind.END, *FINISHED}

    @invariant()
    def every_moment_is_covered_pending_or_in_a_gap(self) -> None:
        spans = list(self._spans())
        if not spans:
            return
        first = min(each.subscribed_at for each in spans)
        covered = union(*(each.covered for each in spans))
        found = gaps.gaps(spans)
        missing: Spans = tuple(Interval(gap.start, gap.end or FOREVER) for gap in found)
        assert intersect(covered, missing) == ()
        assert union(covered, missing, gaps.pending(spans)) == span(first, FOREVER)

    @invariant()
    def what_happened_in_covered_time_was_received(self) -> None:
        for state in self.sessions.values():
            if self._withdrawal_is_due(self.owners[state.id]):
                continue
            covered = coverage.covered(state, MARGIN)
            for event in self.events:
                moment = event.moments[self.owners[state.id]]
                inside = any(each.start <= moment < each.end for each in covered)
                if inside and not self._came_again(state.id, event):
                    heard = self.heard[self.owners[state.id]]
                    assert (event.call_id, event.kind) in heard, f"{event} lies in the coverage of {state.id}"

    def _withdrawal_is_due(self, name: str) -> bool:
        """A clock was set, and the archive has not heard of it yet: it travels with the data, as coverage does."""
        return any(
            worker.name == name and any(draft.what is What.STEPPED for draft in worker.journal[worker.loaded :])
            for worker in self.workers
        )

    def _came_again(self, session: UUID, event: Event) -> bool:
        """The event's time by this clock came twice: first the event, then the clock was set back, then the session.

        Or the other way round, where the step was lost with the last commit before a kill: then nobody can know that
        the time which the session has covered came again.
        """
        name, moment = self.owners[session], event.moments[self.owners[session]]
        twice = any(
            event.at <= at <= self.opened[session] and after <= moment <= before
            for at, after, before in self.set_back[name]
        )
        return twice or any(at <= event.at and after <= moment <= before for at, after, before in self.forgotten[name])

    def _spans(self) -> Iterator[gaps.SessionSpan]:
        for state in self.sessions.values():
            if (found := gaps.session_span(state, MARGIN)) is not None:
                yield found

    def teardown(self) -> None:
        """Quiet, and one whole run: what is ongoing goes on; and the order in which facts came shows nowhere."""
        self._settle()
        going_on = {call.id for call in self.calls.values() if call.going_on()}
        assert {call_id for call_id, row in self._rows().items() if row.state is State.ONGOING} == going_on
        for call_id, facts in self.facts.items():
            shuffled = list(facts) + facts[:2]
            Random(len(facts)).shuffle(shuffled)
            assert merge(shuffled) == self._rows()[call_id]

    def _settle(self) -> None:
        for worker in self.workers:
            self._hang_up(worker, "stop")
            self._flush(worker)
        latest = max(worker.latest for worker in self.workers)
        self.now = max(self.now, latest) + timedelta(minutes=5)
        for worker in self.workers:
            worker.offset = timedelta()
        worker = self.workers[0]
        self.a_worker_connects(0)
        self.a_run_begins(0)
        while worker.run:
            for question in list(worker.questions):
                if question.answer is None:
                    self._answer(question, error=False)
                self._receive(worker, question)
            self.a_run_goes_on()
        self._flush(worker)


def _lost(call: Stored) -> Stored:
    return Stored(call.call_id, State.LOST, call.first_seen_at, call.end_seen_at, call.only_listed)


House.TestCase.settings = settings(max_examples=150, stateful_step_count=100, deadline=None)
TestHouse = pytest.mark.slow(House.TestCase)
