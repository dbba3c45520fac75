"""From when on calls are kept (configuration: `retention.keep`), and how old a call is. Pure; all times are UTC."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from etl.model import Fact

_DAYS = {"d": 1, "w": 7}

_CREDIBLE = datetime(2000, 1, 1, tzinfo=UTC)
"""An earlier time in an id, 1970 for an id without one, tells nothing."""


def expired_before(keep: str | None, now: datetime) -> datetime | None:
    """Calls that started before this moment have expired; None where all are kept.

    `keep` is a whole number of days, weeks or calendar years: `90d`, `12w`, `7y`. What reaches back beyond the
    year 1 keeps all.
    """
    if keep is None:
        return None
    number, unit = int(keep[:-1]), keep[-1]
    try:
        return _years_before(now, number) if unit == "y" else now - timedelta(days=number * _DAYS[unit])
    except (OverflowError, ValueError):
        return None


def _years_before(now: datetime, years: int) -> datetime:
    """The same day of an earlier year; for the 29 February of a year without one the day before it."""
    if (now.month, now.day) == (2, 29):
        now -= timedelta(days=not _is_leap(now.year - years))
    return now.replace(year=now.year - years)


def _is_leap(year: int) -> bool:
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


def old(facts: Sequence[Fact], before: datetime) -> list[Fact]:
    """The facts of calls that began before a moment, as far as these facts tell.

    A call's age is that of its start, else of its end, else of the time in its id, which cannot be later than its first
    observation, else of that. Where facts of one call
    disagree the latest word counts: in doubt a call is kept.
    """
    if not any(_began(fact) < before for fact in facts):  # as nearly always, and then there is nothing to sort
        return []
    calls: dict[tuple[str, datetime], list[Fact]] = {}
    for fact in facts:
        calls.setdefault((fact.call_id, fact.id_time), []).append(fact)
    return [fact for of_call in calls.values() if began(of_call) < before for fact in of_call]


def began(facts: Iterable[Fact]) -> datetime:
    """When the call of these facts began, as far as they tell."""
    known = list(facts)
    for name in ("start_time", "end_time"):
        times = [time for fact in known if isinstance(time := fact.values.get(name), datetime)]
        if times:
            return max(times)
    return min(_first_told(fact) for fact in known)


def _began(fact: Fact) -> datetime:
    time = fact.values.get("start_time") or fact.values.get("end_time") or _first_told(fact)
    assert isinstance(time, datetime)
    return time


def _first_told(fact: Fact) -> datetime:
    """The time in the id of a call, if it can be believed, or when the fact was observed."""
    return min(fact.id_time, fact.observed_at) if fact.id_time >= _CREDIBLE else fact.observed_at
