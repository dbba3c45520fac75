"""`cdr demo`: the whole pipeline on this machine, with nothing to configure."""

from __future__ import annotations

import asyncio
import shlex
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from etl import config
from etl.cli.archive import Archive, opened
from etl.cli.common import JsonOption, VerboseOption, data, finish, note, print_json, set_up_logging, table
from etl.config import Settings
from etl.errors import UsageError
from etl.jobs.backfill_gaps import GapBackfill, everything
from etl.jobs.compare import Compared, compare
from etl.jobs.history import sources
from etl.simulator import truth
from etl.simulator.config import ALL_STYLES, HttpConfig, SimulatorConfig
from etl.simulator.faults import parse_faults
from etl.simulator.main import serve, shared_history
from etl.simulator.simulator import Simulator
from etl.worker.worker import Worker

SETTLE = 8.0
"""Seconds for the last calls to end and their details to come."""
EXAMPLE = '"select recorder, state, count(*) from cdr.call group by 1, 2"'
LEGEND = """
complete   archived with its full record
recovered  of these, heard by nobody; the history had them
partial    archived; its full record is missing or still to come
in gaps    not archived; in a listed gap, when nobody was listening
missing    not archived, and in no gap
wrong      archived, and contradicts the truth
filled     gaps of which the history showed every call, of all gaps;
           the last one began when the worker was stopped
"""
HISTORY_ZONE = "Europe/Budapest"
"""Of the simulated history's times: not that of any machine."""
KEEPALIVE = 1.0
"""Short, so that a silence is noticed within the demo."""


