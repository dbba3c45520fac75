"""Who may delete, hold, release and erase, and that nobody below the owner gets at what is held or on record."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from support.command import Here, Result
from support.postgres import connection
from support.readers import USERS, make_user, url_of
from support.retention import CLERK, CUTOFF, OLD, YOUNG, Archive, make

from etl.calls.ids import UNTIMED
from etl.jobs.retention import apply
from etl.model import Kind
from etl.store import audit, holds, retention
from etl.store.database import Connection
from etl.store.holds import Wanted

pytestmark = pytest.mark.slow

Cdr = Callable[..., Result]
As = Callable[[str], Connection]
HOUR = timedelta(hours=1)


@pytest.fixture
def as_user(archive: Archive) -> Iterator[As]:
    """A connection of one of `USERS`."""
    for user, role in USERS.items():
        make_user(archive.conn, user, role)
    with ExitStack() as stack:
        yield lambda user: stack.enter_context(connection(url_of(archive.url, user)))


@pytest.fixture
def cdr(archive: Archive, as_user: As, tmp_path: Path, here: Here) -> Cdr:
    """The command as it is given by one of `USERS`, on an archive from which what is older than five years may go."""

    def run(user: str, *words: str) -> Result:
        (tmp_path / "cdr.toml").write_text(
            f'[database]\nurl = "{url_of(archive.url, user)}"\n[retention]\nkeep = "5y"\n[worker]\ndata_dir = "var"\n'
        )
        return here(*words)

    return run


WHY = ("--reason", "a case")
COMMANDS: tuple[tuple[str, ...], ...] = (
    ("retention", "apply"),
    ("retention", "apply", "--dry-run"),
    ("retention", "hold", "--party", "1000", *WHY),
    ("retention", "list"),
    ("retention", "erase", "--party", "2000", *WHY),
    ("retention", "erase", "--party", "2000", *WHY, "--dry-run"),
    ("export", "--from", "2024-05-01T00:00Z", "--to", "2024-06-01T00:00Z", "--out", "lake"),
    ("rebuild",),
    ("accept", "call", "0123", *WHY),
)


@pytest.mark.parametrize("user", ["walter", "olga"])
def test_a_writer_and_the_owner_give_every_command_of_retention(archive: Archive, cdr: Cdr, user: str) -> None:
    """And whole months are dropped, which belong to the owner."""
    archive.store(
        make("a", OLD),
        make("b", OLD, id_time=UNTIMED),
        make("0123", YOUNG, Kind.START, source_caller_id="2000", id_time=UNTIMED),
    )
    months = json.loads(cdr(user, "retention", "apply", "--json").out)["counts"]["months"]
    assert months == 1
    for words in COMMANDS:
        done = cdr(user, *words)
        assert done.code == 0, (words, done)
    assert archive.calls == ["0123"]
    assert archive.personal("0123") == []


@pytest.mark.parametrize("user", ["alice", "ivan", "nobody"])
def test_readers_are_told_which_role_each_command_needs(archive: Archive, cdr: Cdr, user: str) -> None:
    archive.store(make("0123", YOUNG, Kind.START, source_caller_id="2000", id_time=UNTIMED))
    for words in COMMANDS:
        done = cdr(user, *words)
        assert (done.code, done.out) == (3, ""), (words, done)
        assert "cdr_writer" in done.err, (words, done)
    assert archive.rows("SELECT count(*) FROM cdr.audit") == [(0,)]
    assert archive.personal("0123") != []


def test_only_the_owner_releases_a_hold_and_a_writer_is_told_so(archive: Archive, cdr: Cdr) -> None:
    """The worker's user must not be able to free what it then deletes."""
    archive.store(make("a", OLD, source_caller_id="1000"))
    assert cdr("walter", "retention", "hold", "--party", "1000", *WHY).code == 0
    refused = cdr("walter", "retention", "release", "1", *WHY)
    assert (refused.code, refused.out) == (3, "")
    assert "'cdr retention release' need a member of cdr_owner" in refused.err
    cdr("walter", "retention", "apply")
    assert archive.calls == ["a"]
    assert cdr("olga", "retention", "release", "1", *WHY).code == 0
    cdr("walter", "retention", "apply")
    assert archive.calls == []


# What a writer cannot do, whatever it says ------------------------------------------------------------------------

