"""What an archive might show, without an archive: rows of any size that fit each other."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from lxml import html

from etl.model import Interval
from etl.report.rows import (
    BusyHour,
    CauseCount,
    Conversations,
    Coverage,
    DayVolume,
    ExtensionUse,
    Findings,
    Gap,
    HourVolume,
    Peak,
    Unresolved,
)

BERLIN = ZoneInfo("Europe/Berlin")
FIRST = date(2026, 3, 1)
NASTY = (
    "<script>alert(1)</script>",
    "_\x1b[2Jclear",
    "a$b$ &amp; \u202edlrow",
    "日本語",
    "quote \" and ' more",
    "x" * 100,
)
"""Names that want to be more than text."""


def midnight(number: int, zone: ZoneInfo = BERLIN) -> datetime:
    """Where the day so many days after the first one begins."""
    day = FIRST + timedelta(days=number)
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)


KNOWN_NOW = datetime(2025, 4, 2, 6, tzinfo=UTC)
"""When reports about the archive of `support.known` are made."""


def march(zone: str) -> Interval:
    """March 2025 by the clock of this zone: that archive's time."""
    start, end = (datetime(2025, month, 1, tzinfo=ZoneInfo(zone)).astimezone(UTC) for month in (3, 4))
    return Interval(start, end)


def empty(days: int = 31, zone: ZoneInfo = BERLIN) -> Findings:
    """An archive without anything."""
    return Findings(Interval(midnight(0, zone), midnight(days, zone)), zone, midnight(days, zone) + timedelta(hours=6))


def lively(days: int = 31, recorders: tuple[str | None, ...] = ("berlin-1", "ny-1", "ny-2")) -> Findings:
    """On each recorder and day a few calls, all of them at ten; most of them complete, on ten extensions."""
    bare = empty(days)
    rows = tuple(_day(name, place, number) for number in range(days) for place, name in enumerate(recorders))
    tens = [midnight(number) + timedelta(hours=10) for number in range(days)]
    sums: Counter[datetime] = Counter()
    for row in rows:
        sums[tens[(row.day - FIRST).days]] += row.calls
    total = sum(sums.values())
    return Findings(
        bare.span,
        bare.zone,
        bare.now,
        days=rows,
        hours=tuple(HourVolume(hour, calls) for hour, calls in sums.items()),
        busy=tuple(BusyHour(row.recorder, row.day, _ten(row), row.calls, Decimal(row.calls) / 8) for row in rows),
        peaks=tuple(Peak(row.recorder, _ten(row), row.calls // 2 + 1) for row in rows),
        extensions=_extensions(total),
        causes=(CauseCount("normal", total - 2), CauseCount(None, 1), CauseCount("unknown code 42", 1)),
        conversations=Conversations(total - len(rows), timedelta(hours=total)),
        unresolved=(Unresolved("lost", True, 1), Unresolved("ended", False, len(rows) - 1)),
        coverage=tuple(_coverage(name, bare, rows) for name in recorders if name is not None),
        gaps=tuple(_gap(number, name, bare) for number, name in enumerate(recorders) if name is not None),
    )


def _day(name: str | None, place: int, number: int) -> DayVolume:
    calls = 3 + (number * 7 + place * 3) % 11
    day = FIRST + timedelta(days=number)
    return DayVolume(name, day, calls, calls - 1, 1, timedelta(minutes=3 * calls), timedelta(minutes=5))


def _ten(row: DayVolume) -> datetime:
    return midnight((row.day - FIRST).days) + timedelta(hours=10)


def _extensions(total: int) -> tuple[ExtensionUse, ...]:
    last = midnight(3)
    known = [ExtensionUse(f"10{n:02}", n + 1, n, timedelta(minutes=n), timedelta(minutes=1), last) for n in range(9)]
    left = total - sum(row.calls for row in known)
    return (*known, ExtensionUse(None, left, left, timedelta(hours=1), None, None))


def _coverage(name: str, bare: Findings, rows: tuple[DayVolume, ...]) -> Coverage:
    calls = sum(row.calls for row in rows if row.recorder == name)
    whole = bare.span.end - bare.span.start - timedelta(minutes=20)
    return Coverage(name, bare.span.start, timedelta(hours=1), whole, calls, 2, 1, 0)


def _gap(number: int, name: str, bare: Findings) -> Gap:
    start = bare.span.start + timedelta(hours=5 + number)
    state = ("open", "filled", "accepted")[number % 3]
    return Gap(number + 1, name, start, start + timedelta(minutes=20), "drop", state, number)


# The page as its readers have it


def parsed(page: str) -> html.HtmlElement:
    return html.document_fromstring(page)


def table(page: str, key: str) -> list[list[str]]:
    """The cells of a figure's table, without its head."""
    rows = parsed(page).xpath(f"//figure[@id='{key}']//tbody/tr")
    return [[str(cell.text_content()) for cell in row] for row in rows]


def columns(page: str, key: str) -> list[str]:
    return [cell.text_content() for cell in parsed(page).xpath(f"//figure[@id='{key}']//thead//th")]


def summary(page: str, key: str) -> str:
    found = parsed(page).xpath(f"//figure[@id='{key}']/figcaption/p")
    return str(found[0].text_content())


def undrawn(_chart: object, _key: str) -> str:
    """In place of a plot, where it is not looked at."""
    return '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"><text>plot</text></svg>'
