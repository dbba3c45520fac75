"""Whatever the calls, their delays and the times of reading: a gap that counts as filled lacks none of its calls."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.gaps import DELAY, House, Row, at, row

pytestmark = pytest.mark.slow

FIRST, LAST = 60, 90
"""The minutes in which nobody listened."""

minutes = st.integers(0, 150)
rows = st.builds(row, minutes, st.integers(1, 40))
late = st.floats(0, DELAY.total_seconds() / 60)


def in_gap(call: Row) -> bool:
    return at(FIRST) <= call.start < at(LAST)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(st.data(), st.lists(rows, max_size=8), st.lists(st.integers(91, 260), min_size=1, max_size=4).map(sorted))
def test_a_filled_gap_lacks_no_call(house: House, data: st.DataObject, calls: list[Row], reads: list[int]) -> None:
    """As long as the history shows each call within `delay` of its end. Calls that it hides keep the gap open."""
    house.empty()
    house.sessions((0, FIRST), (LAST, None))
    heard = [call for call in calls if not in_gap(call)]
    house.heard(*heard)
    hidden = data.draw(st.sets(st.sampled_from(heard))) if heard else set()
    for call in calls:
        assert call.end is not None
        shown = replace(call, appears=call.end + DELAY * data.draw(late) / (DELAY.total_seconds() / 60))
        house.fake.rows += [] if call in hidden else [shown]
    for minute in reads:
        house.clock.moment = at(minute)
        house.fill()
        if house.gaps()[0][3] == "filled":
            states = house.states()
            assert minute >= LAST + DELAY.total_seconds() / 60
            assert heard
            assert all(
                states.get(call.call_id) == "complete"
                for call in calls
                if in_gap(call) and call.end is not None and call.end <= at(LAST)
            )
            near = [call for call in hidden if at(FIRST - 1) <= call.start < at(LAST + 1)]
            assert not [call for call in near if call.end is not None and call.end + DELAY <= at(minute)]
