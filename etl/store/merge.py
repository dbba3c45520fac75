"""The merge as SQL: from facts in staging to `cdr.fact` and `cdr.call`.

Everything is generated from `etl.fields.FIELDS`, the tables of `etl.store.schema` and the law of precedence
(`etl.model.PRECEDENCE`). `etl.store.write` runs the statements in the order in which they stand here; each is
safe against a second writer that works on the same calls at the same moment (docs/store.md says why).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import Dialect
from sqlalchemy.dialects import registry

from etl.fields import FIELDS
from etl.model import FINISHED, PRECEDENCE, Kind, State
from etl.store import schema

STAGED = "pg_temp.staged"

KEY = "call_id, id_time"
_VERSION = "observed_at, digest"

STAGED_COLUMNS: tuple[str, ...] = tuple(
    column.name for column in schema.fact.columns if column.name != "first_observed_at"
)
"""Columns of a staged fact, in the order of the COPY."""

_dialect: Dialect = registry.load("postgresql")()

STAGED_TYPES: tuple[str, ...] = tuple(
    schema.fact.columns[name].type.compile(_dialect).partition(" COLLATE ")[0].lower() for name in STAGED_COLUMNS
)
"""Their types: in binary form nothing tells PostgreSQL what a value is."""

_DERIVED: tuple[str, ...] = tuple(
    column.name
    for column in schema.call.columns
    if not column.primary_key and column.computed is None and column.name != "recorded_at"
)
"""Columns of a call's row that follow from its facts."""

_OF_ANY_FACT = "(starts_with(flag, 'bad_') OR flag = 'end_before_start')"
"""Flags that reach the row from any fact; docs/facts.md lists them."""

_OF_THE_TIME = "flag IN ('end_ambiguous', 'nonexistent_time', 'duration_differs', 'zone_suspect')"
"""Flags that reach the row only from the facts whose start and end it shows."""

_UNWANTED = ("hashjoin", "mergejoin", "seqscan", "bitmapscan", "material", "memoize")

SETTINGS = "; ".join(f"SET LOCAL enable_{plan} = off" for plan in _UNWANTED)
"""Staging has no statistics: left to itself the planner reads whole partitions, and a batch costs more with every
month. With these off each statement walks the staged rows and looks the others up by their key. `OFFSET 0` below
serves the same end: a subquery that has it stays inside its loop."""


def _list(columns: tuple[str, ...], template: str = "{}") -> str:
    return ", ".join(template.format(column) for column in columns)


def within(statement: str, times: Iterable[datetime]) -> str:
    """A statement with its `within(alias)` replaced by the months of a batch, as constants.

    The planner then leaves all other partitions alone: without this a small batch costs more with every month.
    """
    months = sorted({(time.year, time.month) for time in times})
    ranges = [
        f"{{0}}.id_time >= '{_first_of(*month)}' AND {{0}}.id_time < '{_first_of(*_next(*month))}'" for month in months
    ]
    if len(months) > _MANY:
        ranges = [f"{{0}}.id_time >= '{_first_of(*months[0])}'"]
    condition = "(" + " OR ".join(ranges or ["false"]) + ")"
    return re.sub(r"within\((\w)\)", lambda found: condition.format(found[1]), statement)


_MANY = 24


def _next(year: int, month: int) -> tuple[int, int]:
    return (year, month + 1) if month < 12 else (year + 1, 1)


def _first_of(year: int, month: int) -> str:
    return f"{year:04}-{month:02}-01 00:00:00+00"


CREATE_STAGED = f"""
CREATE TEMPORARY TABLE IF NOT EXISTS staged ON COMMIT DELETE ROWS AS
SELECT {_list(STAGED_COLUMNS)} FROM cdr.fact WITH NO DATA
"""

EMPTY_STAGED = f"DELETE FROM {STAGED}"

COPY = f"COPY {STAGED} ({_list(STAGED_COLUMNS)}) FROM STDIN (FORMAT binary)"
"""Step 0. Binary costs a third of text on our side: nothing to escape, no elements in hexadecimal."""

FORGET_KNOWN = f"""
DELETE FROM {STAGED} s WHERE EXISTS (
    SELECT FROM cdr.fact f
    WHERE f.call_id = s.call_id AND f.id_time = s.id_time AND f.kind = s.kind AND within(f)
      AND (f.observed_at, f.digest) >= (s.observed_at, s.digest) AND f.first_observed_at <= s.observed_at
    OFFSET 0
)
"""
"""Step 1: what is known as new or newer needs no work, unless it was observed earlier than all that is known."""


# The law of precedence ------------------------------------------------------------------------------------------


def _precedence() -> str:
    cases = " ".join(f"WHEN '{kind.value}' THEN {number}" for kind, number in PRECEDENCE.items())
    return f"CASE kind {cases} END"


