"""`cdr worker` and `cdr simulate` as processes: how they start, what they survive, how they end."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from support.postgres import connection

from etl.store import migrate

Cdr = Any
Configure = Callable[..., Path]
Simulated = Callable[..., Any]

pytestmark = pytest.mark.slow
AWAY = "postgresql://cdr:geheim@127.0.0.1:1/cdr"


def calls(url: str) -> int:
    with connection(url) as opened:
        row = opened.execute("SELECT count(*) FROM cdr.call").fetchone()
    return int(row[0]) if row else 0


def wait_for_calls(url: str) -> None:
    deadline = time.monotonic() + 30
    while not calls(url):
        assert time.monotonic() < deadline, "no call was archived"
        time.sleep(0.05)


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_worker_and_the_recorder_cleanly(
    cdr: Cdr, configure: Configure, simulated: Simulated, embedded_database: str, sign: signal.Signals
) -> None:
    """Exit code 0, the journal wholly loaded and gone, nothing on stdout."""
    recorder = simulated()
    file = configure(embedded_database, alpha=recorder.port)
    worker = cdr.start("worker", "--config", str(file))
    worker.until("event=subscribed")
    wait_for_calls(embedded_database)
    done = worker.end(sign)
    assert (done.code, done.out) == (0, "")
    assert 'event="worker stopped"' in done.err
    assert "left=0" in done.err
    assert not list((file.parent / "var" / "journal").iterdir())
    assert recorder.running.end(sign).code == 0


def test_it_ends_by_itself_after_the_time_given(
    cdr: Cdr, configure: Configure, simulated: Simulated, embedded_database: str
) -> None:
    """For hourly schedulers; `status` afterwards shows the gap that the stop opened."""
    file = configure(embedded_database, alpha=simulated().port)
    began = time.monotonic()
    done = cdr("worker", "--for", "3s", "--log-json", "--config", str(file))
    assert done.code == 0
    assert time.monotonic() - began >= 3
    events = [json.loads(line)["event"] for line in done.err.splitlines()]
    assert {"worker started", "subscribed", "session ended", "worker stopped"} <= set(events)
    shown = cdr("status", "--json", "--config", str(file))
    assert (shown.code, shown.err) == (5, "")
    assert [gap["reason"] for gap in json.loads(shown.out)["recorders"][0]["open_gaps"]] == ["stop"]


def test_a_second_signal_ends_it_at_once(cdr: Cdr, configure: Configure, tmp_path: Path) -> None:
    """Also while it waits for something on the way out: here for a lock of its database."""
    # A server that accepts connections and never says a word holds the loader.
    with subprocess.Popen(
        [
            "python3",
            "-c",
            "import socket,time; s=socket.create_server(('127.0.0.1',0)); "
            "print(s.getsockname()[1],flush=True); time.sleep(60)",
        ],
        stdout=subprocess.PIPE,
    ) as mute:
        assert mute.stdout is not None
        port = int(mute.stdout.readline())
        file = configure(f"postgresql://cdr@127.0.0.1:{port}/cdr?connect_timeout=60", alpha=1)
        worker = cdr.start("worker", "--config", str(file))
        worker.until("worker started")
        worker.until("unreachable")
        worker.send(signal.SIGTERM)
        time.sleep(0.5)  # the first is being obeyed; were it done already, the code below would be 0
        began = time.monotonic()
        done = worker.end(signal.SIGTERM)
        mute.kill()
    assert done.code == 128 + signal.SIGTERM
    assert time.monotonic() - began < 2


def test_it_journals_while_the_database_is_away_and_says_so_once(
    cdr: Cdr, configure: Configure, simulated: Simulated, embedded_database: str
) -> None:
    """It subscribes all the same; what it received is stored by the next one. The password is in no log line."""
    recorder = simulated()
    away = cdr.start("worker", "--verbose", "--config", str(configure(AWAY, alpha=recorder.port)))
    away.until("event=subscribed")
    time.sleep(2)
    done = away.end(signal.SIGTERM)
    assert done.code == 0
    assert done.err.count("the database does not take our data") == 1
    assert "Connection refused" in done.err
    assert int(done.err.partition("left=")[2].split()[0]) > 0
    assert "geheim" not in done.said
    back = cdr.start("worker", "--config", str(configure(embedded_database, alpha=recorder.port)))
    back.until("adopting the journal of a dead process")
    wait_for_calls(embedded_database)
    assert back.end(signal.SIGTERM).code == 0


def test_a_database_without_a_schema_is_written_to_once_it_has_one(
    cdr: Cdr, configure: Configure, simulated: Simulated, bare_database: str
) -> None:
    """The worker listens, tells what to run, and goes on by itself when that is done."""
    worker = cdr.start("worker", "--config", str(configure(bare_database, alpha=simulated().port)))
    worker.until("event=subscribed")
    worker.until("schema is missing.*run 'cdr db upgrade'")
    migrate.upgrade(bare_database)
    worker.until("loading into the database")
    wait_for_calls(bare_database)
    done = worker.end(signal.SIGTERM)
    assert done.code == 0
    assert done.err.count("the database does not take our data") == 1


def test_a_closed_port_is_told_once_and_keeps_nobody_from_the_others(
    cdr: Cdr, configure: Configure, simulated: Simulated, embedded_database: str, free_port: Callable[[], int]
) -> None:
    """The other recorder is archived meanwhile; readiness names the one that is missing."""
    http, closed = free_port(), free_port()
    listen = f'[http]\nlisten = "127.0.0.1:{http}"'
    file = configure(embedded_database, listen, alpha=simulated().port, beta=closed)
    worker = cdr.start("worker", "--config", str(file))
    worker.until("event=subscribed recorder=alpha")
    worker.until("event=unreachable recorder=beta")
    wait_for_calls(embedded_database)
    time.sleep(1.5)  # several more attempts
    with urlopen(f"http://127.0.0.1:{http}/metrics") as answer:
        metrics = answer.read().decode()
    assert 'cdr_recorder_connected{recorder="beta"} 0.0' in metrics
    assert 'cdr_recorder_connected{recorder="alpha"} 1.0' in metrics
    done = worker.end(signal.SIGTERM)
    assert done.code == 0
    assert done.err.count("event=unreachable") == 1
    assert "connection refused; is the recorder's API enabled and the port right?" in done.err


def test_tls_where_there_is_none_is_told(
    cdr: Cdr, configure: Configure, simulated: Simulated, embedded_database: str
) -> None:
    """The worker lives, and says which setting does not fit."""
    file = configure(embedded_database, "[recorder_defaults]\ntls = {}\nconnect_timeout = '1s'", alpha=simulated().port)
    worker = cdr.start("worker", "--config", str(file))
    worker.until("recorder alpha: .*TLS")
    time.sleep(1)
    done = worker.end(signal.SIGTERM)
    assert done.code == 0
    assert done.err.count("event=unreachable") == 1


def test_two_workers_share_everything_but_the_http_port(
    cdr: Cdr, configure: Configure, simulated: Simulated, embedded_database: str, free_port: Callable[[], int]
) -> None:
    """Hourly runs overlap: the second takes the port over when the first has gone, and coverage is the union."""
    port = free_port()
    file = configure(embedded_database, f'[http]\nlisten = "127.0.0.1:{port}"', alpha=simulated().port)
    first = cdr.start("worker", "--config", str(file))
    first.until("event=subscribed")
    second = cdr.start("worker", "--config", str(file))
    second.until("event=subscribed")
    second.until("http endpoint not available yet.*Address already in use")
    time.sleep(1.5)
    assert first.end(signal.SIGTERM).code == 0
    deadline = time.monotonic() + 20
    while _ready(port) != 200:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert json.loads(cdr("status", "--json", "--config", str(file)).out)["recorders"][0]["open_gaps"] == []
    done = second.end(signal.SIGTERM)
    assert done.code == 0
    assert "Traceback" not in done.err


def _ready(port: int) -> int:
    try:
        with urlopen(f"http://127.0.0.1:{port}/readyz") as answer:
            return int(answer.status)
    except HTTPError as answer:
        answer.close()
        return answer.code
    except OSError:
        return 0


def test_a_data_folder_that_cannot_be_written_to_is_told(here: Cdr, configure: Configure, tmp_path: Path) -> None:
    """Without a journal there is no worker: code 1, the folder, and why."""
    (tmp_path / "file").write_text("")
    done = here("worker", "--config", str(configure(AWAY, '[worker]\ndata_dir = "file/var"', alpha=1)))
    assert (done.code, done.out) == (1, "")
    assert f"{tmp_path}/file/var" in done.err
    assert "check that this user owns it and may read and write it" in done.err
    assert done.err.splitlines()[-1].startswith("cdr: ")


def test_simulate_refuses_a_port_that_is_taken(here: Cdr, simulated: Simulated) -> None:
    """Bad usage, with the port."""
    port = simulated().port
    done = here("simulate", "--port", str(port))
    assert done.code == 2
    assert str(port) in done.err
