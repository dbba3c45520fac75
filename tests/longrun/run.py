"""Sends millions of messages through the worker and judges what came of it; see docs/long-run.md."""

from __future__ import annotations

import argparse
import os
import signal
from collections.abc import Sequence
from pathlib import Path

from longrun import evidence, plot
from longrun.archive import SHOWN
from longrun.drive import Options, drive
from longrun.evidence import Evidence
from longrun.judge import Verdict, judge, table
from support import ledger
from support.commit import commit
from support.folder import folder

from etl.config import duration

RESULT, PLOT = "result.txt", "plot.svg"


def main(arguments: Sequence[str]) -> int:
    """One run, or the judgement of one that is over; exit code 1 if a bound is broken."""
    options = _options(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with folder(options.judge or options.keep, "cdr-longrun-") as where:
        if options.judge is None:
            drive(Options(options.seed, options.messages, options.seconds, where))
        seen = evidence.read(where)
        verdicts = judge(seen)
        told = "\n".join([table(verdicts), *seen.compared.broken[:SHOWN]])
        (where / RESULT).write_text(told + "\n", encoding="utf-8")
        (where / PLOT).write_text(plot.draw(seen), encoding="utf-8")
    print(told)
    if options.ledger is not None:
        ledger.append(_line(seen, verdicts), options.ledger)
    return 0 if all(each.holds for each in verdicts) else 1


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.longrun")
    parser.add_argument("--messages", type=int, default=5_000_000)
    parser.add_argument("--at-most", dest="seconds", type=_seconds, default=86_400.0, metavar="90m",
                        help="send no more after this time, and judge what was sent")  # fmt: skip
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="keep samples, logs, truth and database in this new folder")
    parser.add_argument("--judge", type=Path, metavar="FOLDER", help="judge a run that was kept")
    parser.add_argument("--ledger", type=Path, metavar="FOLDER", help="add a line to the ledger in this folder")
    return parser.parse_args(arguments)


def _seconds(text: str) -> float:
    return duration(text).total_seconds()


def _line(seen: Evidence, verdicts: Sequence[Verdict]) -> ledger.Run:
    """The run as the ledger keeps it. It is known by what it was asked for, wherever that was told."""
    began = next(each for each in seen.events if each["what"] == "began")
    recovery: dict[str, list[float]] = {}
    for each in seen.events:
        if "drained" in each:
            recovery.setdefault(each["what"], []).append(each["drained"])
    return ledger.Run(
        programme="longrun",
        seed=began["seed"],
        command=f"python -m tests.longrun --messages {began['messages']} --seed {began['seed']}",
        commit=commit(),
        at=began["time"],
        seconds=round(seen.samples[-1]["at"], 1),
        checked=seen.compared.happened,
        excused=seen.compared.in_gaps,
        broken=[f"{each.what}: {each.measured}, not {each.bound}" for each in verdicts if not each.holds],
        faults=dict(seen.faults()),
        recovery=recovery,
        load=os.getloadavg()[0],
    )