def demo(
    seconds: Annotated[float, typer.Option(min=5, max=3600, help="How long calls keep coming.")] = 15.0,
    keep: Annotated[
        Path | None, typer.Option(help="Keep configuration, database and truth in this new folder.")
    ] = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Show the whole pipeline on this machine.

    Archives the calls of three simulated recorders, two of which misbehave, fills the gaps from their history, and
    compares the archive with what they know. Sets up a PostgreSQL of its own; needs no configuration. Exit code 1 if
    a call is missing without an explanation, or contradicts the truth.

    Example: cdr demo --seconds 30 --keep ./demo
    """
    set_up_logging(verbose=verbose)
    with _folder(keep) as folder:
        results = asyncio.run(_demo(folder, seconds))
    if as_json:
        print_json(results)
    else:
        _show(results, keep)
    finish(1 if any(each.unexplained or each.contradictions for each in results) else 0)


def recorders(seconds: float) -> tuple[SimulatorConfig, ...]:
    """Three recorders: one in order, one that loses its connections, one that falls silent and sends rubbish."""
    faults = (
        "duplicates=10%",
        f"drop@{seconds * 0.4:g}s,reordering=5%,close-after-response",
        f"silence@{seconds * 0.3:g}s:3s,garbage=20/min,malformed=10/min,detail-errors=10%",
    )
    zones = ("America/New_York", "Europe/Budapest", "UTC")
    return tuple(
        SimulatorConfig(
            name=name,
            timezone=zone,
            rate=2.0,
            duration_min=0.5,
            duration_mean=2.0,
            keepalive=KEEPALIVE,
            settle_after=1.0,
            styles=ALL_STYLES,
            seconds=seconds,
            linger=3600,
            faults=parse_faults(text),
        )
        for name, zone, text in zip(("new-york", "budapest", "london"), zones, faults, strict=True)
    )


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        _new_folder(keep)
        yield keep.resolve()
        return
    folder = Path(tempfile.mkdtemp(prefix="cdr-demo-"))
    folder.chmod(0o755)  # as root, the database belongs to another user, who must get there
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _new_folder(folder: Path) -> None:
    """What an earlier demo archived would contradict what the recorders of this one know."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        empty = not any(folder.iterdir())
    except OSError as error:
        raise UsageError(f"--keep {folder}: {error.strerror}") from None
    if not empty:
        raise UsageError(f"--keep {folder}: it is not empty; name a new folder, or delete this one")


async def _demo(folder: Path, seconds: float) -> list[Compared]:
    simulated = recorders(seconds)
    truths = [folder / f"{each.name}.truth.jsonl" for each in simulated]
    async with AsyncExitStack() as stack:
        note("Setting up PostgreSQL ...")
        archive = stack.enter_context(opened(_settings(folder, (), ())))
        await asyncio.to_thread(archive.start)
        writers = stack.enter_context(_writers(truths))
        stop = asyncio.Event()
        running = [_start(each, stop, writer) for each, writer in zip(simulated, writers, strict=True)]
        sites = [await ready for _, ready in running]
        port = await stack.enter_async_context(shared_history(HttpConfig(timezone=HISTORY_ZONE), sites))
        settings = _settings(folder, simulated, [each.port for each in sites], port)
        note(f"Three simulated recorders make calls for {seconds:g} s; two of them misbehave. The log of the worker:")
        await _work(Worker(settings, archive.connect), seconds + SETTLE)
        note("Filling what gaps are left from the recorders' history ...")
        await asyncio.to_thread(_backfill, settings, archive)
        stop.set()
        await asyncio.gather(*(task for task, _ in running))
        return await asyncio.to_thread(_compare, archive, truths)


@contextmanager
def _writers(paths: Sequence[Path]) -> Iterator[list[truth.TruthWriter]]:
    with ExitStack() as stack:
        yield [stack.enter_context(truth.TruthWriter(path)) for path in paths]


def _start(
    simulated: SimulatorConfig, stop: asyncio.Event, writer: truth.TruthWriter
) -> tuple[asyncio.Task[None], asyncio.Future[Simulator]]:
    ready: asyncio.Future[Simulator] = asyncio.get_running_loop().create_future()
    return asyncio.create_task(serve(simulated, stop, writer, ready.set_result)), ready


async def _work(worker: Worker, seconds: float) -> None:
    asyncio.get_running_loop().call_later(seconds, worker.stop)
    await worker.run()


def _backfill(settings: Settings, archive: Archive) -> None:
    """The worker fills gaps too; what it had no time for is done here. A history that fails is said, not raised."""
    with sources(settings) as found, archive.connect() as connection:
        filling = GapBackfill(settings, archive.connect, found)
        report = filling.run(everything(connection, datetime.now(UTC)))
    if report.failure:
        note(report.failure)


def _settings(folder: Path, simulated: Sequence[SimulatorConfig], ports: Sequence[int], history: int = 0) -> Settings:
    path = folder / "cdr.toml"
    path.write_text(_configuration(simulated, ports, history), encoding="utf-8")
    return config.load(path)


def _configuration(simulated: Sequence[SimulatorConfig], ports: Sequence[int], history: int) -> str:
    head = (
        '[database]\nembedded = true\n\n[worker]\ndata_dir = "data"\nrefetch_after = "2s"\n'
        'detail_give_up = "20s"\n\n[http]\nlisten = "127.0.0.1:0"\n'
    )
    entries = [
        f'\n[[recorder]]\nname = "{each.name}"\nhost = "{each.host}"\nport = {port}\n'
        f'location = "{each.recorder_location}"\ntimezone = "{each.timezone}"\n'
        for each, port in zip(simulated, ports, strict=True)
    ]
    where = (
        f'\n[history.http]\nurl = "http://127.0.0.1:{history}/verba/api"\ntimezone = "{HISTORY_ZONE}"\ndelay = "1s"\n'
    )
    return head + "".join(entries) + (where if history else "")


def _compare(archive: Archive, truths: Sequence[Path]) -> list[Compared]:
    now = datetime.now(UTC)
    with archive.connect() as connection:
        return [compare(truth.load(path), connection, now) for path in truths]


def _show(results: Sequence[Compared], keep: Path | None) -> None:
    rows = [
        (
            each.recorder,
            each.happened,
            each.complete,
            each.recovered,
            each.started,
            each.in_gaps,
            len(each.unexplained),
            len(each.contradictions),
            f"{each.filled} of {each.gaps}",
        )
        for each in results
    ]
    columns = ("recorder", "calls", "complete", "recovered", "partial", "in gaps", "missing", "wrong", "filled")
    data.print()
    table(columns, rows, "What the simulated recorders know, and what is archived")
    data.print(LEGEND)
    data.print(
        "Every call is archived, or lies in a gap that says when and why nobody listened."
        if not any(each.unexplained or each.contradictions for each in results)
        else "Calls are missing or wrong: this is a bug, please report it with the log above."
    )
    _next_steps(keep)


def _next_steps(keep: Path | None) -> None:
    if keep is None:
        data.print("\nNext: keep the archive of a demo and look around in it:\n  cdr demo --keep demo")
        return
    file, today = shlex.quote(str(keep / "cdr.toml")), datetime.now(UTC).astimezone().date()
    data.print("\nNext:", soft_wrap=True)
    for words in (
        f"status --config {file}",
        f"quarantine list --config {file}",
        f"report --config {file} --from {today} --out {shlex.quote(str(keep / 'report'))}",
        f"db sql --config {file} -c {EXAMPLE}",
    ):
        data.print(f"  cdr {words}", soft_wrap=True)
