"""The questions of `sql/cookbook`: read from their files, asked as psql would, shown as a page."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from psycopg import sql
from support.dictionary import table

from etl.store.database import Connection

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "sql" / "cookbook"

_HEAD = re.compile(
    r"-- (?P<question>.+)\n--\n-- Role: +(?P<role>\w+)\n-- Zone: +(?P<zone>.+)\n-- Example: +(?P<example>.+)\n"
)
_VARIABLE = re.compile(r"(?<!:):'(\w+)'")
_SHOWN = 12
"""So many rows of an answer stand on the page."""

INTRODUCTION = """\
# Cookbook

{count} questions to the archive, each a file in `sql/cookbook/` that psql runs. `cdr db sql` sets the variable
`cookbook` to that folder, wherever cdr-archive is installed:

```
cdr db sql
```

```
\\set from 2025-03-10
\\set to 2025-03-17
\\set zone America/New_York
\\set extension 1000
\\i :cookbook/22_calls_of_an_extension.sql
```

Without `\\set` a question is about last month, by the clock of your session. What you set stays set. In other programs
put the values in place of `:'from'` and the like, and `SET TIME ZONE` first.

Each names the role that it is for. `cdr_analyst` reads the views of schema `report`, with pseudonyms in place of
numbers and names; `cdr_investigator` reads the same views as they are; questions of compliance are for `cdr_owner`
([views](views.md) tells how to grant them).

The answers below are those of a small archive that the tests know by heart: March 2025 on three recorders, in Berlin
and New York, with gaps, a failover, copies and all the rest (`tests/support/known.py`). Written by `make dictionary`;
do not edit it.
"""


@dataclass(frozen=True)
class Question:
    """One file. `example`: values of its variables, for which the known archive has an answer worth seeing."""

    name: str
    text: str
    question: str
    role: str
    zone: str
    example: Mapping[str, str]

    @property
    def statement(self) -> str:
        """The SQL alone, without comments and psql's own commands before it."""
        lines = self.text.splitlines()
        return "\n".join(line for line in lines if not line.startswith(("--", "\\"))).strip()

    @property
    def note(self) -> str:
        """What the header says beyond role and zone."""
        lines = [line.removeprefix("--").strip() for line in self.text.splitlines() if line.startswith("--")]
        return " ".join(lines[5:]).strip()

    @property
    def variables(self) -> set[str]:
        """What it can be asked for."""
        return {*_VARIABLE.findall(self.statement), "zone"}


@dataclass(frozen=True)
class Answer:
    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]


def parse(path: Path) -> Question:
    """The question in a file. Raises ValueError for a header that is not as those of the others."""
    text = path.read_text(encoding="utf-8")
    found = _HEAD.match(text)
    if found is None:
        raise ValueError(f"{path.name}: the header must be: question, empty, Role, Zone, Example")
    example = dict(word.split("=", 1) for word in shlex.split(found["example"]))
    return Question(path.stem, text, found["question"], found["role"], found["zone"], example)


def questions() -> list[Question]:
    """All of them, in order."""
    return [parse(path) for path in sorted(FOLDER.glob("*.sql"))]


def ask(connection: Connection, question: Question) -> Answer:
    """The answer to a question's example, as its role may see it."""
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(question.role)))
        cursor.execute(sql.SQL("SET LOCAL TIME ZONE {}").format(question.example["zone"]))
        filled = _VARIABLE.sub(lambda found: sql.quote(question.example[found[1]]), question.statement)
        cursor.execute(filled.encode(), prepare=False)
        assert cursor.description is not None
        return Answer(tuple(column.name for column in cursor.description), cursor.fetchall())


def render(answered: Sequence[tuple[Question, Answer]]) -> str:
    """The page, in Markdown."""
    contents = "".join(
        f"{number}. [{each.question}](#{_slug(each)}) ({each.role.removeprefix('cdr_')})\n"
        for number, (each, _) in enumerate(answered, 1)
    )
    parts = [INTRODUCTION.format(count=len(answered)), contents]
    return "\n".join([*parts, *(_section(question, answer) for question, answer in answered)])


def _slug(question: Question) -> str:
    return re.sub(r"[^\w\- ]", "", question.question.lower()).replace(" ", "-")


def _section(question: Question, answer: Answer) -> str:
    asked = ", ".join(f"`{name}` {value}" for name, value in question.example.items())
    lines = [
        f"## {question.question}\n",
        f"{question.note}\n" if question.note else "",
        f"Role `{question.role}`; {question.zone}; `\\i :cookbook/{question.name}.sql`\n",
        f"```sql\n{question.statement}\n```\n",
        f"With {asked}:\n",
        table(answer.columns, ([show(value) for value in row] for row in answer.rows[:_SHOWN])),
    ]
    if len(answer.rows) > _SHOWN:
        lines.append(f"… and {len(answer.rows) - _SHOWN} more rows\n")
    return "\n".join(line for line in lines if line)


def show(value: object) -> str:
    """A value as a reader of the page wants it."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case datetime():
            return value.isoformat(sep=" ", timespec="seconds")
        case Decimal():
            return f"{value:f}"
        case list():
            return ", ".join(map(str, value))
        case _:
            return str(value)
