"""What the questions of the cookbook come to on the known archive: counted from its truth, without any SQL.

Each function has the name of its question's file, without the number; `ANSWERS` finds them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_DOWN, Decimal

from support.known import (
    ACTS,
    CALLS,
    EXPORTS,
    GAPS,
    HOLDS,
    NAMED,
    QUARANTINE,
)
from support.known_counting import (
    CAUSES,
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
    talk,
    week_of,
    within,
)
from support.known_types import (
    BEGIN,
    BERLIN,
    END,
    NEW_YORK,
    RETIRED,
    SUSPECT,
    ZONES,
    KnownCall,
    at,
    utc,
)
from support.known_volumes import (
    busiest_hours,
    calls_per_day,
    heat_map,
    how_long_calls_last,
    longest_calls,
    minute_by_minute,
    missed_calls,
    most_at_once,
    nights_and_weekends,
    silent_extensions,
    top_talkers,
    week_over_week,
    why_calls_end,
)

# Midnight, gaps, copies ------------------------------------------------------------------------------------------


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


# Coverage --------------------------------------------------------------------------------------------------------


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


# Calls that are not as they should be ----------------------------------------------------------------------------

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


# Calls of someone ------------------------------------------------------------------------------------------------


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


# Compliance ------------------------------------------------------------------------------------------------------


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
        (each.folder, each.host, each.masked, each.who, each.start, each.end, each.rows if each.finished else None)
        for each in EXPORTS
        if each.start < END and each.end > BEGIN
    ]


def erased_calls() -> Rows:
    erased = NAMED["erased"]
    return [(date(2025, 3, 1), erased.recorder, 1, erased.duration)]


# All -------------------------------------------------------------------------------------------------------------

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
