"""The cookbook: each question runs as the role that it is for, and its answer is what the truth says."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from support import cookbook, traffic
from support.cookbook import Question
from support.known_answers import ANSWERS
from support.postgres import Server

from etl.store import database, migrate
from etl.store.database import Connection
from etl.store.holds import HELD

pytestmark = pytest.mark.slow
QUESTIONS = cookbook.questions()


def answer_name(question: Question) -> str:
    return question.name.partition("_")[2]


@pytest.mark.parametrize("question", QUESTIONS, ids=[each.name for each in QUESTIONS])
def test_the_answer_is_what_the_truth_says(known: Connection, question: Question) -> None:
    assert cookbook.ask(known, question).rows == ANSWERS[answer_name(question)]()


def test_every_question_has_an_answer_and_every_answer_a_question() -> None:
    assert {answer_name(each) for each in QUESTIONS} == set(ANSWERS)
    assert len(QUESTIONS) >= 25
    assert [each.name[:2] for each in QUESTIONS] == [f"{number:02}" for number in range(1, len(QUESTIONS) + 1)]


def test_no_answer_is_empty() -> None:
    """It would be right for a question that asks for nothing."""
    assert [name for name, answer in ANSWERS.items() if not answer()] == []


@pytest.mark.parametrize("question", QUESTIONS, ids=[each.name for each in QUESTIONS])
def test_the_example_names_just_the_variables_that_the_question_has(question: Question) -> None:
    assert set(question.example) == question.variables
    own = question.variables - {"from", "to", "zone"}
    assert all(f"\\if :{{?{name}}} \\else \\set {name} " in question.text for name in own)


def test_questions_of_the_views_are_for_those_who_read_views() -> None:
    """Nobody is told to be the owner for what an analyst may ask; and no analyst to read tables."""
    for question in QUESTIONS:
        assert (" cdr." in question.statement) == (question.role == "cdr_owner"), question.name


def test_the_cookbook_is_read_by_people_and_not_applied_to_the_database() -> None:
    assert not {path.name for path in cookbook.FOLDER.iterdir()} & set(migrate.sql_files())


@pytest.mark.parametrize("question", QUESTIONS, ids=[each.name for each in QUESTIONS])
def test_psql_runs_the_file_and_gives_as_many_rows(
    known: Connection, known_url: str, known_server: Server, question: Question
) -> None:
    """With its variables set, as a reader would do it."""
    lines = psql(known_server, known_url, question, **question.example)
    answer = cookbook.ask(known, question)
    assert lines[0] == ",".join(answer.columns)
    assert len(lines) == 1 + len(answer.rows)


@pytest.mark.parametrize("question", QUESTIONS, ids=[each.name for each in QUESTIONS])
def test_psql_runs_the_file_with_nothing_set(known_url: str, known_server: Server, question: Question) -> None:
    """About last month, in which the known archive has nothing but what still goes on."""
    assert psql(known_server, known_url, question)


def psql(server: Server, url: str, question: Question, **variables: str) -> list[str]:
    words = [str(server.cluster.programs / "psql"), "-X", "-q", "--csv", "-v", "ON_ERROR_STOP=1"]
    words += [f"--set={name}={value}" for name, value in variables.items()]
    path = cookbook.FOLDER / f"{question.name}.sql"
    environment = {**os.environ, **database.environment(url), "PGOPTIONS": f"-c role={question.role}"}
    done = subprocess.run(
        [*words, "-f", str(path)], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


@pytest.mark.parametrize("zone", ["Asia/Kolkata", "Asia/Kathmandu", "Europe/Berlin"])
def test_days_that_were_heard_are_whole_in_zones_whose_hours_are_not_those_of_utc(known: Connection, zone: str) -> None:
    """Three days without a gap: it divided by 73 hours where there are 72, and half of the first and the last hour was
    said not to be heard."""
    example = {"from": "2025-03-26", "to": "2025-03-29", "zone": zone}
    complete, doubtful = (replace(each, example=example) for each in QUESTIONS[13:15])
    rows = cookbook.ask(known, complete).rows
    assert {row[:3] for row in rows} == {("berlin-1", 72, 100), ("ny-1", 72, 100)}
    assert {row[3] for row in cookbook.ask(known, doubtful).rows} <= {timedelta()}


def test_a_call_that_ends_after_the_first_of_two_midnights_went_on_across_midnight(conn: Connection) -> None:
    """In the Azores the clock went from 1:00 back to 0:00: it was compared with the second midnight."""
    midnight = datetime(2025, 10, 26, 0, tzinfo=UTC)
    traffic.store(conn, [traffic.Call(midnight - timedelta(minutes=30), midnight + timedelta(minutes=30))])
    (question,) = (each for each in QUESTIONS if answer_name(each) == "across_midnight")
    example = {"from": "2025-10-01", "to": "2025-11-01", "zone": "Atlantic/Azores"}
    assert len(cookbook.ask(conn, replace(question, example=example)).rows) == 1


def test_the_view_of_held_calls_has_the_rule_of_those_that_delete_and_erase() -> None:
    """Word by word: the archive must not say of a call that it is held while it is deleted."""
    view = squeezed(migrate.sql_files()["held_calls.sql"])
    rule = squeezed(HELD).removeprefix("EXISTS(SELECTFROMcdr.legal_holdhWHERE").removesuffix(")")
    assert rule.startswith("h.released_at")
    assert rule in view, "etl/store/holds.py and sql/held_calls.sql differ"


def squeezed(statement: str) -> str:
    """Without white space."""
    return "".join(statement.split())
