"""What a terminal would obey, in every text that comes from outside: shown and not obeyed, by every command.

Output is looked at as it goes into a pipe, where nothing but text and line feeds may stand, and as it goes to a
terminal, where our own colours may stand too.
"""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import structlog
from cli.conftest import Cdr
from support.command import Here, Result
from support.history import Reply, Site, failure, serving
from support.hostile import hostile
from support.hostile_texts import TERMINAL, for_xml
from support.postgres import Server, connection, fresh_database
from support.recorders import document, ended, failed, started

from etl.cli import common
from etl.store import acceptance, quarantine
from etl.store.audit import Author

pytestmark = pytest.mark.slow

NAME = "ny\x9b31m\u202e[red]:skull:"
"""Of the recorder: a configuration is more trusted than what is received, yet people copy names."""
RAW = "".join(TERMINAL)
"""For what is not XML."""
TEXT = " ".join(TERMINAL)
FILE = RAW.replace("/", "|").replace("\n", "\r")[:120] + "\udcff.xml"
"""A name that is not UTF-8 either."""
OURS = re.compile(r"\x1b\[[0-9;]*m|\r\n|\x1b\[\?25[lh]|\x1b\[2K|\x1b\[1A|\r")
"""What we say to a terminal: colours, and the lines of a progress bar."""
PATIENCE = 60.0


@dataclass
class Archive:
    """An archive that is full of it, and the texts that commands showed while it was filled."""

    url: str
    home: Path
    command: Cdr
    said: dict[str, Result] = field(default_factory=dict)
    rows: list[int] = field(default_factory=list)

    @property
    def config(self) -> tuple[str, str]:
        return ("--config", str(self.home / "cdr.toml"))


