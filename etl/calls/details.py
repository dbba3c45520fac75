"""Which detail to ask a recorder for, and when (section 7 (d) of the contract).

Pure: `now` is passed in, in seconds of a clock that only goes forward. A call that has ended is asked for at
once, then after 1, 2, 4, … seconds until its record is finished or `give_up` has passed since its end. The
first finished record is provisional, so it is asked for once more, `refetch_after` later.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import TypeAlias


class Purpose(StrEnum):
    """Why a detail is asked for; stands in the journal beside the answer."""

    END = "end"
    """The call has ended and its finished record is wanted."""
    LAST = "last"
    """The same for the last time: if the call is unknown now, it will stay so."""
    REFETCH = "refetch"
    """A finished record is there; what has the recorder added since?"""


class Outcome(StrEnum):
    """What became of a request."""

    FINISHED = "finished"
    UNFINISHED = "unfinished"
    UNKNOWN = "unknown"
    """The recorder says it does not know the call, perhaps only not yet."""
    FAILED = "failed"
    """Refused, not understood, or cut off."""
    TIMEOUT = "timeout"


class Sequel(Enum):
    """What follows from an answer."""

    RETRY = "retry"
    REFETCH = "refetch"
    DONE = "done"
    GIVEN_UP = "given up"


@dataclass(frozen=True, slots=True)
class Request:
    """A detail to ask for now."""

    call_id: str
    purpose: Purpose


class _Urgency(Enum):
    """Which of two due requests goes first; in this order."""

    FRESH = 0
    RETRY = 1
    REFETCH = 2


@dataclass(slots=True)
class _Task:
    """`deadline`: after it nothing is tried again. `last`: the request in flight is the last of its kind."""

    call_id: str
    refetch: bool
    deadline: float
    attempts: int = 0
    last: bool = False


_Waiting: TypeAlias = tuple[float, int, _Task]


class Details:
    """The requests for details of one recorder.

    At most `concurrency` are in flight. `give_up` and `refetch_after` are seconds. A call takes a few hundred
    bytes from its end until its second finished record, or until it is given up; at `limit` calls new ones are
    not taken, and it is for reconcile to find them.
    """

    def __init__(self, *, concurrency: int, give_up: float, refetch_after: float, limit: int = 200_000) -> None:
        self._concurrency = concurrency
        self._give_up = give_up
        self._refetch_after = refetch_after
        self._limit = limit
        self._tasks: dict[str, _Task] = {}
        self._in_flight: set[str] = set()
        self._waiting: dict[_Urgency, list[_Waiting]] = {urgency: [] for urgency in _Urgency}
        self._count = 0

    def __len__(self) -> int:
        """How many calls are in hand."""
        return len(self._tasks)

    def __contains__(self, call_id: str) -> bool:
        """Whether a call is in hand."""
        return call_id in self._tasks

    def ended(self, call_id: str, now: float) -> bool:
        """A call has ended: ask at once. Does nothing where the call is in hand already.

        False where there is no room for it.
        """
        return self._take(_Task(call_id, False, now + self._give_up), now, _Urgency.FRESH)

    def resume_end(self, call_id: str, ended_at: float) -> bool:
        """Take up a call that ended before this process, at `ended_at` on this clock (so perhaps negative).

        Asked for as soon as fresh ends leave room, and at least once however long ago it ended.
        """
        return self._take(_Task(call_id, False, ended_at + self._give_up), ended_at, _Urgency.RETRY)

    def resume_refetch(self, call_id: str, finished_at: float) -> bool:
        """Take up a call whose first finished record came at `finished_at` on this clock."""
        due = finished_at + self._refetch_after
        return self._take(_Task(call_id, True, due + self._give_up), due, _Urgency.REFETCH)

    def due(self, now: float) -> list[Request]:
        """What to ask now, most urgent first; each is in flight from here until `answered`."""
        requests: list[Request] = []
        for urgency in _Urgency:
            waiting = self._waiting[urgency]
            while waiting and waiting[0][0] <= now and len(self._in_flight) < self._concurrency:
                requests.append(self._send(heapq.heappop(waiting)[2], now))
        return requests

    def next_at(self) -> float | None:
        """When `due` will have something to ask; None while only an answer or another call changes that."""
        if len(self._in_flight) >= self._concurrency:
            return None
        return min((waiting[0][0] for waiting in self._waiting.values() if waiting), default=None)

    def answered(self, call_id: str, outcome: Outcome, now: float) -> Sequel:
        """A request that was in flight has come to this; returns what follows.

        Raises KeyError for a call that is not in flight: an error of the caller.
        """
        self._in_flight.remove(call_id)
        task = self._tasks[call_id]
        if outcome is Outcome.FINISHED and not task.refetch:
            return self._await_refetch(task, now)
        if outcome is Outcome.FINISHED or (outcome is Outcome.UNKNOWN and task.refetch):
            return self._drop(task, Sequel.DONE)
        if task.last:
            return self._drop(task, Sequel.GIVEN_UP)
        pause = 2.0 ** (task.attempts - 1)
        self._wait(
            task, max(now, min(now + pause, task.deadline)), _Urgency.REFETCH if task.refetch else _Urgency.RETRY
        )
        return Sequel.RETRY

    def _take(self, task: _Task, due: float, urgency: _Urgency) -> bool:
        if task.call_id in self._tasks:
            return True
        if len(self._tasks) >= self._limit:
            return False
        self._tasks[task.call_id] = task
        self._wait(task, due, urgency)
        return True

    def _send(self, task: _Task, now: float) -> Request:
        task.attempts += 1
        task.last = now >= task.deadline
        self._in_flight.add(task.call_id)
        if task.refetch:
            return Request(task.call_id, Purpose.REFETCH)
        return Request(task.call_id, Purpose.LAST if task.last else Purpose.END)

    def _await_refetch(self, task: _Task, now: float) -> Sequel:
        due = now + self._refetch_after
        task.refetch, task.attempts, task.deadline = True, 0, due + self._give_up
        self._wait(task, due, _Urgency.REFETCH)
        return Sequel.REFETCH

    def _wait(self, task: _Task, due: float, urgency: _Urgency) -> None:
        self._count += 1
        heapq.heappush(self._waiting[urgency], (due, self._count, task))

    def _drop(self, task: _Task, sequel: Sequel) -> Sequel:
        del self._tasks[task.call_id]
        return sequel
