"""One reconciliation run: ask a recorder which calls it records, compare, ask about the rest, conclude.

What the recorder says goes the same way as everything: into the journal, and by its loader into the database. The run
waits for that, so that it compares with all that was received before. One run per recorder at a time, by a lock in
the database; whoever finds it taken leaves it at that.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping
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
from etl.model import Json, Kind, Record
from etl.protocol.answers import Answer, DetailAnswer, ListAnswer, UnknownCall
from etl.recorder.queries import Queries, Reply
from etl.recorder.sink import Scribe
from etl.store import reconcile as store
from etl.store.database import Connection, require_schema

BETWEEN_LISTS = 1.0
"""Seconds between the two lists that together say that a call is absent."""


@dataclass(frozen=True, slots=True)
class Report:
    """How a run ended. `busy`: another one has the lock, and nothing was done. `failure`: why there was no good list.

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


@dataclass(frozen=True, slots=True)
class Means:
    """What a run works with. `loaded` returns once all that was journaled so far is in the database; `locked_runs`
    tells the loader which runs hold their lock; `in_hand` which calls the worker is asking for anyway."""

    source: Source
    queries: Queries
    scribe: Scribe
    connect: Callable[[], Connection]
    loaded: Callable[[], Awaitable[None]]
    locked_runs: set[Json]
    concurrency: int
    give_up: timedelta
    in_hand: Callable[[str], bool] = lambda call_id: False


