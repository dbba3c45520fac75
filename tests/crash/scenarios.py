"""What is killed at every step: the path from the journal to PostgreSQL, and each job that writes.

A scenario says how an archive is made ready (`prepare`), what is killed (`act`), and what a user or the next worker
does then (`recover`; mostly the same command again).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

from crash.fuse import KILLED
from support import exporting, metadata
from support.exporting import SPRING
from support.gaps import House, at, row
from support.postgres import connection
from support.recorders import NOON, StillClock, detail, ended, listed, started, subscribed
from support.retention import CLERK, CUTOFF, OLD, YOUNG, make

from etl.config import Settings
from etl.ingest import loader as loader_module
from etl.ingest.history import HistoryReader
from etl.ingest.interpret import Interpreter
from etl.ingest.loader import Loader
from etl.jobs import backfill_files, retention
from etl.jobs.backfill_files import Watch, import_files
from etl.jobs.backfill_gaps import GapBackfill
from etl.jobs.backfill_http import HttpBackfill
from etl.jobs.export import export
from etl.jobs.history import FileSource
from etl.jobs.retry import retry
from etl.journal import Journal, Limits
from etl.lake import folder
from etl.model import Draft, Interval, Quarantined, What
from etl.store import holds, quarantine
from etl.store.errors import translate
from etl.store.export import Destination
from etl.store.holds import Wanted
from etl.store.write import Batch, Writer
from etl.worker.adoption import Adopter

MARGIN = timedelta(seconds=1)
SESSION = UUID(int=7)
SETTINGS = Settings.model_validate({"recorder": [{"name": "ny-1", "host": "recorder.example", "port": 1}]})
SMALL = Limits(segment_bytes=700)


@dataclass(frozen=True)
class Place:
    """Where one run happens: its database, and a folder. `cut`: die after so many messages were received."""

    url: str
    home: Path
    cut: int | None = None


@dataclass(frozen=True)
class Scenario:
    """`tables` are compared with those of a run that was not killed. `stages`: how many messages it receives
    one after the other, 0 where it receives none; what is right then depends on how many were received. `run_counts`:
    which counts of its row in `cdr.backfill_run` must be right however often it was killed; None: it leaves no row."""

    name: str
    prepare: Callable[[Place], None]
    act: Callable[[Place], None]
    recover: Callable[[Place], None]
    tables: Sequence[str]
    stages: int = 0
    run_counts: Sequence[str] | None = None


# The worker's path ------------------------------------------------------------------------------------------------


def _draft(second: float, what: What, body: bytes = b"", **note: Any) -> Draft:
    return Draft(NOON + timedelta(seconds=second), "ny-1", SESSION, what, body, note)


def _call(name: str) -> str:
    return str(uuid5(SESSION, name))


def _asked(second: float, what: str, body: bytes, **note: Any) -> Draft:
    requested_at = (NOON + timedelta(seconds=second)).isoformat()
    return _draft(second, What.DOCUMENT, body, channel="query", asked=what, requested_at=requested_at, **note)


def messages(worker: str = "") -> list[Draft]:
    """One session of a worker."""
    a, b, c = _call("a"), _call("b"), _call("c")
    return [
        _draft(1, What.OPENED, worker=worker, extensions=[]),
        _draft(2, What.DOCUMENT, subscribed("1"), asked="subscribe"),
        _asked(3, "list", listed("2", c)),
        _draft(4, What.DOCUMENT, started(a)),
        _draft(5, What.DOCUMENT, ended(a)),
        _draft(6, What.REJECTED, b"\0\1", reason="garbage", detail=""),
        _asked(7, "detail", detail("3", a), call_id=a, purpose="end"),
        _draft(8, What.DOCUMENT, started(b)),
        _draft(9, What.DOCUMENT, ended(b)),
        _asked(11, "detail", detail("4", b), call_id=b, purpose="end"),
        _draft(12, What.CLOSED, reason="stop", told=""),
    ]


def _receive_and_load(place: Place) -> None:
    """What a worker does, one thing after the other: journal messages, load a few at a time, stop cleanly."""
    with Journal.create(place.home / "journal", SMALL) as journal:
        loader = _loader(place, journal)
        for number, draft in enumerate(messages(str(journal.id))):
            if number == place.cut:
                os._exit(KILLED)
            journal.append(draft).result(30)
            _acknowledge(place)
            if number % 4 == 3:
                loader.run(until=journal.last_sequence)
        loader.run(until=journal.last_sequence)
        journal.finish(30)
        journal.remove(loader.sequence)


def _acknowledge(place: Place) -> None:
    """Note outside of the process that a message was received."""
    descriptor = os.open(place.home / "received", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, b".")
    os.close(descriptor)


def _loader(place: Place, journal: Journal) -> Loader:
    loader_module.PAUSES = (0.05,) * 5
    loader_module.GATHER = 0.0
    return Loader(journal, partial(connection, place.url), Interpreter(SETTINGS), MARGIN, _later)


def _later() -> datetime:
    return NOON + timedelta(minutes=5)


def _adopt(place: Place) -> None:
    """What the next worker does with what it finds."""
    loader_module.PAUSES = (0.05,) * 5
    adopter = Adopter(
        place.home / "journal", partial(connection, place.url), Interpreter(SETTINGS), StillClock(_later()),
        own=UUID(int=1), recorders=["ny-1"], margin=MARGIN, owed_for=timedelta(minutes=10),
        on_loaded=lambda loaded: None, on_owed=lambda owed: None,
    )  # fmt: skip
    for _ in range(3):  # the second look has another go at what the first could not do
        adopter._look()


def _leave_journals(place: Place) -> None:
    """Two dead processes: one had loaded half of its journal and discarded that, the other's journal is damaged."""
    root = place.home / "journal"
    with Journal.create(root, SMALL) as journal:
        for number, draft in enumerate(messages(str(journal.id))[:-1]):
            journal.append(draft).result(30)
            if number == 5:
                _loader(place, journal).run(until=journal.last_sequence)
    with Journal.create(root, SMALL) as damaged:
        for draft in messages(str(damaged.id))[:-1]:
            damaged.append(replace(draft, session=UUID(int=8), recorder="ny-2")).result(30)
        last = max(damaged.path.glob("*.sqlite"))
    raw = bytearray(last.read_bytes())
    raw[-12:] = bytes(12)
    last.write_bytes(raw)


