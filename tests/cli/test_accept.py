"""`cdr accept` and `cdr recorder retire`: what is taken note of, and what it does to exit codes."""

from __future__ import annotations

import getpass
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from support.postgres import connection

from etl.calls import coverage
from etl.calls.coverage import SessionState
from etl.calls.ids import UNTIMED
from etl.cli.accept import whoever
from etl.model import Fact, Kind
from etl.store.recorders import Recorder, register
from etl.store.write import Batch, Writer

pytestmark = pytest.mark.slow

Here = Callable[..., Any]
Configure = Callable[..., Path]
MARGIN = timedelta(seconds=1)
NOW = datetime.now(UTC)
HOUR = timedelta(hours=1)


def session(key: int, began: datetime, ended: datetime, *, closed: bool) -> SessionState:
    state = SessionState(UUID(int=key), "alpha", "nobody", (), began)
    state = coverage.read(coverage.listed(coverage.subscribed(state, began), began, began), ended)
    return coverage.closed(state, ended, "drop", MARGIN) if closed else state


@pytest.fixture
def amiss(embedded_database: str) -> str:
    """The URL of an archive with one gap that ended, and one lost call."""
    sessions = [session(1, NOW - 5 * HOUR, NOW - 4 * HOUR, closed=True), session(2, NOW - 3 * HOUR, NOW, closed=False)]
    facts = [
        Fact("gone", UNTIMED, kind, NOW + timedelta(seconds=second), "alpha", None, b"d", b"<Call/>", {}, {}, ())
        for second, kind in enumerate((Kind.START, Kind.ABSENT))
    ]
    with connection(embedded_database) as opened:
        Writer(opened).write(Batch(facts=facts, sessions=sessions))
    return embedded_database


def rows(url: str, query: str) -> list[tuple[Any, ...]]:
    with connection(url) as opened:
        return opened.execute(query.encode()).fetchall()


def test_what_is_accepted_counts_no_more(here: Here, configure: Configure, amiss: str) -> None:
    """Status ends with 5 until the gap and the call are both accepted; the audit says by whom, when and why."""
    file = ("--config", str(configure(amiss)))
    number = str(rows(amiss, "SELECT id FROM cdr.gap")[0][0])
    assert here("status", *file).code == 5
    done = here("accept", "gap", number, "--reason", "power cut", *file)
    assert (done.code, done.out) == (0, "")
    assert f"gap {number} is accepted" in done.err
    assert here("status", *file).code == 5
    assert here("accept", "call", "gone", "--reason", "disk broke", *file).code == 0
    assert here("status", *file).code == 0
    who = f"{getpass.getuser()}@{socket.gethostname()}"
    assert rows(amiss, "SELECT who, action, reason FROM cdr.audit ORDER BY id") == [
        (who, "accept gap", "power cut"),
        (who, "accept call", "disk broke"),
    ]


@pytest.mark.parametrize("what", [("gap", "1"), ("call", "gone")])
@pytest.mark.parametrize("reason", [("--reason", " "), ()])
def test_nothing_is_accepted_without_a_reason(
    here: Here, configure: Configure, amiss: str, what: tuple[str, str], reason: tuple[str, ...]
) -> None:
    done = here("accept", *what, *reason, "--config", str(configure(amiss)))
    assert (done.code, done.out) == (2, "")
    assert "--reason" in done.err
    assert rows(amiss, "SELECT count(*) FROM cdr.audit") == [(0,)]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("accept", "gap", "99"), "there is no gap 99"),
        (("accept", "call", "\x1b[2Jno"), "there is no call \\x1b[2Jno"),
        (("recorder", "retire", "nobody"), "no recorder in use is called nobody"),
    ],
    ids=["gap", "call", "recorder"],
)
def test_what_is_not_there_is_bad_usage(
    here: Here, configure: Configure, amiss: str, words: tuple[str, ...], said: str
) -> None:
    """And what a terminal would obey is shown."""
    done = here(*words, "--reason", "why not", "--config", str(configure(amiss)))
    assert (done.code, done.out) == (2, "")
    assert said in done.err


def test_a_recorder_is_retired_once_it_is_neither_configured_nor_heard(
    here: Here, configure: Configure, embedded_database: str
) -> None:
    """Its time ends; status says so, and counts it no more once its last gap is accepted."""
    with connection(embedded_database) as opened:
        register(opened, [Recorder("alpha", "A", "UTC")], MARGIN)
        Writer(opened).write(Batch(sessions=[session(1, NOW - 5 * HOUR, NOW - 4 * HOUR, closed=True)]))
    retire = ("recorder", "retire", "alpha")
    refused = here(*retire, "--config", str(configure(embedded_database, alpha=1)))
    assert (refused.code, refused.out) == (2, "")
    assert "alpha is configured still" in refused.err
    file = ("--config", str(configure(embedded_database)))
    assert here(*retire, *file).code == 0
    [(number, ended)] = rows(embedded_database, "SELECT id, to_time FROM cdr.gap")
    assert ended >= NOW
    assert here("accept", "gap", str(number), "--reason", "replaced", *file).code == 0
    shown = here("status", *file)
    assert shown.code == 0
    assert "retired" in shown.out


def test_whoever_is_not_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = whoever()
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "somebody-else")
    assert whoever() == expected
