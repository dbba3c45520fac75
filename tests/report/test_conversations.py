"""Conversations: what the view says is what the definition says, call by call, at all edges."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import copying
from support.copying import SEEN, Conversation, Copy, conversations

from etl.store.database import Connection

pytestmark = pytest.mark.slow

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
WHOLE = "SELECT call_ids, recorders, continues FROM report.conversations"
BETWEEN = "SELECT call_ids, recorders, continues FROM report.conversations_between(%s, %s)"
ANY = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


def ask(conn: Connection, query: str = WHOLE, *values: object) -> list[Conversation]:
    rows = conn.execute(query.encode(), values or None).fetchall()
    return in_order((tuple(ids), tuple(recorders), continues) for ids, recorders, continues in rows)


def in_order(found: Any) -> list[Conversation]:
    return sorted(found, key=repr)


def calls(seconds: int, ids: str, longest: int) -> st.SearchStrategy[list[Copy]]:
    """Up to 14 calls within so many seconds, whose ids are of a few; with all that may be unknown."""

    def make(halves: int, length: int | None, known: bool, **rest: Any) -> Copy:
        start = NOON + halves * SECOND / 2
        end = None if length is None else start + length * SECOND
        return Copy("", start if known else None, end if known else None, **rest)

    names = st.sampled_from([*ids, "", None])
    each = st.builds(
        make,
        st.integers(0, seconds * 2),
        st.integers(1, longest) | st.none(),
        st.sampled_from([True] * 7 + [False]),
        recorder=st.sampled_from(["ny-1", "ny-2", "ny-3", None]),
        platform=names,
        native=names,
        source=st.sampled_from(["1", "1", "3", None]),
        secondary=st.sampled_from([None, False, True]),
        state=st.sampled_from(["complete", "complete", "lost", "ongoing"]),
    )
    # Ids in another order than starts.
    return st.lists(each, max_size=14).flatmap(
        lambda found: st.permutations(range(len(found))).map(
            lambda order: [replace(call, call_id=f"c{number}") for call, number in zip(found, order, strict=True)]
        )
    )


# Laws -----------------------------------------------------------------------------------------------------------


@ANY
@given(found=calls(20, "pqr", 60) | calls(20, "pqrstuvw", 60))
def test_conversations_are_those_of_the_definition(empty_conn: Connection, found: list[Copy]) -> None:
    """Each call is a copy in exactly one."""
    copying.store(empty_conn, found)
    seen = ask(empty_conn)
    assert seen == in_order(conversations(found))
    assert sorted(each for ids, _, _ in seen for each in ids) == sorted(call.call_id for call in found)


@ANY
@given(found=calls(120, "pqr", 90), cuts=st.lists(st.integers(0, 120), max_size=5))
def test_each_is_in_exactly_one_of_several_ranges(
    empty_conn: Connection, found: list[Copy], cuts: Sequence[int]
) -> None:
    """With all its copies, and with what it continues, that lie beyond an edge."""
    copying.store(empty_conn, found)
    edges = [SEEN, *(NOON + cut * SECOND for cut in sorted(cuts)), NOON + 1000 * SECOND]
    parts = [row for begin, end in pairwise(edges) for row in ask(empty_conn, BETWEEN, begin, end)]
    assert in_order(parts) == ask(empty_conn)


WEAK = """
CREATE FUNCTION report.weak_hash(text, bigint) RETURNS bigint LANGUAGE sql IMMUTABLE
    AS 'SELECT pg_catalog.hashtextextended($1, $2) & 1'
