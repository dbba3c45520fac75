"""What the commands share: options, logging, and how data goes to stdout and notes to stderr."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID
from zoneinfo import ZoneInfo

import structlog
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from etl.config import duration
from etl.errors import UsageError
from etl.model import Interval

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", help="Configuration file; default: $CDR_CONFIG, ./cdr.toml, /etc/cdr/cdr.toml."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on stdout, no decoration.")]
VerboseOption = Annotated[bool, typer.Option("--verbose", "-v", help="Log at debug level; may show personal data.")]
LogJsonOption = Annotated[bool, typer.Option("--log-json", help="Log as JSON lines.")]

notes = Console(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True)
"""Progress and notes: stderr."""
data = Console(highlight=False, markup=False, emoji=False)
"""Results: stdout."""

EARLIEST = 1971
"""The first year of a time that may be asked for: no such call began before."""
LATEST = 9998
"""The last year of a span: room is left for zones and delays."""


def set_up_logging(*, verbose: bool = False, as_json: bool = False) -> None:
    """Log lines go to stderr: for people on a terminal, logfmt otherwise, JSON on request. Times are UTC."""
    renderer: Any = structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"])
    if as_json:
        renderer = structlog.processors.JSONRenderer()
    elif sys.stderr.isatty():
        renderer = structlog.dev.ConsoleRenderer()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _printable,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG if verbose else logging.INFO),
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),  # as it is then: it may have been replaced
        cache_logger_on_first_use=False,
    )


def _printable(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """What others sent us (a recorder's refusal, say) must not steer the terminal that shows the log."""
    return {key: _lines(value) if isinstance(value, str) else value for key, value in event.items()}


def _lines(text: str) -> str:
    """Safe, yet still in lines: a traceback has several, and what renders them deals with line feeds."""
    return "\n".join(map(safe, text.split("\n")))


def finish(code: int) -> None:
    """End the command with this exit code (section 3 of the contract); 0 goes on."""
    if code:
        raise typer.Exit(code)


def note(text: str) -> None:
    """One line for the user on stderr; whatever is in it, the terminal obeys nothing."""
    notes.print(safe(text))


def print_json(value: object) -> None:
    """One JSON document on stdout; times in ISO 8601 UTC, durations in seconds. Characters that a terminal would obey,
    and those of file names that are not UTF-8, are written as JSON escapes: a program reads them as they are."""
    sys.stdout.write(_json(value) + "\n")
    sys.stdout.flush()


def print_json_list(head: Mapping[str, object], name: str, items: Iterable[object]) -> None:
    """The same, `head` with one more key: a list that is written as it comes, and need not fit into memory."""
    sys.stdout.write(f"{_json(head)[:-1]}, {_json(name)}: [")
    for number, item in enumerate(items):
        sys.stdout.write(f"{', ' if number else ''}{_json(item)}")
    sys.stdout.write("]}\n")
    sys.stdout.flush()


def _json(value: object) -> str:
    text = json.dumps(value, default=plain, ensure_ascii=False)
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in text)


def plain(value: object) -> Any:
    """What JSON has no word for."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, UUID | Path):
        return str(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, Iterable):
        return list(value)
    raise TypeError(f"no JSON for {type(value).__name__}")


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], title: str | None = None) -> None:
    """A table on stdout. Control characters in the data (terminal escapes in a name) are shown, not obeyed."""
    grid = Table(*columns, title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for column in grid.columns:
        column.overflow = "fold"  # on a narrow terminal nothing is cut
    for row in rows:
        grid.add_row(*(Text(safe(cell)) for cell in row))
    data.print(grid)


def safe(value: object) -> str:
    """Text without anything that a terminal would obey; times in UTC, to the second."""
    text = "" if value is None else str(value)
    if isinstance(value, datetime):
        text = f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S}"
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def on_stop(loop: asyncio.AbstractEventLoop, stop: Callable[[], None]) -> None:
    """The first SIGINT or SIGTERM ends cleanly by `stop`, on the loop; a second one ends the process at once."""
    signs = (signal.SIGINT, signal.SIGTERM)

    def asked() -> None:
        stop()
        for sign in signs:
            loop.remove_signal_handler(sign)
            signal.signal(sign, lambda number, _frame: os._exit(128 + number))

    for sign in signs:
        loop.add_signal_handler(sign, asked)


def seconds_of(text: str | None) -> float | None:
    """The time of `--for` in seconds. Raises UsageError."""
    if text is None:
        return None
    try:
        return duration(text).total_seconds()
    except ValueError as error:
        raise UsageError(f"--for {text}: {error}") from None


def moment(text: str | None, zone: ZoneInfo | None = None) -> datetime | None:
    """A time from the command line: ISO 8601; without a zone in `zone`, else in the machine's, which is said.

    Raises UsageError, also for a year in which no call can be.
    """
    if text is None:
        return None
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f'"{text}" is not a time; write ISO 8601, such as 2026-03-01T08:00+01:00') from None
    if read.year < EARLIEST:
        raise _out_of_range(text)
    local = read.tzinfo is None
    try:
        if local:
            read = read.astimezone() if zone is None else read.replace(tzinfo=zone)
        read.astimezone(UTC)
    except (OverflowError, ValueError):  # at the end of the calendar a zone leads beyond it
        raise _out_of_range(text) from None
    if local:
        where = zone.key if zone else "this machine's zone"
        note(f"{text} is read in {where}: {read.isoformat()}")
    return read


def _out_of_range(text: str) -> UsageError:
    return UsageError(f"{text} is out of range: write a time of the years {EARLIEST} to {LATEST}")


def span(from_: str, to: str) -> Interval:
    """The time from `--from` to `--to`, in UTC. Raises UsageError where it is empty or no such time."""
    start, end = moment(from_), moment(to)
    assert start is not None
    assert end is not None
    if max(start.year, end.year) > LATEST:
        raise _out_of_range(to if end.year > LATEST else from_)
    if start >= end:
        raise UsageError(f"--to {to} is not after --from {from_}")
    return Interval(start.astimezone(UTC), end.astimezone(UTC))
