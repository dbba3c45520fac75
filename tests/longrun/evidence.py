"""All that a long run is judged by, read from its folder and its database."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from longrun import archive, stage
from longrun.archive import Compared, Size
from longrun.plan import DATABASE_FAULTS, RECORDER_FAULTS
from longrun.watch import Sample

from etl.store.database import connect

Event = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Evidence:
    """Samples and events in their order; the feeder's counters, the worker's last metrics, and the archive.

    `quarantined` is without what a reset cut off in the middle of a document.
    """

    samples: Sequence[Sample]
    events: Sequence[Event]
    sent_by: Sequence[Mapping[str, int]]
    metrics: Sequence[tuple[str, Mapping[str, str], float]]
    compared: Compared
    sizes: Sequence[Size]
    quarantined: int
    sessions: int

    def sent(self, *kinds: str) -> int:
        """Messages of these kinds that all recorders sent."""
        return sum(each.get(kind, 0) for each in self.sent_by for kind in kinds)

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric over all of its labels but these."""
        return sum(value for known, its, value in self.metrics if known == name and labels.items() <= its.items())

    def faults(self) -> Counter[str]:
        """How often each kind was injected."""
        kinds = (*RECORDER_FAULTS, *DATABASE_FAULTS)
        return Counter(str(each["what"]) for each in self.events if each["what"] in kinds)


def read(folder: Path) -> Evidence:
    """Of a run that is over. Its database is started for as long as this takes."""
    with stage.database(folder) as server, connect(server.url(), application="judge") as connection:
        compared = archive.compare(connection, folder)
        sizes = archive.sizes(connection)
        ((quarantined, sessions),) = connection.execute(
            "SELECT (SELECT count(*) FROM cdr.quarantine WHERE reason <> 'cut_off'), (SELECT count(*) FROM cdr.session)"
        )
    return Evidence(
        samples=lines(folder / "samples.jsonl"),
        events=lines(folder / "events.jsonl"),
        sent_by=json.loads((folder / "stats.json").read_text())["sent"],
        metrics=json.loads((folder / "metrics.json").read_text()),
        compared=compared,
        sizes=sizes,
        quarantined=quarantined,
        sessions=sessions,
    )


def lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a file of JSON, but for one that was cut off."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]
