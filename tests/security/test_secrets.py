"""Secrets and personal data: planted as canaries, and looked for wherever the product writes."""

from __future__ import annotations

import asyncio
import json
import signal
import stat
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, quote_plus, urlencode
from urllib.request import urlopen

import pytest
from cli.conftest import PASSWORD as OF_DATABASE
from cli.conftest import Cdr, Guarded
from support.command import Here, Result
from support.history import Form, Reply, Site, failure, serving
from support.hostile import hostile
from support.postgres import connection
from support.recorders import ended, failed

from etl.config import Settings, load
from etl.history import http
from etl.store import migrate
from etl.store.elements import unpack

KEY = "k3y/canary+of&history<1>"
OF_HISTORY = "pass wort%canary;2"
TOKEN = "t0ken-canary-3"
USER = "auditor"
SPAN = ("--from", "2024-05-01T11:00Z", "--to", "2024-05-01T12:00Z")
NUMBER, NAME = "+4930-canary-4711", "Canary Person"
PATIENCE = 60.0


def forms(secret: str) -> set[str]:
    """As it may be written somewhere."""
    basic = b64encode(f"{USER}:{secret}".encode()).decode().rstrip("=")
    return {secret, quote(secret, safe=""), quote_plus(secret), repr(secret)[1:-1], json.dumps(secret)[1:-1], basic}


CANARIES = {form for secret in (OF_DATABASE, KEY, OF_HISTORY, TOKEN) for form in forms(secret)}


def nothing_secret(said: object) -> None:
    text = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
    assert not [form for form in CANARIES if form in text], text


def configuration(folder: Path, database: str, history: str = "http://127.0.0.1:1/x", **recorders: int) -> Path:
    path = folder / "cdr.toml"
    recorder = "".join(
        f'[[recorder]]\nname = "{name}"\nhost = "127.0.0.1"\nport = {port}\n' for name, port in recorders.items()
    )
    path.write_text(
        f'database.url = "{database}"\nhttp.listen = ""\nworker.backfill_gaps = false\n[history.http]\n'
        f'url = "{history}"\napi_key = {json.dumps(KEY)}\nusername = "{USER}"\npassword = {json.dumps(OF_HISTORY)}\n'
        f"{recorder}"
    )
    return path


def url(place: str) -> str:
    return f"postgresql://cdr:{quote(OF_DATABASE, safe='')}@{place}"


# Settings -------------------------------------------------------------------------------------------------------


def test_no_secret_stands_in_any_form_of_the_settings(tmp_path: Path) -> None:
    settings = load(configuration(tmp_path, url("h/d"), "https://h/x"))
    for shown in (repr(settings), str(settings), settings.model_dump_json(), f"{settings.history!r}", vars(settings)):
        nothing_secret(shown)


SLIPS = (
    f'database = "postgresql://u:{OF_DATABASE}@h/d"',
    f'history = "https://u:{TOKEN}@h/x"',
    f'history.http = "https://u:{TOKEN}@h/x"',
    f'database.url = "mysql://u:{OF_DATABASE}@h/d"',
    f'database.url = ["postgresql://u:{OF_DATABASE}@h/d"]',
    f'database.url = "postgresql://u:{OF_DATABASE}@h/d"',
    f'database.url = "postgresql://u:{TOKEN}@{TOKEN}@h/d"',
    f'database.url = "postgresql://u:{TOKEN}"',
    f'database.url = "postgresql://u:{TOKEN}%@h/d"',
    f'database.embedded = "{TOKEN}"\ndatabase.password = "{TOKEN}"',
    f'history.http.url = "https://u:{TOKEN}@h/x"\nhistory.http.api_key = 17',
    f'history.http.password = {{ a = "{TOKEN}" }}\nhistory.http.url = "http://h"',
    f'history.http.api_key = """{TOKEN}',
    f"history.http.api_key = {TOKEN}",
    f'[[recorder]]\nname = "x"\nhost = "h"\nport = 1\ntls = "{TOKEN}"',
)


