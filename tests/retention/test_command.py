"""`cdr retention` as a user gives it: what it prints, how it ends, and what it leaves in the audit."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.command import Result
from support.postgres import Server
from support.retention import OLD, Archive, make

from etl import config
from etl.cli.archive import opened
from etl.cli.audited import audited
from etl.store import gate

pytestmark = pytest.mark.slow


@pytest.fixture
def server(embedded_server: Server) -> Server:
    """One server will do: the SQL is tested elsewhere."""
    return embedded_server


Cdr = Callable[..., Result]
AGO = datetime.now(UTC) - timedelta(days=6 * 366)


def test_apply_deletes_what_the_configuration_says(archive: Archive, cdr: Cdr) -> None:
    archive.store(make("a", AGO), make("b", datetime.now(UTC)))
    code, out, _ = cdr("retention", "apply", "--dry-run", "--json")
    assert (code, json.loads(out)["counts"]["calls"], archive.calls) == (0, 1, ["a", "b"])
    code, out, _ = cdr("retention", "apply", "--json")
    assert (code, json.loads(out)["counts"]["calls"], archive.calls) == (0, 1, ["b"])
    assert gate.expired_before(archive.conn) is not None


def test_without_a_limit_nothing_is_deleted_and_the_key_is_named(cdr: Cdr, tmp_path: Path) -> None:
    file = tmp_path / "cdr.toml"
    file.write_text(file.read_text().replace('[retention]\nkeep = "5y"\n', ""))
    code, _, err = cdr("retention", "apply")
    assert code == 2
    assert "retention.keep" in err


def test_a_hold_is_set_listed_and_released(archive: Archive, cdr: Cdr) -> None:
    archive.store(make("a", OLD, source_caller_id="1000"), make("b", OLD))
    code, out, err = cdr("retention", "hold", "--party", "1000", "--reason", "a case")
    assert (code, out) == (0, "1\n")
    assert "covers 1 calls" in err
    assert "1000" in cdr("retention", "list")[1]
    assert cdr("retention", "apply")[0] == 0
    assert archive.calls == ["a"]
    assert cdr("retention", "release", "1", "--reason", "closed")[0] == 0
    assert cdr("retention", "release", "1", "--reason", "closed")[0] == 2
    assert json.loads(cdr("retention", "list", "--json")[1]) == []
    assert len(json.loads(cdr("retention", "list", "--released", "--json")[1])) == 1
    assert all("1000" not in row[0] for row in archive.rows("SELECT a::text FROM cdr.audit a"))


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--call", "a", "--party", "b"],
        ["--call", " "],
        ["--party", " "],
        ["--from", "2026-03-01T00:00Z"],
        ["--from", "2026-03-02T00:00Z", "--to", "2026-03-01T00:00Z"],
        ["--party", "case"],
    ],
)
def test_a_hold_that_names_nothing_or_too_much_is_refused(cdr: Cdr, words: list[str]) -> None:
    assert cdr("retention", "hold", "--reason", "a case", *words)[0] == 2


def test_a_span_is_held_for_one_recorder(archive: Archive, cdr: Cdr) -> None:
    archive.store(make("a", OLD), make("b", OLD, recorder="ny-2"), make("c", OLD + timedelta(days=2)))
    words = ("--from", OLD.isoformat(), "--to", (OLD + timedelta(days=1)).isoformat(), "--recorder", "ny-1")
    assert json.loads(cdr("retention", "hold", "--reason", "a case", *words, "--json")[1]) == {"hold": 1, "covers": 1}
    cdr("retention", "apply")
    assert archive.calls == ["a"]


def test_a_hold_for_a_recorder_that_nobody_knows_is_refused(archive: Archive, cdr: Cdr) -> None:
    """It would hold nothing, and nobody would know."""
    archive.store(make("a", OLD))
    words = ("--from", "2015-01-01T00:00Z", "--to", "2016-01-01T00:00Z", "--reason", "a case", "--recorder")
    code, out, err = cdr("retention", "hold", *words, "yn-1")
    assert (code, out) == (2, "")
    assert 'no recorder is called "yn-1"' in err
    assert archive.rows("SELECT count(*) FROM cdr.legal_hold") == [(0,)]
    assert cdr("retention", "hold", *words, "ny-1")[0] == 0


def test_erase_ends_with_5_while_something_of_the_party_is_held(archive: Archive, cdr: Cdr) -> None:
    archive.store(make("a", source_name="John"), make("b", source_name="John"))
    cdr("retention", "hold", "--call", "a", "--reason", "a case")
    code, out, _ = cdr("retention", "erase", "--party", "John", "--reason", "asked", "--json")
    assert (code, json.loads(out)["counts"]["held"]) == (5, 1)
    cdr("retention", "release", "1", "--reason", "closed")
    assert cdr("retention", "erase", "--party", "John", "--reason", "asked")[0] == 0


def test_what_a_command_came_to_is_noted_though_its_connection_was_lost(
    archive: Archive, cdr: Cdr, tmp_path: Path
) -> None:
    """A row of the audit belongs to the session that wrote it: another row tells, and names the first."""
    with opened(config.load(tmp_path / "cdr.toml")) as found, audited(found, "rebuild", {"recorder": None}) as effect:
        effect["calls"] = 3
        others = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'cdr'"
        assert archive.rows(f"SELECT count(pg_terminate_backend(pid)) FROM ({others}) o") == [(1,)]
    rows = archive.rows("SELECT id, action, target, effect FROM cdr.audit ORDER BY id")
    assert [row[1:] for row in rows] == [
        ("rebuild", {"recorder": None}, {}),
        ("rebuild", {"recorder": None, "began_in": rows[0][0]}, {"calls": 3}),
    ]


def test_every_maintenance_command_leaves_its_mark(archive: Archive, cdr: Cdr, tmp_path: Path) -> None:
    archive.store(make("a", source_name="John"))
    (tmp_path / "media").mkdir()
    assert cdr("backfill", "files", str(tmp_path / "media"))[0] == 0
    assert cdr("quarantine", "discard", "--all")[0] == 0
    assert cdr("quarantine", "retry", "--all")[0] == 0
    cdr("rebuild")
    assert cdr("rebuild", "--dry-run")[0] in (0, 5)
    actions = [row[0] for row in archive.rows("SELECT action FROM cdr.audit ORDER BY id")]
    assert actions == ["backfill files", "quarantine discard", "quarantine retry", "rebuild"]
    assert archive.rows("SELECT effect->>'calls' FROM cdr.audit WHERE action = 'rebuild'") == [("1",)]
