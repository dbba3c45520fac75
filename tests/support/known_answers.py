"""What the questions of the cookbook come to on the known archive: counted from its truth, without any SQL.

Each function has the name of its question's file, without the number; `ANSWERS` finds them.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal
from itertools import pairwise
from typing import Any, TypeAlias
from zoneinfo import ZoneInfo

from support.known import (
    ACTS,
    BEGIN,
    BERLIN,
    CALLS,
    END,
    EXPORTS,
    GAPS,
    HOLDS,
    MASK_SECRET,
    NAMED,
    NEW_YORK,
    QUARANTINE,
    RETIRED,
    SUSPECT,
    ZONES,
    KnownCall,
    at,
    utc,
)

Rows: TypeAlias = list[tuple[Any, ...]]
Key: TypeAlias = Callable[[KnownCall], Any]

NOTHING = timedelta(0)
HOUR = timedelta(hours=1)
FOREVER = datetime.max.replace(tzinfo=UTC)
CAUSES: dict[int | None, str | None] = {
    0: "normal",
    1: "source disconnected",
    2: "destination disconnected",
    5: "cancelled",
    6: "busy",
    8: "error",
    42: "unknown code 42",
    None: None,
}


def within(start: datetime, end: datetime) -> list[KnownCall]:
    """The calls with a start in this time, by start."""
    return sorted((call for call in CALLS if call.start and start <= call.start < end), key=by_start)


def by_start(call: KnownCall) -> datetime:
    assert call.start is not None
    return call.start


def in_march(zone: ZoneInfo | None = None) -> list[KnownCall]:
    """The calls that started in March, by the clock of this zone (None: UTC)."""
    return within(*(march_of(zone) if zone else (BEGIN, END)))


def march_of(zone: ZoneInfo) -> tuple[datetime, datetime]:
    return at(zone, 1, "00:00"), at(zone, 1, "00:00", month=4)


def grouped(calls: Iterable[KnownCall], key: Key) -> dict[Any, list[KnownCall]]:
    """The calls by what `key` says of them, in its order."""
    groups: defaultdict[Any, list[KnownCall]] = defaultdict(list)
    for call in calls:
        groups[key(call)].append(call)
    return dict(sorted(groups.items()))


def recorder_of(call: KnownCall) -> str:
    return call.recorder


def talk(calls: Iterable[KnownCall]) -> timedelta:
    return sum((call.duration or NOTHING for call in calls), NOTHING)


def rounded(value: Decimal, places: int) -> Decimal:
    return value.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP)


def percent(part: int, whole: int, places: int) -> Decimal:
    return rounded(Decimal(100 * part) / whole, places)


def week_of(moment: datetime, zone: ZoneInfo) -> date:
    """The Monday of its week."""
    day = moment.astimezone(zone).date()
    return day - timedelta(days=day.weekday())


def masked(value: str | None) -> str | None:
    return value and "#" + hashlib.sha256(MASK_SECRET + value.encode()).hexdigest()[:16]


# Volumes --------------------------------------------------------------------------------------------------------


def calls_per_day() -> Rows:
    groups = grouped(CALLS, lambda call: call.moment.astimezone(BERLIN).date())
    return [
        (day, len(calls), complete(calls), len(calls) - complete(calls), talk(calls))
        for day, calls in groups.items()
        if date(2025, 3, 1) <= day < date(2025, 3, 11)
    ]


def complete(calls: Iterable[KnownCall]) -> int:
    return sum(call.state == "complete" for call in calls)


def busiest_hours() -> Rows:
    """All hours of the month, one after the other."""
    rows = []
    start, end = march_of(NEW_YORK)
    hours = [start + HOUR * number for number in range((end - start) // HOUR)]
    for recorder in ZONES:
        load = {hour: overlap(recorder, hour, hour + HOUR) / HOUR for hour in hours}
        hour = max(load, key=lambda each: (load[each], -each.timestamp()))
        rows.append((recorder, hour.astimezone(NEW_YORK).date(), hour, rounded(Decimal(load[hour]), 2)))
    return rows


def overlap(recorder: str, start: datetime, end: datetime) -> timedelta:
    """How long calls of this recorder went on in this time, all added up."""
    return sum(
        (
            max(NOTHING, min(call.end, end) - max(call.start, start))
            for call in CALLS
            if call.recorder == recorder and call.start and call.end
        ),
        NOTHING,
    )


def heat_map() -> Rows:
    places = Counter(
        (local.hour, local.isoweekday()) for local in (by_start(call).astimezone(BERLIN) for call in in_march(BERLIN))
    )
    return [(hour, *(places[hour, weekday] for weekday in range(1, 8))) for hour in range(24)]


def most_at_once() -> Rows:
    """The most at once is reached when some call begins."""
    rows = []
    for recorder in ZONES:
        starts = [by_start(call) for call in in_march(BERLIN) if call.recorder == recorder and going_on(call)]
        levels = {start: level(recorder, start) for start in starts}
        peak = max(levels.values())
        first = min(start for start, height in levels.items() if height == peak)
        rows.append((recorder, peak, first.replace(second=0)))
    return rows


def going_on(call: KnownCall) -> bool:
    return call.start is not None and (call.end is not None or call.state == "ongoing")


def level(recorder: str, moment: datetime) -> int:
    """How many calls go on at a moment."""
    return sum(
        call.recorder == recorder and going_on(call) and by_start(call) <= moment < (call.end or FOREVER)
        for call in CALLS
    )


def minute_by_minute() -> Rows:
    rows = []
    for number in range(15):
        minute = at(NEW_YORK, 3, "09:15") + timedelta(minutes=number)
        end = minute + timedelta(minutes=1)
        begin_in_it = [by_start(call) for call in CALLS if call.start and minute <= call.start < end]
        peak = max(level("ny-1", moment) for moment in (minute, *begin_in_it))
        rows.append((minute, peak, rounded(Decimal(overlap("ny-1", minute, end) / timedelta(minutes=1)), 2)))
    return rows


# Durations and causes -------------------------------------------------------------------------------------------


def how_long_calls_last() -> Rows:
    rows = []
    for recorder, calls in grouped(in_march(), recorder_of).items():
        known = sorted(call.duration for call in calls if call.duration is not None)
        mean = timedelta(seconds=sum(known, NOTHING).total_seconds() // len(known))
        median, most = (known[math.ceil(share * len(known)) - 1] for share in (0.5, 0.95))
        rows.append((recorder, len(known), mean, median, most, known[-1]))
    return rows


def why_calls_end() -> Rows:
    rows: Rows = []
    for recorder, calls in grouped(in_march(), recorder_of).items():
        causes = Counter(CAUSES[call.cause] for call in calls)
        ordered = sorted(causes.items(), key=lambda item: (-item[1], item[0] or "~"))
        rows += [(recorder, cause or "none known", count, percent(count, len(calls), 1)) for cause, count in ordered]
    return rows


def missed_calls() -> Rows:
    calls = within(at(BERLIN, 3, "00:00"), at(BERLIN, 31, "00:00"))
    rows = []
    for week, group in grouped(calls, lambda call: week_of(by_start(call), BERLIN)).items():
        missed = sum(call.cause in (5, 6, 7) for call in group)
        rows.append((week, len(group), missed, percent(missed, len(group), 1)))
    return rows


def longest_calls() -> Rows:
    known = [call for call in in_march() if call.duration is not None]
    known.sort(key=lambda call: call.duration or NOTHING, reverse=True)
    return [(call.recorder, call.start, call.duration, CAUSES[call.cause]) for call in known[:5]]


def top_talkers() -> Rows:
    start, end = march_of(BERLIN)
    calls = [call for call in CALLS if call.extension and start <= call.moment < end]
    groups = grouped(calls, lambda call: (call.recorder, call.extension))
    rows = [
        (recorder, masked(extension), len(group), talk(group), max(call.duration or NOTHING for call in group))
        for (recorder, extension), group in groups.items()
    ]
    return sorted(rows, key=lambda row: row[3], reverse=True)[:5]


def nights_and_weekends() -> Rows:
    calls = [call for call in in_march(NEW_YORK) if call.recorder == "ny-1"]
    groups = grouped(calls, lambda call: time_of_week(by_start(call).astimezone(NEW_YORK)))
    return [(name, len(group), talk(group)) for name, group in groups.items()]


def time_of_week(local: datetime) -> str:
    if local.isoweekday() >= 6:
        return "weekend"
    return "working day" if 6 <= local.hour < 22 else "night"


def week_over_week() -> Rows:
    start, end = at(BERLIN, 3, "00:00"), at(BERLIN, 31, "00:00")
    calls = [call for call in CALLS if start <= call.moment < end]
    weeks = [
        (week, len(group), talk(group))
        for week, group in grouped(calls, lambda call: week_of(call.moment, BERLIN)).items()
    ]
    rows: Rows = [(weeks[0][0], weeks[0][1], None, None, weeks[0][2], None)]
    for (_, before, talk_before), (week, count, talk_now) in pairwise(weeks):
        more = count - before
        rows.append((week, count, more, percent(more, before, 1), talk_now, talk_now - talk_before))
    return rows


def silent_extensions() -> Rows:
    groups = grouped(
        (call for call in CALLS if call.extension and call.start), lambda call: (call.recorder, call.extension)
    )
    until = at(NEW_YORK, 1, "00:00", month=4)
    rows = []
    for (recorder, extension), group in groups.items():
        last = max(by_start(call) for call in group if by_start(call) < until)
        if last < until - timedelta(days=30):
            rows.append((recorder, extension, last, (date(2025, 4, 1) - last.astimezone(NEW_YORK).date()).days))
    return sorted(rows, key=lambda row: row[2])


# Midnight, gaps, copies -----------------------------------------------------------------------------------------


def across_midnight() -> Rows:
    rows = []
    for call in in_march(BERLIN):
        midnight = at(BERLIN, by_start(call).astimezone(BERLIN).day, "00:00") + timedelta(days=1)
        if call.end and call.end > midnight:
            rows.append((call.recorder, call.start, call.end, call.duration))
    return rows


def when_clocks_change() -> Rows:
    rows = []
    for call in in_march(BERLIN):
        if call.start and call.end:
            wall = [moment.astimezone(BERLIN).replace(tzinfo=None) for moment in (call.start, call.end)]
            if wall[1] - wall[0] != call.duration:
                rows.append((call.recorder, call.start, call.end, call.duration, wall[1] - wall[0]))
    return rows


def next_to_gaps() -> Rows:
    near = timedelta(minutes=15)
    rows: Rows = []
    for number, gap in enumerate(GAPS, 1):
        if not BEGIN <= gap.start < END:
            continue
        for call in (each for each in CALLS if each.recorder == gap.recorder and each.start):
            if call.end and gap.start - near < call.end <= gap.start:
                rows.append((number, gap.recorder, gap.state, call.start, call.end, "before"))
            if gap.end <= by_start(call) < gap.end + near:
                rows.append((number, gap.recorder, gap.state, call.start, call.end, "after"))
    return sorted(rows, key=lambda row: row[3])


def conversations() -> Rows:
    start, end = at(NEW_YORK, 3, "00:00"), at(NEW_YORK, 31, "00:00")
    copies = grouped(within(start, end), lambda call: call.conversation)
    first = [min(group, key=by_start) for group in copies.values()]
    rows = []
    for week, group in grouped(first, lambda call: week_of(by_start(call), NEW_YORK)).items():
        sizes = [len(copies[call.conversation]) for call in group]
        rows.append((week, sum(sizes), len(sizes), sum(size > 1 for size in sizes)))
    return rows


def failovers() -> Rows:
    first, second = NAMED["failing over"], NAMED["failed over"]
    assert first.end is not None
    assert second.end is not None
    silence = by_start(second) - first.end
    return [(first.recorder, second.recorder, first.end, silence, second.end - by_start(first))]


def who_talks_to_whom() -> Rows:
    pairs: defaultdict[tuple[str, ...], list[KnownCall]] = defaultdict(list)
    for group in grouped(in_march(), lambda call: call.conversation).values():
        shown = min(group, key=lambda call: call.secondary or False)
        if shown.caller and shown.called:
            pairs[tuple(sorted(str(masked(party)) for party in shown.parties))].append(shown)
    rows: Rows = [(*pair, len(group), talk(group)) for pair, group in pairs.items()]
    return sorted(rows, key=lambda row: row[3], reverse=True)[:5]


# Coverage -------------------------------------------------------------------------------------------------------


def how_complete() -> Rows:
    rows = []
    for recorder in ZONES:
        hours = list(hours_of(recorder))
        covered = sum((HOUR - missing(recorder, hour) for hour in hours), NOTHING)
        share = (Decimal(100) * int(covered.total_seconds()) / (3600 * len(hours))).quantize(
            Decimal("0.001"), ROUND_DOWN
        )
        counts = [doubts(recorder, hour) for hour in hours]
        rows.append((recorder, len(hours), share, *(sum(column) for column in zip(*counts, strict=True))))
    return rows


def hours_not_to_trust() -> Rows:
    rows = []
    for recorder in ZONES:
        for hour in hours_of(recorder):
            silent, counts = missing(recorder, hour), doubts(recorder, hour)
            share = Decimal((HOUR - silent) / HOUR).quantize(Decimal("0.0001"), ROUND_DOWN)
            share = min(share, Decimal("0.9999") if any(counts[1:]) else share)
            if share < 1:
                rows.append((recorder, hour, share, silent, *counts))
    return sorted(rows, key=lambda row: (row[1], row[0]))


def hours_of(recorder: str) -> Iterator[datetime]:
    """The hours of March in which a recorder was in use."""
    hour, end = BEGIN, RETIRED if recorder == "ny-2" else END
    while hour < end:
        yield hour
        hour += HOUR


def missing(recorder: str, hour: datetime) -> timedelta:
    """How much of an hour lies in gaps."""
    spans = [(max(gap.start, hour), min(gap.end, hour + HOUR)) for gap in GAPS if gap.recorder == recorder]
    return sum((end - start for start, end in spans if start < end), NOTHING)


def doubts(recorder: str, hour: datetime) -> tuple[int, int, int, int]:
    """Calls of an hour; of these recovered, unresolved; and what was not understood in it."""
    calls = [call for call in CALLS if call.recorder == recorder and hour <= call.moment < hour + HOUR]
    refused = [
        each
        for each in QUARANTINE
        if each.recorder == recorder and each.state != "retried" and hour <= each.seen < hour + HOUR
    ]
    recovered = sum(call.recovered for call in calls)
    return len(calls), recovered, len(calls) - complete(calls), len(refused)


def open_gaps() -> Rows:
    return [
        (number, gap.recorder, gap.start, gap.end, gap.end - gap.start, gap.reason)
        for number, gap in sorted(enumerate(GAPS, 1), key=lambda item: item[1].start)
        if gap.state == "open" and gap.start < END and gap.end > BEGIN
    ]


def why_gaps() -> Rows:
    """Each has a reason of its own."""
    found = [gap for gap in GAPS if BEGIN <= gap.start < END]
    assert len({gap.reason for gap in found}) == len(found)
    return [(gap.recorder, gap.reason, gap.state, 1, gap.end - gap.start, gap.recovered) for gap in found]


# Calls that are not as they should be ---------------------------------------------------------------------------

WHY: defaultdict[str, str] = defaultdict(lambda: "ended; its record has not arrived")
WHY |= {
    "goes on": "goes on, as far as the recorder has told",
    "record unfinished": "ended; its record is not finished yet",
    "lost": "gone: the recorder does not know it any more",
    "lost and accepted": "gone: the recorder does not know it any more",
}


def unresolved_calls() -> Rows:
    return [
        (call.recorder, call.start, call.state, WHY[call.name], call.name == "lost and accepted")
        for call in in_march()
        if call.state != "complete"
    ]


def before_and_after_an_accept() -> Rows:
    missing_records = sum(call.state in ("ended", "lost") for call in in_march(BERLIN))
    accepted = next(act for act in ACTS if act.action == "accept call")
    return [(accepted.at, accepted.who, accepted.reason, "lost", missing_records, missing_records - 1)]


def recovered_calls() -> Rows:
    return [
        (call.recorder, call.start, call.state, min(call.heard, key=call.observed), call.first_seen - by_start(call))
        for call in in_march()
        if call.recovered
    ]


def doubtful_rows() -> Rows:
    flagged = [(call, flag) for call in in_march() for flag in call.quality]
    groups: defaultdict[tuple[str, str], list[datetime]] = defaultdict(list)
    for call, flag in flagged:
        groups[call.recorder, flag].append(by_start(call))
    return [(*key, len(starts), min(starts), max(starts)) for key, starts in sorted(groups.items())]


def full_records() -> Rows:
    calls = [call for call in CALLS if BEGIN <= call.moment < END]
    return [
        (recorder, len(group), complete(group), percent(complete(group), len(group), 2))
        for recorder, group in grouped(calls, recorder_of).items()
    ]


def undocumented_codes() -> Rows:
    strange = {"cause": 42, "direction": 9, "modality": "hologram", "signaling": 77}
    rows = []
    for name, code in strange.items():
        calls = [call for call in in_march() if getattr(call, name) == code]
        rows.append((name, f"unknown code {code}", len(calls), calls[0].start))
    return rows


# Calls of someone -----------------------------------------------------------------------------------------------


def calls_of_an_extension() -> Rows:
    return [
        (call.recorder, call.start, call.duration, call.caller, call.called, CAUSES[call.cause])
        for call in within(at(NEW_YORK, 10, "00:00"), at(NEW_YORK, 17, "00:00"))
        if call.extension == "1000"
    ]


def calls_of_a_party() -> Rows:
    return [
        (
            *(call.call_id, call.recorder, call.start, call.duration),
            *(call.caller, call.caller_name, call.called, None, call.agent),
        )
        for call in in_march(NEW_YORK)
        if SUSPECT in call.parties
    ]


# Compliance -----------------------------------------------------------------------------------------------------


def calls_on_hold() -> Rows:
    return [
        (number, hold.reason, call.call_id, call.recorder, call.start)
        for number, hold in enumerate(HOLDS, 1)
        if not hold.released
        for call in sorted(hold.covers, key=by_start)
    ]


def about_to_expire() -> Rows:
    """On 2032-01-10 that is all up to 2032-02-10, seven years after 2025-02-10."""
    held = {call.call_id for hold in HOLDS for call in hold.covers}
    return [
        (call.recorder, call.start, by_start(call).date().replace(year=2032), call.call_id in held)
        for call in within(datetime.min.replace(tzinfo=UTC), utc(10, "00:00", month=2))
    ]


def audit_trail() -> Rows:
    start, end = march_of(BERLIN)
    return [(act.at, act.who, act.action, act.reason) for act in ACTS if start <= act.at < end]


def quarantine() -> Rows:
    groups: defaultdict[tuple[str, str, str], list[datetime]] = defaultdict(list)
    for each in QUARANTINE:
        if BEGIN <= each.seen < END:
            groups[each.recorder or "history", each.reason, each.state].append(each.seen)
    return [(*key, len(times), min(times), max(times)) for key, times in sorted(groups.items())]


def evidence_of_a_call() -> Rows:
    call = NAMED["record unfinished"]
    return [(kind, call.recorder, call.observed(kind), call.observed(kind), []) for kind in call.heard]


def exports() -> Rows:
    return [
        (each.folder, each.host, each.masked, each.who, each.start, each.end, each.rows)
        for each in EXPORTS
        if each.finished and each.start < END and each.end > BEGIN
    ]


def erased_calls() -> Rows:
    erased = NAMED["erased"]
    return [(date(2025, 3, 1), erased.recorder, 1, erased.duration)]


ANSWERS: dict[str, Callable[[], Rows]] = {
    each.__name__: each
    for each in (
        *(calls_per_day, busiest_hours, heat_map, most_at_once, minute_by_minute, how_long_calls_last, why_calls_end),
        *(missed_calls, top_talkers, across_midnight, next_to_gaps, conversations, failovers, how_complete),
        *(hours_not_to_trust, open_gaps, why_gaps, unresolved_calls, before_and_after_an_accept, recovered_calls),
        *(doubtful_rows, calls_of_an_extension, calls_of_a_party, who_talks_to_whom, calls_on_hold, about_to_expire),
        *(audit_trail, quarantine, longest_calls, nights_and_weekends, week_over_week, silent_extensions),
        *(full_records, when_clocks_change, undocumented_codes, evidence_of_a_call, exports, erased_calls),
    )
}
"""The answer to each question, by the name of its file without the number."""
