"""A folder of metadata files as a recorder leaves it, made by the simulator's own templates."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from etl.simulator.calls import CallGenerator, local_text
from etl.simulator.config import SimulatorConfig
from etl.simulator.wire import Wire

ZONE = ZoneInfo("America/New_York")
BEGIN = datetime(2024, 4, 1, tzinfo=UTC)
SPAN = timedelta(days=91)


def write(root: Path, count: int, seed: int = 1) -> int:
    """Write `count` files of calls spread over three months into `root/YYYY/MM/DD`; returns their bytes.

    The same seed gives the same files.
    """
    config = SimulatorConfig(name="ny-1", timezone=ZONE.key, seed=seed, rate=1.1 * count / SPAN.total_seconds())
    generator, wire = CallGenerator(config), Wire()
    now, written = BEGIN, 0
    for _ in range(count):
        now += timedelta(seconds=min(generator.pause(), SPAN.total_seconds() / count))
        call = generator.call(now)
        end = call.start + timedelta(seconds=generator.duration())
        times = {
            name: local_text(at, ZONE, config.precision) for name, at in (("start_time", call.start), ("end_time", end))
        }
        folder = root / now.strftime("%Y/%m/%d")
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{config.recorder_location}_{call.call_id}.xml"
        written += path.write_bytes(wire.metadata_file(call.call_id, {**times, **call.fields}))
    return written
