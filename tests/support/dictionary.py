"""The data dictionary: what stands in the COMMENTs of a migrated database, as a page."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from etl.store.database import Connection

INTRODUCTION = """\
# Data dictionary

Every table, view, column and function of the archive, as its COMMENT in the database says (`\\d+ report.calls` and
`\\df+ report.*` show the same in psql). Written by `make dictionary`; do not edit it.

Analysts read the views of schema `report` ([views](views.md) tells how they are meant, the [cookbook](cookbook.md) what
to ask them). The tables of schema `cdr` are for the archive itself ([store](store.md)). All times are `timestamptz`,
instants in UTC; psql shows them in the zone of the session.
"""

GROUPS: Mapping[str, tuple[str, ...]] = {
    "Calls and their evidence": ("call", "fact"),
    "Coverage": ("recorder", "session", "gap", "gap_acceptance", "call_acceptance"),
    "What was not understood": ("quarantine",),
    "Runs": (
        *("reconcile_run", "reconcile_action", "backfill_run", "backfill_folder", "history_read"),
        *("verify_run", "verify_finding"),
    ),
    "Readers, retention and audit": (
        *("audit", "mask_key", "legal_hold", "held_call", "listed_call"),
        *("erased_call", "expiry", "minimum_age", "export"),
    ),
    "Codes": ("cause", "direction", "audio_codec", "signaling", "modality"),
}
"""Tables of schema `cdr` by what they are about; those that are not named here follow under "The archive's own"."""

_RELATIONS = """
SELECT n.nspname, c.relname, c.relkind = 'v', coalesce(obj_description(c.oid, 'pg_class'), ''),
    coalesce(pg_get_partkeydef(c.oid), '')
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname IN ('cdr', 'report') AND c.relkind IN ('r', 'p', 'v', 'm') AND NOT c.relispartition
  AND c.relname <> 'alembic_version'
ORDER BY 1, 2
"""

_COLUMNS = """
SELECT n.nspname, c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
    coalesce(col_description(c.oid, a.attnum), '')
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname IN ('cdr', 'report') AND c.relkind IN ('r', 'p', 'v', 'm') AND NOT c.relispartition
  AND c.relname <> 'alembic_version' AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY 1, 2, a.attnum
"""

_FUNCTIONS = """
SELECT n.nspname, p.proname, pg_get_function_identity_arguments(p.oid), pg_get_function_result(p.oid),
    coalesce(obj_description(p.oid, 'pg_proc'), '')
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE n.nspname IN ('cdr', 'report')
ORDER BY 1, 2, 3
"""


@dataclass(frozen=True)
class Column:
    name: str
    type: str
    required: bool
    comment: str


@dataclass(frozen=True)
class Relation:
    """A table or view; `partitioned`: by what, empty if it is not. Partitions are part of their table."""

    columns: tuple[Column, ...]
    schema: str
    name: str
    view: bool
    comment: str
    partitioned: str


@dataclass(frozen=True)
class Function:
    schema: str
    name: str
    arguments: str
    result: str
    comment: str


@dataclass(frozen=True)
class Dictionary:
    """What the database says about itself. `codes`: the rows of each table of codes."""

    relations: tuple[Relation, ...]
    functions: tuple[Function, ...]
    codes: Mapping[str, Sequence[tuple[object, str]]]

    def uncommented(self) -> list[str]:
        """What has no COMMENT."""
        bare = [f"{each.schema}.{each.name}" for each in self.relations if not each.comment]
        for relation in self.relations:
            place = f"{relation.schema}.{relation.name}"
            bare += [f"{place}.{column.name}" for column in relation.columns if not column.comment]
        return bare + [f"{each.schema}.{each.name}({each.arguments})" for each in self.functions if not each.comment]


def read(connection: Connection) -> Dictionary:
    """The dictionary of a migrated database."""
    with connection.transaction():
        columns = {
            place: tuple(Column(*row[2:]) for row in rows)
            for place, rows in groupby(connection.execute(_COLUMNS).fetchall(), key=lambda row: (row[0], row[1]))
        }
        relations = tuple(Relation(columns[row[0], row[1]], *row) for row in connection.execute(_RELATIONS).fetchall())
        functions = tuple(Function(*row) for row in connection.execute(_FUNCTIONS))
        codes = {
            name: sorted(connection.execute(f"SELECT id, name FROM cdr.{name}".encode()).fetchall())
            for name in GROUPS["Codes"]
        }
    return Dictionary(relations, functions, codes)


def render(dictionary: Dictionary) -> str:
    """The page, in Markdown."""
    views = [each for each in dictionary.relations if each.schema == "report"]
    parts = [INTRODUCTION, "## Views for people (schema `report`)\n", *map(_relation, views)]
    parts += ["## Functions for people (schema `report`)\n", _functions(dictionary.functions, "report")]
    for title, tables in _grouped(dictionary.relations):
        parts += [f"## {title} (schema `cdr`)\n", *(_relation(each) + _codes(dictionary, each) for each in tables)]
    parts += ["## Functions of the archive (schema `cdr`)\n", _functions(dictionary.functions, "cdr")]
    return "\n".join(parts)


def _grouped(relations: Iterable[Relation]) -> Iterator[tuple[str, list[Relation]]]:
    left = {each.name: each for each in relations if each.schema == "cdr"}
    for title, names in GROUPS.items():
        yield title, [left.pop(name) for name in names]
    yield "The archive's own", list(left.values())


def _relation(relation: Relation) -> str:
    text = f"### {relation.schema}.{relation.name}\n\n{_sentence(relation.comment)}"
    if relation.partitioned:
        text += f" Partitioned by {relation.partitioned}."
    if relation.view:
        rows = [(f"`{each.name}`", each.type, each.comment) for each in relation.columns]
        return f"{text}\n\n{table(('column', 'type', 'meaning'), rows)}"
    full = [(f"`{each.name}`", each.type, "" if each.required else "yes", each.comment) for each in relation.columns]
    return f"{text}\n\n{table(('column', 'type', 'null?', 'meaning'), full)}"


def _codes(dictionary: Dictionary, relation: Relation) -> str:
    rows = dictionary.codes.get(relation.name)
    if relation.schema != "cdr" or rows is None:
        return ""
    return "\nAs installed: " + ", ".join(f"`{key}` {name}" for key, name in rows) + ".\n"


def _functions(functions: Iterable[Function], schema: str) -> str:
    return "\n".join(
        f"### {each.schema}.{each.name}\n\n{_sentence(each.comment)}\n\n"
        f"```sql\n{each.schema}.{each.name}({each.arguments})\n{_result(each.result)}\n```\n"
        for each in functions
        if each.schema == schema
    )


def _result(result: str) -> str:
    return textwrap.fill(
        f"RETURNS {result.replace('TABLE(', 'TABLE (')}", 110, initial_indent="    ", subsequent_indent="        "
    )


def _sentence(text: str) -> str:
    return text if text.endswith(".") else f"{text}."


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *([_cell(each) for each in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")
