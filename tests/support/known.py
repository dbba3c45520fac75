"""March 2025 on three recorders: a small archive of which every answer can be counted by hand.

This module is the truth, as plain data: it shares no code with the archive. `support.known_archive` writes it.

- `berlin-1` stands in Berlin; `ny-1` and `ny-2` in New York, where `ny-2` keeps copies of some calls (2N) until it is
  retired on the 25th. All three are subscribed to from the end of February on; two are still listened to.
- On each weekday the calls of `WEEKDAY`, each lasting a little longer from day to day, on Saturdays and Sundays that of
  `WEEKEND`. What is out of the ordinary stands in `_specials`, each with a name.
- Clocks are set forward on the 9th in New York and on the 30th in Berlin.
- Six gaps: one filled from the history, one accepted, four open.
- A call, a gap or an act at the very edges of what the cookbook asks for, inside and outside.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

from support.known_types import (
    BEGIN,
    BERLIN,
    END,
    ERASED,
    NEW_YORK,
    RETIRED,
    SUSPECT,
    UTC_ZONE,
    ZONES,
    KnownAct,
    KnownCall,
    KnownExport,
    KnownGap,
    KnownHold,
    KnownRefusal,
    at,
    utc,
)

from etl.model import Kind

__all__ = [
    "ACTS",
    "CALLS",
    "EXPORTS",
    "GAPS",
    "HOLDS",
    "MASK_SECRET",
    "NAMED",
    "QUARANTINE",
    "RETIRED",
    "KnownCall",
]

# What happens every day -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Habit:
    """A call that comes again: by the clock of its recorder, a little longer (`grows`, seconds) each day."""

    recorder: str
    clock: str
    seconds: int
    grows: int
    caller: str
    called: str
    extension: str
    cause: int = 0
    modality: str = "voice"
    copied: bool = False

    def on(self, day: int) -> KnownCall:
        start = at(ZONES[self.recorder], day, self.clock)
        end = start + timedelta(seconds=self.seconds + self.grows * day)
        known = KnownCall(self.recorder, start, end, self.caller, self.called, self.extension)
        return replace(known, cause=self.cause, modality=self.modality)


WEEKDAY = (
    Habit("berlin-1", "09:10", 180, 2, "+4930555101", "2001", "2001"),
    Habit("berlin-1", "09:40", 600, 6, "2002", "+4930555102", "2002", cause=1),
    Habit("berlin-1", "11:15", 30, 0, "2001", "+4930555103", "2001", cause=5),
    Habit("berlin-1", "14:30", 900, -4, "+4930555104", "2003", "2003", cause=2),
    Habit("ny-1", "09:05", 300, 5, "+12125550101", "1000", "1000", copied=True),
    Habit("ny-1", "09:25", 1200, 20, "1001", "+12125550102", "1001", cause=1),
    Habit("ny-1", "09:30", 420, 3, "1000", "+12125550103", "1000", cause=2, modality="video"),
    Habit("ny-1", "16:45", 20, 0, "+12125550104", "1002", "1002", cause=6),
)
WEEKEND = Habit("berlin-1", "12:00", 240, 1, "+4930555101", "2001", "2001")

_ONE_SECOND = timedelta(seconds=1)


def _every_day() -> Iterator[KnownCall]:
    for day in range(1, 32):
        if date(2025, 3, day).weekday() >= 5:
            yield WEEKEND.on(day)
            continue
        for habit in WEEKDAY:
            call = habit.on(day)
            yield from _with_copy(call, f"day {day}") if habit.copied else (call,)


def _with_copy(call: KnownCall, conversation: str) -> Iterator[KnownCall]:
    """The call, and while ny-2 is in use the copy that it keeps, which starts a second later."""
    assert call.start is not None
    first = replace(call, platform=conversation, conversation=conversation, secondary=False)
    yield first
    if call.start < RETIRED:
        yield replace(first, recorder="ny-2", start=call.start + _ONE_SECOND, secondary=True)


# What is out of the ordinary ------------------------------------------------------------------------------------


def _specials() -> Iterator[KnownCall]:
    yield from _of_the_clock()
    yield from _of_a_failover()
    yield from _unresolved()
    yield from _around_gaps()
    yield from _of_the_suspect()
    yield from _doubtful()
    yield from _held_and_erased()
    yield from _at_the_edges()
    yield from _at_the_edges_of_gaps()


def _of_the_clock() -> Iterator[KnownCall]:
    """Calls across midnight, and across both changes of the clock: 20 and 30 minutes long, whatever the wall says."""
    yield KnownCall(
        "berlin-1", at(BERLIN, 6, "23:50"), at(BERLIN, 7, "00:20"), "2002", "+4930555120", "2002", "midnight in Berlin"
    )
    yield KnownCall(
        "berlin-1", at(BERLIN, 20, "23:50"), at(BERLIN, 21, "00:00"), "2002", "+4930555122", "2002", "until midnight"
    )
    yield KnownCall(
        "ny-1", at(NEW_YORK, 11, "23:55"), at(NEW_YORK, 12, "00:40"), "1001", "+12125550120", "1001", "midnight in NY"
    )
    yield KnownCall(
        "ny-1", at(NEW_YORK, 9, "01:50"), at(NEW_YORK, 9, "03:10"), "1001", "+12125550121", "1001", "clock set in NY"
    )
    yield KnownCall(
        "berlin-1", at(BERLIN, 30, "01:45"), at(BERLIN, 30, "03:15"), "2003", "+4930555121", "2003", "clock in Berlin"
    )


def _of_a_failover() -> Iterator[KnownCall]:
    """ny-1 fails at 14:10 in the middle of a call; ny-2 takes over 20 s later."""
    first = KnownCall(
        "ny-1", at(NEW_YORK, 12, "14:00"), at(NEW_YORK, 12, "14:10"), "1000", "+12125550130", "1000", "failing over"
    )
    first = replace(first, platform="failover", conversation="failover, first half", cause=8)
    yield first
    start, end = at(NEW_YORK, 12, "14:10:20"), at(NEW_YORK, 12, "14:25")
    second = replace(first, recorder="ny-2", start=start, end=end, name="failed over", cause=0)
    yield replace(second, conversation="failover, second half")


def _unresolved() -> Iterator[KnownCall]:
    yield KnownCall(
        "berlin-1", utc(31, "21:30"), None, "2002", "+4930555140", "2002", "goes on",
        state="ongoing", heard=(Kind.START,), cause=None,
    )  # fmt: skip
    yield KnownCall(
        "ny-1", utc(20, "15:00"), utc(20, "15:08"), "1002", "+12125550141", "1002", "record never came",
        state="ended", heard=(Kind.START, Kind.END),
    )  # fmt: skip
    yield KnownCall(
        "ny-1", utc(21, "15:00"), utc(21, "15:03"), "1002", "+12125550142", "1002", "record unfinished",
        state="ended", heard=(Kind.START, Kind.END, Kind.UNFINISHED),
    )  # fmt: skip
    lost = KnownCall(
        "berlin-1", utc(19, "08:45"), None, "2003", "+4930555143", "2003", "lost",
        state="lost", heard=(Kind.START, Kind.ABSENT), cause=None,
    )  # fmt: skip
    yield lost
    yield replace(lost, start=utc(26, "08:45"), called="+4930555144", name="lost and accepted")


def _around_gaps() -> Iterator[KnownCall]:
    """Next to the open gap; in the filled one, by the history; in the accepted one, only as ny-2's copy."""
    before, after = (utc(5, "09:21"), utc(5, "09:29")), (utc(5, "10:02"), utc(5, "10:12"))
    yield KnownCall("berlin-1", *before, "2003", "+4930555150", "2003", "before the open gap")
    yield KnownCall("berlin-1", *after, "+4930555150", "2003", "2003", "after the open gap")
    for minute, extension in ((10, "1000"), (30, "1001")):
        start = utc(13, f"15:{minute}")
        end = start + timedelta(minutes=6)
        call = KnownCall("ny-1", start, end, extension, "+12125550151", extension, f"from the history {minute}")
        yield replace(call, heard=(Kind.HTTP,))
    copy = KnownCall(
        "ny-2", utc(18, "20:05"), utc(18, "20:15"), "+12125550152", "1000", "1000", "only the copy is left"
    )
    yield replace(copy, platform="in the accepted gap", secondary=True)
    listed = KnownCall("ny-1", utc(12, "18:10:30"), utc(12, "18:40"), "1001", "+12125550153", "1001", "from a list")
    yield replace(listed, heard=(Kind.LIST, Kind.END, Kind.DETAIL, Kind.HTTP))
    ended = KnownCall("ny-1", utc(12, "19:00"), utc(12, "19:05"), "1001", "+12125550154", "1001", "its end came first")
    yield replace(ended, heard=(Kind.END, Kind.DETAIL))


