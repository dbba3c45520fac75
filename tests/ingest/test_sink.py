"""How what is read gets its time of receipt."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from support.recorders import StillClock

from etl.ingest.sink import JournalSink
from etl.journal.journal import Journal


@pytest.fixture
def clock() -> StillClock:
    return StillClock()


@pytest.fixture
def sink(tmp_path: Path, clock: StillClock) -> Iterator[JournalSink]:
    with Journal.create(tmp_path) as journal:
        yield JournalSink(journal, clock)


def test_receipts_go_by_the_clock_and_follow_it_forward(sink: JournalSink, clock: StillClock) -> None:
    clock.advance(3)
    assert sink.now() == clock.now()
    clock.set_by(3600)
    assert sink.now() == clock.now()


def test_no_receipt_bears_a_time_that_the_clock_showed_before_it_was_set_back(
    sink: JournalSink, clock: StillClock
) -> None:
    """Nothing had been stamped for seven seconds before the step. What came then was stamped as if it had come at the
    beginning of these seconds; so a session that was confirmed after the step vouched for them, though nobody had
    listened the first time."""
    sink.now()
    clock.advance(7)
    shown = clock.now()
    clock.set_by(-20)
    assert sink.now() == shown
    clock.advance(19.5)
    assert sink.now() == shown
    clock.advance(1)
    assert sink.now() == clock.now() == shown + timedelta(seconds=0.5)
