"""The law of the merge, written for reading: what `cdr.call` must hold for a set of facts.

The production merge is SQL (`etl/store`), generated from `etl.model.PRECEDENCE`. This second implementation
exists only for tests, which compare the two. It is slow and obvious on purpose.

Source: section 6 and G2, G3 of the contract; `docs/facts.md` tells the same to users.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from etl.fields import FIELDS
from etl.model import FINISHED, PRECEDENCE, Fact, Json, Kind, State, Value

OF_THE_RECORD = ("end_before_start",)
"""Beside every `bad_<field>`: flags that reach the row from any fact that counts."""

OF_THE_TIME = frozenset({"end_ambiguous", "nonexistent_time", "duration_differs", "zone_suspect"})
"""Flags that reach the row only from the facts whose start and end it shows."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of `cdr.call`, without `recorded_at` and the generated `duration`.

    `values` has a key for every typed field, None where the row shows null.
    """

    call_id: str
    id_time: datetime
    recorder: str | None
    state: State
    source: Kind
    values: Mapping[str, Value | None]
    attributes: Mapping[str, Json]
    quality: tuple[str, ...]
    first_seen_at: datetime


@dataclass(frozen=True, slots=True)
class Kept:
    """One row of `cdr.fact`: the fact of its kind that counts, and when that kind was first observed."""

    fact: Fact
    first_observed_at: datetime


def keep(facts: Iterable[Fact]) -> dict[Kind, Kept]:
    """Of each kind the fact with the greatest (observed_at, digest), with the earliest observation of any
    fact of that kind."""
    kept: dict[Kind, Kept] = {}
    for fact in facts:
        old = kept.get(fact.kind)
        if old is None:
            kept[fact.kind] = Kept(fact, fact.observed_at)
            continue
        newest = max(old.fact, fact, key=lambda each: (each.observed_at, each.digest))
        kept[fact.kind] = Kept(newest, min(old.first_observed_at, fact.observed_at))
    return kept


def ranked(facts: Iterable[Fact]) -> list[Fact]:
    """Facts in the order in which they speak: by precedence; then observed last, greater digest, kind's name."""
    ordered = sorted(facts, key=lambda fact: fact.kind.value)
    ordered.sort(key=lambda fact: (fact.observed_at, fact.digest), reverse=True)
    ordered.sort(key=lambda fact: PRECEDENCE[fact.kind])
    return ordered


def merge(facts: Iterable[Fact]) -> Row:
    """The row that follows from all facts ever seen of one call (at least one)."""
    kept = keep(facts)
    order = ranked(entry.fact for entry in kept.values())
    providers = {field.name: _provider(order, field.name) for field in FIELDS}
    hidden = _end_contradicts(providers)
    if hidden:
        providers["end_time"] = None
    recorder, differs = _recorder(order)
    flags = _flags(order, providers)
    flags |= {"end_before_start"} if hidden else set()
    flags |= {"recorder_differs"} if differs else set()
    return Row(
        call_id=order[0].call_id,
        id_time=order[0].id_time,
        recorder=recorder,
        state=state(order),
        source=order[0].kind,
        values={name: fact.values[name] if fact else None for name, fact in providers.items()},
        attributes=_attributes(order),
        quality=tuple(sorted(flags)),
        first_seen_at=min(entry.first_observed_at for entry in kept.values()),
    )


def state(counting: Sequence[Fact]) -> State:
    """G3, over the facts that count (one of each kind)."""
    if any(fact.kind in FINISHED for fact in counting):
        return State.COMPLETE
    absent = [fact for fact in counting if fact.kind is Kind.ABSENT]
    others = [fact for fact in counting if fact.kind is not Kind.ABSENT]
    if absent and all(fact.observed_at < absent[0].observed_at for fact in others):
        return State.LOST
    if any(fact.kind is Kind.END or "end_time" in fact.values for fact in counting):
        return State.ENDED
    return State.ONGOING


def _provider(order: Sequence[Fact], name: str) -> Fact | None:
    return next((fact for fact in order if name in fact.values), None)


def _end_contradicts(providers: Mapping[str, Fact | None]) -> bool:
    """Whether the row's start and end come from different facts and the end lies before the start."""
    start, end = providers["start_time"], providers["end_time"]
    if start is None or end is None or start is end:
        return False
    first, last = start.values["start_time"], end.values["end_time"]
    assert isinstance(first, datetime)
    assert isinstance(last, datetime)
    return last < first


def _recorder(order: Sequence[Fact]) -> tuple[str | None, bool]:
    """The row's recorder, and whether the stream and the location name different ones."""
    stream = next((fact.recorder for fact in order if fact.recorder is not None), None)
    located = next((fact.located for fact in order if fact.located is not None), None)
    if stream is None:
        return located, False
    return stream, located is not None and located != stream


def _attributes(order: Sequence[Fact]) -> dict[str, Json]:
    merged: dict[str, Json] = {}
    for fact in reversed(order):
        merged.update(fact.attributes)
    return merged


def _flags(order: Sequence[Fact], providers: Mapping[str, Fact | None]) -> set[str]:
    flags = {flag for fact in order for flag in fact.quality if flag.startswith("bad_") or flag in OF_THE_RECORD}
    for name in ("start_time", "end_time"):
        provider = providers[name]
        if provider is not None:
            flags |= OF_THE_TIME.intersection(provider.quality)
    return flags
