"""What the history says: a metadata file, or a page of rows, as facts. Pure, like `etl.ingest.interpret`.

History can be read again, so it goes through no journal.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from etl.calls.facts import read_fact
from etl.config import Settings
from etl.ingest.interpret import Interpreter
from etl.model import Fact, Json, Kind, Quarantined, Record
from etl.protocol.documents import NotWellFormed, new_parser, parse
from etl.protocol.history import Found, find_records
from etl.protocol.records import BadRecord


@dataclass(slots=True)
class Told:
    """What a piece of the history came to.

    `strangers` are facts only if their calls are known: calls that a recorder's filter leaves out. `skipped` counts
    documents without any record; a page without rows is none of them.
    """

    facts: list[Fact] = field(default_factory=list)
    strangers: list[Fact] = field(default_factory=list)
    quarantined: list[Quarantined] = field(default_factory=list)
    skipped: int = 0

    @property
    def read(self) -> list[Fact]:
        """All that was read, wanted or not."""
        return [*self.facts, *self.strangers]


class HistoryReader:
    """Reads the history under the given settings. One for each thread or process."""

    def __init__(self, settings: Settings) -> None:
        readers = Interpreter(settings)
        self._sources = {kind: readers.history(kind) for kind in (Kind.HTTP, Kind.FILE)}
        self._filters = {each.name: readers.source(each.name) for each in settings.recorder if each.extensions}
        self._parser = new_parser()

    def file(self, origin: str, observed_at: datetime, body: bytes) -> Told:
        """A metadata file: `origin` is its path, `observed_at` its modification time (UTC)."""
        return self.document(Kind.FILE, origin, observed_at, body)

    def document(self, kind: Kind, origin: str, observed_at: datetime, body: bytes) -> Told:
        """A whole document of the history of this kind, or an element of one that was kept in quarantine."""
        told = Told()
        try:
            root = parse(body, self._parser)
        except NotWellFormed as error:
            note: dict[str, Json] = {"kind": kind.value}
            told.quarantined.append(Quarantined(observed_at, None, origin, error.reason, body, note=note))
            return told
        self._add(told, find_records(root, self._sources[kind].dialect), kind, origin, observed_at)
        told.skipped += not (told.facts or told.strangers or told.quarantined)
        return told

    def rows(self, found: Found, observed_at: datetime) -> Told:
        """The rows of a page of the HTTP history, received at `observed_at` (UTC)."""
        told = Told()
        self._add(told, found, Kind.HTTP, "http", observed_at)
        return told

    def _add(self, told: Told, found: Found, kind: Kind, origin: str, observed_at: datetime) -> None:
        for row in found.rows:
            if isinstance(row, BadRecord):
                told.quarantined.append(_quarantined(row, kind, origin, observed_at))
                continue
            fact = read_fact(row, kind, observed_at, self._sources[kind].reading)
            (told.facts if self._wanted(row, fact) else told.strangers).append(fact)

    def _wanted(self, record: Record, fact: Fact) -> bool:
        source = self._filters.get(fact.located or "")
        return source is None or source.wants(record)


def _quarantined(bad: BadRecord, kind: Kind, origin: str, observed_at: datetime) -> Quarantined:
    return Quarantined(observed_at, None, origin, bad.reason, bad.element, note={"kind": kind.value})
