"""SQL, escapes of COPY and of psql in every text that comes from outside: stored as it is, and given back as it is."""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pyarrow.parquet as pq
import pytest
from cli.conftest import Cdr
from support.command import Here
from support.cookbook import FOLDER
from support.history import Row, Site, serving
from support.hostile import hostile
from support.hostile_texts import SQL, TERMINAL, for_xml
from support.postgres import Server, connection, fresh_database
from support.recorders import ended

from etl.fields import FIELDS, FieldType
from etl.store import embedded, migrate

pytestmark = pytest.mark.slow

START = datetime(2024, 5, 1, 12, 0, tzinfo=UTC)
TEXTS = tuple(each.name for each in FIELDS if each.type is FieldType.TEXT)
NAME = "ny'; DROP TABLE cdr.call; -- \\N %s $$"
"""Of the recorder."""
PATIENCE = 60.0


def fields(text: str) -> dict[str, str]:
    """Every text field, and two that nobody knows."""
    return {**dict.fromkeys(TEXTS, text), "unheard": text, "note-of": text}


def xml(text: str) -> str:
    inside = "".join(f"<{name}>{for_xml(value)}</{name}>" for name, value in fields(text).items())
    deep = f'<participants><p name="{for_xml(text).replace(chr(10), "&#10;").replace(chr(9), "&#9;")}"/></participants>'
    return f"{inside}{deep}<start_time>2024-05-01 12:00:00</start_time><end_time>2024-05-01 12:01:00</end_time>"


