"""The oracle of the campaigns must see each kind of breach: archives and truths are doctored, one thing at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from campaign.archive import Archive, Rejected
from campaign.clock import MachineClock, Turn
from campaign.evidence import Blow, Evidence, Outage
from campaign.oracle import judge
from support.merge_oracle import Kept, merge

from etl.calls import coverage
from etl.calls.coverage import SessionState
from etl.calls.gaps import gaps, session_span
from etl.model import Draft, Fact, Interval, Kind, State, Value, What
from etl.simulator.config import SimulatorConfig
from etl.simulator.truth import CallLine, ConnectionLine, DeliveryLine, FaultLine, RecorderLine, ServedLine, Truth
from etl.simulator.wire import GARBAGE

NAME = "recorder-0"
MARGIN = timedelta(seconds=1)
HEARD, UNHEARD = "heard", "unheard"


def at(second: float) -> datetime:
    return datetime(2026, 3, 1, 12, tzinfo=UTC) + timedelta(seconds=second)


def the_truth() -> Truth:
    """Two subscriptions, a silence between them from 28 to 34 in which one call came and went."""
    truth = Truth()
    for line in (
        RecorderLine(at(0), NAME, "NY", "UTC", 1, 1),
        ConnectionLine(at(5), 1, "opened"),
        ConnectionLine(at(5), 1, "subscribed"),
        ServedLine(at(5.1), "list", connection=2, rows=0),
        CallLine(at(10), HEARD, "begin", at(10), None, {"source_caller_id": "1000"}),
        DeliveryLine(at(10), HEARD, "start", 1, True),
        CallLine(at(12), HEARD, "end", at(10), at(12), {"source_caller_id": "1000", "x": {"y": "z"}}),
        DeliveryLine(at(12), HEARD, "end", 1, True),
        FaultLine(at(15), "garbage", "moment"),
        FaultLine(at(28), "silence", "begin"),
        CallLine(at(30), UNHEARD, "begin", at(30), None, {}),
        CallLine(at(31), UNHEARD, "end", at(30), at(31), {}),
        ConnectionLine(at(34), 1, "closed", reason="silence"),
        FaultLine(at(34), "silence", "end"),
        ConnectionLine(at(36), 3, "opened"),
        ConnectionLine(at(36), 3, "subscribed"),
        ServedLine(at(36.1), "list", connection=4, rows=0),
        ServedLine(at(55), "list", connection=4, rows=0),
        ConnectionLine(at(60), 3, "closed", reason="peer"),
    ):
        truth.add(line)
    return truth


def session(number: int, start: float, last_read: float, end: float, reason: str) -> SessionState:
    state = coverage.opened(Draft(at(start), NAME, UUID(int=number), What.OPENED, note={"worker": "w"}))
    state = coverage.listed(coverage.subscribed(state, at(start)), at(start + 0.05), at(start + 0.1))
    return coverage.closed(coverage.read(state, at(last_read)), at(end), reason, MARGIN)


def fact(kind: Kind, second: float, values: Mapping[str, Value]) -> Fact:
    attributes = {"x": {"y": "z"}} if kind is Kind.DETAIL else {}
    return Fact(HEARD, at(9), kind, at(second), NAME, None, kind.value.encode(), b"", values, attributes, ())  # type: ignore[arg-type]


def rows(facts: Mapping[Kind, Kept]) -> dict[str, Any]:
    row = merge(each.fact for each in facts.values())
    rest = {name: getattr(row, name) for name in ("call_id", "id_time", "recorder", "attributes", "first_seen_at")}
    return {**row.values, **rest, "state": row.state, "source": row.source, "quality": list(row.quality)}


def the_archive() -> Archive:
    start = fact(Kind.START, 10, {"source_caller_id": "1000", "start_time": at(10)})
    end = fact(Kind.END, 12, {"end_time": at(12)})
    detail = fact(Kind.DETAIL, 13, {"source_caller_id": "1000", "start_time": at(10), "end_time": at(12)})
    kept = {each.kind: Kept(each, each.observed_at) for each in (start, end, detail)}
    sessions = [session(1, 5, 28, 30, "silence"), session(2, 36, 59, 60, "stop")]
    spans = [each for state in sessions if (each := session_span(state, MARGIN))]
    garbage = Rejected(NAME, at(15.2), "garbage", b"\r\n" + GARBAGE[0])
    return Archive({HEARD: rows(kept)}, {HEARD: kept}, {NAME: list(gaps(spans))}, {NAME: sessions}, (garbage,))


@pytest.fixture
def evidence() -> Evidence:
    """An archive that keeps every obligation."""
    return Evidence({NAME: the_truth()}, {NAME: SimulatorConfig(name=NAME)}, the_archive(), ())


def broken(evidence: Evidence) -> set[str]:
    return {verdict.obligation for verdict in judge(evidence) if verdict.broken}


def doctored(evidence: Evidence, **changes: Any) -> Evidence:
    return replace(evidence, archive=replace(evidence.archive, **changes))


def with_row(evidence: Evidence, **changes: Any) -> Evidence:
    return doctored(evidence, calls={HEARD: {**evidence.archive.calls[HEARD], **changes}})


def without_facts(evidence: Evidence, *kinds: Kind) -> Evidence:
    """The facts are not there and the row knows nothing of them."""
    kept = {kind: each for kind, each in evidence.archive.facts[HEARD].items() if kind not in kinds}
    return doctored(evidence, facts={HEARD: kept}, calls={HEARD: rows(kept)})


def without_call(evidence: Evidence) -> Evidence:
    return doctored(evidence, facts={}, calls={})


def with_sessions(evidence: Evidence, *sessions: SessionState) -> Evidence:
    spans = [each for state in sessions if (each := session_span(state, MARGIN))]
    return doctored(evidence, sessions={NAME: list(sessions)}, gaps={NAME: list(gaps(spans))})


def with_line(evidence: Evidence, line: Any) -> Evidence:
    evidence.truths[NAME].add(line)
    return evidence


def test_an_archive_that_keeps_its_promises_breaks_none(evidence: Evidence) -> None:
    assert broken(evidence) == set()
    verdicts = {verdict.obligation: verdict for verdict in judge(evidence)}
    assert all(verdict.checked for verdict in verdicts.values())
    assert verdicts["a call that is not archived lies in gaps"].excused == 1


DELIVERED = "what was delivered outside of gaps is archived"
HAPPENED = "what happened outside of gaps is archived"
MISSING = "a call that is not archived lies in gaps"
CAUSES = "gaps have causes"
COMPLETE = "a call whose end is archived is complete and as it truly was"
TRUE = "no row contradicts the truth"
DERIVED = "rows follow from their facts"
FOLLOW = "gaps follow from sessions"
QUARANTINED = "what is no document is in quarantine"


@pytest.mark.parametrize("kind", [Kind.START, Kind.END])
def test_a_delivered_event_that_is_not_archived_is_seen(evidence: Evidence, kind: Kind) -> None:
    assert broken(without_facts(evidence, kind)) == {DELIVERED, HAPPENED}


def test_a_call_that_is_gone_without_a_gap_is_seen(evidence: Evidence) -> None:
    assert broken(without_call(evidence)) == {DELIVERED, HAPPENED, MISSING}


def test_a_call_that_nobody_was_told_of_though_coverage_is_claimed_is_seen(evidence: Evidence) -> None:
    whole = (session(1, 5, 37, 60, "silence"), evidence.archive.sessions[NAME][1])
    assert broken(with_sessions(evidence, *whole)) == {HAPPENED, MISSING}


def test_a_gap_while_somebody_listened_in_peace_is_seen(evidence: Evidence) -> None:
    late = replace(evidence.archive.sessions[NAME][1], coverage=(Interval(at(50), at(58)),))
    assert broken(with_sessions(evidence, evidence.archive.sessions[NAME][0], late)) == {CAUSES}


def interrupted(evidence: Evidence, start: float, end: float) -> Evidence:
    """The second session did not listen for a while."""
    pieces = (Interval(at(36), at(start)), Interval(at(end), at(58)))
    second = replace(evidence.archive.sessions[NAME][1], coverage=pieces)
    return with_sessions(evidence, evidence.archive.sessions[NAME][0], second)


HARMLESS = {Blow.CRASH, Blow.CONNECTIONS, Blow.SLOW, Blow.DATABASE_STALLED, Blow.SECOND, Blow.CLOCK}


@pytest.mark.parametrize("blow", Blow)
def test_what_stops_the_worker_from_listening_excuses_a_gap_and_nothing_else_does(
    evidence: Evidence, blow: Blow
) -> None:
    """Whatever keeps it from the database never does; and for a step of the clock it is the clock that must tell."""
    changed = replace(interrupted(evidence, 45, 50), outages=(Outage(blow, Interval(at(45), at(49))),))
    assert broken(changed) == ({CAUSES} if blow in HARMLESS else set())


def test_a_stall_of_one_recorder_excuses_no_gap_of_another(evidence: Evidence) -> None:
    changed, stall = interrupted(evidence, 45, 50), Outage(Blow.STALLED, Interval(at(45), at(49)), NAME)
    assert broken(replace(changed, outages=(stall,))) == set()
    assert broken(replace(changed, outages=(replace(stall, recorder="another"),))) == {CAUSES}


@pytest.mark.parametrize("blow", [Blow.WIPE, Blow.DAMAGE])
def test_with_a_journal_goes_only_what_the_database_could_not_take(evidence: Evidence, blow: Blow) -> None:
    """The time before the kill is in the gap only as far back as the database was out of reach."""
    changed, lost = interrupted(evidence, 42, 56), Outage(blow, Interval(at(54), at(55)))
    away = Outage(Blow.CONNECTIONS, Interval(at(44), at(53)))
    assert broken(replace(changed, outages=(lost,))) == {CAUSES}
    assert broken(replace(changed, outages=(away, lost))) == set()
    assert broken(replace(changed, outages=(away, replace(lost, blow=Blow.KILL)))) == {CAUSES}


FAST = MachineClock((Turn(at(44), timedelta(seconds=5)), Turn(at(52), timedelta())))
"""Five seconds ahead from 44 to 52: it shows 49 to 57 then, and 52 to 57 again."""


def test_a_step_of_the_clock_excuses_a_gap_of_what_it_skipped_and_showed_twice(evidence: Evidence) -> None:
    changed = interrupted(evidence, 43, 49.5)
    assert broken(changed) == {CAUSES}
    assert broken(replace(changed, clock=FAST)) == set()
    assert broken(replace(interrupted(evidence, 38, 49.5), clock=FAST)) == {CAUSES}


def test_a_moment_is_in_a_gap_by_the_clock_that_the_archive_is_dated_by(evidence: Evidence) -> None:
    """A call that nobody heard, at 45 to 46 by the true clock, when the machine's showed 50 to 51."""
    for line in (
        CallLine(at(45), "missed", "begin", at(45), None, {}),
        CallLine(at(46), "missed", "end", at(45), at(46), {}),
    ):
        with_line(evidence, line)
    assert broken(replace(interrupted(evidence, 43, 49.5), clock=FAST)) == {HAPPENED, MISSING}
    assert broken(replace(interrupted(evidence, 43, 52.5), clock=FAST)) == set()
    assert broken(interrupted(evidence, 49, 52.5)) >= {HAPPENED, MISSING}


