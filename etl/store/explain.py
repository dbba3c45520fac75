"""Why a call's row is as it is: which fact each value comes from, and everything that touched the call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from etl.calls.ids import canonical, id_time
from etl.fields import FIELDS
from etl.model import Json, Kind, State, Value
from etl.store import holds, merge, quarantine
from etl.store.database import Connection, name_of
from etl.store.elements import unpack
from etl.store.errors import translate
from etl.store.quarantine import Item


@dataclass(frozen=True, slots=True)
class Shown:
    """A value that the row shows, and the kind of the fact that it comes from; None where no fact has one, which only a
    change by hand brings about."""

    name: str
    value: Value | Json
    kind: Kind | None


@dataclass(frozen=True, slots=True)
class Evidence:
    """A fact that counts. `recorder` is None for history; `element` is the call's own element as received, for an
    absence the recorder's answer."""

    kind: Kind
    observed_at: datetime
    first_observed_at: datetime
    recorder: str | None
    quality: tuple[str, ...]
    element: bytes


@dataclass(frozen=True, slots=True)
class Touched:
    """What a reconciliation run did about the call. `result` is None while the run goes on, or if it was killed."""

    run: UUID
    recorder: str
    trigger: str
    started_at: datetime
    result: str | None
    act: str
    rule: str
    told: str
    outcome: str | None


@dataclass(frozen=True, slots=True)
class Verified:
    """What a run of `cdr verify` found about the call: missing, extra, different or underived, and in which fields."""

    run: UUID
    started_at: datetime
    source: str
    kind: str
    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Acceptance:
    """Who took note that the call's record is gone for good, when and why."""

    who: str
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Explained:
    """One call. `shown` are the values of its row, fields first, then attributes; `evidence` its facts, in the order
    in which they speak; `actions` what runs did, in their order; `verified` what was found when the archive was
    verified; `quarantined` what names the call and could not be understood; `erased_at`: when its personal data was
    erased; `holds`: the legal holds that cover it now."""

    call_id: str
    id_time: datetime
    recorder: str | None
    state: State
    source: Kind
    quality: tuple[str, ...]
    first_seen_at: datetime
    recorded_at: datetime
    shown: tuple[Shown, ...]
    evidence: tuple[Evidence, ...]
    actions: tuple[Touched, ...]
    verified: tuple[Verified, ...]
    acceptance: Acceptance | None
    quarantined: tuple[Item, ...]
    erased_at: datetime | None
    holds: tuple[int, ...]


_NAMES = tuple(field.name for field in FIELDS)
_VALUES = ", ".join((*_NAMES, "attributes"))

_ROW = f"""
SELECT recorder, state, source, quality, first_seen_at, recorded_at, {_VALUES}
FROM cdr.call WHERE call_id = %s AND id_time = %s
"""

_FACTS = f"""
SELECT kind, observed_at, first_observed_at, recorder, quality, element, {_VALUES}
FROM cdr.fact WHERE call_id = %s AND id_time = %s ORDER BY {merge.RANK}
"""

_ACTIONS = """
SELECT r.id, r.recorder, r.trigger, r.started_at, r.result, a.act, a.rule, a.told, a.outcome
FROM cdr.reconcile_action a JOIN cdr.reconcile_run r ON r.id = a.run
WHERE a.call_id = %s ORDER BY r.started_at, r.id, a.position
"""


_VERIFIED = """
SELECT r.id, r.started_at, r.source, f.kind, f.fields
FROM cdr.verify_finding f JOIN cdr.verify_run r ON r.id = f.run
WHERE f.call_id = %s ORDER BY r.started_at, r.id, f.kind
"""


def explain(connection: Connection, call_id: str) -> Explained | None:
    """Explain a call, in one snapshot; None where there is none with this id (any case of a UUID)."""
    key = (canonical(call_id), id_time(call_id))
    with translate(name_of(connection)), connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        row = connection.execute(_ROW, key).fetchone()
        if row is None:
            return None
        facts = connection.execute(_FACTS, key).fetchall()
        accepted = "SELECT who, reason, at FROM cdr.call_acceptance WHERE call_id = %s"
        found = connection.execute(accepted, key[:1]).fetchone()
        erased = connection.execute("SELECT erased_at FROM cdr.erased_call WHERE call_id = %s", key[:1]).fetchone()
        recorder, state, source, quality, first_seen_at, recorded_at, *values = row
        return Explained(
            *key,
            recorder,
            State(state),
            Kind(source),
            tuple(quality),
            first_seen_at,
            recorded_at,
            shown=(*_fields(values, facts), *_attributes(values[-1], facts)),
            evidence=tuple(_evidence(each) for each in facts),
            actions=tuple(Touched(*each) for each in connection.execute(_ACTIONS, key[:1])),
            verified=tuple(
                Verified(run, began, source, kind, tuple(names))
                for run, began, source, kind, names in connection.execute(_VERIFIED, key[:1])
            ),
            acceptance=Acceptance(*found) if found else None,
            quarantined=tuple(quarantine.about(connection, key[0])),
            erased_at=erased[0] if erased else None,
            holds=tuple(holds.of_call(connection, *key)),
        )


_BEFORE_VALUES = 6


def _evidence(fact: tuple[Any, ...]) -> Evidence:
    kind, observed_at, first_observed_at, recorder, quality, element, *_ = fact
    return Evidence(Kind(kind), observed_at, first_observed_at, recorder, tuple(quality), unpack(element))


def _fields(values: Sequence[Any], facts: Sequence[tuple[Any, ...]]) -> list[Shown]:
    """The fields that are not null, each from the first fact that has a value for it."""
    return [
        Shown(name, values[place], _first(fact for fact in facts if fact[_BEFORE_VALUES + place] is not None))
        for place, name in enumerate(_NAMES)
        if values[place] is not None
    ]


def _attributes(shown: Mapping[str, Json], facts: Sequence[tuple[Any, ...]]) -> list[Shown]:
    return [
        Shown(name, value, _first(fact for fact in facts if name in fact[-1])) for name, value in sorted(shown.items())
    ]


def _first(facts: Iterator[tuple[Any, ...]]) -> Kind | None:
    return next((Kind(fact[0]) for fact in facts), None)
