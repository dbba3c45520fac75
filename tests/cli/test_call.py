"""`cdr call`: one call explained, to people and to programs."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from support.postgres import connection

from etl.calls.ids import id_time
from etl.calls.reconcile import Act, Action, Rule
from etl.cli import words
from etl.model import Fact, Kind, Quarantined, State, Value
from etl.store import acceptance, reconcile
from etl.store.audit import Author
from etl.store.write import Batch, Writer

pytestmark = pytest.mark.slow

Here = Callable[..., Any]
Configure = Callable[..., Path]
ID = "54bc7c43-561f-11e0-b752-005056c00008"
SEEN = datetime(2011, 3, 24, 14, 2, 20, tzinfo=UTC)
ELEMENT = b'<Call id="x"><source_name>Zo\xc3\xab</source_name><note>\x1b[2J</note></Call>'


def fact(kind: Kind, second: float, element: bytes = ELEMENT, **values: Value) -> Fact:
    moment = SEEN + timedelta(seconds=second)
    flags = ("bad_cause_id",) if kind is Kind.END else ()
    return Fact(ID, id_time(ID), kind, moment, "ny-1", None, kind.encode(), element, values, {}, flags)


@pytest.fixture
def file(embedded_database: str, configure: Configure) -> tuple[str, str]:
    """Options that name an archive with one call to which everything happened."""
    with connection(embedded_database) as opened:
        facts = [
            fact(Kind.START, 0, source_name="\x1b[31mZoë", start_time=SEEN, recorder_duration=timedelta(seconds=90)),
            fact(Kind.END, 90.25, b"<Call/>", end_time=SEEN + timedelta(seconds=90)),
        ]
        bad = Quarantined(SEEN, "ny-1", "stream", "no_id", b"<x/>", note={"call_id": ID})
        Writer(opened).write(Batch(facts=facts, quarantined=[bad]))
        run = reconcile.Run(UUID(int=1), "ny-1", "command")
        reconcile.begin(opened, run)
        reconcile.add_actions(
            opened, run, [Action(Act.ASK, Rule.NO_RECORD, ID, "its record is missing")], {ID: "failed"}
        )
        acceptance.accept_call(opened, ID, Author("me@here", "disk broke"))
    return ("--config", str(configure(embedded_database)))


def test_a_call_is_explained_in_words(here: Here, file: tuple[str, str]) -> None:
    """The id in any case; each value with the fact it comes from; what happened, and what nobody understood."""
    done = here("call", ID.upper(), *file)
    assert (done.code, done.err) == (0, "")
    lines = [" ".join(line.split()) for line in done.out.splitlines()]
    for expected in (
        f"Call {ID} of ny-1",
        "ended: its end is known, its finished record is not there",
        "end_time 2011-03-24 14:03:50.000 end",
        "start_time 2011-03-24 14:02:20.000 start",
        "recorder_duration 0:01:30 start",
        "source_name \\x1b[31mZoë start",
        "1. end: the notification of its end, received from ny-1 2011-03-24 14:03:50.250",
        "2. start: the notification of its start, received from ny-1 2011-03-24 14:02:20.000",
        "<source_name>Zoë</source_name>",
        "<note>\\x1b[2J</note>",
    ):
        assert expected in lines, done.out
    text = " ".join(lines)
    assert "doubtful (bad_cause_id): what was sent for cause_id does not fit" in text
    assert "accepted as gone for good by me@here" in text
    assert "a run that has not ended ask its record is missing; answer: failed" in text
    assert "no_id" in text
    assert "\x1b" not in done.out


def test_the_same_as_json(here: Here, file: tuple[str, str]) -> None:
    """One document; elements as they were received, times with their zone, durations in seconds."""
    done = here("call", ID, "--json", *file)
    found = json.loads(done.out)
    assert (done.code, found["call_id"], found["state"], found["recorder"]) == (0, ID, "ended", "ny-1")
    shown = {each["name"]: (each["value"], each["kind"]) for each in found["shown"]}
    assert shown["start_time"] == ("2011-03-24T14:02:20+00:00", "start")
    assert shown["recorder_duration"] == (90.0, "start")
    assert [each["element"] for each in found["evidence"]] == ["<Call/>", ELEMENT.decode()]
    assert [(each["act"], each["outcome"]) for each in found["actions"]] == [("ask", "failed")]
    assert found["acceptance"]["reason"] == "disk broke"
    assert [each["reason"] for each in found["quarantined"]] == ["no_id"]


def test_an_unknown_call_is_code_1(here: Here, file: tuple[str, str]) -> None:
    """With a word on where else to look, and nothing on stdout."""
    done = here("call", "no\x1b[2Jbody", *file)
    assert (done.code, done.out) == (1, "")
    assert "there is no call no\\x1b[2Jbody" in done.err


def test_there_are_words_for_everything() -> None:
    """Every kind, state and documented flag; a word that is not known is shown as it is."""
    assert set(words.KINDS) == set(Kind)
    assert set(words.STATES) == set(State)
    page = (Path(__file__).parents[2] / "docs" / "facts.md").read_text()
    flags = [line.split("`")[1] for line in page.partition("## Quality")[2].splitlines() if line.startswith("| `")]
    assert len(flags) == 7
    assert all(words.flag(each) != each for each in flags)
    assert (words.flag("new_flag"), words.reason("new_reason")) == ("new_flag", "new_reason")


def test_a_row_that_was_changed_by_hand_is_explained_too(
    here: Here, file: tuple[str, str], embedded_database: str
) -> None:
    """A value that no fact has is called that, and what `cdr verify` found is told."""
    with connection(embedded_database) as opened, opened.transaction():
        opened.execute("UPDATE cdr.call SET agent_id = 'forged', attributes = attributes || '{\"x\": 1}'")
        run = UUID(int=9)
        opened.execute(
            "INSERT INTO cdr.verify_run (id, from_time, to_time, source) VALUES (%s, now(), now(), 'http')", [run]
        )
        opened.execute(
            "INSERT INTO cdr.verify_finding (run, call_id, kind, fields) VALUES (%s, %s, 'underived', '{agent_id}')",
            [run, ID],
        )
    done = here("call", ID, *file)
    lines = [" ".join(line.split()) for line in done.out.splitlines()]
    assert done.code == 0, done.err
    assert "agent_id forged no fact: changed by hand" in lines
    assert "x 1 no fact: changed by hand" in lines
    assert any(line.endswith("http underived agent_id") for line in lines), done.out