def test_bytes_are_looked_for_where_the_clock_stood_when_they_came(evidence: Evidence) -> None:
    ahead = MachineClock((Turn(at(14), timedelta(seconds=9)), Turn(at(20), timedelta())))
    (row,) = evidence.archive.quarantine
    assert QUARANTINED in broken(replace(evidence, clock=ahead))
    shown = doctored(evidence, quarantine=(replace(row, observed_at=at(24.2)),))
    assert QUARANTINED not in broken(replace(shown, clock=ahead))


def test_a_recorder_that_forgets_soon_excuses_a_lost_call_only_from_then_on(evidence: Evidence) -> None:
    """The call ended at 12; asked at 15 the recorder still had it, at 23 no more."""
    forgetful = replace(evidence, recorders={NAME: SimulatorConfig(name=NAME, forget_after=10)})
    for second, expected in ((15, {TRUE, COMPLETE}), (23, {COMPLETE})):
        absent = fact(Kind.ABSENT, second, {})
        kept = {**evidence.archive.facts[HEARD], Kind.ABSENT: Kept(absent, absent.observed_at)}
        del kept[Kind.DETAIL]
        assert broken(doctored(forgetful, facts={HEARD: kept}, calls={HEARD: rows(kept)})) == expected


def test_a_record_that_was_forgotten_while_nobody_could_ask_is_excused(evidence: Evidence) -> None:
    """The recorder was there again for four seconds before it forgot the call, which is too short; or for longer."""
    truth = the_truth()
    truth.connections[1].muted, truth.connections[3].subscribed = at(12.5), at(14)
    changed = replace(without_facts(evidence, Kind.DETAIL), truths={NAME: truth})
    assert COMPLETE in broken(changed)
    assert COMPLETE not in broken(replace(changed, recorders={NAME: SimulatorConfig(name=NAME, forget_after=6)}))


