"""Legal holds: calls that are neither deleted nor erased while a hold covers them, whatever else is asked for.

A hold covers calls by what their row and their facts say at the moment of the question, also calls that come later.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias

from etl.calls.ids import canonical
from etl.calls.parties import APART, JOINED, POINT, SHORT, Mentions, forms, said, words
from etl.errors import UsageError
from etl.fields import PERSONAL
from etl.model import Json
from etl.store import audit, gate
from etl.store.audit import Author
from etl.store.database import Connection, Cursor, name_of
from etl.store.errors import translate

What: TypeAlias = Literal["call", "party", "span"]

BEGAN = """coalesce({0}.start_time, {0}.end_time,
    CASE WHEN {0}.id_time >= '2000-01-01 00:00+00' THEN least({0}.id_time, {0}.first_seen_at) END, {0}.first_seen_at)"""
"""SQL of when a call began, for its age, of a row of `cdr.call`; `etl.calls.retention.began` is the same of facts."""


# Who is a party to a call, as SQL ---------------------------------------------------------------------------------

_NUMBERS = ("source_caller_id", "destination_caller_id", "recorded_extension", "dialed_extension", "agent_id")
_PARTIES = tuple(sorted(PERSONAL))

_AMONG = "[,;|/<>[:space:]]+"
_ADDRESS = "sips?:|tel:|@[^,;|/<>[:space:]]*"
"""What surrounds the number in an address such as `sip:1000@example.com`."""


def mentions(alias: str, spellings: str) -> str:
    """SQL: whether a row of `cdr.call` or `cdr.fact` has one of the spellings (an SQL array, in lower case) as a party.

    As whole words of a personal field or of a value among the other attributes; `etl.calls.parties.Mentions` is the
    same of documents. One that is short only as a whole field, or as a number in a list or an address.
    """
    fields = ", ".join(f"{alias}.{name}" for name in _PARTIES)
    lowered = ", ".join(f"lower({alias}.{name})" for name in _PARTIES)
    numbers = f"lower(concat_ws(',', {', '.join(f'{alias}.{name}' for name in _NUMBERS)}))"
    values = f"""(SELECT string_agg(value #>> '{{}}', chr(1)) FROM jsonb_path_query({alias}.attributes, '$.**') value
            WHERE jsonb_typeof(value) IN ('string', 'number'))"""
    normal = f"replace(lower(normalize(concat_ws(chr(1), {fields}, {values}), NFKC)), 'ß', 'ss')"
    joined = f"regexp_replace({normal}, '{POINT}', chr({ord(JOINED)}), 'g')"
    read = f"replace(regexp_replace({joined}, '{APART}', ' ', 'g'), chr(1), ' ' || chr(1) || ' ')"
    return f"""EXISTS (
        SELECT FROM (SELECT ' ' || {read} || ' ' AS words OFFSET 0) said CROSS JOIN unnest({spellings}) form
        WHERE CASE WHEN char_length(form) >= {SHORT} THEN strpos(said.words, ' ' || form || ' ') > 0
            ELSE form IN ({lowered})
                OR form = ANY (regexp_split_to_array({numbers}, '{_AMONG}'))
                OR form = ANY (regexp_split_to_array(regexp_replace({numbers}, '{_ADDRESS}', '', 'g'), '{_AMONG}'))
            END)"""


_COVERS = f"""
h.released_at IS NULL
AND (h.recorder IS NULL OR h.recorder = c.recorder)
AND (h.from_time IS NULL OR {BEGAN.format("c")} >= h.from_time)
AND (h.to_time IS NULL OR {BEGAN.format("c")} < h.to_time)
AND CASE h.kind WHEN 'call' THEN h.value = c.call_id WHEN 'party' THEN {mentions("c", "h.forms")} OR EXISTS (
    SELECT FROM cdr.fact f WHERE f.call_id = c.call_id AND f.id_time = c.id_time AND {mentions("f", "h.forms")})
ELSE true END
"""

HELD = f"EXISTS (SELECT FROM cdr.legal_hold h WHERE {_COVERS})"
"""SQL: whether a hold covers the call `c`, a row of `cdr.call`."""


# Setting and releasing them ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a new hold is to cover: one call, the calls of a party, or (both None) all; of one recorder, in a time."""

    call_id: str | None = None
    party: str | None = None
    recorder: str | None = None
    start: datetime | None = None
    end: datetime | None = None

    @property
    def kind(self) -> What:
        return "call" if self.call_id is not None else "party" if self.party is not None else "span"


@dataclass(frozen=True, slots=True)
class Hold:
    """A hold as it stands. `value`: the call's id or the party; None for a span, and once its party was erased."""

    id: int
    kind: What
    value: str | None
    recorder: str | None
    start: datetime | None
    end: datetime | None
    who: str
    reason: str
    at: datetime
    released_at: datetime | None
    released_by: str | None
    release_reason: str | None


_COLUMNS = """
id, kind, value, recorder, from_time, to_time, who, reason, at, released_at, released_by, release_reason
"""

_SET = """
INSERT INTO cdr.legal_hold (kind, value, forms, recorder, from_time, to_time, who, reason)
VALUES (%s, %s, ARRAY(SELECT DISTINCT lower(form) FROM unnest(%s::text[]) form ORDER BY 1), %s, %s, %s, %s, %s)
RETURNING id
"""

_COUNT = f"SELECT count(*) FROM cdr.call c JOIN cdr.legal_hold h ON h.id = %s WHERE {_COVERS}"

_OF_CALL = f"""
SELECT h.id FROM cdr.call c CROSS JOIN cdr.legal_hold h WHERE c.call_id = %s AND c.id_time = %s AND {_COVERS} ORDER BY 1
"""


def hold(connection: Connection, wanted: Wanted, author: Author) -> int:
    """Set a hold; its id. From the return on nothing that it covers is deleted or erased, nor by what runs already."""
    spellings = list(forms(wanted.party)) if wanted.party is not None else []
    value = canonical(wanted.call_id) if wanted.call_id is not None else wanted.party
    limits = [wanted.recorder, wanted.start, wanted.end]
    with translate(name_of(connection)), connection.transaction(), connection.cursor() as cursor:
        cursor.execute(gate.PASS)
        cursor.execute(_SET, [wanted.kind, value, spellings, *limits, author.who, author.reason])
        row = cursor.fetchone()
        assert row is not None
        target: dict[str, Json] = {"hold": row[0], "kind": wanted.kind}
        audit.note(cursor, author, "retention hold", target)
    return int(row[0])


def covered(connection: Connection, number: int) -> int:
    """How many calls a hold covers now. Reads all calls of its time."""
    with translate(name_of(connection)), connection.transaction():
        row = connection.execute(_COUNT, [number]).fetchone()
    return int(row[0]) if row else 0


def of_call(connection: Connection, call_id: str, id_time: datetime) -> list[int]:
    """The holds that cover a call now (its canonical id, and the time in it)."""
    return [row[0] for row in connection.execute(_OF_CALL, [call_id, id_time])]


_RELEASE = """
UPDATE cdr.legal_hold SET released_at = now(), released_by = %s, release_reason = %s
WHERE id = %s AND released_at IS NULL
"""


def release(connection: Connection, number: int, author: Author) -> None:
    """End a hold. Raises UsageError where there is none, or it is released already."""
    with translate(name_of(connection)), connection.transaction(), connection.cursor() as cursor:
        if not cursor.execute(_RELEASE, [author.who, author.reason, number]).rowcount:
            raise UsageError(f"no hold {number} is in force: 'cdr retention list' shows those that are")
        audit.note(cursor, author, "retention release", {"hold": number})


def listed(connection: Connection, *, released: bool = False) -> list[Hold]:
    """The holds in force, with `released` all there ever were; the newest first."""
    query = f"SELECT {_COLUMNS} FROM cdr.legal_hold WHERE %s OR released_at IS NULL ORDER BY id DESC"
    with translate(name_of(connection)), connection.transaction():
        return [Hold(*row) for row in connection.execute(query, [released])]


# Documents that are no facts --------------------------------------------------------------------------------------


class Guard:
    """Tells which documents, of quarantine or of reconciliation, a hold covers. As of a moment: take it when needed."""

    def __init__(self, cursor: Cursor) -> None:
        rows = cursor.execute(f"SELECT {_COLUMNS} FROM cdr.legal_hold WHERE released_at IS NULL")
        self._holds = [Hold(*row) for row in rows]
        self._mentions = {each.id: Mentions([each.value or ""]) for each in self._holds if each.kind == "party"}

    @property
    def reads(self) -> bool:
        """Whether the bodies matter at all: whether a call or a party is held."""
        return any(each.kind != "span" for each in self._holds)

    def protects(self, at: datetime, recorder: str | None, bodies: Sequence[bytes]) -> bool:
        """Whether a hold may cover what these documents say, received at that time from that recorder (None: history).
        What is kept beside a document counts as one (`etl.store.quarantine.ABOUT`).

        A document may be about any call that began before it was received: for a hold of a time only its beginning
        counts.
        """
        if not self._holds:
            return False
        texts = [said(body) for body in bodies] if self.reads else []
        return any(self._covers(each, at, recorder, texts) for each in self._holds)

    def _covers(self, hold: Hold, at: datetime, recorder: str | None, texts: Sequence[str]) -> bool:
        if hold.kind == "party":
            return any(self._mentions[hold.id](text) for text in texts)
        if hold.kind == "call":
            return any(hold.value in {canonical(word) for word in words(text)} for text in texts)
        begun = hold.start is None or at >= hold.start
        return begun and (None in (hold.recorder, recorder) or hold.recorder == recorder)
