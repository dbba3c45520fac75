"""One reconciliation run: ask a recorder which calls it records, compare, ask about the rest, conclude.

What the recorder says goes the same way as everything: into the journal, and by its loader into the database. The run
waits for that, so that it compares with all that was received before. One run per recorder at a time, by a lock in
the database; whoever finds it taken leaves it at that.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from etl.calls.details import Outcome
from etl.calls.facts import read_fact
from etl.calls.ids import canonical
from etl.calls.reconcile import Act, Action, Plan, Rule, Stored, conclude, plan, wants_second_list
from etl.errors import RecorderUnavailable
from etl.ingest.interpret import Source
from etl.model import Json, Kind, State
from etl.protocol.answers import Answer, DetailAnswer, ListAnswer, UnknownCall
from etl.recorder.queries import Queries
from etl.recorder.sink import Scribe
from etl.store import reconcile as store
from etl.store.database import Connection, require_schema

BETWEEN_LISTS = 1.0
"""Seconds between the two lists that together say that a call is absent."""
SILENCES = 2
"""So many questions in a row without an answer, and the rest waits for another run."""


@dataclass(frozen=True, slots=True)
class Report:
    """How a run ended. `busy`: another one has the lock, and nothing was done. `failure`: why a good list is missing.

    `actions` are those of the plan and what was concluded from the answers; `outcomes` the answers, by call id.
    """

    recorder: str
    plan: Plan | None = None
    actions: tuple[Action, ...] = ()
    outcomes: Mapping[str, Outcome] | None = None
    busy: bool = False
    failure: str = ""

    @property
    def settled(self) -> bool:
        """Whether every question about an ongoing call was answered, and no answer contradicts the list."""
        outcomes = self.outcomes or {}
        asked = [action for action in self.actions if action.act is Act.ASK and action.rule is Rule.MISSED_END]
        known = all(outcomes.get(action.call_id) in (Outcome.FINISHED, Outcome.UNKNOWN) for action in asked)
        return known and not self.failure


async def opened(connect: Callable[[], Connection]) -> Connection:
    """A connection, opened in a thread. One that comes when nobody waits for it any more is closed."""
    opening = asyncio.ensure_future(asyncio.to_thread(connect))
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        opening.add_done_callback(_close)
        raise


def _close(opening: asyncio.Future[Connection]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()


@dataclass(frozen=True, slots=True)
class Means:
    """What a run works with. `loaded` returns once all that was journaled so far is in the database; `locked_runs`
    tells the loader which runs hold their lock; `in_hand` which calls the worker is asking for anyway. `finished` is
    told at once of each call whose finished record has come: it is journaled, whatever becomes of the run."""

    source: Source
    queries: Queries
    scribe: Scribe
    connect: Callable[[], Connection]
    loaded: Callable[[], Awaitable[None]]
    locked_runs: set[Json]
    concurrency: int
    give_up: timedelta
    in_hand: Callable[[str], bool] = lambda call_id: False
    finished: Callable[[str], None] = lambda call_id: None


@dataclass(frozen=True, slots=True)
class _Listing:
    """A good list as received (zlib); `wanted` says of each listed call whether it matches our extensions. Times are
    UTC."""

    packed: bytes
    asked_at: datetime
    received_at: datetime
    wanted: Mapping[str, bool]


@dataclass(frozen=True, slots=True)
class _Answered:
    """What became of a question about a call; `raw` only where it may be the evidence of an absence."""

    outcome: Outcome
    received_at: datetime
    raw: bytes = b""


class Reconciliation:
    """Runs for one recorder."""

    def __init__(self, recorder: str, means: Means) -> None:
        self._recorder = recorder
        self._means = means

    async def preview(self, session: UUID) -> Report:
        """What a run would do now; changes nothing. `means.scribe` must lead nowhere."""
        listing = await self._good_list(session)
        if isinstance(listing, str):
            return Report(self._recorder, failure=listing)
        with await opened(self._means.connect) as connection:
            await asyncio.to_thread(require_schema, connection)
            found, _ = await asyncio.to_thread(self._compare, connection, listing)
        return Report(self._recorder, found, found.actions)

    async def run(self, session: UUID, trigger: str, *, unless_since: datetime | None = None) -> Report:
        """Do a run, unless a good one has ended since a moment: workers share the periodic ones.

        Raises DatabaseError when the database fails it; what was received is journaled all the same.
        """
        async with self._locked() as connection:
            if connection is None or await self._done_since(connection, unless_since):
                return Report(self._recorder, busy=True)
            run = store.Run(uuid4(), self._recorder, trigger)
            await asyncio.to_thread(store.begin, connection, run)
            self._means.locked_runs.add(str(run.id))
            try:
                report = await self._work(connection, run, session)
            finally:
                self._means.locked_runs.discard(str(run.id))
            listed, asked_at = (report.plan.listed, report.plan.asked_at) if report.plan else (None, None)
            result = store.Result(asked_at, listed, report.failure or None)
            await asyncio.to_thread(store.finish, connection, run, result)
            return report

    async def _done_since(self, connection: Connection, moment: datetime | None) -> bool:
        last = await asyncio.to_thread(store.last_success, connection, self._recorder)
        return moment is not None and last is not None and last > moment

    @asynccontextmanager
    async def _locked(self) -> AsyncIterator[Connection | None]:
        """A connection that holds the recorder's lock, or None; the lock ends with the connection at the latest."""
        with await opened(self._means.connect) as connection:
            await asyncio.to_thread(require_schema, connection)
            held = await asyncio.to_thread(store.lock, connection, self._recorder)
            yield connection if held else None
            if held:  # the server notices a closed connection only a moment later
                await asyncio.to_thread(store.unlock, connection, self._recorder)

    async def _work(self, connection: Connection, run: store.Run, session: UUID) -> Report:
        lost = await asyncio.to_thread(store.lost, connection, self._recorder)
        first = await self._good_list(session, run=str(run.id))
        if isinstance(first, str):
            return Report(self._recorder, failure=first)
        await self._means.loaded()
        found, stored = await asyncio.to_thread(self._compare, connection, first, lost)
        answers = await self._ask(found.asks(), session)
        outcomes = _outcomes(answers)
        second: _Listing | str | None = None
        if wants_second_list(found, outcomes):
            await asyncio.sleep(BETWEEN_LISTS)
            second = await self._good_list(session, run=str(run.id))
            # A recorder takes its time to write a record: what it did not know a second ago it may know by now.
            unknown = [each for each in found.asks() if outcomes.get(each.call_id) is Outcome.UNKNOWN]
            answers |= await self._ask(unknown, session)
            outcomes = _outcomes(answers)
        lists = tuple(each for each in (first, second) if isinstance(each, _Listing))
        concluded = await self._concluded(connection, found, stored, outcomes, lists)
        await self._carry_out(connection, run, (*found.actions, *concluded), answers, lists, session)
        failure = second if isinstance(second, str) else ""
        return Report(self._recorder, found, (*found.actions, *concluded), outcomes, failure=failure)

    # The lists

    async def _good_list(self, session: UUID, **note: Json) -> _Listing | str:
        """A whole list that was understood, else why there is none: out of reach is never empty."""
        try:
            reply = await self._means.queries.list_reply(session, **note)
        except RecorderUnavailable as error:
            return str(error)
        if not isinstance(reply.answer, ListAnswer):
            return f"the list was refused or not understood: {reply.answer}"
        wants = self._means.source.wants
        wanted = {canonical(record.call_id): wants(record) for record in reply.answer.records}
        raw, asked_at, received_at = reply.raw, reply.asked_at, reply.received_at
        del reply  # the records of a long list take many times its bytes
        return _Listing(await asyncio.to_thread(zlib.compress, raw, 1), asked_at, received_at, wanted)

    # The plan, and what follows from the answers

    def _compare(
        self, connection: Connection, listing: _Listing, lost: Collection[str] = ()
    ) -> tuple[Plan, list[Stored]]:
        """`lost`: the calls that were given up for lost before this list came, which speaks against it."""
        listed = listing.wanted
        stored = [
            replace(call, state=State.LOST) if call.call_id in lost and call.call_id in listed else call
            for call in store.stored(connection, self._recorder, listed)
        ]
        outside = {call_id for call_id, wanted in listed.items() if not wanted}
        found = plan(self._recorder, listing.asked_at, listed, stored, outside=outside)
        kept = tuple(action for action in found.actions if not self._left_to_worker(action))
        return replace(found, actions=kept), stored

    def _left_to_worker(self, action: Action) -> bool:
        """A call without a record that this worker keeps asking for is in good hands."""
        return action.rule is Rule.NO_RECORD and self._means.in_hand(action.call_id)

    async def _concluded(
        self,
        connection: Connection,
        found: Plan,
        stored: Collection[Stored],
        outcomes: Mapping[str, Outcome],
        lists: Sequence[_Listing],
    ) -> tuple[Action, ...]:
        """What follows for the calls of which nothing new was heard while the run was under way."""
        if not found.asks():
            return ()
        await self._means.loaded()
        standing = await asyncio.to_thread(self._standing, connection, found, stored)
        valid = {call_id: outcome for call_id, outcome in outcomes.items() if call_id in standing}
        second = lists[1].wanted if len(lists) > 1 else None
        return conclude(found, valid, second, self._final(found.asked_at, stored))

    def _standing(self, connection: Connection, found: Plan, before: Collection[Stored]) -> set[str]:
        states = {call.call_id: call.state for call in before}
        asked = [action.call_id for action in found.asks()]
        now = store.stored(connection, self._recorder, asked)
        return {call.call_id for call in now if call.state is states.get(call.call_id)}

    def _final(self, asked_at: datetime, stored: Collection[Stored]) -> set[str]:
        """Calls that had ended long enough before the questions for "unknown" to be the last word on their record."""
        before = asked_at - self._means.give_up
        return {call.call_id for call in stored if call.end_seen_at is not None and call.end_seen_at <= before}

    async def _carry_out(
        self,
        connection: Connection,
        run: store.Run,
        actions: Sequence[Action],
        answers: Mapping[str, _Answered],
        lists: Sequence[_Listing],
        session: UUID,
    ) -> None:
        """Keep what the run did and its evidence, and only then take a call for absent.

        An absence counts from the last document that speaks for it: what was received after that is newer.
        """
        absent = [action for action in actions if action.act is Act.ABSENT]
        evidence = [each.packed for each in lists] if absent else []
        outcomes = {call_id: answer.outcome for call_id, answer in answers.items()}
        await asyncio.to_thread(store.add_actions, connection, run, actions, outcomes, evidence)
        for action in absent:
            answer = answers[action.call_id]
            seen_at = lists[-1].received_at if action.rule is Rule.MISSED_END else answer.received_at
            self._means.scribe.found_absent(session, action.call_id, answer.raw, str(run.id), seen_at)
        await self._means.loaded()

    # The questions

    async def _ask(self, asks: Iterable[Action], session: UUID) -> dict[str, _Answered]:
        """The answers by call id; a recorder that falls silent is not asked to the end."""
        left = iter(asks)
        answers: dict[str, _Answered] = {}

        async def ask_on() -> None:
            silences = 0
            for action in left:
                answer = await self._answer(action.call_id, session)
                answers[action.call_id] = answer
                silences = silences + 1 if answer.outcome is Outcome.TIMEOUT else 0
                if silences == SILENCES:
                    return

        async with asyncio.TaskGroup() as group:
            for _ in range(self._means.concurrency):
                group.create_task(ask_on())
        return answers

    async def _answer(self, call_id: str, session: UUID) -> _Answered:
        try:
            reply = await self._means.queries.detail_reply(session, call_id, "reconcile")
        except RecorderUnavailable:
            return _Answered(Outcome.TIMEOUT, self._means.scribe.now())
        outcome = self._outcome(reply.answer)
        if outcome is Outcome.FINISHED:
            self._means.finished(call_id)
        return _Answered(outcome, reply.received_at, reply.raw if outcome is Outcome.UNKNOWN else b"")

    def _outcome(self, answer: Answer) -> Outcome:
        if isinstance(answer, DetailAnswer):
            fact = read_fact(answer.record, Kind.DETAIL, self._means.scribe.now(), self._means.source.reading)
            return Outcome.FINISHED if fact.kind is Kind.DETAIL else Outcome.UNFINISHED
        return Outcome.UNKNOWN if isinstance(answer, UnknownCall) else Outcome.FAILED


def _outcomes(answers: Mapping[str, _Answered]) -> dict[str, Outcome]:
    return {call_id: answer.outcome for call_id, answer in answers.items()}