HELD = """
DELETE FROM cdr.call
DELETE FROM cdr.fact
DELETE FROM cdr.call_untimed
DELETE FROM cdr.fact_untimed
UPDATE cdr.call_untimed SET source_name = NULL
TRUNCATE cdr.call
DROP TABLE cdr.call_2015_03
ALTER TABLE cdr.call DETACH PARTITION cdr.call_2015_03
DELETE FROM cdr.legal_hold
UPDATE cdr.legal_hold SET released_at = now()
UPDATE cdr.legal_hold SET value = NULL, forms = '{}'
UPDATE cdr.legal_hold SET to_time = '-infinity'
TRUNCATE cdr.legal_hold
DELETE FROM cdr.expiry
UPDATE cdr.expiry SET before = '-infinity'
INSERT INTO cdr.expiry (id, before) VALUES (2, now())
INSERT INTO cdr.minimum_age (id, age) VALUES (1, '0')
UPDATE cdr.minimum_age SET age = '0'
DELETE FROM cdr.minimum_age
SELECT cdr.set_minimum_age(NULL)
DELETE FROM cdr.erased_call
UPDATE cdr.erased_call SET call_id = 'x'
DELETE FROM cdr.export
UPDATE cdr.export SET folder = '/dev/null'
DELETE FROM cdr.audit
UPDATE cdr.audit SET who = 'x'
UPDATE cdr.audit SET reason = NULL
TRUNCATE cdr.audit
ALTER TABLE cdr.audit DISABLE TRIGGER keep_audit
DROP TRIGGER keep_audit ON cdr.audit
SET session_replication_role = replica
CREATE OR REPLACE VIEW cdr.held_call AS SELECT NULL::bigint AS hold
CREATE OR REPLACE FUNCTION cdr.keep_audit() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'
CREATE TRIGGER mine BEFORE INSERT ON cdr.call FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()
CREATE RULE mine AS ON INSERT TO cdr.audit DO INSTEAD NOTHING
SET ROLE cdr_owner
"""


def test_a_writer_deletes_nothing_by_hand_and_releases_no_hold(archive: Archive, as_user: As) -> None:
    archive.store(make("a", OLD, source_caller_id="1000"), make("b", OLD, id_time=UNTIMED))
    holds.hold(archive.conn, Wanted(party="1000"), CLERK)
    archive.change("INSERT INTO cdr.erased_call (call_id) VALUES ('e')")
    before = archive.rows("SELECT a::text FROM cdr.audit a")
    walter = as_user("walter")
    for statement in HELD.strip().splitlines():
        with pytest.raises(psycopg.errors.InsufficientPrivilege), walter.transaction():
            walter.execute(statement.encode())
    assert archive.calls == ["a", "b"]
    assert archive.rows("SELECT a::text FROM cdr.audit a") == before


def test_the_functions_that_delete_look_at_age_and_holds_themselves(archive: Archive, as_user: As) -> None:
    """Whoever calls them, and whatever age they are told: no further than the limit that was noted in the archive."""
    archive.store(
        make("held", OLD, source_caller_id="1000"),
        make("free", OLD + 35 * 24 * HOUR),
        make("young", YOUNG),
        make("elder", OLD, id_time=UNTIMED, seen=OLD),
    )
    holds.hold(archive.conn, Wanted(party="1000"), CLERK)
    walter = as_user("walter")

    def ask(query: str, *values: object) -> list[tuple[Any, ...]]:
        with walter.transaction():
            return walter.execute(query.encode(), values).fetchall()

    every = "SELECT d.call_id FROM cdr.call c, cdr.delete_expired(ARRAY[c.call_id], ARRAY[c.id_time], 'infinity') d"
    drop = "SELECT cdr.drop_expired_month(%s, 'infinity')"
    assert ask(every) == []
    assert ask(drop, "2015-03-01") == ask(drop, "2015-04-01") == [(None,)]
    assert ask("SELECT cdr.expire(%s)", CUTOFF) == [(CUTOFF,)]
    assert ask(drop, "2015-03-01") == ask(drop, "2024-05-01") == [(None,)]
    assert ask(drop, "2015-04-01") == [(1,)]
    assert ask(every) == [("elder",)]
    assert archive.calls == ["held", "young"]
    assert archive.rows("SELECT DISTINCT call_id FROM cdr.fact ORDER BY 1") == [("held",), ("young",)]


