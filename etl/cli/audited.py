"""Leaves a row in `cdr.audit` for a command that changes the archive."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from etl.cli.accept import whoever
from etl.cli.archive import Archive
from etl.errors import DatabaseError
from etl.model import Json
from etl.store import audit
from etl.store.audit import Author
from etl.store.database import Connection
from etl.store.errors import translate


@contextmanager
def audited(
    archive: Archive, action: str, target: Mapping[str, Json], *, dry_run: bool = False
) -> Iterator[dict[str, Json]]:
    """Note who runs a command on what, before it does anything; what the block puts into the dictionary is noted as
    its effect (counts, without personal data), however the block ends. A dry run leaves no row.

    A row of the audit belongs to the session that wrote it. Where that is lost meanwhile another row tells the effect,
    and names the first.
    """
    effect: dict[str, Json] = {}
    if dry_run:
        yield effect
        return
    author = Author(whoever(), None)
    with archive.connect() as connection:
        number = audit.begin(connection, author, action, target)
        try:
            yield effect
        finally:
            with suppress(DatabaseError):  # lost for good: the row is there, and the command has ended
                _note_effect(archive, connection, number, (author, action, target), effect)


def _note_effect(
    archive: Archive,
    connection: Connection,
    number: int,
    row: tuple[Author, str, Mapping[str, Json]],
    effect: Mapping[str, Json],
) -> None:
    try:
        audit.effect(connection, number, effect)
    except DatabaseError:
        author, action, target = row
        with archive.connect() as another, translate(), another.transaction(), another.cursor() as cursor:
            audit.note(cursor, author, action, {**target, "began_in": number}, effect)