@pytest.mark.parametrize("slip", SLIPS)
@pytest.mark.parametrize("words", [("status",), ("worker", "--verbose", "--for", "1s"), ("backfill", "http", *SPAN)])
def test_a_slip_in_the_configuration_is_told_without_the_secret(
    here: Here, tmp_path: Path, slip: str, words: tuple[str, ...]
) -> None:
    """A password with an unquoted @ or / was once taken for a host, and shown as such."""
    if "embedded" in slip:
        slip = slip.replace(f'embedded = "{TOKEN}"', "embedded = false")
    (tmp_path / "cdr.toml").write_text(slip)
    said = here(*words)
    assert said.code == 2, said.said
    assert "Traceback" not in said.err
    nothing_secret(said)


@pytest.mark.parametrize("content", [f"postgresql://u:{TOKEN}@{TOKEN}@h/d", TOKEN, f"\xff{TOKEN}", ""])
def test_a_slip_in_a_file_of_a_secret_is_told_without_it(here: Here, tmp_path: Path, content: str) -> None:
    """One that held no URL once ended in a traceback."""
    (tmp_path / "url").write_bytes(content.encode("latin-1"))
    (tmp_path / "cdr.toml").write_text('database.url_file = "url"\n')
    said = here("status")
    assert (said.code, "Traceback" in said.err) == (2, False), said
    assert "database.url_file" in said.err
    nothing_secret(said)


def test_a_secret_in_the_environment_is_not_repeated(here: Here) -> None:
    for name, value in (
        ("CDR_DATABASE__URL", f"x://u:{TOKEN}@h"),
        ("CDR_TOKEN", TOKEN),
        ("CDR_HISTORY", f'{{"{TOKEN}"'),
    ):
        said = here("status", **{name: value})
        assert said.code == 2
        nothing_secret(said)


# The database ---------------------------------------------------------------------------------------------------


@contextmanager
def rude(answer: bytes) -> Iterator[int]:
    """A server that answers every connection with these bytes; its port."""
    import socketserver

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(65536)
            self.request.sendall(answer)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


COMMANDS = (
    ("status", "--json"),
    ("call", "x"),
    ("quarantine", "list"),
    ("retention", "list"),
    ("reconcile",),
    ("rebuild", "--dry-run"),
    ("verify", *SPAN),
    ("backfill", "http", *SPAN),
    ("backfill", "gaps"),
    ("db", "upgrade"),
    ("db", "check"),
    ("db", "sql", "-c", "SELECT 1"),
    ("export", *SPAN, "--out", "lake"),
    ("report", "--out", "report"),
    ("accept", "gap", "1", "--reason", "x"),
)


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(words[:2]))
def test_no_command_tells_the_password_of_a_database_that_fails(
    here: Here, tmp_path: Path, words: tuple[str, ...]
) -> None:
    """Out of reach, and with an answer that is none, or repeats what it was sent."""
    for place in ("127.0.0.1:1/cdr", "nowhere.invalid/cdr"):
        said = here(*words, "--config", str(configuration(tmp_path, url(place), a=1)))
        assert said.code in (3, 4), said.said
        nothing_secret(said)
    with rude(b"HTTP/1.1 400 Bad Request\r\n\r\n") as port:
        nothing_secret(here(*words, "--config", str(configuration(tmp_path, url(f"127.0.0.1:{port}/cdr"), a=1))))