def _of_the_suspect() -> Iterator[KnownCall]:
    """Someone under investigation calls, and is called, on two recorders; once at night."""
    yield KnownCall("ny-1", utc(10, "17:00"), utc(10, "17:04"), SUSPECT, "1001", "1001", "suspect calls in New York")
    yield KnownCall("ny-1", utc(17, "03:30"), utc(17, "03:31"), "1001", SUSPECT, "1001", "suspect is called at night")
    call = KnownCall("berlin-1", utc(24, "10:00"), utc(24, "10:45"), SUSPECT, "2001", "2001", "suspect calls in Berlin")
    yield replace(call, caller_name="J. Doe", agent="a-17")


def _doubtful() -> Iterator[KnownCall]:
    yield KnownCall(
        "berlin-1", utc(4, "12:00"), utc(4, "12:05"), "2002", "+4930555160", "2002", "codes that nobody documented",
        cause=42, direction=9, modality="hologram", signaling=77,
    )  # fmt: skip
    yield KnownCall(
        "ny-1", utc(6, "18:00"), utc(6, "18:05"), "1002", "+12125550161", "1002", "duration reported otherwise",
        quality=("duration_differs",), wire={"duration": "00:04:00"},
    )  # fmt: skip
    yield KnownCall(
        "ny-1", utc(7, "18:00"), None, "1002", "+12125550162", "1002", "end before its start",
        quality=("end_before_start",), wire={"end_time": "2025-03-07 12:55:00.000"},
    )  # fmt: skip
    yield KnownCall(
        "berlin-1", utc(7, "12:00"), utc(7, "12:02"), "2002", "+4930555163", "2002", "cause that is no number",
        cause=None, quality=("bad_cause_id",), wire={"cause_id": "none"},
    )  # fmt: skip
    yield KnownCall(
        "ny-1", utc(14, "18:00"), utc(14, "18:03"), "1001", "+12125550164", "1001", "another recorder's location",
        quality=("recorder_differs",), wire={"location": "NY-2"},
    )  # fmt: skip
    yield KnownCall(
        "ny-1", utc(16, "18:00"), utc(16, "18:07"), "1001", "+12125550165", "1001", "id an hour off",
        quality=("zone_suspect",), clock_off=timedelta(hours=-1),
    )  # fmt: skip
    yield KnownCall(
        "berlin-1", None, None, "2001", "+4930555166", "2001", "no times at all", call_id="berlin-without-times",
        heard=(Kind.DETAIL,),
    )  # fmt: skip


