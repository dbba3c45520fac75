"""Puts a world together and lets a schedule happen in it: the recorder, the hosts, the workers, the archive."""

from __future__ import annotations

import random
from functools import cache, partial
from pathlib import Path

from explore.archive import Archive
from explore.disk import Disks, Folder
from explore.recorder import GARBAGE, MALFORMED, PORT, Recorder
from explore.schedule import Do, Schedule, Step
from explore.world import Host, Process, World
from explore.world import Step as ClockStep

from etl.config import Settings
from etl.errors import CdrError
from etl.worker.worker import Ended, Worker

RECORDER = "ny-1"


@cache
def settings(root: Path) -> Settings:
    """Times are short, so that much happens in a short while; their order of magnitude to each other is the usual."""
    return Settings.model_validate(
        {
            "worker": {
                "data_dir": str(root),
                "reconcile_every": "12s",
                "refetch_after": "3s",
                "detail_give_up": "8s",
                "backfill_gaps": False,
            },
            "http": {"listen": ""},
            "recorder": [
                {
                    "name": RECORDER,
                    "host": "recorder.example",
                    "port": PORT,
                    "connect_timeout": "2s",
                    "request_timeout": "2s",
                    "probe_every": "3s",
                }
            ],
        }
    )


class Stage:
    """A world in which a schedule happens."""

    def __init__(self, schedule: Schedule, folder: Path) -> None:
        self.schedule = schedule
        self.world = World(schedule.seed, folder)
        self.disks = Disks(self.world, real=schedule.real_disk)
        self.archive = Archive(self.world)
        self.world.put(self.disks)
        self.world.put(self.archive)
        self.recorder = Recorder(self.world, schedule.manners)
        self.hosts = [Host(f"host {number}", folder / f"host-{number}") for number in range(schedule.hosts)]
        self.running: dict[int, Process] = {}
        self.ended: list[Ended] = []
        self.over = False
        self.closed_at = 0.0
        self.closing = False
        self._starts = 0
        random.seed(schedule.seed)

    def play(self) -> None:
        """Let the schedule happen."""
        for step in self.schedule.steps:
            self.world.later(max(step.at, 0.0), partial(self._do, step))
        self.world.later(0.0, partial(self.start, 0))
        if self.schedule.workers == 2:
            self.world.later(self.schedule.second_at, partial(self.start, 1))
        self.world.run(self.schedule.length)

    # Workers

    def start(self, number: int) -> None:
        """Start a worker, unless it runs."""
        if number in self.running or number >= self.schedule.workers or self.closing:
            return
        self._starts += 1
        host = self.hosts[number % len(self.hosts)]
        process = Process(self.world, f"worker {number}.{self._starts}", host)
        self.running[number] = process
        self.world.say(f"{process.name} starts")
        process.loop.create_task(self._run(number, process))

    async def _run(self, number: int, process: Process) -> None:
        try:
            worker = Worker(settings(process.host.root), partial(self.archive.connect, process), process)  # type: ignore[arg-type]
            process.stop = worker.stop
            process.worker = worker
            ended = await worker.run()
        except CdrError as error:
            self.world.complain(f"{process.name} failed: {error}")
            return
        self.ended.append(ended)
        self.world.say(f"{process.name} has ended: {ended.left} left {ended.why}")
        self.world.later(0.0, partial(self._gone, number, process))

    def _gone(self, number: int, process: Process) -> None:
        process.kill()
        if self.running.get(number) is process:
            del self.running[number]

    def kill(self, number: int) -> Process | None:
        """kill -9."""
        process = self.running.pop(number, None)
        if process is not None:
            self.world.say(f"{process.name} is killed")
            process.kill()
        return process

    def stop(self, number: int) -> None:
        process = self.running.get(number)
        if process is not None and process.stop is None:  # it has hardly begun
            self.world.later(0.1, partial(self.stop, number))
        elif process is not None and process.stop is not None:
            self.world.say(f"{process.name} is asked to stop")
            process.stopped_at = min(process.stopped_at, self.world.now)
            process.loop.call_soon(process.stop)

    # What happens

    def _do(self, step: Step) -> None:
        if self.over:
            return
        self.world.say(f"-- {step.do.value.format(which=step.which, amount=step.amount)}")
        blow = getattr(self, f"_{step.do.name.lower()}", None)
        if blow is not None:
            blow(step)
        else:
            self._mood(step)

    def _call(self, step: Step, *, late: bool = False) -> None:
        call = self.recorder.begin(late_start=late)
        self.world.later(step.amount, lambda: self.recorder.end(call))

    def _late_start(self, step: Step) -> None:
        self._call(step, late=True)

    def _forget(self, step: Step) -> None:
        self.recorder.forget()

    def _restart(self, step: Step) -> None:
        self.recorder.restart()

    def _garbage(self, step: Step) -> None:
        self.recorder.send_nonsense(GARBAGE)

    def _malformed(self, step: Step) -> None:
        self.recorder.send_nonsense(MALFORMED)

    def _drop(self, step: Step) -> None:
        self.recorder.drop(torn=False, all_of_them=step.which == 0)

    def _reset(self, step: Step) -> None:
        self.recorder.drop(torn=True, all_of_them=step.which == 0)

    def _silence(self, step: Step) -> None:
        self.recorder.fall_silent()

    def _stall(self, step: Step) -> None:
        self.recorder.stop_half_way()

    def _kill(self, step: Step) -> Process | None:
        process = self.kill(step.which % self.schedule.workers)
        self.world.later(step.amount, partial(self.start, step.which % self.schedule.workers))
        return process

    def _stop(self, step: Step) -> None:
        self.stop(step.which % self.schedule.workers)
        self.world.later(step.amount, partial(self._again, step.which % self.schedule.workers))

    def _again(self, number: int) -> None:
        if number in self.running:  # it takes its time to close
            self.world.later(1.0, partial(self._again, number))
        else:
            self.start(number)

    def _freeze(self, step: Step) -> None:
        process = self.running.get(step.which % self.schedule.workers)
        if process is not None and not process.frozen:
            process.frozen = True
            self.world.say(f"{process.name} stands still")
            self.world.later(step.amount, partial(self._thaw, process))

    def _thaw(self, process: Process) -> None:
        if not process.dead and process.frozen:
            process.frozen = False
            process.thawed_at = self.world.now
            self.world.say(f"{process.name} goes on")

    def _clock(self, step: Step) -> None:
        host = self.hosts[step.which % len(self.hosts)]
        before = host.wall(self.world.now)
        host.offset += step.amount
        host.steps.append(ClockStep(self.world.now, before, host.wall(self.world.now)))

    def _damage(self, step: Step) -> None:
        if (folder := self._left_by(self._kill(step))) is not None:
            self.disks.damage(folder)

    def _delete(self, step: Step) -> None:
        if (folder := self._left_by(self._kill(step))) is not None:
            self.disks.delete(folder)

    def _left_by(self, process: Process | None) -> Folder | None:
        return next((each for each in self.disks.folders.values() if each.owner is process), None)

    def _database_away(self, step: Step) -> None:
        self.archive.away = True
        self.archive.cut()
        self.world.later(step.amount, lambda: setattr(self.archive, "away", False))

    def _database_cut(self, step: Step) -> None:
        self.archive.cut()

    def _lost_answer(self, step: Step) -> None:
        self.archive.lose_answers += 1

    def _slow_database(self, step: Step) -> None:
        self._for(self.archive, "slow", 1.0, 0.0, step.amount)

    def _slow_disk(self, step: Step) -> None:
        self._for(self.disks, "slow", 1.3, 0.0, step.amount)

    def _mood(self, step: Step) -> None:
        name, value, usual = {
            Do.REFUSE: ("refuses", True, False),
            Do.REJECT: ("rejects", True, False),
            Do.MUTE: ("mute", True, False),
            Do.ERRORS: ("errors", 0.7, 0.0),
            Do.SLOW: ("slow", 1.5, 0.0),
        }[step.do]
        self._for(self.recorder.moods, name, value, usual, step.amount)

    def _for(self, thing: object, name: str, value: object, usual: object, seconds: float) -> None:
        setattr(thing, name, value)
        self.world.later(seconds, lambda: setattr(thing, name, usual))

    # Peace

    def calm(self) -> None:
        """Everything is well again from here on; the clocks stay as they were set."""
        self.over = True
        self.world.say("-- calm")
        self.recorder.moods.__init__()  # type: ignore[misc]
        self.archive.away, self.archive.slow, self.archive.lose_answers, self.disks.slow = False, 0.0, 0, 0.0
        for process in self.world.processes:
            self._thaw(process)
        self.open()

    def close(self) -> None:
        """All workers stop, and have the time for it."""
        self.closing = True
        self.closed_at = self.closed_at or self.world.now
        self.world.say("-- all stop")
        for number in list(self.running):
            self.stop(number)

    @property
    def left(self) -> bool:
        """Whether a journal or a live session is left behind."""
        live = any(state.live for state in self.archive.sessions.values())
        return bool(self.disks.folders) or live

    def open(self) -> None:
        """All workers start again."""
        self.closing = False
        for number in range(self.schedule.workers):
            self.start(number)

    def end(self) -> None:
        """Nothing of this world goes on."""
        for process in self.world.processes:
            process.kill()