@pytest.mark.slow
def test_neither_a_wrong_nor_a_right_password_is_told_nor_stands_in_an_argument(
    here: Here, cdr: Cdr, tmp_path: Path, guarded: Guarded
) -> None:
    """While psql runs, its arguments are looked at, as any user of the machine may."""
    nothing_secret(here("status", "--config", str(configuration(tmp_path, guarded.url("wrong" + TOKEN)))))
    right = configuration(tmp_path, guarded.url(quote(OF_DATABASE, safe="")))
    migrate.upgrade(guarded.url(quote(OF_DATABASE, safe="")))
    running = cdr.start("db", "sql", "-c", "SELECT pg_sleep(2)", "--config", str(right))
    seen = set[str]()
    deadline = time.monotonic() + PATIENCE
    while running.process.poll() is None:
        assert time.monotonic() < deadline
        seen |= _arguments()
        time.sleep(0.02)
    assert any("pg_sleep" in words and "psql" in words for words in seen), "psql was not seen"
    nothing_secret(seen)
    nothing_secret(running.end())


def _arguments() -> set[str]:
    """The arguments of all processes."""
    found = set[str]()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            found.add((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return found


# The history ----------------------------------------------------------------------------------------------------


def echo(form: Form) -> bytes:
    """All that was sent, in the forms that pages of errors have."""
    return f"{form} {urlencode(form)} {json.dumps(form)}".encode()


def basic() -> str:
    return b64encode(f"{USER}:{OF_HISTORY}".encode()).decode()


ANSWERS: dict[str, Callable[[Form], Reply]] = {
    "a page that repeats the form": lambda form: Reply(b"<html>" + echo(form) + b"</p></html>"),
    "a page of XML that repeats it": lambda form: Reply(
        f"<html><body>{' '.join(f'<i>{quote(value)}</i>' for value in form.values())}</body></html>".encode()
    ),
    "no text at all": lambda form: Reply(b"\0\xff" + echo(form).decode().encode("utf-16-le")),
    "an error of the API": lambda form: Reply(failure(-20, quote(str(sorted(form.values()))))),
    "an error of the server": lambda form: Reply(echo(form), 500),
    "a refusal": lambda form: Reply(echo(form), 403),
    "a redirect to it": lambda form: Reply(
        b"", 302, {"Location": f"http://h/{form.get('token')}/{quote(form['apiKey'])}"}
    ),
    "rows without an id": lambda form: Reply(
        f"<VerbaApi><Response code='0'><verbacdr><source_name>{form.get('token')}</source_name></verbacdr>"
        "</Response></VerbaApi>".encode()
    ),
    "rows that hold it": lambda form: Reply(
        f"<VerbaApi><Response code='0'><verbacdr state='1'><ccdr_id>1</ccdr_id><token>{form.get('token')}</token>"
        f"<start_time>{form.get('start')}</start_time><note>{quote(form['apiKey'])}</note></verbacdr>"
        "</Response></VerbaApi>".encode()
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ANSWERS)
def test_a_history_that_repeats_what_it_was_sent_finds_no_one_to_keep_it(
    here: Here, tmp_path: Path, embedded_database: str, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Neither what is said, nor any table: a form that was repeated once lay in quarantine with its token."""
    monkeypatch.setattr(http, "PAUSES", (0.0,))
    site = Site(username=USER, password=OF_HISTORY, key=KEY)
    site.tokens = {TOKEN}
    site.before = ANSWERS[name]
    given = Reply(f'<VerbaApi><Response code="0" token="{TOKEN}"/></VerbaApi>'.encode())
    monkeypatch.setattr(site, "_token", lambda form, login: given)
    with serving(site) as place:
        file = str(configuration(tmp_path, embedded_database, place))
        for words in (
            ("backfill", "http", *SPAN),
            ("backfill", "http", *SPAN, "--dry-run"),
            ("verify", *SPAN, "--json"),
        ):
            said = here(*words, "--config", file)
            assert "Traceback" not in said.err
            nothing_secret(said)
    assert any(form.get("token") == TOKEN for form in site.searches)
    nothing_secret(everything(embedded_database))


def everything(url: str) -> str:
    """All rows of all tables, as text; bytes and what is compressed as they are read."""
    relations = """SELECT oid::regclass::text FROM pg_class
        WHERE relnamespace = 'cdr'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition"""
    with connection(url) as opened:
        tables = [row[0] for row in opened.execute(relations.encode())]
        texts = [str(opened.execute(f"SELECT t::text FROM {table} t".encode()).fetchall()) for table in tables]
        texts += [unpack(row[0]).decode() for row in opened.execute("SELECT element FROM cdr.fact")]
        for (body,) in opened.execute("SELECT body FROM cdr.quarantine"):
            texts += [bytes(body).decode("utf-8", "replace"), bytes(body).decode("utf-16-le", "replace")]
    return "".join(texts)


# The log of a worker, its endpoints and its files ---------------------------------------------------------------


@pytest.mark.slow
def test_personal_data_stands_in_the_log_at_debug_level_only_and_no_secret_at_any(
    cdr: Cdr, tmp_path: Path, embedded_database: str, free_port: Callable[[], int]
) -> None:
    """Numbers and names of calls that go well, are not understood, have a bad value, or no record."""
    log, pages = asyncio.run(_log(cdr, tmp_path, embedded_database, free_port()))
    nothing_secret(log)
    nothing_secret(pages)
    for canary in (NUMBER, NAME):
        assert canary not in log.err
        assert canary not in pages
    with connection(embedded_database) as opened:
        assert NUMBER in str(opened.execute("SELECT c::text FROM cdr.call c").fetchall())
    for path in (tmp_path / "var").rglob("*"):
        assert not stat.S_IMODE(path.stat().st_mode) & 0o077 or "journal" not in str(path)


async def _log(cdr: Cdr, folder: Path, database: str, port: int) -> tuple[Result, str]:
    async with hostile() as recorder:
        file = configuration(folder, database, ny=recorder.port)
        file.write_text(file.read_text().replace('http.listen = ""', f'http.listen = "127.0.0.1:{port}"'))
        worker = cdr.start("worker", "--log-json", "--config", str(file))
        await recorder.subscribed()
        parties = f"<source_caller_id>{NUMBER}</source_caller_id><source_name>{NAME}</source_name>"
        recorder.records |= {"1": parties, "2": f"{parties}<cause_id>{NUMBER}</cause_id>"}
        strange = f"<VerbaApi><Notification type='x'><Call id='3'>{parties}</Call></Notification></VerbaApi>"
        recorder.answers["GetCallList"] = lambda asked: failed(asked.id, "no list now")
        await recorder.say(ended("1"), ended("2"), strange.encode(), f"<VerbaApi>{NUMBER}</x>".encode(), ended("4"))
        deadline = time.monotonic() + PATIENCE
        while _count(database) < 3:
            assert time.monotonic() < deadline, worker.err
            await asyncio.sleep(0.1)
        read = [await asyncio.to_thread(_page, port, path) for path in ("/", "/metrics", "/readyz", "/healthz")]
        return await asyncio.to_thread(worker.end, signal.SIGTERM), "".join(read)


def _page(port: int, path: str) -> str:
    from urllib.error import HTTPError

    try:
        with urlopen(f"http://127.0.0.1:{port}{path}", timeout=PATIENCE) as answer:
            return str(answer.read().decode())
    except HTTPError as error:
        return error.read().decode()


def _count(url: str) -> int:
    with connection(url) as opened:
        row = opened.execute("SELECT count(*) FROM cdr.call").fetchone()
    return row[0] if row else 0


def test_the_settings_of_a_recorder_show_no_key(tmp_path: Path) -> None:
    """A path is no secret; what stands in the file is never part of the settings."""
    (tmp_path / "me.key").write_text(TOKEN)
    tls = {"certificate": str(tmp_path / "me.pem"), "key": str(tmp_path / "me.key")}
    settings = Settings.model_validate({"recorder": [{"name": "a", "host": "h", "port": 1, "tls": tls}]})
    nothing_secret(repr(settings))
