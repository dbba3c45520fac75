"""The database of a configuration, reached over a URL or started under `data_dir`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from etl.config import Settings
from etl.errors import DatabaseUnavailable, UsageError
from etl.store import database, embedded
from etl.store.database import Connection


class Archive:
    """Opens connections to the archive's database; an embedded one is started where it does not run."""

    def __init__(self, settings: Settings) -> None:
        """Raises UsageError where no database is configured, or the embedded one is not installed."""
        self._data_dir = settings.worker.data_dir if settings.database.embedded else None
        self._cluster = embedded.cluster(self._data_dir) if self._data_dir else None
        if self._cluster is None and settings.database.url is None:
            raise UsageError(
                "no database is configured: set database.url, or database.embedded = true, in ./cdr.toml or the file"
                " that --config names"
            )
        secret = settings.database.url
        self._url = self._cluster.url() if self._cluster else secret.get_secret_value() if secret else ""

    @property
    def url(self) -> str:
        """The URL, which may hold a password."""
        return self._url

    def connect(self, *, application: str = "cdr") -> Connection:
        """A new connection; raises DatabaseUnavailable or DatabaseRefused."""
        try:
            return database.connect(self._url, application=application)
        except DatabaseUnavailable:
            if self._cluster is None:
                raise
        self.start()
        return database.connect(self._url, application=application)

    def start(self, *, upgrade: bool = True) -> None:
        """Start the embedded server where it does not run, and bring its schema up to date: it is ours alone."""
        if self._cluster is None:
            return
        self._cluster.start()
        if upgrade:
            from etl.store import migrate  # alembic takes long to import, and only an embedded server needs it here

            migrate.upgrade(self._url)

    def shared(self) -> AbstractContextManager[None]:
        """An embedded server runs for as long as one command is inside of this, here or in another process."""
        return embedded.shared(self._cluster) if self._cluster else nullcontext()


@contextmanager
def opened(settings: Settings) -> Iterator[Archive]:
    """The archive for as long as a command needs it."""
    archive = Archive(settings)
    with archive.shared():
        yield archive
