"""Reads quarantined bytes again under today's dialect and settings, as if they had just come over the wire."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from etl.errors import CdrError
from etl.ingest.history import HistoryReader, Told
from etl.ingest.interpret import Interpreter
from etl.model import HISTORY, Draft, Kind, What
from etl.store import quarantine
from etl.store.database import Connection, name_of
from etl.store.errors import translate
from etl.store.quarantine import Item
from etl.store.write import Batch, Writer


@dataclass(frozen=True, slots=True)
class Retried:
    """What came of one row of quarantine: `reason` is empty if it was understood and its `facts` are stored, but for
    `expired` ones of calls that were deleted by age."""

    id: int
    facts: int
    reason: str
    expired: int = 0


def retry(
    connection: Connection, interpreter: Interpreter, history: HistoryReader, number: int, now: datetime
) -> Retried:
    """Read one row again, with its original time of receipt and recorder; store what it says.

    What is still not understood stays as it is. Raises UsageError for a row that does not exist or is resolved.
    """
    item, body = quarantine.show(connection, number)
    told, reason = _read(interpreter, history, item, body)
    expired = 0
    if not reason:
        written = Writer(connection).write(Batch(facts=told.facts, strangers=told.strangers))
        reason, expired = quarantine.REFUSED if written.refused else "", written.expired
    if reason:
        return Retried(number, 0, reason)
    with translate(name_of(connection)), connection.transaction():
        quarantine.resolve(connection, number, "retried", now)
    return Retried(number, len(told.facts), "", expired)


def _read(interpreter: Interpreter, history: HistoryReader, item: Item, body: bytes) -> tuple[Told, str]:
    """What a whole document says, or one call's element; or why it is still not understood."""
    if "kind" not in item.note:
        session = item.session or UUID(int=0)
        draft = Draft(item.observed_at, item.recorder or "", session, What.DOCUMENT, body, item.note)
        heard = interpreter.interpret(draft)
        return Told(heard.facts), heard.quarantined[0].reason if heard.quarantined else ""
    kind, call_id = next((each for each in Kind if each == item.note["kind"]), None), str(item.note.get("call_id", ""))
    if kind is None:
        return Told(), f"{item.reason}: another version of this program has put it there"
    if kind in HISTORY and not call_id:
        return _read_history(history, kind, item, body)
    try:
        return Told([interpreter.reread(kind, item.recorder, call_id, item.observed_at, body)]), ""
    except CdrError:
        return Told(), item.reason


def _read_history(history: HistoryReader, kind: Kind, item: Item, body: bytes) -> tuple[Told, str]:
    """What a file or a row of the HTTP history says. The two ends of one that was too large are no document, even
    where they look like one."""
    if item.reason == quarantine.TOO_LARGE:
        return Told(), f"{item.reason}: raise worker.document_limit and import the file again"
    told = history.document(kind, item.origin, item.observed_at, body)
    if told.quarantined:
        return told, told.quarantined[0].reason
    return told, "it holds no record" if told.skipped else ""