# Backfills --------------------------------------------------------------------------------------------------------


def _history(place: Place) -> tuple[House, list[Any]]:
    """An archive with gaps of two recorders; what the first history has, and what only the files have."""
    numbers = count()
    rows = [
        replace(row(minute, 0.2, location=name), call_id=_call(f"row {next(numbers)}"))
        for name, minute in (("ny-1", 9.5), ("ny-1", 20.5), ("ny-1", 12), ("ny-1", 15), ("ny-2", 9.5), ("ny-2", 13))
    ]
    history = {
        "http": {"url": "http://history.example", "delay": "15m"},
        "files": {"roots": [place.home / "files"], "delay": "15m"},
    }
    house = House(place.url, place.home / "data", history=history)
    house.fake.rows = rows[:4]
    return house, rows


def _open_gaps(place: Place) -> None:
    house, rows = _history(place)
    for name, heard in (("ny-1", rows[:2]), ("ny-2", rows[4:5])):
        house.sessions((0, 10), (20, None), recorder=name)
        house.heard(*heard, recorder=name)
    for number, each in enumerate(rows[4:]):
        body = each.element(house.fake.zone).encode()
        metadata.write(place.home / "files" / f"{number}.xml", body, each.end)


def _fill_gaps(place: Place) -> None:
    house, _ = _history(place)
    sources = [*house.sources(), FileSource([place.home / "files"], house.settings)]
    GapBackfill(house.settings, house.connect, sources, now=house.clock).run(house.todo())


def _import_history(place: Place) -> None:
    house, _ = _history(place)
    source, wanted = house.sources()[0], Interval(at(0), at(30))
    HttpBackfill(house.settings, house.connect, source, now=house.clock).run(wanted)


def _write_files(place: Place) -> None:
    metadata.write_flat(place.home / "files" / "flat", 5)
    metadata.write_nested(place.home / "files" / "nested", 14, first=10)
    metadata.write(place.home / "files" / "flat" / "broken.xml", metadata.metadata(50)[:-15])


def _import_files(place: Place) -> None:
    backfill_files.CHUNK = 3
    backfill_files.SKEW = timedelta()  # these files are as new as the run, and would all be read again
    settings = Settings.model_validate({"recorder": [{"name": "ny-1", "host": "recorder.example", "port": 1}]})
    import_files(settings, place.url, [place.home / "files"], 1, Watch())


# Retention and erasure --------------------------------------------------------------------------------------------