@dataclass
class Archived:
    """What became of the same texts on three ways, by the id of their call."""

    url: str
    home: Path
    command: Cdr
    calls: dict[str, dict[str, Any]] = field(default_factory=dict)
    report: dict[str, dict[str, Any]] = field(default_factory=dict)
    exported: dict[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def config(self) -> tuple[str, str]:
        return ("--config", str(self.home / "cdr.toml"))


@pytest.fixture(scope="module")
def archived(embedded_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archived]:
    home = tmp_path_factory.mktemp("sql")
    with fresh_database(embedded_server) as url:
        found = Archived(url, home, Cdr(home))
        try:
            asyncio.run(_fill(found))
            _look(found)
            yield found
        finally:
            found.command.kill()


async def _fill(found: Archived) -> None:
    media = found.home / "media"
    media.mkdir()
    for number, text in enumerate(SQL):
        (media / f"{number}.xml").write_text(f"<verbacdr><ccdr_id>file-{number}</ccdr_id>{xml(text)}</verbacdr>")
    rows = [Row(f"http-{n}", START, START + timedelta(minutes=1), fields(text)) for n, text in enumerate(SQL)]
    async with hostile() as recorder:
        with serving(Site(*rows)) as url:
            _configure(found, recorder.port, url)
            recorder.records |= {f"stream-{number}": xml(text) for number, text in enumerate(SQL)}
            worker = found.command.start("worker", *found.config)
            await recorder.subscribed()
            await recorder.say(*(ended(f"stream-{number}") for number in range(len(SQL))))
            deadline = time.monotonic() + PATIENCE
            while _complete(found.url) < len(SQL):
                assert time.monotonic() < deadline, worker.err
                await asyncio.sleep(0.1)
            assert (await asyncio.to_thread(worker.end, signal.SIGTERM)).code == 0
            run = await asyncio.to_thread(found.command, "backfill", "files", str(media), *found.config)
            assert run.code == 0, run.said
            span = ("--from", "2024-05-01T11:00Z", "--to", "2024-05-01T13:00Z")
            run = await asyncio.to_thread(found.command, "backfill", "http", *span, *found.config)
            assert run.code == 5, run.said  # the history does not show what only the stream and the files had


def _configure(found: Archived, port: int, url: str) -> None:
    (found.home / "cdr.toml").write_text(
        f'database.url = "{found.url}"\nhttp.listen = ""\nworker.backfill_gaps = false\n'
        f'[history.http]\nurl = "{url}"\n'
        f'[[recorder]]\nname = {json.dumps(NAME)}\nhost = "127.0.0.1"\nport = {port}\n'
    )


def _complete(url: str) -> int:
    with connection(url) as opened:
        row = opened.execute("SELECT count(*) FROM cdr.call WHERE state = 'complete'").fetchone()
    return row[0] if row else 0


def _look(found: Archived) -> None:
    with psycopg.connect(found.url, row_factory=psycopg.rows.dict_row) as opened:
        found.calls = {row["call_id"]: row for row in opened.execute("SELECT * FROM cdr.call")}
        found.report = {row["call_id"]: row for row in opened.execute("SELECT * FROM report.calls")}
    span = ("--from", "2024-04-01T00:00Z", "--to", "2024-07-01T00:00Z")
    done = found.command("export", *span, "--out", str(found.home / "lake"), *found.config)
    assert done.code == 0, done.said
    for path in (found.home / "lake").glob("calls/*/*/*.parquet"):
        found.exported |= {row["call_id"]: row for row in pq.ParquetFile(path).read().to_pylist()}


@pytest.mark.parametrize("number", range(len(SQL)))
@pytest.mark.parametrize("way", ["stream", "file", "http"])
def test_every_text_comes_back_as_it_was_sent(archived: Archived, way: str, number: int) -> None:
    """From the table, the view, and the export; known fields, unknown ones, and what is nested."""
    call, text = f"{way}-{number}", SQL[number]
    expected = dict.fromkeys(TEXTS, text)
    for shown in (archived.calls[call], archived.report[call], archived.exported[call]):
        found = {name: shown[name] for name in TEXTS if name in shown}
        assert found == {name: expected[name] for name in found}
        held = shown["attributes"]
        attributes = json.loads(held) if isinstance(held, str) else held
        assert attributes["unheard"] == attributes["note-of"] == text
        assert way == "http" or attributes["participants"] == {"p": {"@name": text}}


def test_the_schema_is_what_it_was_and_nothing_was_left_out(archived: Archived) -> None:
    assert len(archived.calls) == len(archived.exported) == 3 * len(SQL)
    assert archived.command("db", "check", *archived.config).code == 0
    with connection(archived.url) as opened:
        assert opened.execute("SELECT count(*) FROM cdr.quarantine").fetchone() == (0,)
        assert opened.execute("SELECT DISTINCT recorder FROM cdr.session").fetchall() == [(NAME,)]


@pytest.mark.parametrize("number", range(len(SQL) - 1))
def test_a_variable_of_the_cookbook_is_a_value(archived: Archived, number: int) -> None:
    """The real psql finds exactly the calls of that party. (A command line is too short for the last text.)"""
    words = [str(embedded.programs() / "psql"), archived.url, "--no-psqlrc", "-qAt", "--set=ON_ERROR_STOP=1"]
    given = {"party": SQL[number].lower(), "from": "2024-05-01", "to": "2024-05-02", "zone": "UTC"}
    words += [f"--set={name}={value}" for name, value in given.items()]
    file = next(FOLDER.glob("*calls_of_a_party.sql"))
    done = subprocess.run([*words, "-R", "\x1e", "-F", "\x1f", "-f", str(file)], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    ids = {record.split("\x1f")[0] for record in done.stdout.decode().split("\x1e") if "\x1f" in record}
    assert ids == {f"{way}-{number}" for way in ("stream", "file", "http")}


@pytest.mark.parametrize("text", [*SQL[:-1], *TERMINAL])
def test_what_people_write_is_kept_as_they_wrote_it(
    here: Here, archived: Archived, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """A reason, the party of a hold, and the name of the user, however the system has come by it."""
    account = pwd.getpwuid(os.getuid())
    named = pwd.struct_passwd((text, *tuple(account)[1:]))
    monkeypatch.setattr(pwd, "getpwuid", lambda _: named)
    newest = "SELECT value, reason, who FROM cdr.legal_hold ORDER BY id DESC LIMIT 1"
    done = here("retention", "hold", "--call", "stream-0", "--reason", text, *archived.config)
    assert done.code == 0, done.said
    with connection(archived.url) as opened:
        ((_, reason, who),) = opened.execute(newest.encode()).fetchall()
        assert reason == text.strip()
        assert who.startswith(f"{text}@")
        held = here("retention", "hold", "--party", text, "--reason", "as asked", *archived.config)
        opened.commit()
        ((value, _, _),) = opened.execute(newest.encode()).fetchall()
    assert value == (text if held.code == 0 else "stream-0"), "but where it has no word that could be searched for"


@pytest.mark.parametrize(
    "words",
    [
        ("call", "{}"),
        ("accept", "call", "{}", "--reason", "x"),
        ("recorder", "retire", "{}", "--reason", "x"),
        ("reconcile", "--recorder", "{}"),
        ("rebuild", "--recorder", "{}", "--dry-run"),
        ("retention", "erase", "--party", "{}", "--reason", "x", "--dry-run"),
    ],
    ids=lambda words: "-".join(words[:2]),
)
@pytest.mark.parametrize("text", SQL[:-1])
def test_a_name_on_the_command_line_is_a_name(
    here: Here, archived: Archived, words: tuple[str, ...], text: str
) -> None:
    """Nothing is called so, which is said; nothing is changed."""
    said = here(*(text if word == "{}" else word for word in words), *archived.config)
    assert said.code in (0, 1, 2, 5), said.said
    assert "Traceback" not in said.err
    assert "SQLSTATE" not in said.err
    assert len(_ids(archived.url)) == 3 * len(SQL)


def _ids(url: str) -> list[str]:
    with connection(url) as opened:
        return [row[0] for row in opened.execute("SELECT call_id FROM cdr.call")]


def test_the_roles_and_functions_are_untouched(archived: Archived) -> None:
    """After all of the above another upgrade has nothing to do."""
    done = migrate.upgrade(archived.url)
    assert (done.before, done.files) == (done.after, ())