def test_a_gap_long_after_the_fault_is_seen(evidence: Evidence) -> None:
    """Nobody subscribed for a minute, though the recorder was there: truth and gaps agree, and yet it is wrong."""
    truth = Truth()
    for line in (
        RecorderLine(at(0), NAME, "NY", "UTC", 1, 1),
        ConnectionLine(at(5), 1, "opened"),
        ConnectionLine(at(5), 1, "subscribed"),
        FaultLine(at(28), "drop", "moment", 1),
        ConnectionLine(at(28), 1, "closed"),
        ConnectionLine(at(120), 3, "opened"),
        ConnectionLine(at(120), 3, "subscribed"),
        ServedLine(at(121), "list"),
        ServedLine(at(122), "list"),
    ):
        truth.add(line)
    sessions = (session(1, 5, 28, 28, "drop"), session(2, 120, 140, 141, "stop"))
    changed = with_sessions(doctored(evidence, facts={}, calls={}), *sessions)
    assert broken(replace(changed, truths={NAME: truth})) == {CAUSES}


def test_what_lay_unread_when_a_connection_broke_is_excused_on_a_machine_that_was_too_busy_only(
    evidence: Evidence,
) -> None:
    """The call's start was delivered at 10, and the archive has it not; connections broke at 12, or at 20."""
    busy = Outage(Blow.STARVED, Interval(at(9), at(11)))
    changed = without_facts(evidence, Kind.START)
    for second, expected in ((12, set()), (20, {DELIVERED, HAPPENED})):
        kill = Outage(Blow.KILL, Interval(at(second), at(second + 1)))
        assert broken(replace(changed, outages=(kill,))) == {DELIVERED, HAPPENED}
        assert broken(replace(changed, outages=(busy, kill))) == expected


