"""`cdr verify` on real PostgreSQL: what differs between archive and history is named, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from support.verifying import READ_AT, SPAN, Call, History, World, every_field

from etl.errors import HistoryUnavailable
from etl.model import Interval
from etl.store import schema

CALLS = [Call(number, fields=every_field(number)) for number in (1, 2, 3)]
SECOND = CALLS[1]

pytestmark = pytest.mark.slow


def test_an_archive_that_says_what_the_history_says_agrees(world: World) -> None:
    world.archive(*CALLS)
    report = world.verify(CALLS)
    assert report.agrees
    assert report.counts == {"compared": 3}
    assert world.findings == []


def test_a_row_that_was_removed_is_missing_and_has_facts_without_a_row(world: World) -> None:
    world.archive(*CALLS)
    world.change("DELETE FROM cdr.call WHERE call_id = %s", SECOND.id)
    assert not world.verify(CALLS).agrees
    assert world.found() == {("missing", SECOND.id): (), ("underived", SECOND.id): ()}


CHANGES = {
    "call_id": "left(call_id, 35) || '2'",
    "id_time": "id_time + interval '1 day'",
    "recorder": "'ny-2'",
    "state": "'lost'",
    "source": "'file'",
    "start_time": "start_time + interval '1 day'",
    "end_time": "end_time - interval '1 ms'",
    "recorder_duration": "interval '1 s'",
    "attributes": "'{}'",
    "quality": "'{zone_suspect}'",
    "first_seen_at": "first_seen_at - interval '1 us'",
    "recorded_at": "'2001-01-01'",
}
COLUMNS = [column for column in schema.call.columns if column.computed is None]


def test_every_column_changed_by_hand_is_named(world: World) -> None:
    world.archive(*CALLS)
    for column in COLUMNS:
        change = CHANGES.get(column.name) or _other(column.type.python_type)
        world.change(f"UPDATE cdr.call SET {column.name} = {change} WHERE call_id = %s", SECOND.id)
        report = world.verify(CALLS)
        named = {field for fields in world.found().values() for field in fields}
        assert column.name in named, column.name
        assert named <= {column.name, "call_id"}, column.name
        assert not report.agrees
        _restore(world)


def test_every_column_set_to_nothing_is_named(world: World) -> None:
    world.archive(*CALLS)
    for column in COLUMNS:
        if column.nullable:
            world.change(f"UPDATE cdr.call SET {column.name} = NULL WHERE call_id = %s", SECOND.id)
            world.verify(CALLS)
            named = {field for fields in world.found().values() for field in fields}
            assert named == {column.name}
            _restore(world)


def _other(kind: type) -> str:
    return {str: "'other'", int: "99", bool: "false"}[kind]


def _restore(world: World) -> None:
    world.change("DELETE FROM cdr.fact")
    world.change("DELETE FROM cdr.call")
    world.archive(*CALLS)


def test_a_value_changed_in_the_row_and_in_its_facts_is_found_against_the_history(world: World) -> None:
    world.archive(*CALLS)
    for table in ("call", "fact"):
        world.change(f"UPDATE cdr.{table} SET source_name = 'other' WHERE call_id = %s", SECOND.id)
    world.verify(CALLS)
    assert world.found() == {("different", SECOND.id): ("source_name",)}
    assert world.findings[0].told == {"source_name": ["other", "text"]}


def test_a_history_of_another_tenant_makes_everything_extra(world: World) -> None:
    world.archive(*CALLS)
    report = world.verify([])
    assert report.counts == {"extra": 3}
    assert not report.agrees


def test_a_history_that_fails_half_way_is_no_answer(world: World) -> None:
    world.archive(*CALLS)
    with pytest.raises(HistoryUnavailable):
        world.verify(History(CALLS, fail=HistoryUnavailable("gone")))
    assert world.rows("SELECT result, told FROM cdr.verify_run") == [("failed", "gone")]
    assert world.rows("SELECT count(*) FROM cdr.verify_finding") == [(0,)]


def test_repair_mends_all_but_what_the_history_does_not_show(world: World) -> None:
    world.archive(*CALLS)
    world.change("DELETE FROM cdr.call WHERE call_id = %s", SECOND.id)
    world.change("UPDATE cdr.call SET source_name = 'other', recorder = 'ny-2' WHERE call_id = %s", CALLS[0].id)
    report = world.verify(CALLS[:2], repair=True)
    kinds = {("missing", SECOND.id), ("underived", SECOND.id), ("different", CALLS[0].id), ("underived", CALLS[0].id)}
    assert {(each.kind, each.call_id) for each in world.findings if each.mended} == kinds
    assert {(each.kind, each.call_id) for each in world.findings if not each.mended} == {("extra", CALLS[2].id)}
    assert report.left == 1
    assert world.verify(CALLS).agrees


def test_a_difference_that_only_a_repair_brings_about_is_told(world: World) -> None:
    world.archive(SECOND, seen=READ_AT + timedelta(hours=1))
    world.change("UPDATE cdr.call SET source = 'file'")
    world.configure(recorder={"timezone": "America/New_York"})  # in which the repair reads the evidence again
    report = world.verify([SECOND], repair=True)
    told = {each.kind: (each.mended, each.fields) for each in world.findings}
    assert told == {"underived": (True, ("source",)), "different": (False, ("end_time", "start_time"))}
    assert (report.left, report.counts["mended"]) == (1, 1)
    assert set(world.rows("SELECT kind FROM cdr.verify_finding")) == {("underived",), ("different",)}


def test_a_row_that_a_repair_moves_into_the_span_is_held_against_the_history(world: World) -> None:
    world.archive(SECOND)
    world.change("UPDATE cdr.call SET start_time = start_time - interval '40 days'")
    report = world.verify([], repair=True)
    assert {each.kind: each.mended for each in world.findings} == {"underived": True, "extra": False}
    assert report.left == world.verify([]).left == 1


def test_facts_of_a_history_that_is_not_configured_stay_as_they_are(
    world: World, tmp_path: Path, write: Callable[..., Path]
) -> None:
    zone = {"files": {"roots": [str(tmp_path)], "timezone": "America/New_York"}}
    world.configure(history=zone)
    write(SECOND)
    moved = Interval(SPAN.start, SPAN.end + timedelta(hours=5))
    world.verify_files(tmp_path, span=moved, repair=True)
    before = world.rows("SELECT to_jsonb(c) - 'recorded_at' FROM cdr.call c")
    world.change("UPDATE cdr.call SET recorder = 'ny-2', start_time = start_time - interval '1 min'")
    world.configure(history={})
    report = world.verify([], span=moved, repair=True)
    assert [(each.kind, each.mended) for each in world.findings] == [("extra", False), ("underived", True)]
    assert report.left == 1
    assert world.rows("SELECT to_jsonb(c) - 'recorded_at' FROM cdr.call c") == before


def test_what_a_repair_did_is_kept_with_its_author(world: World) -> None:
    world.archive(*CALLS[1:])
    report = world.verify(CALLS, repair=True)
    assert report.agrees
    assert world.rows("SELECT run, call_id, kind FROM cdr.verify_finding") == [(report.run, CALLS[0].id, "missing")]
    assert world.rows("SELECT repaired, result, counts FROM cdr.verify_run") == [(True, "done", dict(report.counts))]
    assert world.rows("SELECT who, action, target ->> 'run' FROM cdr.audit") == [
        ("tester", "verify --repair", str(report.run))
    ]
