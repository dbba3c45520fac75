"""What `cdr verify` says of a call: looks it up, and gives the comparison what it needs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from etl.calls.retention import began, expired_before
from etl.calls.verify import (
    Difference,
    Row,
    Units,
    departures,
    differences,
    hang_on_precision,
    is_in,
    precision,
)
from etl.config import Settings
from etl.fields import BY_NAME
from etl.ingest.interpret import Interpreter
from etl.model import FINISHED, Fact, Interval, Json, Kind, Record, Value
from etl.protocol.documents import NotWellFormed
from etl.store import gate
from etl.store import verify as store
from etl.store.database import Connection
from etl.store.staging import Key
from etl.store.verify import Finding, Standing, What


@dataclass(frozen=True, slots=True)
class Shown:
    """What the history shows of a call. `wanted`: no recorder's filter leaves it out."""

    fact: Fact
    wanted: bool

    def replaces(self, observed_at: datetime) -> bool:
        """Whether it speaks before a finished record that was observed then."""
        return self.fact.kind in FINISHED and self.fact.observed_at >= observed_at


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is said of a call that the history shows: the part it plays (`compared`, or why it is not), and what is
    amiss with it."""

    part: str
    findings: tuple[Finding, ...] = ()

    def mended_by(self, shown: Shown) -> bool:
        """Whether the history's record is to be stored: not if it is better known, and this one's times doubtful."""
        kinds = {each.kind for each in self.findings}
        if "zone_suspect" in shown.fact.quality:
            return kinds == {"missing"}
        return bool(kinds & {"missing", "different"})

    def after(self, repair: Verdict) -> Verdict:
        """The same, with what a repair has put right marked so, and with what is amiss only since."""
        before, left = ({each.kind for each in verdict.findings} for verdict in (self, repair))
        marked = (replace(each, mended=each.kind not in left) for each in self.findings)
        new = (each for each in repair.findings if each.kind not in before)
        return replace(self, findings=(*marked, *new))


class Judge:
    """Judges the calls of a span. `now` (UTC) is when the reading of the history begins."""

    def __init__(self, connection: Connection, settings: Settings, span: Interval, now: datetime) -> None:
        self._connection = connection
        self._interpreter = Interpreter(settings)
        self._span = span
        self.now = now
        self.kept_from = gate.kept_from(connection, expired_before(settings.retention.keep, now))
        """Calls that began before this moment have expired; None where all are kept."""

    def of_history(self, shown: Mapping[Key, Shown]) -> dict[Key, Verdict]:
        """What is to be said of calls that the history shows."""
        standings = store.standing(self._connection, list(shown))
        rows = {(each.call_id, each.id_time): each.typed() for each in standings}
        units = self._units(shown, rows)
        return {
            key: self._verdict(shown[key], each, rows[key], units.get(key, {}))
            for each in standings
            for key in [(each.call_id, each.id_time)]
        }

    def of_rows(self, keys: Sequence[Key]) -> dict[Key, Verdict]:
        """What is to be said of calls that the history does not show: whether their rows follow from their facts."""
        standings = store.standing(self._connection, keys)
        return {(each.call_id, each.id_time): Verdict("row", tuple(self._underived(each))) for each in standings}

    def _verdict(self, shown: Shown, standing: Standing, row: Row | None, units: Units) -> Verdict:
        part = "erased" if standing.erased else self._part(shown, row)
        if part in ("erased", "outside"):
            return Verdict(part)
        found = list(self._underived(standing))
        if part == "compared" and row is None:
            found.append(Finding(standing.call_id, "missing", shown.fact.located))
        elif part == "compared" and row is not None:
            found += _findings(standing, "different", differences(shown.fact, row, units))
        return Verdict(part, tuple(found))

    def _part(self, shown: Shown, row: Row | None) -> str:
        fact = shown.fact
        if not is_in(fact, self._span) and not (row is not None and _is_within(row["start_time"], self._span)):
            return "outside"
        if fact.kind not in FINISHED:
            return "unfinished"
        if row is None and not shown.wanted:
            return "filtered"
        if row is None and self.kept_from and began([fact]) < self.kept_from:
            return "expired"
        return "compared"

    def _underived(self, standing: Standing) -> Iterator[Finding]:
        """Whether the row follows from its facts."""
        if standing.erased:
            return
        if standing.row is not None:
            yield from _findings(standing, "underived", departures(standing.row, standing.derived, standing.at))
        elif standing.derived is not None:
            yield Finding(standing.call_id, "underived", standing.recorder)

    # How fine times are known

    def _units(self, shown: Mapping[Key, Shown], rows: Mapping[Key, Row | None]) -> dict[Key, dict[str, timedelta]]:
        """For the times that differ by little: the unit of the one that is written less finely."""
        unsure = {key: hang_on_precision(shown[key].fact, row) for key, row in rows.items() if row is not None}
        found: dict[Key, dict[str, timedelta]] = {}
        for name in ("start_time", "end_time"):
            keys = [key for key, names in unsure.items() if name in names]
            held = store.providers(self._connection, keys, name) if keys else {}
            for key in keys:
                fact = shown[key].fact
                units = [self._unit(name, fact.history or fact.kind, None, fact.element)]
                if provider := held.get(key[0]):
                    units.append(self._unit(name, provider.kind, provider.recorder, provider.element))
                found.setdefault(key, {})[name] = max(units)
        return found

    def _unit(self, name: str, kind: Kind, recorder: str | None, element: bytes) -> timedelta:
        try:
            record = self._interpreter.record(kind, recorder, element)
        except NotWellFormed:
            return timedelta.resolution
        text = record.fields.get(BY_NAME[name].wire_name) if isinstance(record, Record) else None
        return precision(text) if text else timedelta.resolution


def _is_within(moment: Value | Json, span: Interval) -> bool:
    return isinstance(moment, datetime) and span.start <= moment < span.end


def _findings(standing: Standing, kind: What, differing: Iterable[Difference]) -> Iterator[Finding]:
    """One finding for all that differs, if anything does."""
    found = list(differing)
    if found:
        names = tuple(sorted(each.field for each in found))
        told: dict[str, Json] = {each.field: [_plain(each.archived), _plain(each.expected)] for each in found}
        yield Finding(standing.call_id, kind, standing.recorder, names, told)


def _plain(value: Value | Json) -> Json:
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, timedelta) else value