def test_a_call_without_its_full_record_is_seen(evidence: Evidence) -> None:
    assert broken(without_facts(evidence, Kind.DETAIL)) == {COMPLETE}


def test_a_lost_record_is_no_breach(evidence: Evidence) -> None:
    lost = without_facts(evidence, Kind.DETAIL)
    assert broken(with_line(lost, CallLine(at(12), HEARD, "record_lost", at(10), at(12), {}))) == set()


def test_a_record_that_could_not_be_had_while_the_recorder_was_down_is_excused(evidence: Evidence) -> None:
    truth = the_truth()
    truth.connections[1].muted = at(13)
    truth.connections[3].subscribed = at(25)
    assert COMPLETE not in broken(replace(without_facts(evidence, Kind.DETAIL), truths={NAME: truth}))


def test_a_wrong_field_of_a_complete_call_is_seen(evidence: Evidence) -> None:
    assert broken(with_row(evidence, source_caller_id="1001")) == {COMPLETE, TRUE, DERIVED}


def test_a_wrong_attribute_is_seen(evidence: Evidence) -> None:
    assert broken(with_row(evidence, attributes={"x": {"y": "other"}})) == {COMPLETE, TRUE, DERIVED}


def test_a_field_that_no_record_has_is_seen(evidence: Evidence) -> None:
    assert broken(with_row(evidence, agent_id="a", video_codec_id=7)) == {TRUE, DERIVED}


def test_a_call_that_never_happened_is_seen(evidence: Evidence) -> None:
    invented = {**evidence.archive.calls[HEARD], "call_id": "invented"}
    assert broken(doctored(evidence, calls={**evidence.archive.calls, "invented": invented})) == {TRUE, DERIVED}


def test_a_lost_call_whose_record_is_still_there_is_seen(evidence: Evidence) -> None:
    assert TRUE in broken(with_row(evidence, state=State.LOST))


def test_a_gap_that_does_not_follow_from_sessions_is_seen(evidence: Evidence) -> None:
    assert broken(doctored(evidence, gaps={NAME: evidence.archive.gaps[NAME][:1]})) == {FOLLOW}


def test_a_session_that_was_never_closed_is_seen(evidence: Evidence) -> None:
    first, second = evidence.archive.sessions[NAME]
    assert FOLLOW in broken(with_sessions(evidence, first, replace(second, closed_at=None)))


def test_bytes_that_are_not_in_quarantine_are_seen(evidence: Evidence) -> None:
    assert broken(doctored(evidence, quarantine=())) == {QUARANTINED}


def test_one_row_of_quarantine_does_not_serve_two_faults(evidence: Evidence) -> None:
    assert broken(with_line(evidence, FaultLine(at(15.1), "garbage", "moment"))) == {QUARANTINED}


def test_a_start_that_the_recorder_held_back_is_missed_when_the_call_ends(evidence: Evidence) -> None:
    """The recorder told of it only at the end of the call; that is the moment which must be covered, or in a gap."""
    for line in (
        CallLine(at(26), "held", "begin", at(26), None, {}),
        FaultLine(at(26.1), "reordering", "moment"),
        CallLine(at(30), "held", "end", at(26), at(30), {}),
    ):
        with_line(evidence, line)
    assert broken(evidence) == set()
    evidence.truths[NAME].calls["held"].ended = at(40)
    assert broken(evidence) == {HAPPENED, MISSING}
