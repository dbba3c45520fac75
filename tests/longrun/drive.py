"""Feeds the worker, does to it what the plan says, and notes how it stands every few seconds.

What is noted is on disk at once (`samples.jsonl`, `events.jsonl` in the run's folder), so an interrupted run
still tells what it saw, and can be judged.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from campaign.stage import wait_for
from longrun import stage, watch
from longrun.plan import RECORDER_FAULTS, RECORDERS, Pace, Step, pace, steps

from etl.store import embedded

LOOK_EVERY = 0.5
ROOM = 0.4
"""Share of a full backlog at which the recorders go on again."""
PATIENCE = 300.0
"""Seconds that all may take to come to rest at the end."""
NO_MESSAGE = ("garbage", "untold")


@dataclass(frozen=True, slots=True)
class Options:
    seed: int
    messages: int
    seconds: float
    """At most so long: what was sent by then is judged."""
    folder: Path

    @property
    def pace(self) -> Pace:
        return pace(self.messages)


def drive(options: Options) -> None:
    """The run itself; what there is to judge lies in its folder afterwards."""
    folder, beat = options.folder, options.pace
    with stage.database(folder) as server, stage.feeder(folder, RECORDERS, beat.turn) as feeder:
        port = stage.free_port()
        with stage.worker(folder, server.url(), feeder.ports, port, beat.refetch) as worker:
            run = Run(options, server, feeder, worker.pid, port)
            run.feed()
            run.settle()
            run.finish()
        run.event("stopped", code=worker.returncode, journals=_journals(folder))


def _journals(folder: Path) -> int:
    """Journals that were left behind."""
    return sum(path.is_dir() for path in (folder / "data" / "journal").iterdir())


class Run:
    """One run while it goes on."""

    def __init__(
        self, options: Options, server: embedded.Cluster, feeder: stage.Feeder, worker: int, port: int
    ) -> None:
        self._options = options
        self._pace = options.pace
        self._worker = worker
        self._server = server
        self._feeder = feeder
        self._port = port
        self._began = time.monotonic()
        self._sampled = 0.0
        self._held = False
        self._full = self._pace.full
        self._away: threading.Thread | None = None
        self._stats: Mapping[str, Any] = {}
        self._backlog = 0.0

    # Phases

    def feed(self) -> None:
        """Until all messages are sent and all steps done, or the time is over."""
        wait_for(lambda: watch.answers(self._port), PATIENCE, "the worker's metrics")
        self.event("began", seed=self._options.seed, messages=self._options.messages, recorders=RECORDERS)
        left = steps(self._options.seed, self._options.messages)
        while (left or self._sent() < self._options.messages) and self._elapsed() < self._options.seconds:
            self._look()
            due = [step for step in left if step.share * self._options.messages <= self._sent()]
            left = [step for step in left if step not in due or not self._do(step)]
            time.sleep(LOOK_EVERY)
        while self._hitting():
            self._look()
            time.sleep(LOOK_EVERY)

    def settle(self) -> None:
        """No new calls: those that go on end, and their records are asked for."""
        self._feeder.order("finish")
        self.event("finish", sent=self._sent(), steps_left=self._sent() < self._options.messages)
        deadline, quiet, last = time.monotonic() + PATIENCE, time.monotonic(), -1
        while time.monotonic() < deadline and time.monotonic() - quiet < self._pace.rest:
            self._look()
            done = sum(each.get("detail", 0) + each.get("end", 0) for each in self._stats["sent"])
            if done != last or self._backlog > 0 or watch.unresolved(self._server.url()) != 0:
                quiet, last = time.monotonic(), done
            time.sleep(LOOK_EVERY)

    def finish(self) -> None:
        """Keep what the judge needs: the truth, and the last metrics."""
        self._feeder.ask("save", str(self._options.folder))
        time.sleep(self._pace.counted)
        self._look()
        self._sample()
        found = watch.metrics(self._port)
        flat = [[name, dict(labels), value] for name, each in found.items() for labels, value in each]
        (self._options.folder / "metrics.json").write_text(json.dumps(flat))
        (self._options.folder / "stats.json").write_text(json.dumps(self._feeder.ask("stats")))

    # What happens

    def _do(self, step: Step) -> bool:
        """False where it has to wait: the database has not come to rest from the step before."""
        if step.what in RECORDER_FAULTS:
            self._feeder.order(step.what, step.recorder)
            self.event(step.what, recorder=step.recorder)
        elif self._hitting():
            return False
        else:
            self._away = threading.Thread(target=self._database_away, args=[step])
            self._away.start()
        return True

    def _hitting(self) -> bool:
        return self._away is not None and self._away.is_alive()

    def _database_away(self, step: Step) -> None:
        """Stop the database; for a `backlog` until the journal is well filled."""
        began, self._full = time.monotonic(), self._pace.full_away
        self._server.stop("immediate" if step.what == "crash" else "fast")
        if step.what == "backlog":
            while time.monotonic() < began + self._pace.filling and self._backlog < self._full:
                time.sleep(LOOK_EVERY)
        else:
            time.sleep(self._pace.away)
        self._server.start()
        self._full = self._pace.full
        up, filled = time.monotonic(), self._backlog
        while self._backlog > ROOM * self._full and time.monotonic() - up < PATIENCE:
            time.sleep(LOOK_EVERY)
        drained = time.monotonic() - up
        self.event(step.what, seconds=round(up - began, 1), backlog=filled, drained=round(drained, 1))

    def _look(self) -> None:
        """Hold the recorders where the worker does not come after, and take a sample when it is time."""
        self._stats = self._feeder.ask("stats")
        self._backlog = watch.metrics(self._port)["cdr_journal_backlog_messages"][0][1]
        if self._backlog >= self._full and not self._held:
            self._held = True
            self._feeder.order("hold")
        elif self._backlog <= ROOM * self._full and self._held:
            self._held = False
            self._feeder.order("go")
        if time.monotonic() - self._sampled >= self._pace.sample:
            self._sample()

    def _sample(self) -> None:
        self._sampled = time.monotonic()
        sample = {
            "at": round(self._elapsed(), 1),
            "sent": self._sent(),
            "calls": self._stats.get("ended", 0),
            "finals": self._stats.get("finals", 0),
            "backlog": self._backlog,
            "held": self._held,
            "load": round(os.getloadavg()[0], 1),
            "feeder_cpu": self._stats.get("cpu", 0.0),
            **watch.process(self._worker),
            **watch.journal(self._options.folder / "data"),
            **watch.database(self._server.url()),
        }
        _append(self._options.folder / "samples.jsonl", sample)

    def event(self, what: str, **told: object) -> None:
        _append(
            self._options.folder / "events.jsonl",
            {"at": round(self._elapsed(), 1), "time": datetime.now(UTC).isoformat(), "what": what, **told},
        )

    def _sent(self) -> int:
        return sum(
            count for each in self._stats.get("sent", ()) for what, count in each.items() if what not in NO_MESSAGE
        )

    def _elapsed(self) -> float:
        return time.monotonic() - self._began


def _append(path: Path, line: Mapping[str, object]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
