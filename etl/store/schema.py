"""The tables of schema `cdr`, as data: migrations are checked against it, the merge takes its columns from it.

Meaning of every table and column stands in its COMMENT. All times are `timestamptz` (UTC instants).
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Computed,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    Interval,
    LargeBinary,
    MetaData,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TSTZMULTIRANGE, UUID
from sqlalchemy.types import TypeEngine

from etl.fields import FIELDS, Field, FieldType
from etl.model import Kind, State

SCHEMA = "cdr"
metadata = MetaData(schema=SCHEMA)

_TYPES: dict[FieldType, TypeEngine[Any]] = {
    FieldType.TEXT: Text(),
    FieldType.INTEGER: Integer(),
    FieldType.BOOLEAN: Boolean(),
    FieldType.TIME: DateTime(timezone=True),
    FieldType.INTERVAL: Interval(),
}

LEADING = ("start_time", "end_time")
"""Fields that stand before the generated `duration` of a call."""


def _time(name: str, comment: str, *, nullable: bool = False, default: str | None = None) -> Column[object]:
    server_default = None if default is None else text(default)
    return Column(name, DateTime(timezone=True), nullable=nullable, comment=comment, server_default=server_default)


def _text(name: str, comment: str, *, nullable: bool = False) -> Column[str]:
    return Column(name, Text, nullable=nullable, comment=comment)


def _typed(field: Field) -> Column[object]:
    return Column(field.name, _TYPES[field.type], nullable=True, comment=field.comment)


def _one_of(column: str, values: list[str]) -> CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=f"known_{column}")


def _call_key() -> tuple[Column[str], Column[object]]:
    """The key of a call. Its order is that of bytes: the same in every database, whatever its locale."""
    return (
        Column("call_id", Text(collation="C"), primary_key=True, comment="Id of the call; lower case if a UUID"),
        Column(
            "id_time",
            DateTime(timezone=True),
            primary_key=True,
            comment="UTC time inside a version 1 UUID, else 1970-01-01; the partition's key",
        ),
    )


def _attributes() -> Column[object]:
    return Column(
        "attributes", JSONB, nullable=False, server_default=text("'{}'"), comment="Every other field, as received"
    )


def _quality(comment: str) -> Column[object]:
    return Column("quality", ARRAY(Text), nullable=False, server_default=text("'{}'"), comment=comment)


call = Table(
    "call",
    metadata,
    *_call_key(),
    _text(
        "recorder",
        "Recorder whose stream showed the call, else the one its location maps to, else the location as written",
        nullable=True,
    ),
    _text("state", "complete, lost, ended or ongoing; follows from the facts alone"),
    _text("source", "Kind of the fact that ranks first"),
    *(_typed(field) for field in FIELDS if field.name in LEADING),
    Column(
        "duration",
        Interval,
        Computed("end_time - start_time", persisted=True),
        comment="end_time - start_time; null while one of them is unknown",
    ),
    *(_typed(field) for field in FIELDS if field.name not in LEADING),
    _attributes(),
    _quality("What is doubtful about this row, as sorted flags; see docs/facts.md"),
    _time("first_seen_at", "Earliest observation of any fact about the call"),
    _time("recorded_at", "Time of the transaction that last changed the row"),
    _one_of("state", [state.value for state in State]),
    _one_of("source", [kind.value for kind in Kind]),
    Index("call_start_time", "start_time", postgresql_include=["recorder", "state", "end_time"]),
    Index(
        "call_startless",
        "first_seen_at",
        postgresql_include=["recorder", "state"],
        postgresql_where=text("start_time IS NULL"),
    ),
    Index("call_long", "end_time", postgresql_where=text("duration > interval '25 hours'")),
    Index(
        "call_unresolved",
        "recorder",
        "state",
        "id_time",
        postgresql_where=text("state <> 'complete'"),
    ),
    postgresql_partition_by="RANGE (id_time)",
    comment="One row per call: what all facts about it say together; derived from cdr.fact",
)

fact = Table(
    "fact",
    metadata,
    *_call_key(),
    Column("kind", Text(collation="C"), primary_key=True, comment="What the fact stems from; see docs/facts.md"),
    _time("observed_at", "When this content was received last (a file: its modification time)"),
    _time("first_observed_at", "When the first fact of this kind was received for the call"),
    _text("recorder", "Configured recorder whose stream showed it; null for history", nullable=True),
    _text("located", "Recorder that the record's location maps to, else the location as written", nullable=True),
    Column("digest", LargeBinary, nullable=False, comment="Identifies the content as received"),
    Column(
        "history",
        Text,
        nullable=True,
        comment="http or file: which history showed the record, finished or not; null for a recorder's stream",
    ),
    *(_typed(field) for field in FIELDS),
    _attributes(),
    _quality("Flags of this fact alone"),
    Column(
        "element",
        LargeBinary,
        nullable=False,
        comment="The call's own element as received; compressed, the first byte names the format",
    ),
    _one_of("kind", [kind.value for kind in Kind]),
    postgresql_partition_by="RANGE (id_time)",
    comment="The evidence: per call and kind the fact observed last; cdr.call can be rebuilt from it",
)

recorder = Table(
    "recorder",
    metadata,
    Column("name", Text, primary_key=True, comment="Name of the recorder in the configuration"),
    _text("location", "How its records name it"),
    _text("timezone", "Zone in which its times were last read"),
    Column("extensions", ARRAY(Text), nullable=False, server_default=text("'{}'"), comment="Filter; empty: all calls"),
    _time("first_seen_at", "When it was first configured", default="now()"),
    _time("retired_at", "When its timeline was ended; null while in use", nullable=True),
    comment="Recorders that were ever configured",
)

session = Table(
    "session",
    metadata,
    Column("id", UUID(as_uuid=True), primary_key=True, comment="Id of the session"),
    _text("recorder", "Recorder of the session"),
    _text("worker", "Journal of the process that held it"),
    Column("extensions", ARRAY(Text), nullable=False, server_default=text("'{}'"), comment="Filter; empty: all calls"),
    _time("opened_at", "When the connection stood"),
    _time("subscribed_at", "When the subscription was confirmed; null before", nullable=True),
    _time("closed_at", "When the session ended; null while it lives", nullable=True),
    _text("reason", "Why it ended; null while it lives", nullable=True),
    Column("coverage", TSTZMULTIRANGE, nullable=False, comment="Times for which it saw everything"),
    _time("last_read_at", "Receipt of the last message read", nullable=True),
    Column("fold", JSONB, nullable=False, comment="State from which coverage continues after a restart"),
    Index("session_closed", "recorder", "closed_at"),
    Index("session_subscribed", "recorder", "subscribed_at"),
    Index("session_live", "worker", postgresql_where=text("closed_at IS NULL")),
    comment="Connections with a subscription, and which times they covered",
)

gap = Table(
    "gap",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True, comment="Stable id of the gap"),
    _text("recorder", "Recorder that was not heard"),
    _time("from_time", "First moment not covered"),
    _time("to_time", "First moment covered again; null while the gap lasts", nullable=True),
    _text("reason", "Why the session ended, or coverage was interrupted, that began it"),
    Column("state", Text, nullable=False, server_default=text("'open'"), comment="open, filled or accepted"),
    Column("extensions", ARRAY(Text), nullable=False, server_default=text("'{}'"), comment="Filter; empty: all calls"),
    Column(
        "calls_recovered",
        Integer,
        nullable=False,
        server_default=text("0"),
        comment="Calls that history added for this span",
    ),
    _one_of("state", ["open", "filled", "accepted"]),
    Index("gap_start", "recorder", "from_time", unique=True),
    comment="Times of a recorder that no session covers; derived from cdr.session, never edited",
)

quarantine = Table(
    "quarantine",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True, comment="Id of the row"),
    Column("digest", LargeBinary, nullable=False, comment="Identity of what was received: a replay adds nothing"),
    _time("observed_at", "When it was received"),
    _text("recorder", "Recorder it came from; null for history", nullable=True),
    _text("origin", "Where from: stream, http, or a file's path"),
    _text("reason", "Why it could not be understood"),
    Column("session", UUID(as_uuid=True), nullable=True, comment="Session in which it was received"),
    Column("note", JSONB, nullable=False, server_default=text("'{}'"), comment="What was known about it beside"),
    Column("body", LargeBinary, nullable=False, comment="The bytes as received"),
    Column("state", Text, nullable=False, server_default=text("'open'"), comment="open, retried or discarded"),
    _time("recorded_at", "When the row was stored", default="now()"),
    _time("resolved_at", "When it was retried or discarded", nullable=True),
    _one_of("state", ["open", "retried", "discarded"]),
    Index("quarantine_digest", "digest", unique=True),
    Index("quarantine_open", "observed_at", postgresql_where=text("state = 'open'")),
    comment="What could not be understood or stored, as it came",
)

checkpoint = Table(
    "checkpoint",
    metadata,
    Column("journal", UUID(as_uuid=True), primary_key=True, comment="Id of the journal"),
    Column("sequence", BigInteger, nullable=False, comment="Entries up to this one are stored"),
    _time("observed_at", "Receipt of the newest entry that is stored", nullable=True),
    _time("updated_at", "Time of the transaction that moved it", default="now()"),
    comment="How far each journal has reached this database",
)

audit = Table(
    "audit",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True, comment="Id of the row"),
    _time("at", "When it was done", default="now()"),
    _text("who", "Who did it: user of the operating system and host; of what the database notes by itself, its user"),
    _text("action", "What was done"),
    Column("target", JSONB, nullable=False, comment="To which rows"),
    _text("reason", "Why, in the words of who did it", nullable=True),
    Column(
        "effect",
        JSONB,
        nullable=False,
        server_default=text("'{}'"),
        comment="What it came to: counts; without personal data",
    ),
    comment="What people did to the archive",
)

reconcile_run = Table(
    "reconcile_run",
    metadata,
    Column("id", UUID(as_uuid=True), primary_key=True, comment="Id of the run"),
    _text("recorder", "Recorder that was asked"),
    _text("trigger", "connect (after a subscription), periodic, or command"),
    _time("started_at", "When the run began", default="now()"),
    _time("asked_at", "When the first list was asked for: calls first seen later are not judged", nullable=True),
    _time("finished_at", "When the run ended; null while it goes on, or if it was killed", nullable=True),
    _text("result", "done or failed; null while it goes on, or if it was killed", nullable=True),
    Column("listed", Integer, nullable=True, comment="Calls in the first list; null without a good one"),
    _text("told", "Why it failed", nullable=True),
    Column(
        "first_list",
        LargeBinary,
        nullable=True,
        comment="First list as received (zlib), where the run found a call absent",
    ),
    Column(
        "second_list",
        LargeBinary,
        nullable=True,
        comment="Second list as received (zlib), where the run found a call absent",
    ),
    _one_of("trigger", ["connect", "periodic", "command"]),
    _one_of("result", ["done", "failed"]),
    Index("reconcile_run_recorder", "recorder", "started_at"),
    comment="Comparisons of a recorder's list of calls with what is stored",
)

reconcile_action = Table(
    "reconcile_action",
    metadata,
    Column(
        "run",
        UUID(as_uuid=True),
        ForeignKey("cdr.reconcile_run.id", ondelete="CASCADE"),
        primary_key=True,
        comment="The run",
    ),
    Column("position", Integer, primary_key=True, comment="Order within the run"),
    _text("act", "store, ask, absent or report"),
    _text("rule", "Which rule it follows from: a missed start, b missed end, c still listed, d no record"),
    Column("call_id", Text(collation="C"), nullable=False, comment="The call"),
    _text("told", "Why, in words"),
    _text("outcome", "What the recorder answered, for act ask", nullable=True),
    _one_of("act", ["store", "ask", "absent", "report"]),
    _one_of("rule", ["a", "b", "c", "d"]),
    Index("reconcile_action_call", "call_id"),
    comment="What a run did about one call",
)

gap_acceptance = Table(
    "gap_acceptance",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True, comment="Id of the row"),
    _text("recorder", "The recorder"),
    _time("from_time", "First moment that is accepted"),
    _time("to_time", "First moment that is no longer accepted"),
    _text("who", "Who did it: user of the operating system and host"),
    _text("reason", "Why, in their words"),
    _time("at", "When it was done", default="now()"),
    Index("gap_acceptance_recorder", "recorder", "from_time"),
    comment="Times of a recorder that someone took note of as gone for good",
)

call_acceptance = Table(
    "call_acceptance",
    metadata,
    Column("call_id", Text(collation="C"), primary_key=True, comment="The call"),
    _text("who", "Who did it: user of the operating system and host"),
    _text("reason", "Why, in their words"),
    _time("at", "When it was done", default="now()"),
    comment="Calls whose missing record someone took note of as gone for good",
)

backfill_run = Table(
    "backfill_run",
    metadata,
    Column("id", UUID(as_uuid=True), primary_key=True, comment="Id of the run"),
    _text("command", "files, http or gaps: which backfill"),
    _text("trigger", "command, or worker"),
    Column(
        "scope", JSONB, nullable=False, comment="What was asked for: paths, or a span of time; equal scopes continue"
    ),
    _time("started_at", "When the run began", default="now()"),
    _time("updated_at", "Last sign of life", default="now()"),
    _time("finished_at", "When the run ended; null while it goes on, or if it was killed", nullable=True),
    _text("result", "done, failed or interrupted; null while it goes on, or if it was killed", nullable=True),
    _time("position", "http: the history before this moment was read", nullable=True),
    Column(
        "counts",
        JSONB,
        nullable=False,
        server_default=text("'{}'"),
        comment="What was seen and done so far: files, records, skipped, quarantined and more",
    ),
    _text("told", "Why it failed or was interrupted", nullable=True),
    _one_of("command", ["files", "http", "gaps"]),
    _one_of("trigger", ["command", "worker"]),
    _one_of("result", ["done", "failed", "interrupted"]),
    Index("backfill_run_started", "command", "started_at"),
    comment="Reads of the history: of files, over HTTP, for gaps",
)

backfill_folder = Table(
    "backfill_folder",
    metadata,
    Column(
        "run",
        UUID(as_uuid=True),
        ForeignKey("cdr.backfill_run.id", ondelete="CASCADE"),
        primary_key=True,
        comment="The run",
    ),
    Column("path", LargeBinary, primary_key=True, comment="The folder, as the operating system names it"),
    Column(
        "entries", BigInteger, nullable=False, comment="How many of its entries are done, in the folder's own order"
    ),
    Column("digest", LargeBinary, nullable=False, comment="Digest of the names of these entries, in that order"),
    comment="How far a file backfill that has not finished is in each folder; emptied when it has",
)

history_read = Table(
    "history_read",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True, comment="Id of the row"),
    Column(
        "run",
        UUID(as_uuid=True),
        ForeignKey("cdr.backfill_run.id", ondelete="CASCADE"),
        nullable=False,
        comment="The run that read",
    ),
    _text("recorder", "The recorder whose time was read"),
    _time("from_time", "First moment that the read is about"),
    _time("to_time", "First moment that it is not about any more"),
    _time("read_at", "When the read began"),
    _text("source", "http or file"),
    Column("good", Boolean, nullable=False, comment="Whether it proves that nothing of this time is missing"),
    Column("witnesses", Integer, nullable=False, comment="Calls held as complete that the read had to show"),
    _text("told", "Why it proves nothing; null for a good one", nullable=True),
    _one_of("source", ["http", "file"]),
    Index("history_read_recorder", "recorder", "to_time"),
    Index("history_read_run", "run"),
    comment="What was read of the history for the gaps of a recorder, and whether it fills them",
)

verify_run = Table(
    "verify_run",
    metadata,
    Column("id", UUID(as_uuid=True), primary_key=True, comment="Id of the run"),
    _time("from_time", "First moment: calls that started then or later"),
    _time("to_time", "First moment that is not looked at any more"),
    _text("source", "http or file: the history that was read afresh"),
    _time("started_at", "When the run began", default="now()"),
    _time("finished_at", "When the run ended; null while it goes on, or if it was killed", nullable=True),
    _text("result", "done, failed or interrupted; null while it goes on, or if it was killed", nullable=True),
    Column(
        "counts",
        JSONB,
        nullable=False,
        server_default=text("'{}'"),
        comment="Calls compared, missing, extra, different, erased, expired, and more",
    ),
    Column("repaired", Boolean, nullable=False, server_default=text("false"), comment="Whether --repair was given"),
    _text("told", "Why it failed or was interrupted", nullable=True),
    _one_of("source", ["http", "file"]),
    _one_of("result", ["done", "failed", "interrupted"]),
    Index("verify_run_started", "started_at"),
    comment="Comparisons of the archive with the history, call by call and field by field",
)

verify_finding = Table(
    "verify_finding",
    metadata,
    Column(
        "run",
        UUID(as_uuid=True),
        ForeignKey("cdr.verify_run.id", ondelete="CASCADE"),
        primary_key=True,
        comment="The run",
    ),
    Column("call_id", Text(collation="C"), primary_key=True, comment="The call"),
    Column(
        "kind",
        Text(collation="C"),
        primary_key=True,
        comment="missing: not archived; extra: not in the history; different: the history says otherwise;"
        " underived: the row does not follow from its own facts",
    ),
    _text("recorder", "Its recorder", nullable=True),
    Column(
        "fields", ARRAY(Text), nullable=False, server_default=text("'{}'"), comment="Which fields differ; no values"
    ),
    _one_of("kind", ["missing", "extra", "different", "underived"]),
    Index("verify_finding_call", "call_id"),
    comment="What a verify run found; without the values, which are personal data",
)

erased_call = Table(
    "erased_call",
    metadata,
    Column("call_id", Text(collation="C"), primary_key=True, comment="The call"),
    _time("erased_at", "When its personal data was erased", default="now()"),
    comment="Calls whose personal data was erased for good: neither missing nor a witness when history is read",
)

mask_key = Table(
    "mask_key",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False, comment="Always 1: there is one key"),
    Column(
        "secret",
        LargeBinary,
        nullable=False,
        comment="Random bytes; a new secret gives every number a new pseudonym",
    ),
    _time("made_at", "When it was made", default="now()"),
    CheckConstraint("id = 1", name="one_key"),
    comment="The secret of the masks. Whoever reads it can guess numbers: nobody but the owner may",
)

legal_hold = Table(
    "legal_hold",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True, comment="Id of the hold"),
    _text("kind", "call: one call; party: calls of a number or name; span: all calls of a time"),
    _text(
        "value",
        "call: its id; party: the number or name; null for a span, and once a party was erased",
        nullable=True,
    ),
    Column(
        "forms",
        ARRAY(Text),
        nullable=False,
        server_default=text("'{}'"),
        comment="party: its spellings in lower case, as they are searched for",
    ),
    _text("recorder", "Only calls of this recorder; null: of all", nullable=True),
    _time("from_time", "Only calls that started then or later; null: no limit", nullable=True),
    _time("to_time", "Only calls that started before; null: no limit", nullable=True),
    _text("who", "Who did it: user of the operating system and host"),
    _text("reason", "Why, in their words"),
    _time("at", "When it was done", default="now()"),
    _time("released_at", "When it was released; null while it holds", nullable=True),
    _text("released_by", "Who released it", nullable=True),
    _text("release_reason", "Why it was released", nullable=True),
    _one_of("kind", ["call", "party", "span"]),
    comment="Calls that must not be deleted nor erased until the hold is released, whatever else is asked for",
)

expiry = Table(
    "expiry",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False, comment="Always 1"),
    _time(
        "before",
        "Calls that started before were deleted, but for those on hold; none that is not stored is stored any more."
        " Never moves back",
    ),
    _time("moved_at", "When it was moved last", default="now()"),
    CheckConstraint("id = 1", name="one_expiry"),
    comment="Deletion by age: how far it has come. No row: nothing was ever deleted by age",
)

minimum_age = Table(
    "minimum_age",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False, comment="Always 1"),
    Column("age", Interval, nullable=False, comment="The age, such as 6 years 11 mons"),
    _time("set_at", "When it was set", default="now()"),
    CheckConstraint("id = 1", name="one_minimum"),
    CheckConstraint("age >= interval '0' AND age <= interval '1000 years'", name="sensible_age"),
    comment="How old a call must be at least before it is deleted by age, whoever asks for it."
    " Set by cdr.set_minimum_age; no row: any age will do",
)

export = Table(
    "export",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True, comment="Id of the export"),
    _text("folder", "Folder that it was written to; its manifest lists the files"),
    _text("host", "Machine that wrote it"),
    _time("from_time", "Calls that started then or later"),
    _time("to_time", "Calls that started before"),
    Column("masked", Boolean, nullable=False, comment="Whether personal data was replaced by pseudonyms"),
    _text("who", "Who did it: user of the operating system and host"),
    _time("started_at", "When it began", default="now()"),
    _time("finished_at", "When it ended; null while it goes on, or if it was interrupted", nullable=True),
    Column("rows", BigInteger, nullable=True, comment="Calls in it; null before it ended"),
    _time("destroyed_at", "When somebody took note that what it wrote is destroyed; null: nobody did", nullable=True),
    comment="Exports of calls: where copies of personal data went",
)

sql_file = Table(
    "sql_file",
    metadata,
    Column("name", Text, primary_key=True, comment="Name of the file"),
    _text("checksum", "SHA-256 of the content that was applied last"),
    _time("applied_at", "When it was applied last", default="now()"),
    comment="Files of sql/ as applied: views and functions are replaced when their file changes",
)


def _lookup(name: str, what: str, key: type[TypeEngine[Any]] = Integer) -> Table:
    return Table(
        name,
        metadata,
        Column("id", key, primary_key=True, autoincrement=False, comment="Code as reported"),
        _text("name", "Readable name"),
        comment=f"{what}; codes that are not listed are stored as they come",
    )


cause = _lookup("cause", "Why a call ended")
direction = _lookup("direction", "Directions")
audio_codec = _lookup("audio_codec", "Audio codecs")
signaling = _lookup("signaling", "Signaling protocols")
modality = _lookup("modality", "Modalities", Text)
