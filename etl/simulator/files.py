"""Metadata files: one for each finished record, as the recorder writes them next to its media."""

from __future__ import annotations

from datetime import UTC
from pathlib import Path
from zoneinfo import ZoneInfo

from etl.simulator.calls import Fields, SimulatedCall, local_text
from etl.simulator.clock import Clock
from etl.simulator.config import SimulatorConfig
from etl.simulator.timeline import Timeline
from etl.simulator.truth import ServedLine, TruthWriter
from etl.simulator.wire import Wire


class MetadataFiles:
    """Writes `YYYY/MM/DD/LOCATION_ID.xml` (UTC day of the start) when a record has settled.

    A file appears whole under its name: it is written under another one first.
    """

    def __init__(self, config: SimulatorConfig, truth: TruthWriter, clock: Clock, timeline: Timeline) -> None:
        """`config.files` is the folder, which is made when the first file is written."""
        assert config.files is not None
        self._root: Path = config.files
        self._config = config
        self._truth = truth
        self._clock = clock
        self._timeline = timeline
        self._zone = ZoneInfo(config.timezone)
        self._wire = Wire()
        self._waiting: dict[str, SimulatedCall] = {}

    def expect(self, call: SimulatedCall) -> None:
        """`call` has ended: its file is written once its record has settled."""
        self._waiting[call.call_id] = call
        self._timeline.after(self._config.settle_after, lambda: self._write(call.call_id))

    def flush(self) -> None:
        """Writes all files that are still waited for. Raises `OSError`."""
        for call_id in tuple(self._waiting):
            self._write(call_id)

    def _write(self, call_id: str) -> None:
        call = self._waiting.pop(call_id, None)
        if call is None:
            return
        path = self._path(call)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_bytes(self._wire.metadata_file(call.call_id, self._times(call) | call.fields))
        partial.replace(path)
        self._truth.write(ServedLine(self._clock.now(), "file", str(path.relative_to(self._root)), call=call_id))

    def _times(self, call: SimulatedCall) -> Fields:
        assert call.end is not None
        start, end = (local_text(item, self._zone, self._config.precision) for item in (call.start, call.end))
        return {"start_time": start, "end_time": end}

    def _path(self, call: SimulatedCall) -> Path:
        day = call.start.astimezone(UTC).strftime("%Y/%m/%d")
        return self._root / day / f"{self._config.recorder_location}_{call.call_id}.xml"