_JANUARY = KnownCall(
    "ny-1", utc(20, "15:00", 1), utc(20, "15:10", 1), "1009", "+12125550170", "1009", "January", heard=(Kind.FILE,)
)


def _held_and_erased() -> Iterator[KnownCall]:
    """Two calls of January, from metadata files, of which one is on hold; and one whose parties were erased."""
    yield _JANUARY
    yield replace(_JANUARY, start=utc(21, "15:00", 1), end=utc(21, "15:20", 1), name="January, on hold")
    erased = KnownCall("ny-1", utc(27, "19:00"), utc(27, "19:09"), None, None, None, "erased")
    yield replace(erased, wire={"source_caller_id": ERASED, "destination_caller_id": "1002", "source_name": "R. Roe"})


def _at_the_edges() -> Iterator[KnownCall]:
    """The first moments of March and of April by each clock, of a week, of a night and of a working day; the first of
    the calls that are old enough to stay, and of those of an extension that was not silent for too long."""
    for zone in (UTC_ZONE, BERLIN, NEW_YORK):
        for month in (3, 4):
            yield _odd(at(zone, 1, "00:00", month), f"begin of {month} in {zone}")
    for day in (10, 17):
        yield replace(_odd(at(NEW_YORK, day, "00:00"), f"begin of the week, {day}"), caller="+12125550180")
    for clock in ("22:00", "06:00"):
        start = at(NEW_YORK, 13, clock)
        yield KnownCall("ny-1", start, start + timedelta(minutes=1), "+12125550181", "1001", "1001", f"at {clock}")
    start = at(NEW_YORK, 2, "00:00")
    yield KnownCall("ny-1", start, start + timedelta(minutes=1), "+12125550182", "1008", "1008", "30 days before April")
    start = utc(10, "00:00", 2)
    yield replace(_JANUARY, start=start, end=start + timedelta(minutes=10), name="seven years to the day")


def _odd(start: datetime, name: str) -> KnownCall:
    """One that questions about all kinds of oddities find: recovered, without a record, doubtful, of the suspect."""
    return KnownCall(
        "ny-1", start, start + timedelta(minutes=5), SUSPECT, "1000", "1000", name, state="ended",
        heard=(Kind.LIST, Kind.END), cause=42, quality=("duration_differs",), wire={"duration": "00:06:00"},
    )  # fmt: skip


def _at_the_edges_of_gaps() -> Iterator[KnownCall]:
    """Next to a gap to the second, and 15 minutes away to the second; near gaps of the edges of March."""
    spans = {
        "up to the open gap": ("berlin-1", utc(5, "09:25"), utc(5, "09:30")),
        "15 minutes before it": ("berlin-1", utc(5, "09:10"), utc(5, "09:15")),
        "from the first gap on": ("ny-2", utc(1, "00:10"), utc(1, "00:12")),
        "before the last gap": ("berlin-1", utc(31, "23:40"), utc(31, "23:50")),
    }
    for name, (recorder, start, end) in spans.items():
        yield KnownCall(recorder, start, end, "+4930555151", "2003", "2003", name)


