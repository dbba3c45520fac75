"""What people took note of as gone for good, and the end of a recorder's timeline. Each act leaves its audit row."""

from __future__ import annotations

from datetime import datetime, timedelta

from etl.calls.ids import canonical, id_time
from etl.errors import UsageError
from etl.model import State
from etl.store import audit, gaps, sessions
from etl.store.audit import Author
from etl.store.database import Connection, name_of
from etl.store.errors import translate

_ABANDONED = timedelta(minutes=5)
"""A worker that has shown no sign of life for so long has not just lost its connection to the database."""


def accept_gap(connection: Connection, number: int, author: Author, margin: timedelta) -> None:
    """Take note that the calls of a gap are gone for good. Raises UsageError for a gap that lasts or is not open.

    What is accepted is its time: should the gap grow later on, it is open again as a whole, until the whole of it is
    accepted. A gap that shrinks stays accepted.
    """
    with translate(name_of(connection)), connection.transaction(), connection.cursor() as cursor:
        row = cursor.execute(
            "SELECT recorder, from_time, to_time, state FROM cdr.gap WHERE id = %s FOR UPDATE", [number]
        ).fetchone()
        if row is None:
            raise UsageError(f"there is no gap {number}: 'cdr status' lists the open ones")
        recorder, start, end, state = row
        if end is None:
            raise UsageError(f"gap {number} of {recorder} still lasts: accept it when it has ended")
        if state != "open":
            raise UsageError(f"gap {number} of {recorder} is {state} already")
        cursor.execute(
            "INSERT INTO cdr.gap_acceptance (recorder, from_time, to_time, who, reason) VALUES (%s, %s, %s, %s, %s)",
            [recorder, start, end, author.who, author.reason],
        )
        gaps.rebuild(cursor, recorder, margin)
        audit.note(cursor, author, "accept gap", {"gap": number, "recorder": recorder})


def accept_call(connection: Connection, call_id: str, author: Author) -> None:
    """Take note that the record of a call is gone for good.

    Raises UsageError for one that is complete, unknown, or accepted already.
    """
    key = canonical(call_id)
    with translate(name_of(connection)), connection.transaction(), connection.cursor() as cursor:
        row = cursor.execute(
            "SELECT state FROM cdr.call WHERE call_id = %s AND id_time = %s", [key, id_time(key)]
        ).fetchone()
        if row is None:
            raise UsageError(
                f"there is no call {call_id}: 'cdr reconcile' and report.unresolved_calls name the open ones"
            )
        if row[0] == State.COMPLETE:
            raise UsageError(f"call {call_id} is complete: nothing of it is missing")
        added = cursor.execute(
            "INSERT INTO cdr.call_acceptance (call_id, who, reason) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
            [key, author.who, author.reason],
        ).rowcount
        if not added:
            raise UsageError(f"call {call_id} is accepted already: 'cdr call {call_id}' says by whom")
        audit.note(cursor, author, "accept call", {"call": key})


def retire(connection: Connection, recorder: str, now: datetime, author: Author, margin: timedelta) -> None:
    """End a recorder's timeline: its last gap ends now. Raises UsageError for one that is unknown or still heard.

    A session that was left behind by a worker which is gone, with its journal too, is ended here.
    """
    with translate(name_of(connection)), connection.transaction(), connection.cursor() as cursor:
        _end_abandoned(connection, recorder, now, margin)
        live = cursor.execute(
            "SELECT count(*) FROM cdr.session WHERE recorder = %s AND closed_at IS NULL", [recorder]
        ).fetchone()
        if live and live[0]:
            raise UsageError(f"{recorder} is still listened to: remove it from the configuration and stop its workers")
        found = cursor.execute(
            "UPDATE cdr.recorder SET retired_at = %s WHERE name = %s AND retired_at IS NULL", [now, recorder]
        ).rowcount
        if not found:
            raise UsageError(f"no recorder in use is called {recorder}: 'cdr status' lists them")
        gaps.rebuild(cursor, recorder, margin)
        audit.note(cursor, author, "retire recorder", {"recorder": recorder})


def _end_abandoned(connection: Connection, recorder: str, now: datetime, margin: timedelta) -> None:
    for state in sessions.ownerless_in(connection):
        if state.recorder == recorder and (state.last_read or state.opened_at) < now - _ABANDONED:
            sessions.close_session(connection, state.id, now, "journal", margin)