@pytest.fixture(scope="module")
def archive(embedded_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    home = tmp_path_factory.mktemp("terminal")
    with fresh_database(embedded_server) as url:
        found = Archive(url, home, Cdr(home))
        try:
            asyncio.run(_fill(found))
            yield found
        finally:
            found.command.kill()


async def _fill(found: Archive) -> None:
    media = found.home / "media"
    media.mkdir()
    (media / FILE).write_text(f"<verbacdr>{RAW}")
    os.mkfifo(media / f"pipe {FILE}")
    (media / f"link {FILE}").symlink_to("/etc/passwd")
    site = Site()
    site.before = lambda form: Reply(failure(-20, for_xml(TEXT)))
    async with hostile() as recorder:
        with serving(site) as url:
            _configure(found, media, recorder.port, url)
            for words in (("worker",), ("worker", "--log-json", "--verbose")):
                worker = found.command.start(*words, *found.config)
                await recorder.subscribed()
                inside = f"<source_name>{for_xml(TEXT)}</source_name><note>{for_xml(TEXT)}</note><cause_id>x</cause_id>"
                recorder.records["call-1"] = inside
                strange = document(f'<Notification type="{for_xml(TERMINAL[2])}"><Call id="call-2"/></Notification>')
                await recorder.say(started("call-1"), started("call-2"), strange, RAW.encode(), ended("call-1"))
                deadline = time.monotonic() + PATIENCE
                while _quarantined(found.url) < 2:
                    assert time.monotonic() < deadline, worker.err
                    await asyncio.sleep(0.1)
                recorder.answers["SubscribeOnCallEvent"] = lambda asked: failed(asked.id, for_xml(TEXT))
                recorder.sessions[-1].close()
                await asyncio.to_thread(worker.until, "refused")
                del recorder.answers["SubscribeOnCallEvent"]
                found.said["json log" if len(words) > 1 else "log"] = await asyncio.to_thread(
                    worker.end, signal.SIGTERM
                )
            recorder.answers["GetCallList"] = lambda asked: failed(asked.id, for_xml(TEXT))
            span = ("--from", "2024-05-01T11:00Z", "--to", "2024-05-01T13:00Z")
            commands: tuple[tuple[str, ...], ...] = (
                ("reconcile",),
                ("reconcile", "--json"),
                ("backfill", "files", str(media)),
                ("backfill", "files", str(media), "--json", "--dry-run"),
                ("backfill", "http", *span),
                ("backfill", "gaps"),
                ("verify", *span),
            )
            for given in commands:
                name = " ".join(word for word in given if not word.startswith(("/", "2024", "--from", "--to")))
                found.said[name] = await asyncio.to_thread(found.command, *given, *found.config)
    with connection(found.url) as opened:
        acceptance.accept_call(opened, "call-2", Author(f"{RAW}@here", RAW))
        found.rows = [each.id for each in quarantine.items(opened)]


def _configure(found: Archive, media: Path, port: int, url: str) -> None:
    (found.home / "cdr.toml").write_text(
        f'database.url = "{found.url}"\nhttp.listen = ""\nworker.backfill_gaps = false\n'
        f'[history.http]\nurl = "{url}"\n[history.files]\nroots = [{json.dumps(str(media))}]\n'
        f'[[recorder]]\nname = {json.dumps(NAME)}\nhost = "127.0.0.1"\nport = {port}\n'
    )


def _quarantined(url: str) -> int:
    with connection(url) as opened:
        row = opened.execute("SELECT count(DISTINCT reason) FROM cdr.quarantine").fetchone()
    return row[0] if row else 0


def harmless(text: str) -> None:
    """Nothing but text and line feeds."""
    bad = sorted({char for char in text if not char.isprintable() and char != "\n"})
    assert not bad, (bad, text)


SHOWING = (
    ("status",),
    ("call", "call-1"),
    ("call", "call-2"),
    ("call", RAW),
    ("quarantine", "list"),
    ("quarantine", "retry", "--all"),
    ("retention", "list"),
    ("retention", "hold", "--party", RAW, "--reason", "x"),
    ("retention", "erase", "--party", TERMINAL[6], "--reason", "x", "--dry-run"),
    ("rebuild", "--dry-run"),
    ("recorder", "retire", RAW, "--reason", "x"),
    ("reconcile", "--recorder", RAW),
    ("accept", "call", RAW, "--reason", RAW),
    ("db", "check"),
    ("backfill", "files", RAW),
    ("export", "--verify", "--out", RAW),
    ("report", "--out", RAW),
)


@pytest.mark.parametrize("words", SHOWING, ids=lambda words: " ".join(words[:2]).encode("unicode_escape").decode()[:30])
@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
def test_no_command_shows_what_a_terminal_obeys(
    here: Here, archive: Archive, words: tuple[str, ...], as_json: bool
) -> None:
    if as_json and words[0] in ("accept", "recorder"):
        pytest.skip("prints nothing as JSON")
    done = here(*words, *(["--json"] if as_json else []), *archive.config)
    harmless(done.said)
    assert "Traceback" not in done.err
    if as_json and done.out:
        json.loads(done.out)


def test_quarantined_bytes_are_shown_and_not_obeyed(here: Here, archive: Archive) -> None:
    """Each row that there is; as JSON, a program gets them as they came."""
    assert len(archive.rows) >= 3
    whole = []
    for number in archive.rows:
        harmless(here("quarantine", "show", str(number), *archive.config).said)
        shown = here("quarantine", "show", str(number), "--json", *archive.config)
        harmless(shown.out)
        whole.append(shown.json["body"])
    assert any(TERMINAL[0] in body for body in whole)


def test_what_was_said_while_things_went_wrong_is_harmless(archive: Archive) -> None:
    """A recorder's and a history's own words, names of files, the log of the worker."""
    for name, result in archive.said.items():
        harmless(result.said)
        assert "Traceback" not in result.err, name
    for name in ("reconcile", "backfill http", "log", "json log"):
        assert "markup" in archive.said[name].said, name
    assert all(json.loads(line) for line in archive.said["json log"].err.splitlines())
    assert archive.said["backfill files --json --dry-run"].json["problems"]


def test_markup_and_names_of_emoji_are_shown_as_they_are(here: Here, archive: Archive) -> None:
    shown = here("call", "call-1", *archive.config).out
    joined = "".join(line.strip() for line in shown.splitlines())
    assert "[red]markup[/red]" in joined
    assert ":skull:" in joined
    assert "[red]:skull:" in here("status", *archive.config).out


def test_a_program_reads_texts_from_json_as_they_were_sent(here: Here, archive: Archive) -> None:
    shown = here("call", "call-1", "--json", *archive.config).json
    sent = "".join(char for char in TEXT if char in "\t\n" or char >= " ")
    assert {each["name"]: each["value"] for each in shown["shown"]}["source_name"] == sent


@pytest.mark.parametrize("words", [("status",), ("call", "call-1"), ("quarantine", "list"), ("backfill", "files")])
def test_a_terminal_gets_our_own_colours_and_nothing_else(archive: Archive, words: tuple[str, ...]) -> None:
    harmless(OURS.sub("", on_terminal(archive, *words, *archive.config)))


def on_terminal(archive: Archive, *words: str) -> str:
    """What a command writes to a terminal."""
    ours, theirs = pty.openpty()
    env = archive.command.env | {"TERM": "xterm-256color", "COLUMNS": "200"}
    with subprocess.Popen(
        [*archive.command.command, *words], env=env, cwd=archive.home, stdin=theirs, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        said = b""
        with suppress(OSError):  # the other side has closed
            while piece := os.read(ours, 65536):
                said += piece
        process.wait(PATIENCE)
    os.close(ours)
    assert said
    return said.decode()


def test_a_traceback_in_the_log_steers_no_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    """Its message was once rendered after everything else had been made safe."""
    common.set_up_logging()
    try:
        raise ValueError(RAW)
    except ValueError:
        structlog.get_logger().exception("failed", told=RAW)
    harmless(capfd.readouterr().err)


def test_a_note_and_a_table_take_nothing_for_markup(capfd: pytest.CaptureFixture[str]) -> None:
    moment = datetime(2024, 5, 1, tzinfo=UTC)
    common.note(RAW)
    common.table((TERMINAL[6], TERMINAL[7]), [(TERMINAL[6], moment), (TERMINAL[7], timedelta(1))], TERMINAL[6])
    common.print_json({RAW: [RAW, "\udcff"]})
    said = capfd.readouterr()
    harmless(said.out + said.err)
    assert json.loads(said.out.splitlines()[-1]) == {RAW: [RAW, "\udcff"]}
    assert "[red]markup[/red]" in said.out
    assert ":warning: :ab: :skull:" in said.out
