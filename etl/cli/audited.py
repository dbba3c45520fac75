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


@contextmanager
def audited(
    archive: Archive, action: str, target: Mapping[str, Json], *, dry_run: bool = False
) -> Iterator[dict[str, Json]]:
    """Note who runs a command on what, before it does anything; what the block puts into the dictionary is noted as
    its effect (counts, without personal data), however the block ends. A dry run leaves no row."""
    effect: dict[str, Json] = {}
    if dry_run:
        yield effect
        return
    with archive.connect() as connection:
        number = audit.begin(connection, Author(whoever(), None), action, target)
    try:
        yield effect
    finally:
        with suppress(DatabaseError), archive.connect() as connection:  # the row is there, and the command has ended
            audit.effect(connection, number, effect)
