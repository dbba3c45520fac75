"""An archive with calls of people who must not be seen."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.postgres import connection
from support.readers import USERS, As, fill, make_user, url_of

from etl.store.database import Connection


@pytest.fixture
def archive(conn: Connection, database: str) -> Iterator[As]:
    """Connects to a filled archive, on every server, as one of `USERS`, who logs in, or as its owner, `postgres`."""
    fill(conn)
    for user, role in USERS.items():
        make_user(conn, user, role)
    opened: dict[str, Connection] = {}

    def log_in(user: str) -> Connection:
        if user not in opened:
            opened[user] = connection(url_of(database, user))
        return opened[user]

    yield log_in
    for each in opened.values():
        each.close()
