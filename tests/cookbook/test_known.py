"""The known archive holds what `support.known` says: no more, no less."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from support.known import ACTS, CALLS, GAPS, HOLDS, NAMED, QUARANTINE
from support.known_types import (
    BEGIN,
    END,
    RETIRED,
)

from etl.store.database import Connection

pytestmark = pytest.mark.slow
Query = Callable[..., list[tuple[Any, ...]]]


@pytest.fixture
def ask(known: Connection) -> Query:
    def rows(statement: str, *values: object) -> list[tuple[Any, ...]]:
        with known.transaction():
            return known.execute(statement.encode(), values or None).fetchall()

    return rows


def test_every_call_is_there_as_it_was(ask: Query) -> None:
    stored = ask(
        "SELECT call_id, recorder, state, start_time, end_time, source_caller_id, destination_caller_id,"
        " recorded_extension, cause_id, direction_id, modality_id, platform_call_id, secondary, quality, first_seen_at"
        " FROM cdr.call ORDER BY call_id"
    )
    assert stored == sorted(
        (
            *(each.call_id, each.recorder, each.state, each.start, each.end, each.caller, each.called),
            *(each.extension, each.cause, each.direction, each.modality, each.platform, each.secondary),
            *(list(each.quality), each.first_seen),
        )
        for each in CALLS
    )


def test_every_gap_is_there_and_no_other(ask: Query) -> None:
    stored = ask("SELECT recorder, from_time, to_time, reason, state, calls_recovered FROM cdr.gap ORDER BY id")
    assert stored == [(each.recorder, each.start, each.end, each.reason, each.state, each.recovered) for each in GAPS]


def test_all_else_is_covered_from_the_first_to_the_last_moment_of_march(ask: Query) -> None:
    hours = ask(
        "SELECT recorder, min(hour), max(hour), count(*), sum(extract(epoch FROM covered))"
        " FROM report.completeness_between(%s, %s) GROUP BY recorder ORDER BY recorder",
        BEGIN,
        END,
    )
    inside = [gap for gap in GAPS if BEGIN <= gap.start < END]
    missing = {
        name: sum((gap.end - gap.start).total_seconds() for gap in inside if gap.recorder == name) for name, *_ in hours
    }
    ends = {"ny-2": RETIRED}
    assert [(row[0], float(row[4])) for row in hours] == [
        (name, (ends.get(name, END) - BEGIN).total_seconds() - missing[name]) for name in ("berlin-1", "ny-1", "ny-2")
    ]


def test_quarantine_acts_and_holds_are_there(ask: Query) -> None:
    assert ask("SELECT recorder, observed_at, reason, state FROM cdr.quarantine ORDER BY observed_at") == sorted(
        ((each.recorder, each.seen, each.reason, each.state) for each in QUARANTINE), key=lambda row: row[1]
    )
    assert ask("SELECT at, who, action, reason FROM cdr.audit WHERE at < '2025-05-01' ORDER BY at") == [
        (each.at, each.who, each.action, each.reason) for each in ACTS
    ]
    assert ask("SELECT kind, value, reason, released_at IS NOT NULL FROM cdr.legal_hold ORDER BY id") == [
        (each.kind, each.value, each.reason, each.released) for each in HOLDS
    ]
    assert ask("SELECT call_id FROM cdr.erased_call") == [(NAMED["erased"].call_id,)]
