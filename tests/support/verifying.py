"""An archive, a history, and `verify` between them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID
from xml.sax.saxutils import escape

from lxml import etree
from support.postgres import connection

from etl.config import Settings
from etl.fields import FIELDS, FieldType
from etl.history.http import Page
from etl.ingest.history import HistoryReader
from etl.ingest.interpret import Interpreter
from etl.jobs.history import FileSource, HttpSource, Source
from etl.jobs.verify import Repair, Report, verify
from etl.model import Interval, Kind
from etl.protocol.dialect import Dialect
from etl.protocol.history import find_records
from etl.store.audit import Author
from etl.store.database import Connection
from etl.store.verify import Finding, findings
from etl.store.write import Batch, Writer

NOON = datetime(2024, 5, 1, 12, 0, tzinfo=UTC)
SPAN = Interval(NOON, NOON + timedelta(hours=1))
READ_AT = NOON + timedelta(days=1)
_UUID_EPOCH = datetime(1582, 10, 15, tzinfo=UTC)
_TEXTS = {FieldType.TEXT: "text", FieldType.INTEGER: "7", FieldType.BOOLEAN: "true", FieldType.INTERVAL: "00:00:30"}


def call_id(start: datetime) -> str:
    """A version 1 UUID of a second before the start."""
    ticks = (start - timedelta(seconds=1) - _UUID_EPOCH) // timedelta(microseconds=1) * 10
    low, middle, high = ticks & 0xFFFFFFFF, ticks >> 32 & 0xFFFF, ticks >> 48 & 0x0FFF
    return str(UUID(fields=(low, middle, high | 0x1000, 0x80, 0, 1)))


def local(moment: datetime, unit: str = "milliseconds") -> str:
    return moment.replace(tzinfo=None).isoformat(sep=" ", timespec=unit)


@dataclass(frozen=True)
class Call:
    """A call, and how it is written."""

    number: int
    seconds: float = 30.5
    fields: Mapping[str, str] = field(default_factory=dict)
    unit: str = "milliseconds"
    state: str = "1"

    @property
    def start(self) -> datetime:
        return NOON + timedelta(minutes=self.number, seconds=10, milliseconds=250)

    @property
    def end(self) -> datetime:
        return self.start + timedelta(seconds=self.seconds)

    @property
    def id(self) -> str:
        return call_id(self.start)

    @property
    def xml(self) -> str:
        times = {"start_time": local(self.start, self.unit), "end_time": local(self.end, self.unit)}
        shown = {"ccdr_id": self.id, **times, **self.fields}
        inside = "".join(f"<{name}>{escape(text)}</{name}>" for name, text in shown.items() if text)
        return f'<verbacdr state="{self.state}">{inside}</verbacdr>'


def every_field(number: int) -> dict[str, str]:
    """A value for each plain field, and something that is none of ours."""
    plain = {each.wire_name: _TEXTS[each.type] for each in FIELDS if each.type in _TEXTS}
    return {**plain, "location": "NY", "shared_item": f"item {number}"}


@dataclass
class History:
    """An HTTP history: what it shows, in pages of `page` rows; `fail` comes instead of the second page."""

    calls: list[Call]
    page: int = 2
    fail: BaseException | None = None
    asked: list[Interval] = field(default_factory=list)

    def search(self, window: Interval) -> Iterator[Page]:
        self.asked.append(window)
        near = timedelta(minutes=1)
        rows = [each for each in self.calls if window.start - near <= each.start < window.end + near]
        for first in range(0, len(rows), self.page):
            if first and self.fail:
                raise self.fail
            document = "<Response>" + "".join(row.xml for row in rows[first : first + self.page]) + "</Response>"
            yield Page(READ_AT + timedelta(microseconds=first), find_records(etree.fromstring(document), Dialect()))


class World:
    """An archive beside a history."""

    def __init__(self, url: str, stack: ExitStack) -> None:
        self.connection: Connection = stack.enter_context(connection(url))
        self._second: Connection = stack.enter_context(connection(url))
        self.configure()

    def configure(self, **more: Any) -> None:
        recorder = {"name": "ny-1", "host": "recorder", "port": 1, "location": "NY"} | more.pop("recorder", {})
        history = {"http": {"url": "http://history/api"}} | more.pop("history", {"files": {"roots": []}})
        self.settings = Settings(recorder=[recorder], history=history, **more)  # type: ignore[arg-type]
        self.reader = HistoryReader(self.settings)

    def archive(self, *calls: Call, kind: Kind = Kind.DETAIL, seen: datetime = NOON + timedelta(hours=2)) -> None:
        """Store calls as the recorder's stream would show them."""
        read = Interpreter(self.settings).reread
        Writer(self.connection).write(Batch([read(kind, "ny-1", each.id, seen, each.xml.encode()) for each in calls]))

    def backfill(self, *calls: Call) -> None:
        """Store calls as the HTTP history shows them."""
        for page in History(list(calls)).search(Interval(NOON - timedelta(days=9), NOON + timedelta(days=9))):
            told = self.reader.rows(page.found, READ_AT - timedelta(hours=1))
            Writer(self.connection).write(Batch(told.facts, strangers=told.strangers))

    def verify(self, history: Iterable[Call] | History, *, span: Interval = SPAN, repair: bool = False) -> Report:
        shown = history if isinstance(history, History) else History(list(history))
        return self.run(HttpSource(shown, self.settings), span, repair)

    def verify_files(self, root: Path, *, span: Interval = SPAN, repair: bool = False) -> Report:
        return self.run(FileSource([root], self.settings), span, repair)

    def run(self, source: Source, span: Interval, repair: bool) -> Report:
        mending = Repair(self._second, Interpreter(self.settings), Author("tester", None)) if repair else None
        return verify(self.connection, self.settings, source, span, repair=mending, now=lambda: READ_AT)

    @property
    def findings(self) -> list[Finding]:
        """What the last run found."""
        return list(findings(self.connection))

    def found(self) -> dict[tuple[str, str], tuple[str, ...]]:
        """The fields of what the last run found, by kind and call."""
        return {(each.kind, each.call_id): each.fields for each in self.findings}

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with self.connection.transaction():
            return self.connection.execute(query.encode(), values or None).fetchall()

    def change(self, statement: str, *values: object) -> None:
        """Change something by hand."""
        with self.connection.transaction():
            assert self.connection.execute(statement.encode(), values or None).rowcount > 0
