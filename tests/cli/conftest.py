"""The real command, its configuration, and what it talks to."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
from psycopg import sql
from support.command import Result
from support.postgres import Server

import etl
from etl.store import embedded

PASSWORD = "g3heim/wort"
"""Has a character that a URL must quote."""
PATIENCE = 30.0
"""Seconds after which a test that waits for a process has failed."""

_SCRIPT = Path(sys.executable).with_name("cdr")
COMMAND = [str(_SCRIPT)] if _SCRIPT.exists() else [sys.executable, "-m", "etl.cli"]


class Running:
    """A command that runs, and what it has said so far."""

    def __init__(self, process: subprocess.Popen[bytes], out: Path, err: Path) -> None:
        self.process = process
        self._out, self._err = out, err

    @property
    def err(self) -> str:
        return self._err.read_text(errors="replace")

    @property
    def out(self) -> str:
        return self._out.read_text(errors="replace")

    def until(self, pattern: str) -> re.Match[str]:
        """Wait until it has said this on stderr."""
        deadline = time.monotonic() + PATIENCE
        while (found := re.search(pattern, self.err)) is None:
            assert self.process.poll() is None, f"ended with {self.process.returncode}: {self.err}"
            assert time.monotonic() < deadline, f"never said {pattern!r}: {self.err}"
            time.sleep(0.02)
        return found

    def send(self, sign: signal.Signals) -> None:
        self.process.send_signal(sign)

    def end(self, sign: signal.Signals | None = None) -> Result:
        """Wait for its end, after a signal if one is given."""
        if sign is not None:
            self.send(sign)
        return Result(self.process.wait(PATIENCE), self.out, self.err)


class Cdr:
    """Runs `cdr` as a user would: the installed command, or the module where it is not installed."""

    command = COMMAND

    def __init__(self, home: Path) -> None:
        self._home = home
        self._running: list[Running] = []
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "LC_ALL": "C.UTF-8",
            "TZ": "UTC",
            "PYTHONPATH": str(Path(etl.__file__).parent.parent),
        }

    def __call__(self, *words: str, **env: str) -> Result:
        done = subprocess.run(
            [*COMMAND, *words],
            env=self.env | env,
            cwd=self._home,
            capture_output=True,
            timeout=PATIENCE * 2,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        return Result(done.returncode, done.stdout.decode(), done.stderr.decode())

    def start(self, *words: str, **env: str) -> Running:
        number = len(self._running)
        out, err = self._home / f"{number}.out", self._home / f"{number}.err"
        with out.open("wb") as to, err.open("wb") as errors:
            process = subprocess.Popen([*COMMAND, *words], env=self.env | env, cwd=self._home, stdout=to, stderr=errors)
        self._running.append(Running(process, out, err))
        return self._running[-1]

    def kill(self) -> None:
        for each in self._running:
            if each.process.poll() is None:
                each.process.kill()
            each.process.wait()


@pytest.fixture
def cdr(tmp_path: Path) -> Iterator[Cdr]:
    """The command, run in a folder of its own; what still runs at the end of the test is killed."""
    command = Cdr(tmp_path)
    yield command
    command.kill()


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    """Finds a TCP port on which nobody listens."""

    def find() -> int:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return int(probe.getsockname()[1])

    return find


@pytest.fixture
def secret() -> str:
    """The password of the guarded server, as a URL quotes it."""
    return quote(PASSWORD, safe="")


Configure = Callable[..., Path]


@pytest.fixture
def configure(tmp_path: Path) -> Configure:
    """Writes a configuration; recorders as name=port, and further lines as they come."""

    def write(url: str, *lines: str, name: str = "cdr.toml", **recorders: int) -> Path:
        entries = [
            f'[[recorder]]\nname = "{recorder}"\nhost = "127.0.0.1"\nport = {port}\n'
            for recorder, port in recorders.items()
        ]
        listen = [] if any("[http]" in line for line in lines) else ['[http]\nlisten = ""']
        path = tmp_path / name
        path.write_text("\n".join([f'[database]\nurl = "{url}"', *listen, *lines, *entries]))
        return path

    return write


@dataclass(frozen=True)
class Simulated:
    """A simulated recorder in a process of its own."""

    port: int
    running: Running


@pytest.fixture
def simulated(cdr: Cdr) -> Callable[..., Simulated]:
    """Starts `cdr simulate` on a free port."""

    def start(*words: str, rate: str = "5") -> Simulated:
        running = cdr.start("simulate", "--port", "0", "--rate", rate, "--duration", "0.5", *words)
        return Simulated(int(running.until(r"listens on 127\.0\.0\.1:(\d+)")[1]), running)

    return start


@dataclass(frozen=True)
class Guarded:
    """A server that wants a password; `admin` gets in without."""

    admin: str

    def url(self, password: str | None, name: str = "postgres") -> str:
        """The URL of a database for the user `cdr`."""
        user = "cdr" if password is None else f"cdr:{password}"
        return self.admin.replace("postgres@", f"{user}@").replace("/postgres?", f"/{name}?")


@pytest.fixture(scope="session")
def guarded() -> Iterator[Guarded]:
    """A real PostgreSQL with a user `cdr` whose password is `PASSWORD`."""
    home = Path(tempfile.mkdtemp(prefix="cdr-test-"))
    home.chmod(0o755)
    cluster = embedded.Cluster(embedded.programs(), home / "data", ("fsync=off",))
    try:
        cluster.start()
        with psycopg.connect(cluster.url(), autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE ROLE cdr LOGIN SUPERUSER PASSWORD {}").format(PASSWORD))
        (cluster.data / "pg_hba.conf").write_text("local all postgres trust\nlocal all all scram-sha-256\n")
        cluster.stop()
        cluster.start()
        yield Guarded(cluster.url())
    finally:
        cluster.stop("immediate")
        shutil.rmtree(home, ignore_errors=True)
        shutil.rmtree(cluster.socket, ignore_errors=True)


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A folder that every user may enter: as root the embedded server runs as another one."""
    folder = Path(tempfile.mkdtemp(prefix="cdr-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def bare_database(embedded_server: Server) -> Iterator[str]:
    """An empty database without our schema."""
    yield embedded_server.create(f"bare_{os.getpid()}")
    embedded_server.drop(f"bare_{os.getpid()}")
