"""The numbers on the page are those of the views, and those of the truth: March 2025 as `support.known` has it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from importlib import resources
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from support.findings import KNOWN_NOW, march, table, undrawn
from support.known import CALLS, GAPS, QUARANTINE, RETIRED, KnownCall

from etl.calls import coverage
from etl.calls.coverage import SessionState
from etl.calls.ids import UNTIMED
from etl.calls.reconcile import Act, Action, Rule
from etl.cli.words import reason
from etl.errors import SchemaMismatch, UsageError
from etl.model import Fact, Interval, Kind, Value
from etl.report.page import page
from etl.report.rows import Findings, Unresolved
from etl.report.trust import Level, verdict
from etl.report.words import clock, counted, lasting, moment, share
from etl.store import acceptance, reconcile
from etl.store.audit import Author
from etl.store.database import Connection
from etl.store.report import Looked, look
from etl.store.write import Batch, Writer

pytestmark = pytest.mark.slow

Look = Callable[[str], Looked]
ZONES = pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata"])
HOUR = timedelta(hours=1)


def of(zone: str) -> list[KnownCall]:
    """The calls that began in March by the clock of the zone."""
    span = march(zone)
    return [call for call in CALLS if span.start <= call.moment < span.end]


def local(call: KnownCall, zone: str) -> datetime:
    return call.moment.astimezone(ZoneInfo(zone))


def shown(found: Findings) -> str:
    return page(found, undrawn, reason)


def asked(connection: Connection, zone: str, query: str) -> list[tuple[Any, ...]]:
    """What a view says in a session of this zone."""
    with connection.transaction():
        connection.execute("SELECT set_config('TimeZone', %s, true)", [zone])
        return connection.execute(query.encode()).fetchall()


def total(calls: list[KnownCall]) -> timedelta:
    return sum((call.duration for call in calls if call.duration), timedelta())


@ZONES
def test_calls_by_day_are_those_of_the_view_and_of_the_truth(looked: Look, known_conn: Connection, zone: str) -> None:
    rows = table(shown(looked(zone).findings), "calls-by-day")
    days = Counter((local(call, zone).date().isoformat(), call.recorder) for call in of(zone))
    assert {(row[0], row[1]): int(row[2]) for row in rows} == days
    view = asked(known_conn, zone, "SELECT day::text, recorder, calls, complete, unresolved FROM report.daily_volume"
                 " WHERE day BETWEEN '2025-03-01' AND '2025-03-31'")  # fmt: skip
    assert Counter(tuple(row[:5]) for row in rows) == Counter(tuple(map(str, row)) for row in view)
    assert sum(days.values()) == len(of(zone))


@ZONES
def test_calls_by_recorder_are_those_of_the_truth(looked: Look, zone: str) -> None:
    rows = table(shown(looked(zone).findings), "calls-by-recorder")
    for name, *cells in rows:
        calls = [call for call in of(zone) if call.recorder == name]
        longest = max((call.duration for call in calls if call.duration), default=None)
        complete = sum(call.state == "complete" for call in calls)
        numbers = [str(len(calls)), str(complete), str(len(calls) - complete)]
        assert cells == [*numbers, clock(total(calls)), clock(longest)]
    assert {row[0] for row in rows} == {call.recorder for call in of(zone)}


@ZONES
def test_the_heat_map_is_of_hours_on_the_wall(looked: Look, zone: str) -> None:
    """Also where a clock change takes one of them, or where they begin at half past those of UTC."""
    rows = table(shown(looked(zone).findings), "calls-by-hour")
    span = march(zone)
    hours = [(span.start + n * HOUR).astimezone(ZoneInfo(zone)) for n in range((span.end - span.start) // HOUR)]
    slots = Counter((hour.hour, hour.weekday()) for hour in hours)
    calls = Counter((local(call, zone).hour, local(call, zone).weekday()) for call in of(zone))
    expected = [[f"{calls[hour, day] / slots[hour, day]:.1f}" for day in range(7)] for hour in range(24)]
    assert [row[1:] for row in rows] == expected


def test_the_hours_of_utc_are_those_of_the_view(looked: Look, known_conn: Connection) -> None:
    view = asked(known_conn, "UTC", "SELECT hour, sum(calls) FROM report.hourly_volume"
                 " WHERE hour >= '2025-03-01' AND hour < '2025-04-01' GROUP BY hour ORDER BY hour")  # fmt: skip
    assert [(row.hour, row.calls) for row in looked("UTC").findings.hours] == view


@ZONES
def test_busy_hours_are_those_of_the_view(looked: Look, known_conn: Connection, zone: str) -> None:
    rows = table(shown(looked(zone).findings), "busy-hour")
    view = asked(known_conn, zone, "SELECT day::text, recorder, to_char(hour, 'HH24:MI'), calls, erlangs"
                 " FROM report.busy_hour WHERE day BETWEEN '2025-03-01' AND '2025-03-31' ORDER BY 1, 2")  # fmt: skip
    assert [tuple(row) for row in rows] == [tuple(map(str, row)) for row in view]


def highest(calls: list[KnownCall], start: datetime, end: datetime) -> int:
    """The most calls at once in a span, looked for at every moment at which it can rise."""
    spans = [
        (call.start, call.end or KNOWN_NOW) for call in calls if call.start and (call.end or call.state == "ongoing")
    ]
    moments = [start, *(begin for begin, _ in spans if start <= begin < end)]
    return max(sum(begin <= at < over for begin, over in spans) for at in moments)


@ZONES
def test_concurrent_calls_are_those_of_the_truth(looked: Look, zone: str) -> None:
    """The highest of each day, also of calls that began the day before."""
    rows = {(row[0], row[1]): int(row[3]) for row in table(shown(looked(zone).findings), "concurrent-calls")}
    place = ZoneInfo(zone)
    expected = {}
    for recorder in {call.recorder for call in CALLS}:
        calls = [call for call in CALLS if call.recorder == recorder]
        for number in range(1, 32):
            begin = datetime(2025, 3, number, tzinfo=place)
            end = datetime.combine(begin.date() + timedelta(days=1), begin.time(), place)
            if most := highest(calls, begin.astimezone(UTC), end.astimezone(UTC)):
                expected[begin.date().isoformat(), recorder] = most
    assert rows == expected


@ZONES
def test_extensions_and_causes_are_those_of_the_truth(looked: Look, known_conn: Connection, zone: str) -> None:
    html = shown(looked(zone).findings)
    counts = Counter(call.extension for call in of(zone) if call.extension)
    assert {row[0]: int(row[1]) for row in table(html, "extensions")} == counts
    names = dict(asked(known_conn, "UTC", "SELECT id, name FROM cdr.cause"))
    causes = Counter(names.get(call.cause, f"unknown code {call.cause}") if call.cause is not None else "not reported"
                     for call in of(zone))  # fmt: skip
    assert {row[0]: int(row[1]) for row in table(html, "causes")} == causes


@ZONES
def test_coverage_and_gaps_are_those_of_the_truth(looked: Look, zone: str) -> None:
    """A gap that crosses an edge of the time counts for its part, and is listed as it is."""
    html = shown(looked(zone).findings)
    span = march(zone)
    for name, share_of_time, *states in (row[:5] for row in table(html, "coverage")):
        until = min(span.end, RETIRED) if name == "ny-2" else span.end
        gone = sum(parts(name, span, "open", "filled", "accepted"), timedelta())
        assert share_of_time == share(until - span.start - gone, until - span.start)
        assert states == [told(parts(name, span, state)) for state in ("open", "filled", "accepted")]
    listed = {(row[1], row[2], row[3], row[5], row[6]) for row in table(html, "gaps")}
    assert listed == {
        (gap.recorder, moment(gap.start, ZoneInfo(zone)), lasting(gap.end - gap.start), gap.state, str(gap.recovered))
        for gap in GAPS if gap.start < span.end and gap.end > span.start
    }  # fmt: skip


def parts(recorder: str, span: Interval, *states: str) -> list[timedelta]:
    """How much of each gap of the recorder lies in the span."""
    gaps = [gap for gap in GAPS if gap.recorder == recorder and gap.state in states]
    lengths = [min(gap.end, span.end) - max(gap.start, span.start) for gap in gaps]
    return [length for length in lengths if length > timedelta()]


def told(lengths: list[timedelta]) -> str:
    return f"{len(lengths)} ({lasting(sum(lengths, timedelta()))})" if lengths else "0"


def test_the_headline_counts_conversations_once_and_says_why_not_to_trust(looked: Look) -> None:
    found = looked("UTC").findings
    calls = of("UTC")
    assert found.calls == len(calls)
    assert found.conversations.count == len({call.conversation for call in calls})
    states = Counter(call.state for call in calls if call.state != "complete")
    unresolved = Counter({row.state: 0 for row in found.unresolved})
    for row in found.unresolved:
        unresolved[row.state] += row.calls
    assert unresolved == states
    span = march("UTC")
    kept = [each for each in QUARANTINE if each.recorder and each.state != "retried"]
    refused = [each for each in kept if span.start <= each.seen < span.end]
    answer = verdict(found)
    assert answer.level is Level.DOUBTFUL
    assert answer.reasons == (
        "Sessions listened for 99.90% of the recorders' time.",
        "2 gaps are open (40 min): calls may be missing there.",
        "1 gap is filled (1 h): the history shows what there was; 2 calls came from it.",
        "1 gap is accepted (20 min): calls may be missing there for good.",
        f"{states['lost']} calls are lost (1 accepted): heard of, but no longer known to the recorder.",
        f"{states['ended']} calls have ended: no finished record has arrived.",
        f"{counted(states['ongoing'], 'call')} goes on: no end has been heard of.",
        f"{len(refused)} messages could not be understood, and are in quarantine.",
    )


@pytest.mark.parametrize(
    ("first", "last", "amiss"),
    [(2, 5, False), (5, 6, True), (13, 14, False), (18, 19, False), (19, 20, True), (20, 21, True), (26, 27, False)],
    ids=["nothing", "open gap", "filled gap", "accepted gap", "lost", "ended", "lost and accepted"],
)
def test_what_is_missing_and_not_accepted_in_its_days_is_amiss(
    known_conn: Connection, first: int, last: int, amiss: bool
) -> None:
    span = march("UTC")
    start = span.start + (first - 1) * 24 * HOUR
    days = Interval(start, start + (last - first) * 24 * HOUR)
    assert look(known_conn, days, ZoneInfo("UTC"), KNOWN_NOW).amiss is amiss


def become(connection: Connection, role: str) -> None:
    with connection.transaction():
        connection.execute(f"SET ROLE {role}".encode())


def test_an_analyst_gets_the_same_numbers_with_pseudonyms(looked: Look, known_conn: Connection) -> None:
    """The rights of cdr_analyst are enough, those of cdr_investigator show extensions as they are."""
    plain = shown(looked("UTC").findings)
    become(known_conn, "cdr_analyst")
    masked = shown(looked("UTC").findings)
    become(known_conn, "cdr_investigator")
    assert shown(looked("UTC").findings) == plain
    assert "pseudonyms" in masked
    assert [row[1:] for row in table(masked, "extensions")] != []
    assert not {row[0] for row in table(masked, "extensions")} & {call.extension for call in CALLS}
    for key in ("calls-by-day", "calls-by-hour", "busy-hour", "concurrent-calls", "causes", "coverage", "gaps"):
        assert table(masked, key) == table(plain, key), key
    counts = [sorted(int(row[1]) for row in table(each, "extensions")) for each in (masked, plain)]
    assert counts[0] == counts[1]


def test_a_zone_that_the_database_does_not_know_is_wrong_usage(known_conn: Connection) -> None:
    """Zones have their names from two sources: the database's own, and Python's."""
    with (resources.files("tzdata") / "zoneinfo" / "UTC").open("rb") as file:
        strange = ZoneInfo.from_file(file, key="Mars/Olympus")
    with pytest.raises(UsageError, match=r"does not know the zone .Mars/Olympus.*--timezone"):
        look(known_conn, march("UTC"), strange, KNOWN_NOW)


MAY = Interval(datetime(2024, 5, 1, tzinfo=UTC), datetime(2024, 5, 3, tzinfo=UTC))
NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)


def fact(call_id: str, kind: Kind, at: datetime, **values: Value) -> Fact:
    return Fact(call_id, UNTIMED, kind, at, "ny-1", None, call_id.encode(), b"<Call/>", values, {}, ())


def seen(conn: Connection, *facts: Fact) -> Looked:
    Writer(conn).write(Batch(facts=list(facts)))
    return look(conn, MAY, ZoneInfo("UTC"), MAY.end)


def test_an_empty_archive_has_nothing_to_report(conn: Connection) -> None:
    """The one row of the conversations says zero; nothing is amiss."""
    found = seen(conn)
    assert found == Looked(Findings(MAY, ZoneInfo("UTC"), MAY.end), amiss=False)
    assert verdict(found.findings).level is Level.EMPTY


def test_one_call_is_one_everywhere(conn: Connection) -> None:
    """Of which nobody can say whether it is the only one: there was no session."""
    found = seen(conn, fact("a", Kind.DETAIL, NOON, start_time=NOON, end_time=NOON + HOUR)).findings
    html = shown(found)
    assert [row[:3] for row in table(html, "calls-by-day")] == [["2024-05-01", "ny-1", "1"]]
    assert table(html, "busy-hour") == [["2024-05-01", "ny-1", "12:00", "1", "1.0000"]]
    assert table(html, "concurrent-calls") == [["2024-05-01", "ny-1", "12:00", "1"]]
    assert (found.conversations.count, found.conversations.talk_time) == (1, HOUR)
    assert verdict(found).level is Level.UNKNOWN


def test_a_call_without_a_start_counts_when_it_was_first_seen(conn: Connection) -> None:
    """As ended without a record too; one that was first seen later is not of this time."""
    later = fact("later", Kind.END, MAY.end + HOUR)
    found = seen(conn, fact("a", Kind.END, NOON), fact("b", Kind.DETAIL, NOON), later)
    assert found.findings.calls == 2
    assert found.findings.unresolved == (Unresolved("ended", False, 1),)
    assert found.amiss
    assert [(row.hour, row.calls) for row in found.findings.hours] == [(NOON, 2)]
    assert sum(row.calls for row in found.findings.causes) == 2


def test_a_time_of_which_calls_were_deleted_by_age_does_not_pass_for_a_quiet_one(conn: Connection) -> None:
    Writer(conn).write(Batch(sessions=[listening(MAY.start, MAY.end + HOUR)]))
    assert verdict(seen(conn).findings).level is Level.WHOLE
    with conn.transaction():
        conn.execute("INSERT INTO cdr.expiry (id, before) VALUES (1, %s)", [MAY.start + 24 * HOUR])
    answer = verdict(seen(conn).findings)
    assert answer.level is Level.EXPIRED
    assert any("Calls before 2024-05-02 00:00:00 were deleted by age" in reason for reason in answer.reasons)


def listening(start: datetime, end: datetime) -> SessionState:
    """A session that covers this time, and of whose end nobody has told."""
    state = coverage.subscribed(SessionState(UUID(int=1), "ny-1", "w", (), start), start)
    return coverage.read(coverage.listed(state, start, start), end + timedelta(seconds=1))


def test_time_that_nobody_listened_to_is_not_covered_though_no_gap_was_told_of(conn: Connection) -> None:
    """The worker's machine was lost with its journal, and no other worker has ended its session: half of the time."""
    Writer(conn).write(Batch(sessions=[listening(MAY.start, MAY.start + 24 * HOUR)]))
    calls = [fact(str(n), Kind.DETAIL, NOON, start_time=NOON, end_time=NOON + HOUR) for n in range(18)]
    found = seen(conn, *calls)
    answer = verdict(found.findings)
    assert answer.level is Level.DOUBTFUL
    assert answer.reasons == (
        "Sessions listened for 50.00% of the recorders' time.",
        "Nobody knows yet whether anybody listened to ny-1 since 2024-05-02 00:00:00 (1 d):"
        " calls may be missing there.",
    )
    html = shown(found.findings)
    assert table(html, "coverage") == [["ny-1", "50.00%", "0", "0", "0", "1 d", "18", "0", "0", "0"]]
    assert not found.amiss


