"""Holds the archive against what a simulated recorder knows to be true. For rehearsals: the demo and campaigns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import func, select

from etl.calls.gaps import GapState
from etl.fields import BY_WIRE_NAME, FieldType
from etl.model import State
from etl.simulator.truth import TrueCall, Truth
from etl.store import schema
from etl.store.database import Connection, run

GapSpan = tuple[datetime, datetime | None]


@dataclass(frozen=True, slots=True)
class Compared:
    """One recorder. `happened`: calls that began; `complete`: archived with their full record; `started`: archived
    without one (`ended`, `ongoing` or `lost`). `in_gaps`: not archived, and inside listed gaps (or before the first
    subscription);
    `unexplained`: not archived, and outside. `contradictions`: call ids and fields that differ from the truth.
    `recovered`: calls that only the history showed; `filled`: gaps of which it was read that nothing is missing.
    """

    recorder: str
    happened: int
    complete: int
    started: int
    in_gaps: int
    unexplained: tuple[str, ...]
    contradictions: tuple[str, ...]
    gaps: int
    gap_time: timedelta
    recovered: int
    filled: int


def compare(truth: Truth, connection: Connection, now: datetime) -> Compared:
    """Compare one recorder's truth with what is archived as of `now` (UTC)."""
    name = truth.recorder.name if truth.recorder else ""
    rows = _rows(connection, name)
    gaps = _gaps(connection, name)
    first = _first_subscription(connection, name)
    unheard = [*gaps, (datetime.min.replace(tzinfo=UTC), first or now)]
    missing = [call for key, call in truth.calls.items() if key not in rows]
    unexplained = tuple(call.call for call in missing if not _inside(call, unheard))
    complete = sum(row["state"] == State.COMPLETE for row in rows.values())
    return Compared(
        recorder=name,
        happened=len(truth.calls),
        complete=complete,
        started=len(rows) - complete,
        in_gaps=len(missing) - len(unexplained),
        unexplained=unexplained,
        contradictions=tuple(sorted(_contradictions(truth, rows))),
        gaps=len(gaps),
        gap_time=sum(((end or now) - start for start, end in gaps), timedelta()),
        recovered=_recovered(connection, name),
        filled=_filled(connection, name),
    )


def _rows(connection: Connection, name: str) -> dict[str, Mapping[str, object]]:
    cursor = run(connection, select(schema.call).where(schema.call.c.recorder == name))
    columns = [column.name for column in cursor.description or ()]
    return {row[columns.index("call_id")]: dict(zip(columns, row, strict=True)) for row in cursor}


def _gaps(connection: Connection, name: str) -> list[GapSpan]:
    c = schema.gap.c
    found = run(connection, select(c.from_time, c.to_time).where(c.recorder == name).order_by(c.from_time))
    return [(start, end) for start, end in found]


def _recovered(connection: Connection, name: str) -> int:
    c = schema.gap.c
    row = run(connection, select(func.coalesce(func.sum(c.calls_recovered), 0)).where(c.recorder == name)).fetchone()
    return int(row[0]) if row else 0


def _filled(connection: Connection, name: str) -> int:
    c = schema.gap.c
    query = select(func.count()).select_from(schema.gap).where(c.recorder == name, c.state == GapState.FILLED)
    row = run(connection, query).fetchone()
    return int(row[0]) if row else 0


def _first_subscription(connection: Connection, name: str) -> datetime | None:
    """Where the recorder's time begins: what happened before is nobody's promise."""
    query = select(func.min(schema.session.c.subscribed_at)).where(schema.session.c.recorder == name)
    row = run(connection, query).fetchone()
    return row[0] if row else None


def _inside(call: TrueCall, gaps: list[GapSpan]) -> bool:
    """A call whose beginning and end nobody heard lies in a gap from one to the other, or in two with a piece of
    coverage between that neither event falls into."""
    return all(_covered_by_gap(moment, gaps) for moment in (call.began, call.ended or call.forgotten) if moment)


def _covered_by_gap(moment: datetime, gaps: list[GapSpan]) -> bool:
    return any(start <= moment and (end is None or moment <= end) for start, end in gaps)


def _contradictions(truth: Truth, rows: Mapping[str, Mapping[str, object]]) -> set[str]:
    found = set()
    for key, row in rows.items():
        call = truth.calls.get(key)
        if call is None:
            found.add(f"{key}: never happened")
        elif row["state"] == State.COMPLETE:
            found |= {f"{key}: {name}" for name in contradictions(call, row)}
    return found


def contradictions(call: TrueCall, row: Mapping[str, object]) -> set[str]:
    """Columns of a row of `cdr.call` that are not as the call's final record has them, missing ones too.

    What only an earlier record or a notification had may stand in the row as well: that is the merge's law.
    """
    true: dict[str, object] = {"start_time": call.start, "end_time": call.end}
    attributes: dict[str, object] = {}
    for wire, value in call.fields.items():
        field = BY_WIRE_NAME.get(wire)
        if field and isinstance(value, str):
            true[field.name] = _typed(field.type, value)
        else:
            attributes[wire] = value
    differing = {name for name, value in true.items() if row[name] != value}
    return differing | ({"attributes"} if row["attributes"] != attributes else set())


def _typed(type_: FieldType, text: str) -> object:
    if type_ is FieldType.INTEGER:
        return int(text)
    return text.lower() in ("true", "1") if type_ is FieldType.BOOLEAN else text
