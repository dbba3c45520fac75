"""Calls out of a seeded random generator: the same seed at the same moments gives the same calls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import TypeAlias
from uuid import UUID
from zoneinfo import ZoneInfo

from etl.simulator.config import Precision, SimulatorConfig

FieldValue: TypeAlias = "str | dict[str, FieldValue] | list[FieldValue]"
"""A field's text, nested elements by name, or an element that is repeated."""
Fields: TypeAlias = dict[str, FieldValue]

_TICKS_EPOCH = datetime(1582, 10, 15, tzinfo=UTC)
_TICKS_PER_SECOND = 10_000_000

_NAMES = (
    "Call Agent",
    "Customer & Sons",
    "Zoë O'Hara",
    'Ivan "Vanya" Петров',
    "Müller <Einkauf>",
    "佐藤 花子",
    "Ann </VerbaApi> Lee",
    "Árvíztűrő Tükörfúró",
    "R&D > Sales",
    "Emoji 📞 Desk",
)
_CAUSES = ("0", "0", "0", "1", "1", "2", "2", "4", "13", "80", "999")
_CODECS = ("2", "4", "4", "6", "11", "25")
_MODALITIES = ("voice", "voice", "voice", "voice", "video", "screen")
_CUT = {"milliseconds": timedelta(milliseconds=1), "seconds": timedelta(seconds=1), "minutes": timedelta(minutes=1)}
_FORMATS = {"milliseconds": "%Y-%m-%d %H:%M:%S.%f", "seconds": "%Y-%m-%d %H:%M:%S", "minutes": "%Y-%m-%d %H:%M"}


def cut(moment: datetime, precision: Precision) -> datetime:
    """`moment` as exactly as the recorder writes it."""
    return moment - (moment - datetime.min.replace(tzinfo=UTC)) % _CUT[precision]


def local_text(moment: datetime, zone: ZoneInfo, precision: Precision) -> str:
    """`moment` as a recorder in `zone` writes it: local time without a zone."""
    text = moment.astimezone(zone).strftime(_FORMATS[precision])
    return text[:-3] if precision == "milliseconds" else text


@dataclass(slots=True, eq=False)
class SimulatedCall:
    """A call as it truly is; `start` and `end` are UTC, as exact as the recorder writes them.

    `fields` is the final record without id and times. `first` is what the record shows instead until it has
    settled (None: the field is not there yet). `ended` is the monotonic second of the end.
    """

    call_id: str
    start: datetime
    fields: Fields
    first: dict[str, FieldValue | None] = field(default_factory=dict)
    end: datetime | None = None
    ended: float | None = None
    record_lost: bool = False

    @property
    def source(self) -> str:
        """The calling party's number or address."""
        return str(self.fields["source_caller_id"])

    @property
    def destination(self) -> str:
        """The called party's number or address."""
        return str(self.fields["destination_caller_id"])

    def record(self, *, settled: bool = True) -> Fields:
        """Its fields, final or as they first look."""
        if settled or not self.first:
            return self.fields
        shown = {**self.fields, **self.first}
        return {name: value for name, value in shown.items() if value is not None}