RANK = f"row_number() OVER (PARTITION BY {KEY} ORDER BY {_precedence()}, observed_at DESC, digest DESC, kind)"
"""The order in which the facts of a call speak, from 1."""


def _first(expression: str, where: str | None = None) -> str:
    """The first value, in the order in which facts speak, that is not null."""
    return f"(array_agg({expression} ORDER BY rank) FILTER (WHERE {where or expression} IS NOT NULL))[1]"


def _state(finished: str, absent: str, others: str, ended: str) -> str:
    """G3 as SQL: conditions, and the times of the absence and of the newest other fact."""
    return (
        f"CASE WHEN {finished} THEN '{State.COMPLETE}'"
        f" WHEN {absent} IS NOT NULL AND ({others} IS NULL OR {absent} > {others}) THEN '{State.LOST}'"
        f" WHEN {ended} THEN '{State.ENDED}' ELSE '{State.ONGOING}' END"
    )


def _attributes() -> str:
    """Per top-level key the value of the first fact that has one: `||` lets its right side win."""
    ranks = range(len(Kind), 0, -1)
    return " || ".join(f"coalesce(documents[{rank}], '{{}}')" for rank in ranks)


_FINISHED = "kind IN ({})".format(", ".join(f"'{kind}'" for kind in sorted(FINISHED)))
_ENDED = f"(kind = '{Kind.END}' OR end_time IS NOT NULL)"
_FLAGS = "nullif(array_to_string(quality, ' '), '')"
_CONTRADICTS = "(start_rank <> end_rank AND end_time < start_time)"
_DIFFERS = "(stream <> located)"


def _quality() -> str:
    """The row's flags: a subquery only for the few rows that have any."""
    provided = f"concat_ws(' ', start_flags, CASE WHEN NOT coalesce({_CONTRADICTS}, false) THEN end_flags END)"
    return f"""CASE WHEN flags IS NULL AND NOT coalesce({_CONTRADICTS}, false) AND NOT coalesce({_DIFFERS}, false)
        THEN '{{}}'::text[] ELSE ARRAY(
            SELECT flag FROM regexp_split_to_table(flags, ' ') flag
            WHERE {_OF_ANY_FACT}
            UNION SELECT flag FROM regexp_split_to_table({provided}, ' ') flag
            WHERE {_OF_THE_TIME}
            UNION SELECT 'end_before_start' WHERE {_CONTRADICTS}
            UNION SELECT 'recorder_differs' WHERE {_DIFFERS}
            ORDER BY 1) END"""


def derive(facts: str) -> str:
    """The rows of calls, as a SELECT of their key and `_DERIVED`, that follow from a FROM item with all their facts."""
    fields = ",\n    ".join(f"{_first(field.name)} AS {field.name}" for field in FIELDS)
    shown = {
        "recorder": "coalesce(stream, located)",
        "state": _state("finished", "absent_at", "others_at", "ended"),
        "end_time": f"CASE WHEN NOT coalesce({_CONTRADICTS}, false) THEN end_time END",
        "attributes": _attributes(),
        "quality": _quality(),
    }
    columns = ",\n    ".join(f"{shown[name]} AS {name}" if name in shown else name for name in _DERIVED)
    return f"""
WITH ranked AS (
    SELECT *, {RANK} AS rank
    FROM {facts}
), folded AS (
    SELECT {KEY},
    {_first("recorder")} AS stream,
    {_first("located")} AS located,
    {_first("kind")} AS source,
    bool_or({_FINISHED}) AS finished,
    max(observed_at) FILTER (WHERE kind = '{Kind.ABSENT}') AS absent_at,
    max(observed_at) FILTER (WHERE kind <> '{Kind.ABSENT}') AS others_at,
    bool_or({_ENDED}) AS ended,
    {fields},
    min(rank) FILTER (WHERE start_time IS NOT NULL) AS start_rank,
    min(rank) FILTER (WHERE end_time IS NOT NULL) AS end_rank,
    {_first("coalesce(" + _FLAGS + ", '')", "start_time")} AS start_flags,
    {_first("coalesce(" + _FLAGS + ", '')", "end_time")} AS end_flags,
    string_agg({_FLAGS}, ' ') AS flags,
    array_agg(attributes ORDER BY rank) AS documents,
    min(first_observed_at) AS first_seen_at
    FROM ranked GROUP BY {KEY}
)
SELECT {KEY}, {columns}
FROM folded"""


# Statements -----------------------------------------------------------------------------------------------------


