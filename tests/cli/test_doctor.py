"""`cdr doctor`: everything that can be wrong with what an archive needs is found, with what to do about it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from support.history import Site, serving
from support.recorders import NOON, puppet

from etl.calls.ids import id_time
from etl.cli.common import plain
from etl.config import Settings
from etl.jobs import doctor
from etl.jobs.doctor import Finding, Verdict
from etl.journal import Journal, adopt
from etl.model import Draft, Fact, Kind, What
from etl.store.database import Connection
from etl.store.write import Batch, Writer

Cdr = Callable[..., Any]
ABSURD = "ffffffff-ffff-1fff-bfff-ffffffffffff"


def problems(found: list[dict[str, Any]]) -> list[tuple[str, str, int]]:
    return [(each["check"], each["subject"], each["code"]) for each in found if each["verdict"] == "problem"]


def settings(**options: Any) -> Settings:
    return Settings.model_validate(options)


# The whole command


@pytest.mark.slow
def test_where_all_is_well_it_says_so_and_disturbs_nothing(
    cdr: Cdr, configure: Cdr, simulated: Cdr, empty_embedded_conn: Connection, embedded_url: str, tmp_path: Path
) -> None:
    configure(embedded_url, **{"ny-1": simulated("--name", "ny-1").port})
    done = cdr("doctor")
    assert (done.code, "nothing amiss" in done.err) == (0, True), done.said
    assert "PROBLEM" not in done.out
    for said in ("1 configured", "PostgreSQL", "default partition: empty", "lists", "locks and syncs work"):
        assert said in done.out
    with empty_embedded_conn.transaction():
        counts = "SELECT (SELECT count(*) FROM cdr.session) + (SELECT count(*) FROM cdr.fact)"
        assert empty_embedded_conn.execute(counts).fetchone() == (0,)
    assert not (tmp_path / "var").exists()


@pytest.mark.slow
def test_a_database_out_of_reach_keeps_the_rest_from_nothing(
    cdr: Cdr, configure: Cdr, free_port: Callable[[], int]
) -> None:
    port = free_port()
    configure("postgresql://cdr:hidden@127.0.0.1:1/cdr", **{"ny-1": port})
    done = cdr("doctor", "--json")
    found = json.loads(done.out)
    assert (done.code, found["exit_code"]) == (3, 3)
    assert problems(found["findings"]) == [("database", "database", 3), ("recorder", "ny-1", 4)]
    assert "hidden" not in done.said


def test_a_configuration_that_cannot_be_read_is_a_finding_too(here: Cdr, tmp_path: Path) -> None:
    (tmp_path / "cdr.toml").write_text("[worker]\nmargn = 1\n")
    done = here("doctor", "--json")
    assert done.code == 2
    assert "unknown key worker.margn" in done.json["findings"][0]["told"]


@pytest.mark.slow
def test_a_database_without_our_schema_is_told_how_to_get_it(
    here: Cdr, configure: Cdr, bare_database: str, free_port: Callable[[], int]
) -> None:
    configure(bare_database, **{"ny-1": free_port()})
    done = here("doctor")
    assert done.code == 3
    assert "cdr db upgrade" in done.out


@pytest.mark.slow
def test_absurd_times_in_the_default_partition_are_complained_of(
    here: Cdr, configure: Cdr, simulated: Cdr, empty_embedded_conn: Connection, embedded_url: str
) -> None:
    fact = Fact(ABSURD, id_time(ABSURD), Kind.START, NOON, "ny-1", None, b"d", b"<Call/>", {}, {}, ())
    Writer(empty_embedded_conn).write(Batch([fact]))
    configure(embedded_url, **{"ny-1": simulated("--name", "ny-1").port})
    done = here("doctor", "--json")
    assert done.code == 5
    assert problems(done.json["findings"]) == [("database", "default partition", 5)]


@pytest.mark.slow
def test_a_wrong_zone_shows_in_the_listed_calls(
    cdr: Cdr, configure: Cdr, embedded_url: str, empty_embedded_conn: Connection
) -> None:
    words = ("--name", "ny-1", "--rate", "20", "--duration", "60", "--timezone", "America/New_York")
    running = cdr.start("simulate", "--port", "0", *words)  # type: ignore[attr-defined]
    port = int(running.until(r"listens on 127\.0\.0\.1:(\d+)")[1])
    configure(embedded_url, **{"ny-1": port})
    found = json.loads(cdr("doctor", "--json").out)["findings"]
    while not any(each["check"] == "zone" for each in found):  # no call is under way in the first moments
        found = json.loads(cdr("doctor", "--json").out)["findings"]
    assert problems(found) == [("zone", "ny-1", 5)]
    assert any('recorder["ny-1"]' in each["advice"] for each in found)


# Its parts


def test_the_exit_code_is_the_first_that_the_contract_names() -> None:
    def found(*codes: int) -> list[Finding]:
        return [doctor.problem("check", "x", "told", "what", code) for code in codes]

    for codes, first in (((5, 4, 1, 3, 2), 2), ((5, 4, 1, 3), 3), ((5, 4, 1), 1), ((5, 4), 4), ((5,), 5), ((), 0)):
        assert doctor.exit_code(found(*codes)) == first
    assert doctor.exit_code([doctor.advice("check", "x", "told", "what")]) == 0


async def test_a_recorder_that_refuses_its_list_is_told_with_its_own_words() -> None:
    async with puppet() as server:
        known = settings(recorder=[{"name": "ny-1", "host": "127.0.0.1", "port": server.port}])
        asked = asyncio.create_task(asyncio.to_thread(lambda: list(doctor.recorders(known))))
        peer = await server.peer()
        request = await peer.request()
        assert request.type == "GetCallList"
        peer.send(
            f"<VerbaApi><Response code='2'><Request id='{request.id}'/><ErrorMessage>no database</ErrorMessage>"
            "</Response></VerbaApi>".encode()
        )
        (finding,) = await asked
    assert (finding.verdict, finding.code) == (Verdict.PROBLEM, 4)
    assert "no database" in finding.told


def test_a_history_that_refuses_is_a_finding_and_one_that_answers_is_fine(tmp_path: Path) -> None:
    with serving(Site(key="right")) as url:
        for key, code in (("right", 0), ("wrong", 4)):
            (finding,) = doctor.history(settings(history={"http": {"url": url, "api_key": key}}))
            assert finding.code == code
    roots = [str(tmp_path), str(tmp_path / "gone")]
    found = list(doctor.history(settings(history={"files": {"roots": roots}})))
    assert [(each.verdict, each.code) for each in found] == [(Verdict.OK, 0), (Verdict.PROBLEM, 4)]


def test_a_journal_whose_owner_is_gone_is_found_and_left_alone(tmp_path: Path) -> None:
    root = tmp_path / "journal"
    with Journal.create(root) as living:
        dead = Journal.create(root)
        dead.append(Draft(NOON, "ny-1", uuid4(), What.DOCUMENT, b"x")).result(10)
        dead.close()
        (root / f"{UUID(int=1)}.damaged-1").mkdir()
        found = list(doctor.disk(settings(worker={"data_dir": str(tmp_path)})))[2:]
        assert [(each.verdict, each.code) for each in found] == [(Verdict.PROBLEM, 5), (Verdict.ADVICE, 0)]
        assert str(dead.id) in found[0].told
        assert str(living.id) not in found[0].told
        (orphan,) = adopt(root).journals
        assert orphan.last_sequence == 1
        orphan.close()


@pytest.mark.parametrize(
    ("where", "limit", "codes"), [("", "1MB", [0, 0]), ("", "900000TB", [0, 5]), ("/proc/here", "1MB", [1])]
)
def test_a_disk_without_rights_or_room_is_found(tmp_path: Path, where: str, limit: str, codes: list[int]) -> None:
    data_dir = Path(where) if where else tmp_path / "not" / "yet"
    found = list(doctor.disk(settings(worker={"data_dir": str(data_dir), "journal_limit": limit})))
    assert [each.code for each in found] == codes
    assert list(tmp_path.iterdir()) == []
    assert json.dumps([plain(each) for each in found], default=plain)


def test_clocks_and_zones_may_differ_a_little() -> None:
    assert [each.code for each in doctor._clock("x", timedelta(seconds=1), "", doctor.MOST_SKEW)] == [0]
    (late,) = doctor._clock("x", timedelta(seconds=-3), "this machine", doctor.MOST_SKEW)
    assert (late.code, late.told) == (5, "3.0 s behind this machine")
    assert doctor._zone("ny-1", 5, 10, "calls").code == 0
    assert doctor._zone("ny-1", 6, 10, "calls").code == 5
