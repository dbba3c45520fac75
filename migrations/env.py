"""How alembic reaches the database: on the connection of `etl.store.migrate`, or by itself from its command line.

From the command line: `alembic -x url=postgresql://… upgrade head`, or with the URL in `CDR_DATABASE__URL`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from alembic import context
from sqlalchemy import Connection

from etl.store import migrate
from etl.store.schema import SCHEMA, metadata


@contextmanager
def _connection() -> Iterator[Connection]:
    ours = context.config.attributes.get("connection")
    if ours is not None:
        yield ours
        return
    url = context.get_x_argument(as_dictionary=True).get("url") or os.environ.get("CDR_DATABASE__URL")
    if not url:
        raise SystemExit("give the database: alembic -x url=postgresql://… or CDR_DATABASE__URL")
    with migrate.connection(url) as connection:
        yield connection


with _connection() as connection:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        version_table_schema=SCHEMA,
        include_schemas=True,
        include_name=migrate.include_name,
        include_object=migrate.include_object(connection),
        compare_type=True,
        compare_server_default=True,
    )
    with context.begin_transaction():
        context.run_migrations()
