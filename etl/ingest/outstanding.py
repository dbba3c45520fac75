"""Details that a dead process still owed, read from the journal it left: needed when the database is away."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from etl.errors import JournalDamaged
from etl.ingest.interpret import Interpreter
from etl.ingest.loader import BYTES, ROWS
from etl.journal.held import HeldJournal
from etl.model import Draft, Entry, Kind, What
from etl.store.pending import Owed


def outstanding(journal: HeldJournal, interpreter: Interpreter, since: datetime) -> list[Owed]:
    """What lines observed after `since` leave open. Takes memory for these calls only, whatever the journal's size."""
    found: dict[tuple[str, str], Owed | None] = {}
    for entry in _entries(journal):
        if entry.draft.observed_at >= since and entry.draft.what is What.DOCUMENT:
            _follow(found, entry.draft, interpreter)
    return [each for each in found.values() if each is not None]


def _entries(journal: HeldJournal) -> Iterator[Entry]:
    """All lines that are left, or those before the damage, which is for the loader to report."""
    after = journal.discarded
    while True:
        try:
            entries = journal.read(after, ROWS, BYTES)
        except JournalDamaged:
            return
        if not entries:
            return
        yield from entries
        after = entries[-1].sequence


def _follow(found: dict[tuple[str, str], Owed | None], draft: Draft, interpreter: Interpreter) -> None:
    for fact in interpreter.interpret(draft).facts:
        key = (draft.recorder, fact.call_id)
        if fact.kind is Kind.END:
            found.setdefault(key, Owed(*key, at=draft.observed_at, refetch=False))
        elif fact.kind is Kind.ABSENT or (fact.kind is Kind.DETAIL and draft.note.get("purpose") == "refetch"):
            found[key] = None
        elif fact.kind is Kind.DETAIL:
            found[key] = Owed(*key, at=draft.observed_at, refetch=True)
