"""Can these numbers be trusted? The answer, and why."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import pytest
from support.findings import empty, lively, midnight

from etl.report.rows import Coverage, DayVolume, Findings, Gap, Pending, Unresolved
from etl.report.trust import Level, numbers, verdict

HOUR = timedelta(hours=1)
DAY = 24 * HOUR
HEARD = Coverage("ny-1", midnight(0), HOUR, midnight(31) - midnight(0), 5, 0, 0, 0)
CALLS = DayVolume("ny-1", date(2026, 3, 5), 5, 5, 0, HOUR, HOUR)
WHOLE = replace(empty(), coverage=(HEARD,), days=(CALLS,))


def gap(state: str, recovered: int = 0) -> Gap:
    return Gap(1, "ny-1", midnight(3), midnight(3) + HOUR, "drop", state, recovered)


def with_gap(state: str, recovered: int = 0) -> Findings:
    heard = replace(HEARD, covered=HEARD.covered - HOUR)
    return replace(WHOLE, coverage=(heard,), gaps=(gap(state, recovered),))


def with_pending(*pending: Pending) -> Findings:
    """From the third day on nothing is covered."""
    return replace(WHOLE, coverage=(replace(HEARD, covered=3 * DAY),), pending=pending)


@pytest.mark.parametrize(
    ("found", "level", "said"),
    [
        (WHOLE, Level.WHOLE, "There was no gap."),
        (with_gap("filled", 2), Level.WHOLE,
         "1 gap is filled (1 h): the history shows what there was; 2 calls came from it."),
        (with_gap("accepted"), Level.ACCEPTED, "1 gap is accepted (1 h): calls may be missing there for good."),
        (with_gap("open"), Level.DOUBTFUL, "1 gap is open (1 h): calls may be missing there."),
        (replace(WHOLE, unresolved=(Unresolved("ongoing", False, 1),)), Level.WHOLE,
         "1 call goes on: no end has been heard of."),
        (replace(WHOLE, unresolved=(Unresolved("unlisted", False, 1), Unresolved("ongoing", False, 2))), Level.DOUBTFUL,
         "1 call goes on with us only: missing from the recorder's last list, and asking about that settled nothing."),
        (replace(WHOLE, unresolved=(Unresolved("unlisted", True, 2),)), Level.ACCEPTED,
         "2 calls go on with us only (2 accepted): missing from the recorder's last list, and asking about that settled"
         " nothing."),
        (with_pending(Pending("ny-1", midnight(3), None)), Level.DOUBTFUL,
         "Nobody knows yet whether anybody listened to ny-1 since 2026-03-04 00:00:00 (27 d 23 h): calls may be missing"
         " there."),
        (with_pending(Pending("ny-1", midnight(-2), midnight(1)), Pending("ny-2", midnight(30), None)), Level.DOUBTFUL,
         "Nobody knows yet whether anybody listened to ny-1 from 2026-02-27 00:00:00 to 2026-03-02 00:00:00 (1 d) and"
         " ny-2 since 2026-03-31 00:00:00 (1 d): calls may be missing there."),
        (replace(WHOLE, unresolved=(Unresolved("lost", False, 2),)), Level.DOUBTFUL,
         "2 calls are lost: heard of, but no longer known to the recorder."),
        (replace(WHOLE, unresolved=(Unresolved("lost", True, 2), Unresolved("lost", False, 1))), Level.DOUBTFUL,
         "3 calls are lost (2 accepted): heard of, but no longer known to the recorder."),
        (replace(WHOLE, unresolved=(Unresolved("lost", True, 2),)), Level.ACCEPTED,
         "2 calls are lost (2 accepted): heard of, but no longer known to the recorder."),
        (replace(WHOLE, unresolved=(Unresolved("ended", False, 1),)), Level.DOUBTFUL,
         "1 call has ended: no finished record has arrived."),
        (replace(WHOLE, coverage=(replace(HEARD, quarantined=3),)), Level.DOUBTFUL,
         "3 messages could not be understood, and are in quarantine."),
        (replace(WHOLE, days=(CALLS, replace(CALLS, recorder="ny-9"))), Level.DOUBTFUL,
         "There are calls of ny-9, to which nobody listened in this time: there may be more."),
        (replace(WHOLE, coverage=(replace(HEARD, first=midnight(4), covered=20 * DAY),)), Level.DOUBTFUL,
         "Listening began only within this time on ny-1: nothing is known of what was before."),
        (replace(WHOLE, days=(CALLS, replace(CALLS, recorder=None))), Level.WHOLE,
         "5 calls are of no recorder that is known."),
        (replace(WHOLE, coverage=(replace(HEARD, expired=midnight(4)),)), Level.EXPIRED,
         "Calls before 2026-03-05 00:00:00 were deleted by age, but for those on hold, and are not counted."),
        (replace(WHOLE, coverage=(replace(HEARD, expired=midnight(31) + HOUR),)), Level.EXPIRED,
         "Calls before 2026-04-01 00:00:00 were deleted by age, but for those on hold, and are not counted."),
        (replace(WHOLE, coverage=()), Level.UNKNOWN,
         "No recorder was subscribed to in this time, so nothing shows whether calls are missing."),
        (empty(), Level.EMPTY,
         "No recorder was subscribed to in this time, so nothing shows whether calls are missing."),
    ],
)  # fmt: skip
def test_the_answer_has_its_reasons(found: Findings, level: Level, said: str) -> None:
    answer = verdict(found)
    assert answer.level is level
    assert said in answer.reasons


def test_a_second_that_was_missed_is_not_rounded_away() -> None:
    heard = replace(HEARD, covered=HEARD.covered - timedelta(seconds=1))
    second = replace(gap("open"), end=midnight(3) + timedelta(seconds=1))
    answer = verdict(replace(WHOLE, coverage=(heard,), gaps=(second,)))
    assert "Sessions listened for 99.99% of the recorders' time." in answer.reasons
    assert "1 gap is open (1 s): calls may be missing there." in answer.reasons


def test_what_is_pending_belongs_to_the_time_that_should_have_been_covered() -> None:
    """It is no gap, and not nothing either."""
    found = with_pending(Pending("ny-1", midnight(3), None))
    answer = verdict(found)
    assert answer.reasons[0] == "Sessions listened for 9.69% of the recorders' time."
    assert "There was no gap." not in answer.reasons
    shown = {number.name: number for number in numbers(found)}
    assert (shown["Covered"].value, shown["Covered"].about) == (
        "9.69%", "of the recorders' time; 0 open gaps, 27 d 23 h pending",
    )  # fmt: skip


@pytest.mark.parametrize(("minutes", "level"), [(4, Level.WHOLE), (6, Level.DOUBTFUL)])
def test_the_little_that_a_session_is_behind_as_usual_casts_no_doubt_upon_a_day(minutes: int, level: Level) -> None:
    """A report soon after midnight: its last minutes are not stored yet. What began to be pending longer ago counts,
    though just as little of it lies in the report."""
    now = WHOLE.span.end + 2 * timedelta(minutes=1)
    pending = Pending("ny-1", now - timedelta(minutes=minutes), None)
    heard = replace(HEARD, covered=HEARD.covered - (WHOLE.span.end - pending.start))
    answer = verdict(replace(WHOLE, now=now, coverage=(heard,), pending=(pending,)))
    assert answer.level is level
    assert ("Sessions listened for 100% of the recorders' time." in answer.reasons) is (level is Level.WHOLE)


def test_a_time_that_has_only_just_begun_is_not_trusted_for_that_nothing_is_missing() -> None:
    """A minute after midnight, of today: all of it is pending."""
    now = WHOLE.span.start + timedelta(minutes=1)
    nothing = replace(HEARD, covered_first=timedelta(), covered=timedelta())
    young = replace(WHOLE, now=now, coverage=(nothing,), days=(), pending=(Pending("ny-1", now - HOUR / 60, None),))
    answer = verdict(young)
    assert answer.level is Level.EMPTY
    assert answer.reasons == ("Nothing is known of this time yet, so nothing shows whether calls are missing.",)
    assert verdict(replace(young, days=(CALLS,))).level is Level.UNKNOWN


def test_the_numbers_at_the_top_are_sums_of_the_rows() -> None:
    found = lively(31)
    shown = {number.name: number.value for number in numbers(found)}
    assert shown["Calls"] == f"{sum(day.calls for day in found.days):,}"
    assert shown["Conversations"] == f"{found.conversations.count:,}"
    assert shown["Unresolved"] == str(sum(day.unresolved for day in found.days))
    assert shown["Recorders"] == "3"
    assert shown["Covered"] == "99.95%"
