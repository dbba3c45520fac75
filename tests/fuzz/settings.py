"""What a user writes: the configuration, its environment, and words of the command line."""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

from fuzz.law import Target, refused

from etl.calls.retention import expired_before
from etl.cli import common
from etl.config import PREFIX, Settings, duration, load, size
from etl.errors import UsageError
from etl.history.exchange import _url
from etl.ingest.interpret import Interpreter
from etl.protocol import requests
from etl.protocol.dialect import Dialect
from etl.simulator.faults import parse_faults

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
_FILE = Path(tempfile.gettempdir()) / f"cdr-fuzz-{os.getpid()}.toml"


def configuration(data: bytes) -> None:
    """A configuration is refused with a word about it, or everything that is made from it works.

    Lines before the first empty one are environment variables.
    """
    head, _, body = data.partition(b"\n\n")
    with _environment(head):
        _FILE.write_bytes(body)
        try:
            with refused(UsageError):
                _use(load(_FILE))
        finally:
            _FILE.unlink(missing_ok=True)


@contextmanager
def _environment(lines: bytes) -> Iterator[None]:
    """These variables of ours, and none that was set outside."""
    before = dict(os.environb)
    for name in [name for name in os.environb if name.upper().startswith(PREFIX.encode())]:
        del os.environb[name]
    for line in lines.split(b"\n"):
        name, equals, value = line.partition(b"=")
        if equals and name.upper().startswith(PREFIX.encode()) and b"\0" not in line and name.upper() != b"CDR_CONFIG":
            os.environb[name] = value
    try:
        yield
    finally:
        os.environb.clear()
        os.environb.update(before)


def _use(settings: Settings) -> None:
    """What the commands do with settings before they ask anybody."""
    Interpreter(settings)
    for recorder in settings.recorder:
        dialect = Dialect.from_overrides(recorder.dialect)
        requests.subscribe("1", recorder.extensions, dialect)
        requests.call_detail("2", "3", dialect)
        for wait in (recorder.connect_timeout, recorder.request_timeout, recorder.probe_every):
            assert timedelta() < wait
            NOON.__add__(wait)
    worker = settings.worker
    for wait in (worker.reconcile_every, worker.refetch_after, worker.detail_give_up, worker.margin):
        assert NOON - wait < NOON < NOON + wait
    assert 0 < worker.journal_limit < 1 << 63
    expired_before(settings.retention.keep, NOON)
    for path in (worker.data_dir, *(settings.history.files.roots if settings.history.files else ())):
        path.exists()
    if settings.history.http:
        _url(settings.history.http.url)
        (settings.history.http.username or "").encode()


def words(data: bytes) -> None:
    """Times, spans, durations, sizes and faults of a command line: read, or refused with a word about it."""
    text = data.decode("utf-8", "surrogateescape").replace("\0", "")
    with contextlib.redirect_stderr(io.StringIO()):
        with refused(UsageError):
            if (moment := common.moment(text)) is not None:
                moment.astimezone(UTC)
        with refused(UsageError):
            first, _, last = text.partition(",")
            asked = common.span(first, last)
            assert asked.start - timedelta(days=1) < asked.end + timedelta(days=1)
        with refused(UsageError):
            for fault in parse_faults(text).moments():
                moments = fault.moments(Random(1))
                before = -1.0
                for _ in range(3):
                    after = next(moments, None)
                    assert after is None or after > before, "a fault that happens endlessly often"
                    before = after or before
    for read in (duration, size):
        with contextlib.suppress(ValueError):
            read(text)
    assert common.safe(text).isprintable()


_WHOLE = b"""
[database]
url = "postgresql://cdr@db.example/cdr"
[worker]
data_dir = "var"
reconcile_every = "5m"
backfill_gaps = true
journal_limit = "10GB"
margin = "1s"
document_limit = "64MB"
[http]
listen = "127.0.0.1:9464"
[recorder_defaults]
timezone = "UTC"
[[recorder]]
name = "ny-1"
host = "recorder.example"
port = 10100
timezone = "America/New_York"
extensions = ["1000"]
connect_timeout = "5s"
tls = { ca = "ca.pem", certificate = "me.pem", key = "me.key" }
dialect = { list_request = "L", unknown_call_pattern = "gone", root = "R", id_names = ["i"] }
[[recorder]]
name = "bud"
host = "h"
port = 1
dialect = { field_names = { caller = "source_caller_id" } }
[history.http]
url = "https://verba.example/verba/api"
api_key = "k"
username = "auditor"
[history.files]
roots = ["/media/ny-1"]
[retention]
keep = "7y"
"""

TARGETS = (
    Target(
        "configuration",
        configuration,
        (
            b"\n\n" + _WHOLE,
            b"CDR_DATABASE__URL=postgresql://x\nCDR_WORKER__MARGIN=2s\n\n",
            b"CDR_HISTORY__HTTP__URL=http://h\n\n[[recorder]]\nname='a'\nhost='h'\nport=1\n",
            b'\n\n[database]\nurl_file = "/nowhere"\n',
            b"\n\n[[recorder]]\nname = 'a'\nhost = 'h'\nport = 1\nkeepalive_unit = 0.001\n",
        ),
        (
            b"[", b"]", b"{", b"}", b"=", b'"', b"'", b"\n", b"[[recorder]]", b'"~nobody-like-this/x"',
            b'"a\\u0000b"', b"[" * 2000, b"9" * 5000,
            b'"99999999999999w"', b'"0.0000001ms"', b"true", b"1e400", b"nan", b"2024-05-01", b"cdr_worker={",
            b"CDR_WORKER={}", b"CDR_RECORDER=[]",
            b"CDR_DATABASE__URL=\xff", b"cdr_database__embedded=x", b'{ a = ["x"] }', b'"x{99999999999999999999}"',
            b'"((((("', b'"x\\u00b2"',
            b'"http://h:99999"', b'"http://xn--/"', b'"http://["', b'":99999999"', b'"[::1]:1"', b'"America"',
            b'"../UTC"', b'""', b"dialect",
            b"recorder_defaults", b"keepalive_unit = 1e-300", b'"9999999999999d"', b'"\xd9\xa37y"', b"field_names",
            b"success_code",
        ),
    ),
    Target(
        "words",
        words,
        (
            b"2026-03-01T08:00+01:00", b"2026-03-01,2026-03-02", b"5m", b"1.5h", b"64MB", b"1GiB",
            b"drop=2/min,silence@30s:20s,duplicates=5%",
            b"stall@1m:2s,close-after-response", b"9999-12-31T23:59:59,9999-12-31T23:59:59.999",
        ),
        (
            b"9" * 400, b"0", b".", b"-", b":", b"T", b"Z", b"+23:59", b"-24:00", b",", b"/s", b"/h", b"%", b"@",
            b"=", b"ms", b"w", b"TiB", b"TB",
            b"drop", b"coalesce", b"restart", b"0001-01-01", b"9999-12-31", b"W53-7", b"\xd9\xa3", b"\xff",
            b"\x1b[2J", b"\xe2\x80\xae", b"1971-01-01",
        ),
    ),
)  # fmt: skip
