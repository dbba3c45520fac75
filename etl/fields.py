"""The fields of a call: the one list from which parsing, tables, merge and views take their columns.

Source: section 3 of the recorder protocol (`docs/protocol.md`) and section 4 of the contract. A field that
is not named here is kept too, in `attributes`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class FieldType(Enum):
    """How a field's text is read and which column type holds it."""

    TEXT = "text"
    INTEGER = "integer"
    BOOLEAN = "boolean"
    TIME = "timestamptz"
    """A local time without a zone on the wire; stored in UTC."""
    INTERVAL = "interval"
    """`hh:mm:ss` on the wire."""


@dataclass(frozen=True, slots=True)
class Field:
    """One typed field of a call.

    `name` is the column; `wire` the name in the recorder's messages and records; `comment` the column's
    COMMENT in the database.
    """

    name: str
    type: FieldType
    comment: str
    wire: str = ""

    @property
    def wire_name(self) -> str:
        """The name on the wire, which but for the reported duration is the column's name."""
        return self.wire or self.name


def _parties() -> tuple[Field, ...]:
    what = {
        "caller_id": "Number or address (such as a SIP URI) of the {} party",
        "name": "Display name of the {} party",
        "ip": "IP address or addresses of the {} party, as reported",
        "eth": "Ethernet address or addresses of the {} party, as reported",
        "device": "Device of the {} party, as reported",
    }
    return tuple(
        Field(f"{side}_{part}", FieldType.TEXT, text.format(party))
        for side, party in (("source", "calling"), ("destination", "called"))
        for part, text in what.items()
    )


FIELDS: tuple[Field, ...] = (
    Field("start_time", FieldType.TIME, "Start of the call (UTC instant; read in the zone of its source)"),
    Field("end_time", FieldType.TIME, "End of the call (UTC instant); null while unknown or not credible"),
    Field("recorder_duration", FieldType.INTERVAL, "Duration as the recorder reported it", wire="duration"),
    *_parties(),
    Field("cause_id", FieldType.INTEGER, "Why the call ended; see cdr.cause"),
    Field("direction_id", FieldType.INTEGER, "Direction; see cdr.direction"),
    Field("audio_codec_id", FieldType.INTEGER, "Audio codec; see cdr.audio_codec"),
    Field("video_codec_id", FieldType.INTEGER, "Video codec, as reported"),
    Field("signaling_id", FieldType.INTEGER, "Signaling protocol; see cdr.signaling"),
    Field("recorder_service_id", FieldType.INTEGER, "Recording service, as reported"),
    Field("manual", FieldType.INTEGER, "Whether the recording was started by hand, as reported"),
    Field("native_id", FieldType.TEXT, "The platform's id of this leg: native_call_id with more behind bars"),
    Field("native_call_id", FieldType.TEXT, "The platform's id of the call"),
    Field("platform_call_id", FieldType.TEXT, "The platform's id of the conversation; 2N copies share it"),
    Field("modality_id", FieldType.TEXT, "Modality; see cdr.modality"),
    Field("location", FieldType.TEXT, "Host name of the recorder, as the record has it"),
    Field("meeting_id", FieldType.TEXT, "Meeting the call belongs to"),
    Field("owner_eid", FieldType.TEXT, "Owner's environment id"),
    Field("location_eid", FieldType.TEXT, "Location's environment id"),
    Field("cisco_guid", FieldType.TEXT, "Cisco GUID"),
    Field("ms_conversation_id", FieldType.TEXT, "Microsoft conversation id"),
    Field("agent_id", FieldType.TEXT, "Agent who took the call"),
    Field("recorded_extension", FieldType.TEXT, "Extension for which the call was recorded"),
    Field("dialed_extension", FieldType.TEXT, "Extension that was dialed"),
    Field("ondemand", FieldType.BOOLEAN, "Recorded on demand"),
    Field("conference", FieldType.BOOLEAN, "Conference call"),
    Field("secondary", FieldType.BOOLEAN, "Secondary copy of a 2N recording"),
    Field("recorded_party", FieldType.BOOLEAN, "Which party was recorded, as reported"),
    Field("do_not_delete", FieldType.BOOLEAN, "Protected from deletion on the recorder"),
)

BY_NAME: dict[str, Field] = {field.name: field for field in FIELDS}
BY_WIRE_NAME: dict[str, Field] = {field.wire_name: field for field in FIELDS}

PERSONAL: frozenset[str] = frozenset(
    {
        *(field.name for field in _parties()),
        "meeting_id",
        "owner_eid",
        "agent_id",
        "recorded_extension",
        "dialed_extension",
    }
)
"""Fields that tell who spoke: a party is looked for in them. So may `attributes`, which count too."""

FOREIGN: frozenset[str] = frozenset(
    {"native_id", "native_call_id", "platform_call_id", "cisco_guid", "ms_conversation_id"}
)
"""Ids of other systems. They can hold a number or an address, or be the id of a meeting. No party is looked for in
them: platforms count their calls, and a counter looks like an extension."""

HIDDEN: frozenset[str] = PERSONAL | FOREIGN
"""What views mask and an erasure clears, beside `attributes`."""