_UUID_EPOCH = datetime(1582, 10, 15, tzinfo=UTC)


def _numbered(number: int, call: KnownCall) -> KnownCall:
    """With an id as recorders make it: a version 1 UUID of a second before the start."""
    call = replace(call, conversation=call.conversation or f"call {number}")
    if call.start is None:
        return call
    moment = call.start - _ONE_SECOND + call.clock_off
    ticks = (moment - _UUID_EPOCH) // timedelta(microseconds=1) * 10
    low, middle, high = ticks & 0xFFFFFFFF, ticks >> 32 & 0xFFFF, ticks >> 48 & 0x0FFF
    return replace(call, call_id=str(UUID(fields=(low, middle, high | 0x1000, 0x80, 0, number))))


CALLS = tuple(_numbered(number, call) for number, call in enumerate((*_every_day(), *_specials()), 1))
"""All calls of the archive."""

NAMED = {call.name: call for call in CALLS if call.name}


# Gaps -----------------------------------------------------------------------------------------------------------


GAPS = (
    KnownGap("berlin-1", utc(28, "23:00", 2), utc(1, "00:00"), "silence", "open"),
    KnownGap("berlin-1", utc(5, "09:30"), utc(5, "10:00"), "drop", "open"),
    KnownGap("berlin-1", utc(1, "00:00", 4), utc(1, "00:30", 4), "reset", "open"),
    KnownGap("ny-1", utc(13, "15:00"), utc(13, "16:00"), "crash", "filled", recovered=2),
    KnownGap("ny-1", utc(18, "20:00"), utc(18, "20:20"), "stop", "accepted"),
    KnownGap("ny-2", utc(1, "00:00"), utc(1, "00:10"), "refused", "open"),
)
"""All gaps, in the order of their ids, which count from 1."""


# What was not understood ----------------------------------------------------------------------------------------


QUARANTINE = (
    KnownRefusal("ny-1", utc(1, "00:00"), "not_well_formed", "open"),
    KnownRefusal("ny-1", utc(1, "00:00", 4), "not_well_formed", "open"),
    KnownRefusal("ny-1", utc(10, "02:30"), "not_well_formed", "open"),
    KnownRefusal("ny-1", utc(10, "02:40"), "not_well_formed", "open"),
    KnownRefusal("berlin-1", utc(15, "06:00"), "garbage", "discarded"),
    KnownRefusal("berlin-1", utc(16, "06:00"), "cut_off", "retried"),
    KnownRefusal(None, utc(14, "05:00"), "no_id", "open"),
)


# What people did ------------------------------------------------------------------------------------------------


ACTS = (
    KnownAct(at(BERLIN, 1, "00:00"), "cron@archive", "retention apply", "first of March"),
    KnownAct(utc(25, "12:30"), "ops@archive", "retire recorder", "replaced"),
    KnownAct(utc(27, "09:00"), "kim@archive", "accept call", "recorder was reset"),
    KnownAct(utc(28, "09:00"), "kim@archive", "accept gap", "planned maintenance"),
    KnownAct(at(BERLIN, 1, "00:00", 4), "cron@archive", "retention apply", "first of April"),
)


def _copy_of(day: int) -> KnownCall:
    """What ny-2 kept of the morning's call on this day."""
    return next(call for call in CALLS if call.recorder == "ny-2" and call.conversation == f"day {day}")


HOLDS = (
    KnownHold("call", NAMED["January, on hold"].call_id, "case 17", (NAMED["January, on hold"],)),
    KnownHold("party", SUSPECT, "case 23", tuple(call for call in CALLS if SUSPECT in call.parties)),
    KnownHold("party", "j. doe", "case 24", (NAMED["suspect calls in Berlin"],)),
    KnownHold("call", NAMED["failing over"].call_id, "case 9", (), released=True),
    KnownHold(
        "span", None, "case 31", (_copy_of(10),), recorder="ny-2", start=_copy_of(10).start, end=_copy_of(11).start
    ),
)


EXPORTS = (
    KnownExport("/srv/lake", "archive", BEGIN, END, True, "ops@archive", 222),
    KnownExport("/home/kim/case-23", "archive", utc(10, "00:00"), utc(25, "00:00"), False, "kim@archive", 121),
    KnownExport("/home/kim/case-24", "archive", utc(10, "00:00"), utc(25, "00:00"), False, "kim@archive", 0, False),
    KnownExport("/srv/lake", "archive", utc(1, "00:00", 2), BEGIN, True, "ops@archive", 2),
    KnownExport("/srv/lake", "archive", END, utc(1, "00:00", 5), True, "ops@archive", 2),
)

MASK_SECRET = bytes(range(32))
"""The secret of the masks in this archive: pseudonyms are the same each time."""
