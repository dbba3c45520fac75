"""What one process does with some metadata files: read, understand, store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from etl import heap
from etl.config import Settings
from etl.history.files import FileRead, Problem, Region, read_file
from etl.ingest.history import HistoryReader, Told
from etl.jobs.zone_guard import ZoneGuard, withhold
from etl.model import Fact, Quarantined, State
from etl.store import gate, quarantine
from etl.store.database import Connection, name_of
from etl.store.errors import translate
from etl.store.write import Batch, Writer

BATCH_BYTES = 16_000_000
"""Bytes of files from which on a chunk is stored in several transactions: a file can be as large as
`worker.document_limit`."""


@dataclass(slots=True)
class Outcome:
    """What came of some files. `counts` by the names that docs/history.md explains."""

    counts: Counter[str] = field(default_factory=Counter)
    problems: list[Problem] = field(default_factory=list)


class ChunkReader:
    """Imports files over one connection, which it must have for itself; or only says what an import would do."""

    def __init__(self, settings: Settings, connection: Connection, region: Region, *, dry_run: bool = False) -> None:
        self._reader = HistoryReader(settings)
        self._limit = settings.worker.document_limit
        self._region = region
        self._connection = connection
        self._writer = None if dry_run else Writer(connection)

    def read(self, paths: Iterable[str]) -> Outcome:
        """Import these files. Whatever can be wrong with one of them leaves the others alone.

        Raises HistoryRefused where most of them speak against the configured zone, DatabaseError.
        """
        outcome, told, well, size = Outcome(), Told(), list[str](), 0
        for path in paths:
            file = read_file(path, self._limit, self._region)
            if isinstance(file, Problem):
                outcome.problems.append(file)
                outcome.counts[file.trouble.value] += 1
                continue
            said = self._told(file)
            if not said.quarantined:
                well.append(path)
            _add(told, said)
            outcome.counts["files"] += 1
            outcome.counts["bytes"] += file.size
            size += file.size
            if size >= BATCH_BYTES:
                self._store(told, well, outcome)
                told, well, size = Told(), [], 0
        self._store(told, well, outcome)
        return outcome

    def _told(self, file: FileRead) -> Told:
        if file.cut:
            note = {"kind": "file", "detail": file.cut}
            kept = Quarantined(file.observed_at, None, file.path, quarantine.TOO_LARGE, file.body, note=note)
            return Told(quarantined=[kept])
        told = self._reader.file(file.path, file.observed_at, file.body)
        if file.size >= heap.LARGE:
            heap.give_back()
        return told

    def _store(self, told: Told, well: list[str], outcome: Outcome) -> None:
        outcome.counts.update(records=len(told.read), strangers=len(told.strangers), skipped=told.skipped)
        accepted = quarantine.discarded(self._connection, told.quarantined)
        outcome.counts.update(quarantined=len(told.quarantined) - accepted, discarded=accepted)
        outcome.counts.update(withheld=self._withheld(told))
        if self._writer is None:
            facts = gate.unexpired(self._connection, told.facts)
            outcome.counts.update(new=self._unknown(facts), expired=len(told.facts) - len(facts))
            return
        written = self._writer.write(Batch(told.facts, told.quarantined, strangers=told.strangers))
        completed = sum(count for (_, state), count in written.states.items() if state == State.COMPLETE)
        mended = quarantine.mended(self._connection, well, datetime.now(UTC))
        outcome.counts.update(completed=completed, quarantined=written.refused, mended=mended, expired=written.expired)

    def _withheld(self, told: Told) -> int:
        """How many records are kept from what is better known: a wrong zone must not damage it."""
        guard = ZoneGuard("history.files.timezone")
        guard.see(told.read)
        guard.check()
        return withhold(self._connection, told) if guard.doubtful else 0

    def _unknown(self, facts: Sequence[Fact]) -> int:
        """How many records are of calls that the archive does not have."""
        connection = self._connection
        with translate(name_of(connection)), connection.transaction(), connection.cursor() as cursor:
            return len(facts) - len(gate.of_known_calls(cursor, facts, ()))


def _add(told: Told, more: Told) -> None:
    told.facts += more.facts
    told.strangers += more.strangers
    told.quarantined += more.quarantined
    told.skipped += more.skipped