def test_calls_of_the_last_day_of_a_month_go_whatever_the_zone_and_the_dates_of_the_session(archive: Archive) -> None:
    """A month that was computed in the session's zone ended two days too early."""
    archive.store(make("a", datetime(2015, 3, 31, 12, tzinfo=UTC)))
    archive.change("SELECT cdr.expire(%s)", CUTOFF)
    archive.change("SET timezone = 'America/New_York'; SET datestyle = 'SQL, DMY'")
    every = "SELECT d.call_id FROM cdr.call c, cdr.delete_expired(ARRAY[c.call_id], ARRAY[c.id_time], now()) d"
    assert archive.rows(every) == [("a",)]


def test_the_limit_of_age_moves_neither_back_nor_beyond_now(archive: Archive, as_user: As) -> None:
    walter = as_user("walter")
    with walter.transaction():
        walter.execute("SELECT cdr.expire(%s)", [CUTOFF])
        assert walter.execute("SELECT cdr.expire(%s)", [OLD]).fetchone() == (CUTOFF,)
    for beyond in ("infinity", str(datetime.now(UTC) + HOUR)):
        with pytest.raises(psycopg.DataError, match="later than now"), walter.transaction():
            walter.execute("SELECT cdr.expire(%s)", [beyond])


ALL_BY_HAND = """
SELECT d.call_id FROM cdr.call c, cdr.delete_expired(ARRAY[c.call_id], ARRAY[c.id_time], now()) d ORDER BY 1
"""


def test_a_writer_who_deletes_what_is_young_leaves_a_row_in_the_audit(archive: Archive, as_user: As) -> None:
    """By the functions, with an age of its own: it deleted the whole archive, and nothing told of it."""
    archive.store(make("a", OLD), make("young", YOUNG, id_time=UNTIMED))
    walter = as_user("walter")
    for _ in range(2):  # the second time the limit stays
        with walter.transaction():
            walter.execute("SELECT cdr.expire(%s)", [CUTOFF])
    with walter.transaction():
        walter.execute("SELECT cdr.expire(now())")
        assert walter.execute("SELECT cdr.drop_expired_month('2015-03-01', now())").fetchone() == (1,)
        assert walter.execute(ALL_BY_HAND.encode()).fetchall() == [("young",)]
        walter.execute("UPDATE cdr.audit SET effect = '{}'")
    first, second = archive.rows("SELECT who, action, target, reason, effect FROM cdr.audit ORDER BY id")
    limit = archive.rows("SELECT before FROM cdr.expiry")[0][0].isoformat()
    assert first == ("walter", "limit moved", {"from": None, "to": CUTOFF.isoformat()}, None, {})
    assert second == ("walter", "limit moved", {"from": CUTOFF.isoformat(), "to": limit}, None, {})


def test_no_writer_deletes_what_is_younger_than_the_owner_has_set(archive: Archive, as_user: As) -> None:
    archive.store(make("a", OLD), make("young", YOUNG, id_time=UNTIMED))
    walter, olga = as_user("walter"), as_user("olga")
    with olga.transaction():
        olga.execute("SELECT cdr.set_minimum_age('5 years')")
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="kept for longer"), walter.transaction():
        walter.execute("SELECT cdr.expire(now() - interval '5 years' + interval '2 hours')")
    with walter.transaction():
        walter.execute("SELECT cdr.expire(now() - interval '5 years')")
        assert walter.execute(ALL_BY_HAND.encode()).fetchall() == [("a",)]
    assert archive.rows("SELECT who, action, target FROM cdr.audit ORDER BY id")[0] == (
        "olga",
        "minimum age",
        {"age": "5 years"},
    )


def test_an_age_that_the_owner_sets_later_binds_though_the_limit_has_moved_already(
    archive: Archive, as_user: As
) -> None:
    archive.store(make("a", OLD), make("young", YOUNG, id_time=UNTIMED))
    walter, olga = as_user("walter"), as_user("olga")
    with walter.transaction():
        walter.execute("SELECT cdr.expire(now())")
    with olga.transaction():
        olga.execute("SELECT cdr.set_minimum_age('50 years')")
    with walter.transaction():
        assert walter.execute("SELECT cdr.drop_expired_month('2015-03-01', now())").fetchone() == (None,)
        assert walter.execute(ALL_BY_HAND.encode()).fetchall() == []
    with olga.transaction():
        olga.execute("SELECT cdr.set_minimum_age(NULL)")
    with walter.transaction():
        assert walter.execute(ALL_BY_HAND.encode()).fetchall() == [("a",), ("young",)]