def _insert_calls() -> str:
    provided = "CASE WHEN start_time IS NOT NULL OR end_time IS NOT NULL THEN quality END"
    one_fact = {
        "recorder": "coalesce(recorder, located)",
        "state": _state(_FINISHED, f"CASE kind WHEN '{Kind.ABSENT}' THEN observed_at END", "NULL", _ENDED),
        "source": "kind",
        "quality": f"""CASE WHEN quality = '{{}}' AND NOT coalesce(recorder <> located, false)
        THEN '{{}}'::text[] ELSE ARRAY(
            SELECT flag FROM unnest(quality) flag WHERE {_OF_ANY_FACT}
            UNION SELECT flag FROM unnest({provided}) flag WHERE {_OF_THE_TIME}
            UNION SELECT 'recorder_differs' WHERE recorder <> located
            ORDER BY 1) END""",
        "first_seen_at": "observed_at",
    }
    values = ", ".join(one_fact.get(name, name) for name in _DERIVED)
    return f"""
INSERT INTO cdr.call ({KEY}, {_list(_DERIVED)}, recorded_at)
SELECT {KEY}, {values}, statement_timestamp() FROM {STAGED}
ORDER BY {KEY} ON CONFLICT DO NOTHING
RETURNING {KEY}, recorder, state
"""


INSERT_CALLS = _insert_calls()
"""Step 2: the rows of new calls as if each had only one fact, the law's simplest case. It also locks those rows."""

LOCK_CALLS = f"""
SELECT k.call_id, k.id_time, c.state
FROM (SELECT DISTINCT {KEY} FROM {STAGED} ORDER BY {KEY}) k CROSS JOIN LATERAL (
    SELECT state FROM cdr.call c WHERE c.call_id = k.call_id AND c.id_time = k.id_time AND within(c) OFFSET 0 FOR UPDATE
) c
"""
"""Step 3, where a call was known or has several facts: lock in the order of the key, so that no two writers wait
for each other."""

_CONTENT = tuple(name for name in STAGED_COLUMNS if name not in ("call_id", "id_time", "kind"))

_ONE_OF_A_KIND = f"""
INSERT INTO cdr.fact AS f ({_list(STAGED_COLUMNS)}, first_observed_at)
SELECT DISTINCT ON ({KEY}, kind) {_list(STAGED_COLUMNS)}, min(observed_at) OVER (PARTITION BY {KEY}, kind)
FROM {STAGED} ORDER BY {KEY}, kind, observed_at DESC, digest DESC
ON CONFLICT ({KEY}, kind) DO UPDATE SET"""

INSERT_FACTS = f"""{_ONE_OF_A_KIND} {_list(_CONTENT, "{0} = excluded.{0}")}
WHERE (f.observed_at, f.digest) < (excluded.observed_at, excluded.digest)
"""
"""Step 4: of each kind the fact observed last, the greater digest deciding equal times."""

KEEP_FIRST_OBSERVED = f"""{_ONE_OF_A_KIND} first_observed_at = excluded.first_observed_at
WHERE f.first_observed_at > excluded.first_observed_at
"""
"""Step 4, second half: an older fact that comes late still tells when its kind was observed first."""


_READ = tuple(name for name in _CONTENT if name not in ("observed_at", "recorder", "digest", "element"))

REPLACE_FACTS = f"""
UPDATE cdr.fact f SET {_list(_READ, "{0} = s.{0}")} FROM {STAGED} s
WHERE f.call_id = s.call_id AND f.id_time = s.id_time AND f.kind = s.kind AND f.digest = s.digest AND within(f)
  AND ({_list(_READ, "f.{}")}) IS DISTINCT FROM ({_list(_READ, "s.{}")})
RETURNING f.call_id, f.id_time, f.kind
"""
"""For `cdr rebuild`, in place of steps 1 to 4: what the same elements say when they are read again. The digest tells
the fact from another one that has become of the same kind."""


def _update_calls(keys: str) -> str:
    facts = f"""(SELECT f.* FROM ({keys}) k CROSS JOIN LATERAL (
        SELECT * FROM cdr.fact i WHERE i.call_id = k.call_id AND i.id_time = k.id_time AND within(i) OFFSET 0) f
    ) known"""
    return f"""
INSERT INTO cdr.call AS c ({KEY}, {_list(_DERIVED)}, recorded_at)
SELECT {KEY}, {_list(_DERIVED)}, statement_timestamp() FROM ({derive(facts)}) d
ON CONFLICT ({KEY}) DO UPDATE SET {_list(_DERIVED, "{0} = excluded.{0}")}, recorded_at = excluded.recorded_at
WHERE ({_list(_DERIVED, "c.{}")}) IS DISTINCT FROM ({_list(_DERIVED, "excluded.{}")})
RETURNING c.call_id, c.id_time, c.recorder, c.state
"""


UPDATE_CALLS = _update_calls(f"SELECT DISTINCT {KEY} FROM {STAGED}")
"""Step 5: derive the calls from all their facts and write what differs. It is a later statement than the lock: only
then does it see what other writers committed. The rows are there; it is written as an insert because that finds each
by its key, while the planner may begin an update's join with all calls of the month."""

UPDATE_THESE = _update_calls(f"SELECT * FROM unnest(%s::text[], %s::timestamptz[]) k ({KEY})")
"""The same for given calls, whether or not a fact of them is staged. For `cdr rebuild`."""
