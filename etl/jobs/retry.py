"""Reads quarantined bytes again under today's dialect and settings, as if they had just come over the wire."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from etl.errors import CdrError
from etl.ingest.interpret import Interpreter
from etl.model import Draft, Fact, Kind, What
from etl.store import quarantine
from etl.store.database import Connection
from etl.store.quarantine import Item
from etl.store.write import Batch, Writer


@dataclass(frozen=True, slots=True)
class Retried:
    """What came of one row of quarantine: `reason` is empty if it was understood and its `facts` are stored."""

    id: int
    facts: int
    reason: str


def retry(connection: Connection, interpreter: Interpreter, number: int, now: datetime) -> Retried:
    """Read one row again, with its original time of receipt and recorder; store what it says.

    What is still not understood stays as it is. Raises UsageError for a row that does not exist or is resolved.
    """
    item, body = quarantine.show(connection, number)
    facts, reason = _read(interpreter, item, body)
    if not reason and Writer(connection).write(Batch(facts=facts)).refused:
        reason = quarantine.REFUSED
    if reason:
        return Retried(number, 0, reason)
    with connection.transaction():
        quarantine.resolve(connection, number, "retried", now)
    return Retried(number, len(facts), "")


def _read(interpreter: Interpreter, item: Item, body: bytes) -> tuple[list[Fact], str]:
    """The facts of a whole document, or of one call's element; else why it is still not understood."""
    if "kind" not in item.note:
        session = item.session or UUID(int=0)
        draft = Draft(item.observed_at, item.recorder or "", session, What.DOCUMENT, body, item.note)
        told = interpreter.interpret(draft)
        return told.facts, told.quarantined[0].reason if told.quarantined else ""
    kind, call_id = Kind(str(item.note["kind"])), str(item.note.get("call_id", ""))
    try:
        return [interpreter.reread(kind, item.recorder, call_id, item.observed_at, body)], ""
    except CdrError:
        return [], item.reason