@pytest.mark.parametrize("words", [(), ("--dry-run",)])
def test_retention_that_is_shorter_than_the_owner_has_set_is_a_slip(
    archive: Archive, as_user: As, cdr: Cdr, words: tuple[str, ...]
) -> None:
    archive.store(make("a", OLD))
    archive.change("SELECT cdr.set_minimum_age('6 years')")
    done = cdr("walter", "retention", "apply", *words)
    assert (done.code, archive.calls) == (2, ["a"])
    assert "at least 6 years: make retention.keep as long" in done.err
    archive.change("SELECT cdr.set_minimum_age('5 years')")
    assert cdr("walter", "retention", "apply").code == 0
    assert archive.calls == []


@pytest.mark.parametrize("age", ["-1 day", "1001 years"])
def test_an_age_that_means_nothing_is_refused(archive: Archive, age: str) -> None:
    with pytest.raises(psycopg.errors.CheckViolation):
        archive.change("SELECT cdr.set_minimum_age(%s)", age)


def test_facts_that_move_are_not_lost_though_a_writer_may_move_them(archive: Archive, as_user: As) -> None:
    """Two that change places, and one that meets a newer one, which stays, as in the merge."""
    archive.store(
        make("swap", kind=Kind.DETAIL, element=b"<d/>"),
        make("swap", kind=Kind.UNFINISHED, element=b"<u/>"),
        make("meet", kind=Kind.DETAIL, element=b"<old/>", seen=YOUNG),
        make("meet", kind=Kind.FILE, element=b"<new/>", seen=YOUNG + HOUR),
    )
    digests = dict(archive.rows("SELECT call_id || kind, digest FROM cdr.fact"))
    walter = as_user("walter")
    with walter.transaction():
        walter.execute(
            "SELECT cdr.move_facts(%s, %s, %s, %s)",
            [
                ["swap", "swap", "meet"],
                [YOUNG] * 3,
                ["detail", "unfinished", "detail"],
                ["unfinished", "detail", "file"],
            ],
        )
    assert archive.rows("SELECT call_id, kind, digest, first_observed_at FROM cdr.fact ORDER BY 1, 2") == [
        ("meet", "file", digests["meetfile"], YOUNG),
        ("swap", "detail", digests["swapunfinished"], YOUNG + timedelta(minutes=1)),
        ("swap", "unfinished", digests["swapdetail"], YOUNG + timedelta(minutes=1)),
    ]


# The audit --------------------------------------------------------------------------------------------------------


def test_what_a_run_came_to_is_noted_by_its_own_session_and_changed_by_no_later_one(
    archive: Archive, as_user: As
) -> None:
    """Not even the owner rewrites by accident what an earlier session left."""
    walter = as_user("walter")
    number = audit.begin(walter, CLERK, "retention apply", {})
    audit.effect(walter, number, {"calls": 7})
    audit.effect(walter, number, {"calls": 9})
    archive.change(
        "INSERT INTO cdr.audit (at, who, action, target) VALUES (now() - interval '1 day', 'x', 'old', '{}')"
    )
    rows = archive.rows("SELECT id, effect FROM cdr.audit ORDER BY id")
    assert rows[0] == (number, {"calls": 9})
    for user in ("walter", "olga"):
        later = as_user(user)
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="is closed"), later.transaction():
            later.execute("UPDATE cdr.audit SET effect = '{}' WHERE action = 'old'")
    assert archive.rows("SELECT id, effect FROM cdr.audit ORDER BY id") == rows


def test_a_writers_run_drops_months_deletes_calls_and_leaves_what_is_held(archive: Archive, as_user: As) -> None:
    facts = [make(f"{number:02}", OLD, id_time=UNTIMED) for number in range(5)]
    archive.store(*facts, make("month", OLD), make("held", OLD, id_time=UNTIMED, source_name="Ann"))
    holds.hold(archive.conn, Wanted(party="Ann"), CLERK)
    walter = as_user("walter")
    counts = apply(walter, CUTOFF, CLERK).counts
    assert (counts["months"], counts["calls"], counts["held"], counts["ongoing"]) == (1, 6, 1, 0)
    assert archive.calls == ["held"]
    assert retention.going_on(walter, CUTOFF) == 0
