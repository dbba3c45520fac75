"""What the cookbook's questions about volumes come to on the known archive, by the names of their files."""

from __future__ import annotations

import math
from collections import Counter
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

from support.known import (
    CALLS,
)
from support.known_counting import (
    CAUSES,
    FOREVER,
    HOUR,
    NOTHING,
    Rows,
    by_start,
    complete,
    grouped,
    in_march,
    march_of,
    masked,
    percent,
    recorder_of,
    rounded,
    talk,
    week_of,
    within,
)
from support.known_types import (
    BERLIN,
    NEW_YORK,
    ZONES,
    KnownCall,
    at,
)

# Volumes ---------------------------------------------------------------------------------------------------------


def calls_per_day() -> Rows:
    groups = grouped(CALLS, lambda call: call.moment.astimezone(BERLIN).date())
    return [
        (day, len(calls), complete(calls), len(calls) - complete(calls), talk(calls))
        for day, calls in groups.items()
        if date(2025, 3, 1) <= day < date(2025, 3, 11)
    ]


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


# Durations and causes --------------------------------------------------------------------------------------------


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
