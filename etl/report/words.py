"""Numbers, times and names as the page writes them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from decimal import ROUND_DOWN, Decimal
from zoneinfo import ZoneInfo

NOBODY = "no recorder"
"""In place of the recorder, for calls that none is known for."""


def count(number: float) -> str:
    """With thousands apart: 1,234."""
    return f"{number:,.0f}"


def counted(number: int, one: str, many: str = "") -> str:
    """`3 calls`, `1 call`; `many` where it is not `one` with an s."""
    return f"{count(number)} {one if number == 1 else many or one + 's'}"


def recorder(name: str | None) -> str:
    return NOBODY if name is None else name


def percent(part: float, whole: float) -> str:
    """A share to one digit, as a reader of a sentence wants it."""
    if 0 < part < whole * 0.0005:
        return "less than 0.1%"
    return f"{part / whole:.1%}" if whole else "-"


def share(part: timedelta, whole: timedelta) -> str:
    """A share of time, rounded down to two digits: 100 % only where nothing at all is missing."""
    if not whole:
        return "-"
    if part >= whole:
        return "100%"
    exact = Decimal(part // timedelta(microseconds=1)) / Decimal(whole // timedelta(microseconds=1)) * 100
    return f"{exact.quantize(Decimal('0.01'), ROUND_DOWN)}%"


def clock(length: timedelta | None) -> str:
    """Hours, minutes, seconds for a table: 123:04:05."""
    if length is None:
        return "-"
    seconds = round(length.total_seconds())
    return f"{seconds // 3600:,}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def lasting(length: timedelta) -> str:
    """A length for a sentence, in its two largest units: 2 h 3 min."""
    seconds = length.total_seconds()
    if seconds < 60:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    parts = [(count(seconds // 86400), "d"), (f"{seconds // 3600 % 24:.0f}", "h")]
    parts += [(f"{seconds // 60 % 60:.0f}", "min"), (f"{seconds % 60 // 1:.0f}", "s")]
    first = next(index for index, (number, _) in enumerate(parts) if number != "0")
    return " ".join(f"{number} {unit}" for number, unit in parts[first : first + 2] if number != "0")


def hours(length: timedelta) -> str:
    """A long time in hours: 1,234.5 h; a short one as in a sentence."""
    return f"{length / timedelta(hours=1):,.1f} h" if length >= timedelta(hours=10) else lasting(length)


def weekday(day: date) -> str:
    """Monday 2026-03-02."""
    return f"{day:%A} {day.isoformat()}"


def moment(at: datetime, zone: ZoneInfo) -> str:
    """To the second, in the report's zone; with the offset where a clock that is set back makes it ambiguous."""
    local = at.astimezone(zone)
    told = f"{local:%Y-%m-%d %H:%M:%S}"
    ambiguous = local.replace(fold=0).utcoffset() != local.replace(fold=1).utcoffset()
    return f"{told} {local:%z}" if ambiguous else told


def hour_of(at: datetime, zone: ZoneInfo) -> str:
    """A clock hour of the report's zone: 14:00."""
    return moment(at, zone)[11:16] + moment(at, zone)[19:]


def listed(names: Sequence[str], most: int = 5) -> str:
    """`a, b and c`; of many the first few, and how many more."""
    if len(names) > most:
        return f"{', '.join(names[:most])} and {len(names) - most} more"
    return " and ".join(part for part in (", ".join(names[:-1]), *names[-1:]) if part)


def shortened(text: str, most: int = 18) -> str:
    """For the label of a plot."""
    return text if len(text) <= most else text[: most - 1] + "…"
