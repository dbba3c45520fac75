"""What `cdr verify` says, and which codes it ends with."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support.command import Here, Result
from support.history import Form, Row, Site, serving
from support.verifying import NOON, SPAN, Call, World, every_field

from etl.cli import verify as command

CALLS = [Call(number, fields=every_field(number)) for number in (1, 2, 3)]

pytestmark = pytest.mark.slow


Cdr = Callable[..., Result]


@pytest.fixture
def cdr(embedded_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, here: Here) -> Cdr:
    """`cdr verify` over an hour; the configuration's history as given."""
    monkeypatch.setenv("COLUMNS", "150")

    def call(history: str, *words: str) -> Result:
        (tmp_path / "cdr.toml").write_text(f'[database]\nurl = "{embedded_database}"\n{history}')
        span = ("--from", SPAN.start.isoformat(), "--to", SPAN.end.isoformat())
        return here("verify", *(words if "--from" in words else (*span, *words)))

    return call


@pytest.fixture
def files(tmp_path: Path) -> str:
    """A configuration with the files of two of the three calls."""
    (tmp_path / "media").mkdir()
    for each in CALLS[:2]:
        (tmp_path / "media" / f"{each.id}.xml").write_text(each.xml)
    return '[history.files]\nroots = ["media"]\n'


def test_agreement_is_said_and_ends_with_0(cdr: Cdr, world: World, files: str) -> None:
    world.archive(*CALLS[:2])
    result = cdr(files)
    assert result.code == 0, result.err
    assert "agree" in result.err
    assert "2" in result.out
    assert "compared" in result.out


def test_a_table_shows_the_field_and_both_values(cdr: Cdr, world: World, files: str) -> None:
    world.archive(CALLS[0], replace(CALLS[1], fields={**CALLS[1].fields, "agent_id": "other"}))
    result = cdr(files)
    assert result.code == 5
    line = next(line for line in result.out.splitlines() if "agent_id" in line)
    assert line.split() == ["different", CALLS[1].id, "agent_id", "other", "text"]


def test_json_holds_everything(cdr: Cdr, world: World, files: str) -> None:
    world.archive(*CALLS)
    result = cdr(files, "--json")
    assert result.code == 5
    told = json.loads(result.out)
    assert (told["source"], told["agrees"], told["left"]) == ("file", False, 1)
    assert told["counts"] == {"compared": 2, "extra": 1}
    assert [(each["kind"], each["call_id"]) for each in told["findings"]] == [("extra", CALLS[2].id)]


def test_a_long_table_ends_and_says_so(cdr: Cdr, world: World, files: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "SHOWN", 1)
    result = cdr(files)
    assert "1 more findings; --json has all of them" in result.err
    assert result.out.count("missing  ") == 2  # one finding, and the count


def test_a_repair_ends_with_0_and_the_next_run_finds_nothing(cdr: Cdr, world: World, files: str) -> None:
    world.archive(CALLS[0])
    result = cdr(files, "--repair")
    assert result.code == 0
    assert "missing, mended" in result.out
    assert cdr(files).code == 0


def test_what_a_repair_leaves_ends_with_5(cdr: Cdr, world: World, files: str) -> None:
    world.archive(CALLS[2])
    result = cdr(files, "--repair")
    assert result.code == 5
    assert "1 findings cannot be repaired" in result.err


