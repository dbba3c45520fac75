"""From when on calls are kept (configuration: `retention.keep`). Pure; all times are UTC."""

from __future__ import annotations

from datetime import datetime, timedelta

_DAYS = {"d": 1, "w": 7}


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
