"""Captured traffic, from the bytes to the tables: one folder of tests/scenarios for each test (see README.md there)."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from support.recorders import NOON

from etl.calls import coverage
from etl.calls.coverage import SessionState
from etl.config import Settings
from etl.fields import FIELDS
from etl.ingest.interpret import Interpreter
from etl.model import Draft, Json, What
from etl.protocol.dialect import Dialect
from etl.protocol.framing import Document, Framer, Rejected
from etl.protocol.messages import Response, read
from etl.protocol.subscription import Subscription
from etl.store.database import Connection
from etl.store.write import Batch, Writer

SCENARIOS = Path(__file__).parent.parent / "scenarios"
NAMES = sorted(path.parent.name for path in SCENARIOS.glob("*/stream.xml"))
SESSION = UUID(int=1)
MARGIN = timedelta(seconds=1)
_QUARANTINE = "SELECT reason, body FROM cdr.quarantine ORDER BY observed_at, id"
Told = tuple[What, bytes, dict[str, Json]]


class Scenario:
    """One folder: what was received, and how to read it."""

    def __init__(self, name: str) -> None:
        self.folder = SCENARIOS / name
        self.expected: dict[str, Any] = json.loads((self.folder / "expected.json").read_text(encoding="utf-8"))
        given = self.folder / "recorder.toml"
        options = tomllib.loads(given.read_text(encoding="utf-8")) if given.exists() else {}
        self.settings = Settings.model_validate(
            {"recorder": [{"name": "ny-1", "host": "recorder.example", "port": 1, **options}]}
        )
        self.dialect = Dialect.from_overrides(self.settings.recorder[0].dialect)

    def drafts(self) -> list[Draft]:
        """The journal of the session, one line per second."""
        told: list[Told] = [
            (What.OPENED, b"", {"worker": "scenario", "extensions": []}),
            *self._stream(),
            *self._answers(),
            (What.CLOSED, b"", {"reason": "stop"}),
        ]
        return [
            Draft(NOON + timedelta(seconds=second), "ny-1", SESSION, what, body, note)
            for second, (what, body, note) in enumerate(told)
        ]

    def _stream(self) -> Iterator[Told]:
        subscription = Subscription((), self.dialect, probe_every=30, request_timeout=10)
        subscription.start(0)
        for item in self._framed():
            note: dict[str, Json] = {}
            if isinstance(item, Rejected):
                yield What.REJECTED, item.raw, {"reason": item.reason, "detail": item.detail}
                continue
            for message in read(item.root, self.dialect):
                if isinstance(message, Response) and (asked := subscription.asked(message.request_id)):
                    note["asked"] = asked.value
            yield What.DOCUMENT, item.raw, note

    def _framed(self) -> list[Document | Rejected]:
        """The same for any chopping of the bytes."""
        raw = (self.folder / "stream.xml").read_bytes()
        whole, chopped = Framer(64_000_000, self.dialect.root), Framer(64_000_000, self.dialect.root)
        found = [*whole.receive(raw), *whole.finish("cut_off")]
        pieces = [raw[at : at + 7] for at in range(0, len(raw), 7)]
        again = [item for piece in pieces for item in chopped.receive(piece)] + chopped.finish("cut_off")
        assert [item.raw for item in found] == [item.raw for item in again]
        return found

    def _answers(self) -> Iterator[Told]:
        listed = self.folder / "answers.json"
        for answer in json.loads(listed.read_text(encoding="utf-8")) if listed.exists() else []:
            body = (self.folder / answer.pop("file")).read_bytes().strip()
            # Asked for within the session, after its confirmation.
            requested_at = (NOON + timedelta(seconds=2)).isoformat()
            yield What.DOCUMENT, body, {"channel": "query", "requested_at": requested_at, **answer}


@pytest.mark.parametrize("name", NAMES)
def test_a_stream_becomes_the_expected_rows_and_once_more_changes_nothing(name: str, empty_conn: Connection) -> None:
    scenario = Scenario(name)
    _load(empty_conn, scenario)
    assert _found(empty_conn) == scenario.expected
    before = _versions(empty_conn)
    _load(empty_conn, scenario)
    assert _versions(empty_conn) == before


def _load(connection: Connection, scenario: Scenario) -> None:
    interpreter = Interpreter(scenario.settings)
    facts, quarantined = [], []
    state: SessionState | None = None
    for draft in scenario.drafts():
        if state is not None and draft.what is What.CLOSED:
            state = coverage.read(state, draft.observed_at)  # the recorder lived on after its last answer
        told = interpreter.interpret(draft)
        facts += told.facts
        quarantined += told.quarantined
        state = coverage.fold(state, draft, told.heard, MARGIN)
    Writer(connection, margin=MARGIN).write(Batch(facts, quarantined, [state] if state else []))


def _found(connection: Connection) -> dict[str, Any]:
    with connection.transaction():
        return {
            "calls": _calls(connection),
            "quarantine": [
                {"reason": reason, "begins": bytes(body[:40]).decode("utf-8", "backslashreplace")}
                for reason, body in connection.execute(
                    "SELECT reason, body FROM cdr.quarantine ORDER BY observed_at, id"
                )
            ],
            "covered": connection.execute("SELECT NOT isempty(coverage) FROM cdr.session").fetchone() == (True,),
        }


def _calls(connection: Connection) -> dict[str, dict[str, Any]]:
    names = ["recorder", "state", "source", *(field.name for field in FIELDS), "attributes", "quality"]
    rows = connection.execute(f"SELECT call_id, {', '.join(names)} FROM cdr.call ORDER BY call_id".encode())
    return {
        row[0]: {name: _plain(value) for name, value in zip(names, row[1:], strict=True) if value not in (None, [], {})}
        for row in rows
    }


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return value.total_seconds() if isinstance(value, timedelta) else value


def _versions(connection: Connection) -> list[Any]:
    """Every row with the transaction that wrote it last."""
    with connection.transaction():
        tables = ("call", "fact", "quarantine", "gap")
        return [
            connection.execute(f"SELECT xmin, t.* FROM cdr.{each} t ORDER BY 2, 3".encode()).fetchall()
            for each in tables
        ]
