"""Writes the known archive (`support.known`) the way a worker and its commands do: records as they come from the wire,
read by the interpreter, written by the one write path. Only the times of what people did are set by hand afterwards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import count
from uuid import UUID
from xml.sax.saxutils import escape

from support.known import (
    ACTS,
    CALLS,
    EXPORTS,
    GAPS,
    HOLDS,
    MASK_SECRET,
    NAMED,
    QUARANTINE,
)
from support.known_types import (
    ERASED,
    LISTENED,
    READ_HISTORY,
    RETIRED,
    SUBSCRIBED,
    ZONES,
    KnownAct,
    KnownCall,
    KnownGap,
    KnownRefusal,
)

from etl.calls import coverage
from etl.calls.coverage import SessionState
from etl.calls.history import Verdict
from etl.config import Settings
from etl.ingest.interpret import Interpreter
from etl.model import Fact, Interval, Kind, Quarantined
from etl.store import acceptance, audit, backfill, erasure, history_reads, holds, recorders
from etl.store.audit import Author
from etl.store.database import Connection
from etl.store.recorders import Recorder
from etl.store.write import Batch, Writer

_MARGIN = timedelta(seconds=1)
_CALL_KINDS = (Kind.START, Kind.END, Kind.LIST)


def store(connection: Connection) -> None:
    """Fill an empty archive with everything that `support.known` tells of."""
    settings = _settings()
    known = [Recorder(each.name, each.location or each.name, str(each.timezone)) for each in settings.recorder]
    recorders.register(connection, known, _MARGIN)
    _set_mask_key(connection)
    Writer(connection).write(
        Batch(
            facts=list(_facts(Interpreter(settings))),
            quarantined=[_refused(number, each) for number, each in enumerate(QUARANTINE)],
            sessions=list(_sessions()),
        )
    )
    _fill_gaps(connection)
    _act(connection)
    _hold(connection)
    _erase(connection)
    _resolve_quarantine(connection)
    _note_exports(connection)


def _settings() -> Settings:
    found = [
        {"name": name, "host": "recorder.example", "port": 1, "location": name.upper(), "timezone": str(zone)}
        for name, zone in ZONES.items()
    ]
    history = {"http": {"url": "http://history.example/api"}, "files": {"roots": []}}
    return Settings(recorder=found, history=history)  # type: ignore[arg-type]


# Calls ----------------------------------------------------------------------------------------------------------


def _facts(interpreter: Interpreter) -> Iterator[Fact]:
    for call in CALLS:
        for kind in call.heard:
            element = _element(call, kind)
            heard_from = None if kind in (Kind.HTTP, Kind.FILE) else call.recorder
            yield interpreter.reread(kind, heard_from, call.call_id, call.observed(kind), element)


def _element(call: KnownCall, kind: Kind) -> bytes:
    """What the recorder, or the history, sends: times without a zone, by its own clock (the history's is UTC)."""
    if kind is Kind.ABSENT:
        return b"<Response code='-1'><ErrorMessage description='Call cannot be found'/></Response>"
    finished = "0" if kind is Kind.UNFINISHED else "1"
    shown = _fields(call, local=kind not in (Kind.HTTP, Kind.FILE))
    if kind in (Kind.START, Kind.LIST):
        shown = {name: text for name, text in shown.items() if name not in ("end_time", "duration", "cause_id")}
    inside = "".join(f"<{name}>{escape(text)}</{name}>" for name, text in shown.items())
    if kind in _CALL_KINDS:
        return f'<Call id="{call.call_id}">{inside}</Call>'.encode()
    return f'<verbacdr state="{finished}"><ccdr_id>{call.call_id}</ccdr_id>{inside}</verbacdr>'.encode()


def _fields(call: KnownCall, *, local: bool) -> Mapping[str, str]:
    values = {
        "start_time": _written(call, call.start, local),
        "end_time": _written(call, call.end, local),
        "duration": str(call.duration).zfill(8) if call.duration else None,
        "source_caller_id": call.caller,
        "source_name": call.caller_name,
        "destination_caller_id": call.called,
        "recorded_extension": call.extension,
        "agent_id": call.agent,
        "cause_id": None if call.cause is None else str(call.cause),
        "direction_id": None if call.direction is None else str(call.direction),
        "signaling_id": None if call.signaling is None else str(call.signaling),
        "modality_id": call.modality,
        "platform_call_id": call.platform,
        "secondary": None if call.secondary is None else str(call.secondary).lower(),
        "location": call.recorder.upper(),
        **call.wire,
    }
    return {name: text for name, text in values.items() if text is not None}


def _written(call: KnownCall, moment: datetime | None, local: bool) -> str | None:
    if moment is None:
        return None
    shown = moment.astimezone(ZONES[call.recorder]) if local else moment
    return shown.replace(tzinfo=None).isoformat(sep=" ", timespec="milliseconds")


# Coverage -------------------------------------------------------------------------------------------------------


def _sessions() -> Iterator[SessionState]:
    """For each recorder one session up to each gap, and one that goes on, or ends when the recorder is retired."""
    numbers = count(1)
    for recorder in ZONES:
        since = SUBSCRIBED
        for gap in (each for each in GAPS if each.recorder == recorder):
            yield _session(next(numbers), recorder, Interval(since, gap.start), gap.reason)
            since = gap.end
        if recorder == "ny-2":
            yield _session(next(numbers), recorder, Interval(since, RETIRED), "stop")
        else:
            yield _session(next(numbers), recorder, Interval(since, LISTENED), None)


def _session(number: int, recorder: str, covered: Interval, reason: str | None) -> SessionState:
    """One that covers exactly this time; it lives on where no reason is given."""
    start, last_read = covered.start, covered.end + _MARGIN
    state = SessionState(UUID(int=number), recorder, "worker-1", (), start)
    state = coverage.listed(coverage.subscribed(state, start), start, start)
    state = coverage.read(state, last_read)
    return coverage.closed(state, last_read, reason, _MARGIN) if reason else state


def _fill_gaps(connection: Connection) -> None:
    run = backfill.begin(connection, "gaps", {"gaps": "all"}, "worker")
    for gap in (each for each in GAPS if each.state == "filled"):
        read = history_reads.Read(
            gap.recorder, Interval(gap.start, gap.end), READ_HISTORY, "http", Verdict(True, witnesses=5)
        )
        history_reads.note_reads(connection, run.id, [read])
    backfill.finish(connection, run.id, "done", {"filled": 1})


# Quarantine -----------------------------------------------------------------------------------------------------


def _refused(number: int, known: KnownRefusal) -> Quarantined:
    origin = "stream" if known.recorder else "/media/ny-1/broken.xml"
    return Quarantined(known.seen, known.recorder, origin, known.reason, f"<broken {number}".encode())


def _resolve_quarantine(connection: Connection) -> None:
    with connection.transaction():
        for each in QUARANTINE:
            if each.state != "open":
                connection.execute(
                    "UPDATE cdr.quarantine SET state = %s, resolved_at = %s WHERE observed_at = %s",
                    [each.state, each.seen + timedelta(days=1), each.seen],
                )


# What people did ------------------------------------------------------------------------------------------------


def _set_mask_key(connection: Connection) -> None:
    with connection.transaction():
        connection.execute("UPDATE cdr.mask_key SET secret = %s", [MASK_SECRET])


def _erase(connection: Connection) -> None:
    erasure.find(connection, ERASED)
    assert sum(erasure.erase(connection)) == 1


def _hold(connection: Connection) -> None:
    """Set the holds, of which some are released again; that is not in the audit trail of March."""
    author = Author("kim@archive", None)
    for known in HOLDS:
        wanted = holds.Wanted(
            call_id=known.value if known.kind == "call" else None,
            party=known.value if known.kind == "party" else None,
            recorder=known.recorder,
            start=known.start,
            end=known.end,
        )
        number = holds.hold(connection, wanted, replace(author, reason=known.reason))
        if known.released:
            holds.release(connection, number, replace(author, reason="closed"))


def _act(connection: Connection) -> None:
    """Retire, accept; then set the clock of what was done to when it was done."""
    for act in ACTS:
        author = Author(act.who, act.reason)
        if act.action == "retire recorder":
            acceptance.retire(connection, "ny-2", RETIRED, author, _MARGIN)
        elif act.action == "accept call":
            acceptance.accept_call(connection, NAMED["lost and accepted"].call_id, author)
        elif act.action == "accept gap":
            accepted = next(gap for gap in GAPS if gap.state == "accepted")
            acceptance.accept_gap(connection, _gap_id(connection, accepted), author, _MARGIN)
        else:
            with connection.transaction(), connection.cursor() as cursor:
                audit.note(cursor, author, act.action, {})
        _set_back(connection, act)


def _gap_id(connection: Connection, gap: KnownGap) -> int:
    query = "SELECT id FROM cdr.gap WHERE recorder = %s AND from_time = %s"
    with connection.transaction():
        row = connection.execute(query, [gap.recorder, gap.start]).fetchone()
    assert row is not None
    return int(row[0])


def _set_back(connection: Connection, act: KnownAct) -> None:
    with connection.transaction():
        connection.execute("UPDATE cdr.audit SET at = %s WHERE reason = %s", [act.at, act.reason])
        for table in ("call_acceptance", "gap_acceptance"):
            connection.execute(f"UPDATE cdr.{table} SET at = %s WHERE reason = %s".encode(), [act.at, act.reason])


def _note_exports(connection: Connection) -> None:
    with connection.transaction(), connection.cursor() as cursor:
        for each in EXPORTS:
            cursor.execute(
                "INSERT INTO cdr.export (folder, host, from_time, to_time, masked, who, finished_at, rows)"
                " VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
                [
                    *(each.folder, each.host, each.start, each.end, each.masked, each.who),
                    *((each.end, each.rows) if each.finished else (None, None)),
                ],
            )
