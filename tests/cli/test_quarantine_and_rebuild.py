"""What was not understood, or was read under a wrong setting, and how it is mended."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from support.postgres import connection

from etl import config
from etl.ingest.interpret import Interpreter
from etl.model import Draft, What
from etl.store.write import Batch, Writer

Here = Callable[..., Any]
Configure = Callable[..., Path]
CALL = "54bc7c43-561f-11e0-b752-005056c00008"
RECEIVED = datetime(2011, 3, 24, 18, 2, 20, tzinfo=UTC)


def begin(event: str = "CallStart", name: str = "Call Agent") -> bytes:
    return (
        f'<VerbaApi><Notification type="{event}"><Call id="{CALL}"><source_name>{name}</source_name>'
        "<start_time>2011-03-24 14:02:19.673</start_time></Call></Notification></VerbaApi>"
    ).encode()


@pytest.fixture
def receive(embedded_database: str) -> Callable[..., None]:
    """Archives documents as if the recorder `alpha` had sent them, under a configuration."""

    def archive(file: Path, *bodies: bytes) -> None:
        interpreter = Interpreter(config.load(file))
        drafts = [Draft(RECEIVED, "alpha", UUID(int=1), What.DOCUMENT, body) for body in bodies]
        told = [interpreter.interpret(draft) for draft in drafts]
        facts = [fact for each in told for fact in each.facts]
        with connection(embedded_database) as opened:
            Writer(opened).write(Batch(facts, [row for each in told for row in each.quarantined]))

    return archive


@pytest.fixture
def rows(embedded_database: str) -> Callable[[], list[tuple[Any, ...]]]:
    """The archived calls."""

    def read() -> list[tuple[Any, ...]]:
        with connection(embedded_database) as opened:
            return opened.execute("SELECT call_id, recorder, start_time, first_seen_at FROM cdr.call").fetchall()

    return read


def test_a_document_that_the_dialect_cannot_place_becomes_a_call_when_that_is_mended(
    here: Here,
    configure: Configure,
    embedded_database: str,
    receive: Callable[..., None],
    rows: Callable[[], list[tuple[Any, ...]]],
) -> None:
    """With the original time of receipt; the row is then resolved, and a second retry has nothing to do."""
    file = configure(embedded_database, alpha=1)
    receive(file, begin("CallBegin"))
    assert rows() == []
    listed = json.loads(here("quarantine", "list", "--json", "--config", str(file)).out)
    assert [(each["recorder"], each["state"]) for each in listed] == [("alpha", "open")]
    number = str(listed[0]["id"])
    vain = here("quarantine", "retry", number, "--config", str(file))
    assert (vain.code, vain.err) == (5, "")
    assert "still not understood" in vain.out
    mended = configure(embedded_database, '[recorder_defaults]\ndialect = { call_start = "CallBegin" }', alpha=1)
    done = here("quarantine", "retry", "--all", "--json", "--config", str(mended))
    assert (done.code, json.loads(done.out)) == (0, [{"id": int(number), "facts": 1, "reason": "", "expired": 0}])
    assert rows() == [(CALL, "alpha", datetime(2011, 3, 24, 14, 2, 19, 673000, UTC), RECEIVED)]
    assert json.loads(here("quarantine", "list", "--json", "--config", str(mended)).out) == []
    again = here("quarantine", "retry", number, "--config", str(mended))
    assert again.code == 2
    assert f"quarantine {number} is retried" in again.err


def test_discarded_rows_stay_but_no_longer_count(
    here: Here, configure: Configure, embedded_database: str, receive: Callable[..., None]
) -> None:
    """They are no more listed, unless asked for, and `status` is content."""
    file = configure(embedded_database, alpha=1)
    receive(file, begin("One"), begin("Two"))
    config_ = ("--config", str(file))
    assert here("status", *config_).out.count("Quarantine: 2 from alpha") == 1
    done = here("quarantine", "discard", "--all", "--json", *config_)
    assert (done.code, len(json.loads(done.out)["discarded"])) == (0, 2)
    assert "discarded" not in here("quarantine", "list", *config_).out
    assert here("quarantine", "list", "--resolved", *config_).out.count("discarded") == 2
    assert "Quarantine" not in here("status", *config_).out
    unknown = here("quarantine", "show", "999999", *config_)
    assert (unknown.code, unknown.out) == (2, "")
    assert "'cdr quarantine list' shows what there is" in unknown.err


def test_what_a_terminal_would_obey_is_shown_and_not_obeyed(
    here: Here, configure: Configure, embedded_database: str, receive: Callable[..., None]
) -> None:
    """A caller can choose a name that clears the screen; `--json` gives it as JSON escapes it."""
    file = configure(embedded_database, alpha=1)
    receive(file, begin(name="\x1b]0;owned\x07\x1b[2J\u202ekcab"))
    number = str(json.loads(here("quarantine", "list", "--json", "--config", str(file)).out)[0]["id"])
    shown = here("quarantine", "show", number, "--config", str(file))
    assert shown.code == 0
    assert r"\x1b]0;owned\x07\x1b[2J\u202ekcab" in shown.out
    as_json = here("quarantine", "show", number, "--json", "--config", str(file))
    assert json.loads(as_json.out)["body"] == begin(name="\x1b]0;owned\x07\x1b[2J\u202ekcab").decode()
    for out in (shown.out, as_json.out):
        assert not {"\x1b", "\x07"} & set(out)


def test_a_wrong_zone_is_mended_by_a_rebuild(
    here: Here,
    configure: Configure,
    embedded_database: str,
    receive: Callable[..., None],
    rows: Callable[[], list[tuple[Any, ...]]],
) -> None:
    """`--dry-run` counts and changes nothing; a second rebuild has nothing left to change."""
    receive(configure(embedded_database, alpha=1), begin())
    before = rows()
    zone = '[recorder_defaults]\ntimezone = "America/New_York"'
    file = ("--config", str(configure(embedded_database, zone, alpha=1)))
    rehearsal = here("rebuild", "--dry-run", *file)
    assert (rehearsal.code, rehearsal.out) == (0, "")
    assert "1 calls would change" in rehearsal.err
    assert rows() == before
    done = here("rebuild", "--json", *file)
    assert (done.code, json.loads(done.out)["calls_changed"]) == (0, 1)
    assert rows() == [(CALL, "alpha", datetime(2011, 3, 24, 18, 2, 19, 673000, UTC), RECEIVED)]
    assert json.loads(here("rebuild", "--json", *file).out)["calls_changed"] == 0


def test_a_rebuild_keeps_to_its_recorder_and_time(
    here: Here, configure: Configure, embedded_database: str, receive: Callable[..., None]
) -> None:
    """And says in which zone it read a time that has none."""
    file = configure(embedded_database, alpha=1)
    receive(file, begin())
    config_ = ("--config", str(file), "--json")
    inside = here("rebuild", "--from", "2011-03-24T14:00+00:00", "--to", "2011-03-24T15:00+00:00", *config_)
    assert json.loads(inside.out)["calls"] == 1
    outside = here("rebuild", "--from", "2011-03-25", *config_)
    assert json.loads(outside.out)["calls"] == 0
    assert "2011-03-25 is read in this machine's zone: 2011-03-25T00:00:00" in outside.err
    with connection(embedded_database) as opened, opened.transaction():
        opened.execute("INSERT INTO cdr.recorder (name, location, timezone) VALUES ('retired', 'OLD', 'UTC')")
    assert json.loads(here("rebuild", "--recorder", "retired", *config_).out)["calls"] == 0


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_rebuild_of_a_recorder_that_nobody_knows_is_refused_and_the_known_are_named(
    here: Here, configure: Configure, embedded_database: str, receive: Callable[..., None], dry_run: bool
) -> None:
    """It ended with 0, as if all were well. A call of no configured recorder has its location as written: that is a
    name too."""
    file = configure(embedded_database, alpha=1)
    receive(file, begin())
    words = ("--config", str(file), *(["--dry-run"] if dry_run else []))
    refused = here("rebuild", "--recorder", "alhpa", *words)
    assert (refused.code, refused.out) == (2, "")
    assert 'no recorder is called "alhpa"' in refused.err
    assert "known: alpha" in refused.err
    with connection(embedded_database) as opened, opened.transaction():
        assert opened.execute("SELECT count(*) FROM cdr.audit").fetchone() == (0,)
        opened.execute("UPDATE cdr.call SET recorder = 'SOMEWHERE'")
    assert here("rebuild", "--recorder", "SOMEWHERE", *words).code == 0