def test_an_empty_history_is_doubted(cdr: Cdr, world: World, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    world.archive(*CALLS)
    result = cdr('[history.files]\nroots = ["empty"]\n')
    assert result.code == 5
    assert "a wrong login, tenant or zone" in result.err


def test_http_comes_first_and_files_where_they_are_asked_for(cdr: Cdr, world: World, files: str) -> None:
    rows = [Row(each.id, each.start, each.end, dict(each.fields)) for each in CALLS]
    with serving(Site(*rows, cap=2)) as url:
        both = f'{files}[history.http]\nurl = "{url}"\n'
        for words, source, compared in (((), "http", 3), (("--source", "file"), "file", 2)):
            told = json.loads(cdr(both, "--json", *words).out)
            assert (told["source"], told["counts"]["compared"]) == (source, compared)


def test_a_history_that_refuses_us_ends_with_4(cdr: Cdr, world: World) -> None:
    world.archive(*CALLS)
    with serving(Site(key="right")) as url:
        result = cdr(f'[history.http]\nurl = "{url}"\napi_key = "wrong"\n')
    assert result.code == 4
    assert "history.http.api_key" in result.err
    assert world.rows("SELECT result FROM cdr.verify_run") == [("failed",)]


def test_a_history_that_is_not_configured_is_a_mistake_of_use(cdr: Cdr, world: World, files: str) -> None:
    assert "[history.http] or [history.files]" in cdr("").err
    result = cdr(files, "--source", "http")
    assert (result.code, "[history.http]" in result.err) == (2, True)


def test_a_span_that_ends_before_it_begins_is_a_mistake_of_use(cdr: Cdr, world: World, files: str) -> None:
    result = cdr(files, "--from", NOON.isoformat(), "--to", NOON.isoformat())
    assert (result.code, "is not after" in result.err) == (2, True)


def test_an_interrupted_run_says_that_it_begins_anew(
    cdr: Cdr, world: World, files: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("etl.jobs.verify.verify", interrupted)
    result = cdr(files)
    assert result.code == 1
    assert "the same command begins anew" in result.err


def test_an_interruption_at_any_time_ends_with_1(
    cdr: Cdr, world: World, files: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    for place in ("require_schema", "findings"):
        with monkeypatch.context() as patch:
            patch.setattr(command, place, interrupted)
            assert cdr(files).code == 1


def test_ctrl_c_while_the_history_answers_ends_with_1(embedded_database: str, world: World, tmp_path: Path) -> None:
    site = Site()
    processes: list[subprocess.Popen[str]] = []

    def interrupt(_: Form) -> None:
        processes.pop().send_signal(signal.SIGINT)

    site.before = interrupt
    with serving(site) as url:
        (tmp_path / "cdr.toml").write_text(f'[database]\nurl = "{embedded_database}"\n[history.http]\nurl = "{url}"\n')
        words = [sys.executable, "-m", "etl.cli", "verify", "--from", "2024-05-01T12:00Z", "--to", "2024-05-01T13:00Z"]
        environment = {**os.environ, "CDR_CONFIG": str(tmp_path / "cdr.toml")}
        with subprocess.Popen(words, env=environment, stderr=subprocess.PIPE, text=True) as process:
            processes.append(process)
            told = process.communicate(timeout=60)[1]
    assert (process.returncode, told.count("begins anew")) == (1, 1)
    assert world.rows("SELECT result FROM cdr.verify_run") == [("interrupted",)]


@pytest.mark.parametrize(
    "span",
    [
        ("0001-01-01", "2024-05-01"),
        ("0001-01-01T00:00+14:00", "2024-05-01"),
        ("9999-12-31T23:59:59-14:00", "9999-12-31T23:59:59.5-14:00"),
        ("2024-05-01", "0001-01-01"),
    ],
)
def test_times_at_which_nobody_called_are_a_mistake_of_use(
    cdr: Cdr, world: World, files: str, span: tuple[str, str]
) -> None:
    result = cdr(files, "--from", span[0], "--to", span[1])
    assert result.code == 2, result.err
    assert world.rows("SELECT count(*) FROM cdr.verify_run") == [(0,)]


def test_the_future_is_left_out(cdr: Cdr, world: World, files: str) -> None:
    result = cdr(files, "--from", SPAN.start.isoformat(), "--to", "9998-12-31", "--json")
    told = json.loads(result.out)
    assert datetime.now(UTC) < datetime.fromisoformat(told["to"]) + timedelta(minutes=1)
    assert datetime.fromisoformat(told["to"]) <= datetime.now(UTC) + timedelta(minutes=1)
    assert "the future" in result.err


def test_json_without_findings_is_one_document(cdr: Cdr, world: World, files: str) -> None:
    world.archive(*CALLS[:2])
    told = json.loads(cdr(files, "--json").out)
    assert (told["findings"], told["agrees"]) == ([], True)


def test_a_name_does_not_steer_the_terminal(cdr: Cdr, world: World, files: str) -> None:
    world.archive(*(replace(each, fields={**each.fields, "source_name": "plain"}) for each in CALLS[:2]))
    world.change("UPDATE cdr.call SET source_name = E'\\x1b[31mred'")
    assert "\x1b" not in cdr(files).out
