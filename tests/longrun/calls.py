"""What truly happened: any call's record, computed from its recorder and number and from its two times.

Only the times are kept (16 bytes a call); everything else follows from the number, on both sides: the feeder
writes documents from it, and the judge writes rows.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from html import escape
from pathlib import Path
from typing import NamedTuple

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_GREGORIAN = 0x01B21DD213814000
"""What a version 1 UUID counts in (100 ns since October 1582) at the beginning of 1970."""
_NAMES = ("Call Agent", "Müller & Söhne", "<none>", "O'Brien", '"Desk" 7', "Łódź branch", "張偉", "a ]]> b")
_CODECS = (2, 4, 6, 11, 25, 90)
_CAUSES = (0, 0, 0, 1, 2, 4, 13, 80)
PROVISIONAL_CAUSE = 500


class Call(NamedTuple):
    """One call: `recorder` and `number` say what it is, the times (milliseconds since 1970, UTC) when it was."""

    recorder: int
    number: int
    start: int
    end: int

    @property
    def id(self) -> str:
        """A version 1 UUID that holds start, recorder and number."""
        ticks = self.start * 10_000 + _GREGORIAN
        head = f"{ticks & 0xFFFFFFFF:08x}-{ticks >> 32 & 0xFFFF:04x}-1{ticks >> 48:03x}"
        return f"{head}-{0x8000 | self.recorder:04x}-{self.number:012x}"


def number_of(call_id: str) -> int:
    """The number in the id of a call."""
    return int(call_id[-12:], 16)


def name_of(recorder: int) -> str:
    return f"line-{recorder}"


def time_text(moment: int) -> str:
    """As on the wire, without a zone; `moment` in milliseconds."""
    return (EPOCH + timedelta(milliseconds=moment)).strftime("%Y-%m-%d %H:%M:%S.") + f"{moment % 1000:03d}"


def fields(recorder: int, number: int) -> dict[str, str]:
    """The typed fields of a call's final record but for its times, as on the wire."""
    mixed = number * 2_654_435_761 & 0xFFFFFFFF
    return {
        "native_id": f"{mixed}|{number % 7}|-1",
        "native_call_id": str(mixed),
        "platform_call_id": f"P{mixed:08X}",
        "modality_id": "voice",
        "location": name_of(recorder).upper(),
        "source_ip": f"10.{recorder}.{mixed >> 8 & 255}.{mixed & 255}",
        "source_eth": f"00:50:56:{mixed & 255:02x}:{mixed >> 8 & 255:02x}:{mixed >> 16 & 255:02x}",
        "source_device": f"SEP{mixed:012X}",
        "source_caller_id": str(1000 + mixed % 2000),
        "source_name": _NAMES[mixed % len(_NAMES)],
        "destination_ip": f"192.168.{mixed >> 16 & 255}.{mixed >> 24 & 255}",
        "destination_caller_id": f"+1212555{mixed >> 4 & 0xFFF:04d}",
        "destination_name": _NAMES[mixed >> 3 & 7],
        "audio_codec_id": str(_CODECS[mixed % len(_CODECS)]),
        "direction_id": str(mixed >> 5 & 1),
        "cause_id": str(_CAUSES[mixed >> 7 & 7]),
        "signaling_id": "2",
        "recorder_service_id": str(1 + mixed % 3),
        "ondemand": ("false", "true")[mixed >> 9 & 1],
        "conference": ("0", "1")[mixed >> 10 & 1],
        "secondary": "false",
        "manual": "0",
        "meeting_id": f"M{mixed >> 12}",
        "agent_id": f"agent-{mixed % 500}",
    }


def title(number: int) -> str:
    """The one text of the record that has no column: `shared_item/title`."""
    return f"Meeting {number} <{number % 11}>"


_HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n<VerbaApi>'


def start_document(call: Call) -> bytes:
    known, at = fields(call.recorder, call.number), time_text(call.start)
    said = {key: known[key] for key in ("native_id", "source_caller_id", "source_name", "destination_caller_id")}
    return _notification("CallStart", call.id, said | {"start_time": at})


def end_document(call: Call) -> bytes:
    return _notification("CallEnd", call.id, {"end_time": time_text(call.end), "cause_id": "0"})


def list_entry(call: Call) -> str:
    known = fields(call.recorder, call.number)
    said = {key: known[key] for key in ("source_caller_id", "destination_caller_id")}
    return _call(call.id, said | {"start_time": time_text(call.start)})


def record_document(call: Call, request_id: str, *, ended: bool, final: bool) -> bytes:
    """The answer to a detail request: of a call that goes on, or a record that is or is not final."""
    known = {"ccdr_id": call.id, **fields(call.recorder, call.number), "start_time": time_text(call.start)}
    if ended:
        known["end_time"] = time_text(call.end)
    if not final:
        del known["agent_id"]
        known["cause_id"] = str(PROVISIONAL_CAUSE)
    item = f"<shared_item><title>{escape(title(call.number))}</title></shared_item>"
    record = f'<verbacdr state="{int(ended)}">{_elements(known)}{item}</verbacdr>'
    return response("GetCallDetails", request_id, record)


def response(kind: str, request_id: str, content: str, code: int = 0) -> bytes:
    echo = f'<Request type="{kind}" id="{request_id}"/>'
    return f'{_HEAD}<Response code="{code}">{echo}{content}</Response></VerbaApi>'.encode()


def keepalive(seconds: int) -> bytes:
    return f'{_HEAD}<Response code="0"><Keepalive time="{seconds}"/></Response></VerbaApi>'.encode()


def _notification(kind: str, call_id: str, said: Mapping[str, str]) -> bytes:
    return f'{_HEAD}<Notification type="{kind}">{_call(call_id, said)}</Notification></VerbaApi>'.encode()


def _call(call_id: str, said: Mapping[str, str]) -> str:
    return f'<Call id="{call_id}">{_elements(said)}</Call>'


def _elements(said: Mapping[str, str]) -> str:
    return "".join(f"<{key}>{escape(value)}</{key}>" for key, value in said.items())


class Times:
    """Start and end of each call of one recorder by its number, in milliseconds; an end of 0 is still to come."""

    def __init__(self) -> None:
        self.starts = array("q")
        self.ends = array("q")

    def save(self, path: Path) -> None:
        path.write_bytes(array("q", [len(self.starts)]).tobytes() + self.starts.tobytes() + self.ends.tobytes())

    @classmethod
    def load(cls, path: Path) -> Times:
        numbers = array("q", path.read_bytes())
        count, found = numbers[0], cls()
        found.starts, found.ends = numbers[1 : 1 + count], numbers[1 + count :]
        return found
