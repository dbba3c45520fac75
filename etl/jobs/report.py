"""Makes the report: looks at the archive, draws, and writes one HTML file. Needs the extra `report`."""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from zoneinfo import ZoneInfo

from etl.errors import CdrError, UsageError
from etl.model import Interval
from etl.report.coverage import Describe
from etl.report.page import page
from etl.report.rows import Findings
from etl.store.database import Connection
from etl.store.report import look

NAME = "index.html"


@dataclass(frozen=True, slots=True)
class Report:
    """Where the page lies, what it was made from, and whether something is missing and not accepted."""

    path: Path
    findings: Findings
    amiss: bool


def require_extra() -> None:
    """Raises UsageError where the extra that draws is not installed."""
    if find_spec("matplotlib") is None:
        raise UsageError("cdr report needs an extra: pip install 'cdr-archive[report]'")


def report(
    connection: Connection, span: Interval, zone: ZoneInfo, now: datetime, folder: Path, describe: Describe
) -> Report:
    """Write `folder`/index.html about the whole days of `zone` in `span`. `describe` puts reasons of gaps into words.

    Raises UsageError for a folder that cannot be one, `CdrError` where the file cannot be written.
    """
    _prepare(folder)
    looked = look(connection, span, zone, now)
    return Report(write(folder / NAME, render(looked.findings, describe)), looked.findings, looked.amiss)


def render(findings: Findings, describe: Describe) -> str:
    """The page with its plots."""
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it would tell of a home folder that it cannot write to
    from etl.report.plots import draw

    return page(findings, lambda chart, key: draw(chart, key, findings.zone), describe)


def _prepare(folder: Path) -> None:
    """A new folder is closed to other users: whom else the report is for is for its owner to say."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise UsageError(f"--out {folder} is a file, not a folder") from None
    except OSError as error:
        raise UsageError(f"--out {folder} cannot be made: {error.strerror}") from None


def write(path: Path, text: str) -> Path:
    """All of it or nothing: an earlier report stays until the new one is whole on the disk."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        raise CdrError(f"{path} cannot be written: {error.strerror}; an earlier report there is as it was") from None
    finally:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
    return path
