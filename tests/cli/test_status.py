"""What `cdr status` shows: to people at two widths, to programs, and by its exit code."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from support.postgres import connection

from etl.calls.coverage import Break, SessionState
from etl.cli import common, status
from etl.model import Interval
from etl.store.amiss import Amiss
from etl.store.status import GapStatus, RecorderStatus, SessionEnd, SessionStatus, Status
from etl.store.write import Batch, Writer

Here = Callable[..., Any]
Configure = Callable[..., Path]
NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
LIVE = SessionStatus(UUID(int=1), "w", (), NOW - 20 * HOUR, NOW - 20 * HOUR, NOW, owned=True)
FOUND = Status(
    at=NOW,
    since=NOW - 24 * HOUR,
    recorders=(
        RecorderStatus(
            "budapest",
            (LIVE,),
            (Interval(NOW - 20 * HOUR, NOW - 6 * HOUR), Interval(NOW - 4.25 * HOUR, NOW - HOUR)),
            (Interval(NOW - HOUR, NOW),),
            (GapStatus(7, NOW - 6 * HOUR, NOW - 4.25 * HOUR, "drop", ()),),
            {"complete": 120345, "ongoing": 3, "ended": 1},
            {"ongoing": 3, "ended": 1},
            1,
            Amiss(overdue=1, unlisted=3, gaps=1),
            SessionEnd(NOW - 4.5 * HOUR, "drop"),
        ),
        RecorderStatus(
            "new-york",
            (),
            (),
            (),
            (GapStatus(9, NOW - 30 * HOUR, None, "crash", ()),),
            {},
            {"lost": 2},
            0,
            Amiss(lost=2, gaps=1),
            SessionEnd(NOW - 30 * HOUR, "stop"),
            "out of \x1b[2Jreach",
        ),
    ),
    lag=timedelta(seconds=2.25),
    quarantined={("budapest", "not_\x1b[2Jwell_formed"): 1234},
    absurd_times=2,
)
EIGHTY = """\
As of 2026-03-02 12:00:00 UTC; coverage and calls of the last 24 hours

recorder  connected     covered  calls    ongoing  ended  lost  open gaps
budapest  for 20:00:00  86.2%    120,349  3        1      0     1
new-york  no            0.0%     0        0        0      2     1

recorder  █ covered ▄ in part ░ pending · not covered
budapest          ████████████████████████████···▄██████░░
new-york  ················································

Open gaps, newest 2 of 2
recorder  gap  from (UTC)           length                 why
new-york  9    2026-03-01 06:00:00  1 day, 6:00:00, lasts  worker died
budapest  7    2026-03-02 06:00:00  1:45:00                connection closed

budapest: last session ended 2026-03-02 07:30:00 UTC: connection closed
budapest: 1 call ended for over five minutes without a record
budapest: 3 calls ongoing with us, but not in the recorder's last list
new-york: last reconciliation failed: out of \\x1b[2Jreach
new-york: 2 calls lost, and not accepted ('cdr accept call')

Lag (since receipt of the newest document stored): 2.2 s
Quarantine: 1,234 from budapest: not_\\x1b[2Jwell_formed
2 calls have absurd times (default partition)
"""


@pytest.mark.parametrize("width", [80, 120])
def test_the_page_fits_and_cuts_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], width: int
) -> None:
    """The same words at 80 columns and at 120. Time before the first subscription counts neither way."""
    monkeypatch.setattr(common.data, "_width", width)
    status.show(FOUND)
    out = capsys.readouterr().out
    assert "\n".join(line.rstrip() for line in out.splitlines()) == EIGHTY.rstrip("\n")
    assert max(len(line) for line in out.splitlines()) <= width


def test_on_a_narrow_terminal_long_names_fold_and_are_not_cut(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No ellipsis: what stands in the archive can be read everywhere."""
    monkeypatch.setattr(common.data, "_width", 40)
    common.table(("recorder", "reason"), [("a" * 30, "b" * 30)])
    out = capsys.readouterr().out
    assert (out.count("a"), out.count("b"), out.count("…")) == (30 + 1, 30, 0)  # "reason" has an a


def session(now: datetime, *, closed: bool) -> SessionState:
    began, ended = now - 2 * HOUR, now - HOUR
    return SessionState(
        UUID(int=5),
        "alpha",
        "nobody",
        (),
        began,
        subscribed_at=began,
        coverage=(Interval(began, ended),) if closed else (),
        breaks=(Break(ended, "drop"),) if closed else (),
        since=None if closed else began,
        listed_at=None if closed else began,
        last_read=ended,
        listed_after=began,
        closed_at=now - HOUR / 2 if closed else None,
        reason="drop" if closed else None,
    )


@pytest.mark.parametrize("as_json", [False, True])
def test_open_gaps_are_code_5_and_a_pending_time_is_not(
    here: Here, configure: Configure, embedded_database: str, as_json: bool
) -> None:
    """In words and in JSON: one valid document, nothing else on stdout, times with their zone."""
    words = ("status", "--config", str(configure(embedded_database, alpha=1)), *(["--json"] if as_json else []))
    assert here(*words).code == 0
    now = datetime.now(UTC)
    with connection(embedded_database) as opened:
        writer = Writer(opened)
        writer.write(Batch(sessions=[session(now, closed=False)]))
        assert here(*words).code == 0
        writer.write(Batch(sessions=[session(now, closed=True)]))
    done = here(*words)
    assert (done.code, done.err) == (5, "")
    if as_json:
        alpha = json.loads(done.out)["recorders"][0]
        assert alpha["open_gaps"][0]["reason"] == "drop"
        assert datetime.fromisoformat(alpha["open_gaps"][0]["from_time"]).tzinfo is not None
    else:
        assert "connection closed" in done.out
        assert "lasts" in done.out


@pytest.mark.slow
def test_a_reader_that_leaves_early_causes_no_noise(cdr: Any, configure: Configure, embedded_database: str) -> None:
    """As in `cdr quarantine list | head`: not a word on stderr."""
    file = configure(embedded_database, alpha=1)
    with subprocess.Popen(
        [*cdr.command, "status", "--config", str(file)], env=cdr.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert process.returncode == 1


@pytest.mark.slow
@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_watching_ends_cleanly(cdr: Any, configure: Configure, embedded_database: str, sign: signal.Signals) -> None:
    """A signal is how it is meant to end: code 0, and each look is one line of JSON."""
    watching = cdr.start("status", "--watch", "--json", "--config", str(configure(embedded_database, alpha=1)))
    deadline = time.monotonic() + 20
    while watching.out.count("\n") < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    done = watching.end(sign)
    assert (done.code, done.err) == (0, "")
    assert [set(json.loads(line)) >= {"at", "recorders"} for line in done.out.splitlines()] == [True] * 2
