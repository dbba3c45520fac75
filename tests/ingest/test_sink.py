"""The stamps of a journal, also while the machine's clock is set."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from support.merge_oracle import merge
from support.recorders import CALL, NOON, StillClock, document

from etl.config import Settings
from etl.ingest.interpret import Interpreter
from etl.ingest.sink import JournalSink
from etl.journal import Journal
from etl.model import Draft, What
from etl.recorder.clock import Clock

SETTINGS = Settings.model_validate({"recorder": [{"name": "ny-1", "host": "recorder.example", "port": 1}]})


@pytest.fixture
def journaling(tmp_path: Path) -> Iterator[Callable[[Clock], tuple[Journal, JournalSink]]]:
    journals: list[Journal] = []

    def make(clock: Clock) -> tuple[Journal, JournalSink]:
        journals.append(Journal.create(tmp_path / "journal"))
        return journals[-1], JournalSink(journals[-1], clock)

    yield make
    for journal in journals:
        journal.close()


def test_every_stamp_is_later_than_the_one_before_whatever_the_clock_shows(
    journaling: Callable[[Clock], tuple[Journal, JournalSink]],
) -> None:
    clock = StillClock()
    _, sink = journaling(clock)
    stamps = [sink.now()]
    for seconds in (0, -60, 30, 0, 90):
        clock.set_by(seconds)
        stamps += [sink.now(), sink.now()]
    assert stamps == sorted(set(stamps))
    assert stamps[-2] == NOON + timedelta(seconds=60), "and is the clock's time again once that has caught up"


def record(words: str) -> bytes:
    fields = f"<ccdr_id>{CALL}</ccdr_id><end_time>2024-05-01 12:00:00</end_time><agent_id>{words}</agent_id>"
    request = '<Request type="GetCallDetails" id="1"/>'
    return document(f'<Response code="0">{request}<verbacdr state="1">{fields}</verbacdr></Response>')


@pytest.mark.parametrize(("first", "second"), [("one", "two"), ("two", "one")])
def test_a_clock_set_back_let_chance_decide_which_record_was_final(
    journaling: Callable[[Clock], tuple[Journal, JournalSink]], first: str, second: str
) -> None:
    """All that was read until the clock had caught up had one time, so the digest chose: one of these two was wrong."""
    clock = StillClock()
    journal, sink = journaling(clock)
    sink.now()
    clock.set_by(-60)
    for words in (first, second):
        clock.advance(3)
        note = {"channel": "query", "asked": "detail", "call_id": CALL, "purpose": "end"}
        sink.append(Draft(sink.now(), "ny-1", uuid4(), What.DOCUMENT, record(words), dict(note)))
    journal.finish(5.0)
    interpreter = Interpreter(SETTINGS)
    facts = [fact for entry in journal.read(0, 10, 10**6) for fact in interpreter.interpret(entry.draft).facts]
    assert merge(facts).values["agent_id"] == second


def test_receipts_go_by_the_clock_and_follow_it_forward(
    journaling: Callable[[Clock], tuple[Journal, JournalSink]],
) -> None:
    clock = StillClock()
    _, sink = journaling(clock)
    clock.advance(3)
    assert sink.now() == clock.now()
    clock.set_by(3600)
    assert sink.now() == clock.now()


def test_no_receipt_bears_a_time_that_the_clock_showed_before_it_was_set_back(
    journaling: Callable[[Clock], tuple[Journal, JournalSink]],
) -> None:
    """Nothing had been stamped for seven seconds before the step. What came then was stamped as if it had come at the
    beginning of these seconds; so a session that was confirmed after the step vouched for them, though nobody had
    listened the first time."""
    clock = StillClock()
    _, sink = journaling(clock)
    sink.now()
    clock.advance(7)
    shown = clock.now()
    clock.set_by(-20)
    assert sink.now() == shown
    clock.advance(19.5)
    assert shown < sink.now() < shown + timedelta(milliseconds=1)
    clock.advance(1)
    assert sink.now() == clock.now() == shown + timedelta(seconds=0.5)