def test_days_after_the_last_word_of_a_session_are_not_taken_for_quiet_ones(known_conn: Connection) -> None:
    """Sessions were last heard of on the 2nd; each hour of these days shows 0.0000 as covered."""
    days = Interval(datetime(2025, 4, 5, tzinfo=UTC), datetime(2025, 4, 8, tzinfo=UTC))
    found = look(known_conn, days, ZoneInfo("UTC"), days.end)
    answer = verdict(found.findings)
    assert answer.level is Level.DOUBTFUL
    assert answer.reasons[0] == "Sessions listened for 0.00% of the recorders' time."
    assert {row[0]: row[5] for row in table(shown(found.findings), "coverage")} == {"berlin-1": "3 d", "ny-1": "3 d"}


def test_a_call_that_goes_on_though_the_last_good_list_lacked_it_is_amiss(conn: Connection) -> None:
    """As it is for `cdr status`; until somebody accepts it."""
    Writer(conn).write(Batch(sessions=[listening(MAY.start, MAY.end)]))
    assert not seen(conn, fact("a", Kind.START, NOON, start_time=NOON)).amiss
    run = reconcile.Run(UUID(int=1), "ny-1", "periodic")
    reconcile.begin(conn, run)
    asked = Action(Act.ASK, Rule.MISSED_END, "a", "ongoing with us, but not listed")
    reconcile.add_actions(conn, run, [asked], {"a": "timeout"})
    reconcile.finish(conn, run, reconcile.Result(NOON + HOUR, 0))
    found = seen(conn)
    assert found.amiss
    assert verdict(found.findings).level is Level.DOUBTFUL
    assert found.findings.unresolved == (Unresolved("unlisted", False, 1),)
    acceptance.accept_call(conn, "a", Author("me@here", "gone"))
    found = seen(conn)
    assert not found.amiss
    assert verdict(found.findings).level is Level.ACCEPTED


def test_without_the_views_the_remedy_is_named(conn: Connection) -> None:
    with conn.transaction():
        conn.execute("DROP VIEW report.gaps")
    with pytest.raises(SchemaMismatch, match="cdr db upgrade"):
        look(conn, march("UTC"), ZoneInfo("UTC"), KNOWN_NOW)