class Reconciliation:
    """Runs for one recorder."""

    def __init__(self, recorder: str, means: Means) -> None:
        self._recorder = recorder
        self._means = means

    async def preview(self, session: UUID) -> Report:
        """What a run would do now; changes nothing. `means.scribe` must lead nowhere."""
        reply = await self._list(session)
        if not isinstance(reply.answer, ListAnswer):
            return Report(self._recorder, failure=_told(reply.answer))
        with await asyncio.to_thread(self._means.connect) as connection:
            await asyncio.to_thread(require_schema, connection)
            found, _ = await asyncio.to_thread(self._compare, connection, reply.asked_at, reply.answer.records)
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
                report, result = await self._work(connection, run, session)
            finally:
                self._means.locked_runs.discard(str(run.id))
            await asyncio.to_thread(store.finish, connection, run, result)
            return report

    async def _done_since(self, connection: Connection, moment: datetime | None) -> bool:
        last = await asyncio.to_thread(store.last_success, connection, self._recorder)
        return moment is not None and last is not None and last > moment

    @asynccontextmanager
    async def _locked(self) -> AsyncIterator[Connection | None]:
        """A connection that holds the recorder's lock, or None; the lock ends with the connection."""
        with await asyncio.to_thread(self._means.connect) as connection:
            await asyncio.to_thread(require_schema, connection)
            held = await asyncio.to_thread(store.lock, connection, self._recorder)
            yield connection if held else None

    async def _work(self, connection: Connection, run: store.Run, session: UUID) -> tuple[Report, store.Result]:
        first = await self._good_list(session, str(run.id))
        if isinstance(first, str):
            return Report(self._recorder, failure=first), store.Result(None, None, told=first)
        await self._means.loaded()
        records = _records(first)
        found, stored = await asyncio.to_thread(self._compare, connection, first.asked_at, records)
        outcomes, answers = await self._ask(found.asks(), session)
        second = await self._second_list(found, outcomes, session, str(run.id))
        listed = None if second is None else {canonical(record.call_id) for record in _records(second)}
        await self._means.loaded()
        standing = await asyncio.to_thread(self._standing, connection, found, stored)
        valid = {call_id: outcome for call_id, outcome in outcomes.items() if call_id in standing}
        concluded = conclude(found, valid, listed, self._final(stored))
        absent = [action.call_id for action in concluded if action.act is Act.ABSENT]
        self._store_absent(absent, answers, session, str(run.id))
        await self._means.loaded()
        actions = (*found.actions, *concluded)
        await asyncio.to_thread(store.add_actions, connection, run, actions, outcomes)
        lists = tuple(each.raw for each in (first, second) if each is not None) if absent else ()
        result = store.Result(first.asked_at, found.listed, lists)
        return Report(self._recorder, found, actions, outcomes), result

    # The lists

    async def _list(self, session: UUID, **note: Json) -> Reply:
        return await self._means.queries.list_reply(session, **note)

    async def _good_list(self, session: UUID, run: str) -> Reply | str:
        """A whole list that was understood, else why there is none: out of reach is never empty."""
        try:
            reply = await self._list(session, run=run)
        except RecorderUnavailable as error:
            return str(error)
        return reply if isinstance(reply.answer, ListAnswer) else _told(reply.answer)

    async def _second_list(self, found: Plan, outcomes: Mapping[str, Outcome], session: UUID, run: str) -> Reply | None:
        if not wants_second_list(found, outcomes):
            return None
        await asyncio.sleep(BETWEEN_LISTS)
        reply = await self._good_list(session, run)
        return None if isinstance(reply, str) else reply

    # The plan

    def _compare(
        self, connection: Connection, asked_at: datetime, records: Iterable[Record]
    ) -> tuple[Plan, list[Stored]]:
        listed = {canonical(record.call_id): self._means.source.wants(record) for record in records}
        stored = store.stored(connection, self._recorder, listed)
        outside = {call_id for call_id, wanted in listed.items() if not wanted}
        found = plan(self._recorder, asked_at, listed, stored, outside=outside)
        kept = tuple(action for action in found.actions if not self._left_to_worker(action))
        return replace(found, actions=kept), stored

    def _standing(self, connection: Connection, found: Plan, before: Collection[Stored]) -> set[str]:
        """The calls asked about of which nothing new was heard while the run was under way: only these are judged."""
        states = {call.call_id: call.state for call in before}
        asked = [action.call_id for action in found.asks()]
        now = store.stored(connection, self._recorder, asked)
        return {call.call_id for call in now if call.state is states.get(call.call_id)}

    def _left_to_worker(self, action: Action) -> bool:
        """A call without a record that this worker keeps asking for is in good hands."""
        return action.rule is Rule.NO_RECORD and self._means.in_hand(action.call_id)

    def _final(self, stored: Collection[Stored]) -> set[str]:
        """Calls that ended long enough ago for "unknown" to be the last word on their record."""
        before = self._means.scribe.now() - self._means.give_up
        return {call.call_id for call in stored if call.end_seen_at is not None and call.end_seen_at <= before}

    # The questions

    async def _ask(self, asks: Iterable[Action], session: UUID) -> tuple[dict[str, Outcome], dict[str, Reply]]:
        gate = asyncio.Semaphore(self._means.concurrency)
        answers: dict[str, Reply] = {}
        outcomes: dict[str, Outcome] = {}

        async def ask(call_id: str) -> None:
            async with gate:
                try:
                    reply = await self._means.queries.detail_reply(session, call_id, "reconcile")
                except RecorderUnavailable:
                    outcomes[call_id] = Outcome.TIMEOUT
                else:
                    answers[call_id] = reply
                    outcomes[call_id] = self._outcome(reply.answer)

        async with asyncio.TaskGroup() as group:
            for action in asks:
                group.create_task(ask(action.call_id))
        return outcomes, answers

    def _outcome(self, answer: Answer) -> Outcome:
        if isinstance(answer, DetailAnswer):
            fact = read_fact(answer.record, Kind.DETAIL, self._means.scribe.now(), self._means.source.reading)
            return Outcome.FINISHED if fact.kind is Kind.DETAIL else Outcome.UNFINISHED
        return Outcome.UNKNOWN if isinstance(answer, UnknownCall) else Outcome.FAILED

    def _store_absent(self, absent: Iterable[str], answers: Mapping[str, Reply], session: UUID, run: str) -> None:
        for call_id in absent:
            self._means.scribe.found_absent(session, call_id, answers[call_id].raw, run)


def _records(reply: Reply) -> tuple[Record, ...]:
    return reply.answer.records if isinstance(reply.answer, ListAnswer) else ()


def _told(answer: Answer) -> str:
    return f"the list was refused or not understood: {answer}"
