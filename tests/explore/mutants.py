"""Ways in which the product could be broken, and whether exploring finds them: how small the holes of the net are."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from unittest.mock import patch

from explore.run import explore, installed
from explore.schedule import draw
from support.postgres import fresh_database, postgresql_15, serving

from etl.calls import coverage, details, reconcile
from etl.calls.coverage import SessionState
from etl.calls.intervals import span
from etl.calls.reconcile import Act, Action
from etl.ingest import loader
from etl.recorder.clock import read
from etl.store import merge
from etl.worker.adoption import Adopter
from etl.worker.recorder_task import RecorderTask


@dataclass(frozen=True)
class Mutant:
    """`told` says what is broken, `patches` does it: by the name of what is replaced in the product. `in_sql`: only a
    world with PostgreSQL can find it."""

    told: str
    patches: Mapping[str, Any]
    in_sql: bool = False

    def broken(self) -> list[AbstractContextManager[Any]]:
        return [patch(name, new) for name, new in self.patches.items()]


@dataclass(frozen=True)
class Line:
    """What became of a mutant."""

    mutant: Mutant
    seeds: int
    breach: str = ""

    @property
    def found(self) -> bool:
        return bool(self.breach)

    def __str__(self) -> str:
        return f"| {self.mutant.told} | {self.breach or '**not found**'} | {self.seeds:,} |"


def table(mutants: Sequence[Mutant], seeds: int) -> Iterator[Line]:
    """Explore each mutant until a law breaks; without PostgreSQL, those that only that can show are left out."""
    programs = postgresql_15()
    for mutant in mutants:
        if not mutant.in_sql:
            yield hunted(mutant, seeds)
        elif programs is not None:
            with serving("explore", programs) as server, fresh_database(server) as url:
                yield hunted(mutant, seeds, url)


def hunted(mutant: Mutant, seeds: int, database: str | None = None) -> Line:
    """Explore a mutant from seed 1 on, until a law breaks."""
    with ExitStack() as broken:
        for each in mutant.broken():
            broken.enter_context(each)
        with installed() as folder:
            for seed in range(1, seeds + 1):
                outcome = explore(draw(seed), folder, database)
                if outcome.broken:
                    return Line(mutant, seed, outcome.broken[0])
                if seed % 50 == 0:
                    gc.collect()
    return Line(mutant, seeds)


# What is broken --------------------------------------------------------------------------------------------------

_subscribed = coverage.subscribed
_listed = coverage.listed
_plan_absent = reconcile._concluded
_details_send = details.Details._send
_paused = coverage.paused
_load = Adopter._load
_write = loader._Load.write
_interrupted = RecorderTask.interrupted


def _counts_at_once(state: SessionState, at: datetime) -> SessionState:
    return replace(_subscribed(state, at), listed_at=at)


def _any_list(state: SessionState, requested_at: datetime, at: datetime) -> SessionState:
    if not state.live or state.listed_after is None:
        return state
    return replace(state, since=state.since or at, listed_at=state.listed_at or at)


def _piece_without_margin(state: SessionState, margin: timedelta, last_read: datetime | None) -> Any:
    if state.since is None or state.listed_at is None or last_read is None or last_read < state.listed_at:
        return ()
    return span(state.since, last_read)


def _piece_at_once(state: SessionState, margin: timedelta, last_read: datetime | None) -> Any:
    if state.since is None or state.listed_at is None or last_read is None:
        return ()
    return span(state.since, last_read - margin)


def _absent_when_unlisted(action: Action, outcome: Any, second: Any, final: Any) -> Action | None:
    return Action(Act.ABSENT, action.rule, action.call_id, "not listed")


def _absent_after_one_list(action: Action, outcome: Any, second: Any, final: Any) -> Action | None:
    return _plan_absent(action, outcome, frozenset() if second is None else second, {*final, action.call_id})


def _first_is_last(self: Any, task: Any, now: float) -> Any:
    request = _details_send(self, task, now)
    return replace(request, purpose=details.Purpose.LAST) if request.purpose is details.Purpose.END else request


def _checkpoint_first(self: Any, entries: Any) -> Any:
    """The place in the journal is taken for stored before it is."""
    before = self.sequence
    try:
        return _write(self, entries)
    except Exception:
        last = entries[-1].sequence
        self._remembered[last] = self._remembered.get(last, self._remembered.get(before, {}))
        self._writer._archive.checkpoints[self._journal] = last
        raise


def _deletes_unread(self: Any, orphan: Any) -> None:
    """Adopts a journal by deleting it."""
    self._close_sessions(orphan.id, "crash")
    orphan.remove(orphan.last_sequence + 10**6)


def _no_withdrawal(self: Any, draft: Any, changed: Any) -> None: ...


def _nothing_comes_again(states: Any, reading: Any) -> dict[Any, datetime]:
    return {}


def _blind_watch(self: Any) -> tuple[Any, ...]:
    self._last = self._told = read(self._clock)
    return ()


def _stuck(self: Any) -> datetime:
    self._latest = max(self._latest, self._clock.now())
    return datetime.fromisoformat(self._latest.isoformat())


def _no_list_after_pause(self: Any, session: Any) -> None:
    if self.subscribed:
        self._listed = False


def _forgets_to_owe(self: Any, owed: Any) -> None: ...


def _drops_the_cut(self: Any, reason: str) -> Any:
    return ()


_LAST_TO_ARRIVE = merge.INSERT_FACTS.replace(
    "(f.observed_at, f.digest) < (excluded.observed_at, excluded.digest)", "f.observed_at <= excluded.observed_at"
)
_FORGET_ONLY_OLDER = merge.FORGET_KNOWN.replace(
    "(f.observed_at, f.digest) >= (s.observed_at, s.digest)", "f.observed_at > s.observed_at"
)


MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        "coverage counts from the confirmation on, before the list", {"etl.calls.coverage.subscribed": _counts_at_once}
    ),
    Mutant(
        "a list that was asked for before the pause, or by an old session, counts",
        {"etl.calls.coverage.listed": _any_list},
    ),
    Mutant(
        "coverage counts as soon as there is a list, though nothing was read after it",
        {"etl.calls.coverage._piece": _piece_at_once},
    ),
    Mutant(
        "coverage ends with the last message, without the margin", {"etl.calls.coverage._piece": _piece_without_margin}
    ),
    Mutant(
        "neither a pause in reading nor a step of the clock is noticed", {"etl.recorder.clock.Watch.look": _blind_watch}
    ),
    Mutant(
        "no new list is asked for after a pause",
        {"etl.worker.recorder_task.RecorderTask.interrupted": _no_list_after_pause},
    ),
    Mutant(
        "a clock set back takes nothing back from other sessions", {"etl.ingest.loader._Load._withdraw": _no_withdrawal}
    ),
    Mutant(
        "a clock set back takes nothing back from the sessions of dead processes",
        {"explore.archive.comes_again": _nothing_comes_again},
    ),
    Mutant(
        "stamps stand still while a clock that was set back catches up", {"etl.ingest.sink.JournalSink.now": _stuck}
    ),
    Mutant("a call that is not listed is taken for absent", {"etl.calls.reconcile._concluded": _absent_when_unlisted}),
    Mutant(
        "an unknown call is absent after one list, at the first answer",
        {"etl.calls.reconcile._concluded": _absent_after_one_list},
    ),
    Mutant(
        'the first "unknown" to a question for a record is the last word',
        {"etl.calls.details.Details._send": _first_is_last},
    ),
    Mutant(
        "the checkpoint moves although the data was not stored", {"etl.ingest.loader._Load.write": _checkpoint_first}
    ),
    Mutant(
        "an adopted journal is not loaded before it is deleted", {"etl.worker.adoption.Adopter._adopt": _deletes_unread}
    ),
    Mutant(
        "sessions of the dead are not closed",
        {"etl.worker.adoption.Adopter._close_sessions": lambda self, journal, reason: None},
    ),
    Mutant("what a dead process owed is not asked for", {"etl.worker.worker.Worker._resume": _forgets_to_owe}),
    Mutant("silence is never noticed", {"etl.protocol.subscription.PATIENCE": 1e6}),
    Mutant(
        "what is left in the buffer at the end of a connection is dropped",
        {"etl.protocol.framing.Framer.finish": _drops_the_cut},
    ),
    Mutant(
        "of two facts with equal times the one that arrives last counts",
        {"etl.store.merge.INSERT_FACTS": _LAST_TO_ARRIVE, "etl.store.merge.FORGET_KNOWN": _FORGET_ONLY_OLDER},
        in_sql=True,
    ),
)