def _store_old_and_young(place: Place) -> None:
    party: dict[str, Any] = {"source_caller_id": "5551234", "source_name": "Jane Roe"}
    with connection(place.url) as opened:
        facts = [
            *(make(f"old-{day}", OLD + timedelta(days=day), **party) for day in range(0, 60, 7)),
            *(make(f"near-{day}", CUTOFF + timedelta(days=day), **party) for day in range(-3, 3)),
            *(make(f"young-{day}", YOUNG + timedelta(days=day), **party) for day in range(3)),
            make("other", YOUNG, source_caller_id="777"),
            make("other-old", OLD, source_caller_id="777"),
        ]
        bodies = [(OLD, b"<Call caller='5551234'/>"), (YOUNG, b"<Call caller='5551234'/>"), (YOUNG, b"<Call/>")]
        found = [Quarantined(when, "ny-1", "wire", "garbage", body) for when, body in bodies]
        Writer(opened).write(Batch(facts=facts, quarantined=found))
        holds.hold(opened, Wanted(call_id="old-7"), CLERK)
        holds.hold(opened, Wanted(call_id="young-1"), CLERK)


def _apply_retention(place: Place) -> None:
    with connection(place.url) as opened:
        retention.apply(opened, CUTOFF, CLERK)


def _erase(place: Place) -> None:
    with connection(place.url) as opened:
        retention.erase(opened, "5551234", CLERK)


# Quarantine and export --------------------------------------------------------------------------------------------


def _fill_quarantine(place: Place) -> None:
    documents = [started(_call("a")), ended(_call("a")), b"\0\1", b"\0\2", detail("1", _call("b"))]
    found = [Quarantined(NOON, "ny-1", "wire", "unknown_root", body) for body in documents]
    with connection(place.url) as opened:
        Writer(opened).write(Batch(quarantined=found))


def _work_on_quarantine(place: Place) -> None:
    """Retry all that is open, then discard what is left."""
    interpreter, history = Interpreter(SETTINGS), HistoryReader(SETTINGS)
    with connection(place.url) as opened:
        for item in quarantine.items(opened):
            retry(opened, interpreter, history, item.id, NOON)
        for item in quarantine.items(opened):
            with translate(), opened.transaction():
                quarantine.resolve(opened, item.id, "discarded", NOON)


def _store_and_export(place: Place) -> None:
    """An export of an earlier state: since then a month has emptied, one has changed, and one has come."""
    with connection(place.url) as opened:
        for number, day in enumerate((0, 1, 2, 40, 41)):
            exporting.add(opened, f"call-{number}", day, recorder="ny-1" if number % 2 else "ny-2")
    _export(place)
    with connection(place.url) as opened, opened.transaction():
        opened.execute("DELETE FROM cdr.call WHERE call_id IN ('call-3', 'call-4')")
        opened.execute("UPDATE cdr.call SET source_name = 'changed' WHERE call_id = 'call-1'")
    with connection(place.url) as opened:
        exporting.add(opened, "call-5", 70)


def _export(place: Place) -> None:
    root = place.home / "lake"
    destination = Destination(str(root), "here", SPRING, masked=False)
    with connection(place.url) as opened, folder.opened(root) as lake:
        export(opened, place.url, lake, destination, exporting.AUTHOR)


def _nothing(place: Place) -> None:
    """An empty archive will do."""


_CALLS = ("call", "fact")
_STREAM = (*_CALLS, "session", "gap", "quarantine")

SCENARIOS: Mapping[str, Scenario] = {
    each.name: each
    for each in (
        Scenario("worker", _nothing, _receive_and_load, _adopt, _STREAM, stages=len(messages())),
        Scenario("adoption", _leave_journals, _adopt, _adopt, _STREAM),
        Scenario("gaps", _open_gaps, _fill_gaps, _fill_gaps, _STREAM, run_counts=()),
        Scenario("http", _open_gaps, _import_history, _import_history, _STREAM, run_counts=()),
        Scenario(
            "files", _write_files, _import_files, _import_files, (*_CALLS, "quarantine"),
            run_counts=("files", "bytes", "records", "quarantined"),
        ),
        Scenario(
            "retention", _store_old_and_young, _apply_retention, _apply_retention, (*_CALLS, "quarantine", "expiry")
        ),
        Scenario("erasure", _store_old_and_young, _erase, _erase, (*_CALLS, "quarantine", "erased_call")),
        Scenario("quarantine", _fill_quarantine, _work_on_quarantine, _work_on_quarantine, (*_CALLS, "quarantine")),
        Scenario("export", _store_and_export, _export, _export, ()),
    )
}  # fmt: skip