"""


def test_ids_of_the_same_hash_change_nothing(empty_conn: Connection) -> None:
    """With a hash that has two values, so that every call looks as if it shared its id with another."""
    rng = random.Random(5)
    found = [
        Copy(
            f"c{number}",
            NOON + rng.uniform(0, 200) * SECOND,
            recorder=f"ny-{number % 3}",
            platform=rng.choice([*"pqrstuvw", None, ""]),
            native=f"n{rng.randrange(60)}",
        )
        for number in range(120)
    ]
    copying.store(empty_conn, found)
    with empty_conn.transaction(force_rollback=True):
        function = "SELECT pg_get_functiondef('report.copies_between(timestamptz, timestamptz)'::regprocedure)"
        row = empty_conn.execute(function).fetchone()
        assert row is not None
        weakened, places = re.subn(r"\bhashtextextended\(", "report.weak_hash(", row[0])
        assert places == 5
        empty_conn.execute(WEAK)
        empty_conn.execute(weakened.encode())
        assert ask(empty_conn) == in_order(conversations(found))


# Chains ---------------------------------------------------------------------------------------------------------


def chain(length: int, seconds: Sequence[float]) -> list[Copy]:
    """Calls of which each shares its platform id with the one before it, or its native id, in turns."""
    return [
        Copy(
            f"c{number}",
            NOON + second * SECOND,
            recorder=f"ny-{number}",
            platform=f"p{number // 2}",
            native=f"n{(number + 1) // 2}",
        )
        for number, second in zip(range(length), seconds, strict=True)
    ]


@pytest.mark.parametrize("length", [3, 4, 5, 6, 9, 40])
@pytest.mark.parametrize("order", ["forward", "backward", "mixed"])
def test_calls_that_are_linked_through_others_are_copies_however_long_the_chain(
    empty_conn: Connection, length: int, order: str
) -> None:
    """It was cut after the fourth. In whatever order they start."""
    seconds = [number / length * 5 for number in range(length)]
    if order == "mixed":
        random.Random(length).shuffle(seconds)
    found = chain(length, seconds[::-1] if order == "backward" else seconds)
    copying.store(empty_conn, found)
    assert [sorted(row[0]) for row in ask(empty_conn)] == [sorted(call.call_id for call in found)]


def test_chains_with_a_common_middle_are_one(empty_conn: Connection) -> None:
    """A ring of eight, another one, and a call that both share."""
    one = chain(8, range(8))
    one[7] = replace(one[7], native="n0", start=NOON)
    other = [
        replace(call, call_id=f"d{call.call_id}", platform=f"x{call.platform}", native=f"x{call.native}")
        for call in chain(8, range(8))
    ]
    middle = Copy("m", NOON + 2 * SECOND, recorder="ny-m", platform="p1", native="xn1")
    for found, groups in ((one + other, 8 + 8), ([*one, *other, middle], 8 + 9)):
        copying.store(empty_conn, found)
        assert ask(empty_conn) == in_order(conversations(found)), groups
    assert len(conversations([*one, *other, middle])[0][0]) >= 8


def test_a_conversation_of_more_than_a_minute_is_whole_on_either_side_of_a_ranges_end(empty_conn: Connection) -> None:
    """Its last copy, marked complete, is the one that is shown; the range before must not show the first."""
    found = [
        Copy(
            f"c{number:02}",
            NOON + 4 * number * SECOND,
            recorder=f"ny-{number}",
            platform="p",
            state="complete" if number == 29 else "lost",
        )
        for number in range(30)
    ]
    copying.store(empty_conn, found)
    end = NOON + SECOND
    assert ask(empty_conn, BETWEEN, NOON, end) == []
    assert [len(row[0]) for row in ask(empty_conn, BETWEEN, end, end + 200 * SECOND)] == [30]


@pytest.mark.parametrize(("length", "continued"), [(24 * 3600, True), (24 * 3600 + 1, False)])
def test_a_failover_is_found_after_a_first_half_of_a_day_and_no_longer_one(
    empty_conn: Connection, length: int, continued: bool
) -> None:
    """Also in a range that does not hold the first half."""
    then = NOON + length * SECOND
    first, second = Copy("a", NOON, then, platform="p"), Copy("b", then, recorder="ny-2", platform="p")
    copying.store(empty_conn, [first, second])
    expected = [(("a",), ("ny-1",), None), (("b",), ("ny-2",), "a" if continued else None)]
    assert in_order(conversations([first, second])) == expected
    assert ask(empty_conn) == expected
    assert ask(empty_conn, BETWEEN, then, then + SECOND) == expected[1:]


# What readers may learn -----------------------------------------------------------------------------------------


def test_the_order_of_rows_does_not_tell_the_order_of_parties(empty_conn: Connection) -> None:
    """Copies are found by their parties unmasked, and shown in the order of starts: here the opposite one."""
    found = [
        Copy(f"c{number}{recorder}", NOON + number * SECOND, recorder=recorder, platform="p", source=f"{9 - number}")
        for number in range(9)
        for recorder in ("ny-1", "ny-2")
    ]
    copying.store(empty_conn, found)
    rows = empty_conn.execute("SELECT call_id FROM report.copies_between(%s, %s)", [NOON, NOON + 60 * SECOND])
    assert [row[0] for row in rows] == [call.call_id for call in found]