class CallGenerator:
    """Throws the dice for the calls of one recorder; nothing else throws them."""

    def __init__(self, config: SimulatorConfig) -> None:
        """Seeds itself with the recorder's seed and name."""
        self._config = config
        self._rng = Random(f"{config.seed}/{config.name}/calls")
        self._node = self._rng.getrandbits(48) | 1 << 40
        self._sequence = self._rng.getrandbits(14)
        self._ticks = 0
        self._number = 0

    def pause(self) -> float:
        """Seconds until the next call starts."""
        return self._rng.expovariate(self._config.rate)

    def duration(self) -> float:
        """Seconds that the next call lasts."""
        low, mean = self._config.duration_min, self._config.duration_mean
        return low + (self._rng.expovariate(1 / (mean - low)) if mean > low else 0.0)

    def call(self, now: datetime, overrides: Mapping[str, FieldValue] | None = None) -> SimulatedCall:
        """A call that starts `now`; `overrides` replace fields of its record."""
        self._number += 1
        call_id = self._call_id(now)
        fields = {**self._fields(), **(overrides or {})}
        first = self._first() if self._rng.random() < self._config.provisional else {}
        kept = {name: value for name, value in first.items() if name not in (overrides or {})}
        return SimulatedCall(call_id, cut(now, self._config.precision), fields, kept)

    def _call_id(self, now: datetime) -> str:
        lead = timedelta(seconds=self._rng.uniform(0.7, 1.3))
        ticks = (now - lead - _TICKS_EPOCH) // timedelta(microseconds=1) * 10 + self._rng.randrange(10)
        if ticks <= self._ticks and self._ticks - ticks < _TICKS_PER_SECOND:
            ticks = self._ticks + 1
        elif ticks < self._ticks:  # the clock was set back: as RFC 9562 has it, another clock sequence
            self._sequence = self._sequence + 1 & 0x3FFF
        self._ticks = ticks
        parts = (
            ticks & 0xFFFFFFFF,
            ticks >> 32 & 0xFFFF,
            ticks >> 48 & 0x0FFF | 0x1000,
            self._sequence >> 8 | 0x80,
            self._sequence & 0xFF,
            self._node,
        )
        return str(UUID(fields=parts))

    def _fields(self) -> Fields:
        rng = self._rng
        native, conversation = str(25_000_000 + self._number), f"{rng.getrandbits(40):010X}"
        source, destination = self._parties()
        fields: Fields = {
            "native_id": f"{native}|1|-1",
            "native_call_id": native,
            "modality_id": rng.choice(_MODALITIES),
            "location": self._config.recorder_location,
            **self._party("source", source),
            **self._party("destination", destination),
            "audio_codec_id": rng.choice(_CODECS),
            "direction_id": "0",
            "cause_id": rng.choice(_CAUSES),
            "signaling_id": "2",
            "recorder_service_id": "1",
            "ondemand": rng.choice(("false", "false", "True")),
            "conference": "false",
            "platform_call_id": conversation,
            "manual": "0",
            "do_not_delete": rng.choice(("0", "0", "1")),
            "secondary": "false",
            "recorded_party": "false",
            "meeting_id": conversation,
            "dialed_extension": destination,
            "agent_id": f"agent-{rng.randrange(200)}",
            "shared_item": {"title": f"Meeting {conversation}", "allow_download": "false"},
        }
        return {**fields, **self._seldom(source)}

    def _parties(self) -> tuple[str, str]:
        inside = self._rng.choice(self._config.extensions)
        outside = self._outside()
        return (inside, outside) if self._rng.random() < 0.5 else (outside, inside)

    def _outside(self) -> str:
        rng = self._rng
        dice = rng.random()
        if dice < 0.2:
            return rng.choice(self._config.extensions)
        if dice < 0.4:
            return f"sip:desk{rng.randrange(500)}@example.com"
        return f"+361{rng.randrange(10_000_000):07d}"

    def _party(self, side: str, caller_id: str) -> Fields:
        rng = self._rng
        party: Fields = {f"{side}_ip": f"192.168.{rng.randrange(256)}.{rng.randrange(1, 255)}"}
        party[f"{side}_caller_id"] = caller_id
        if rng.random() < 0.9:
            party[f"{side}_name"] = rng.choice(_NAMES)
        return party

    def _seldom(self, source: str) -> Fields:
        rng = self._rng
        fields: Fields = {}
        if rng.random() < 0.3:
            fields |= {"video_codec_id": "7", "owner_eid": f"E{rng.randrange(50)}", "location_eid": "L1"}
        if rng.random() < 0.3:
            fields |= {"source_eth": f"00:50:56:c0:00:{rng.randrange(256):02x}", "source_device": "SEP005056C00008"}
        if rng.random() < 0.2:
            fields |= {"cisco_guid": f"{rng.getrandbits(64):X}", "ms_conversation_id": f"{rng.getrandbits(64):x}"}
        if rng.random() < 0.2:
            fields |= {"recorded_extension": source, "destination_device": "SEP00AA", "destination_eth": "00:aa:00:bb"}
        if rng.random() < 0.2:
            fields["x_queue"] = f"queue <{rng.randrange(5)}>"
            fields["participants"] = {"participant": [rng.choice(_NAMES), rng.choice(_NAMES)]}
        return fields

    def _first(self) -> dict[str, FieldValue | None]:
        return {"cause_id": "500", "agent_id": None, "destination_name": self._rng.choice(_NAMES)}
