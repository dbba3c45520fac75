"""What foreign bytes may cost: time in proportion to their length, and memory of a few times as much.

Time is compared between an input and one eight times as long: in proportion it grows to eight times as much, with the
square to sixty-four. So a slow or busy machine makes no difference.
"""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime
from uuid import UUID

import pytest
from fuzz.law import Law
from fuzz.wire import INTERPRETER, READER

from etl.model import Draft, What
from etl.store import quarantine, staging

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
TIMES = 8
GROWTH = 28.0
"""Between 8 (in proportion) and 64 (with the square), nearer to the first as such things go."""
MEMORY = 120
"""Bytes of Python for each byte that came, at the most: what is smallest on the wire, a call of a few characters, is a
record, a fact and a row by then."""

Make = Callable[[int], bytes]


def many(unit: str, count: int) -> str:
    """The unit so many times; a `#` in it becomes its number."""
    return "".join(unit.replace("#", str(each)) for each in range(count)) if "#" in unit else unit * count


def document(unit: str) -> Make:
    return lambda n: f"<VerbaApi>{many(unit, n)}</VerbaApi>".encode()


def started(unit: str, attributes: str = "") -> Make:
    """Calls that start."""
    begin, end = f"<Notification type='CallStart'{attributes}>", "</Notification>"
    return lambda n: f"<VerbaApi>{begin}{many(unit, n)}{end}</VerbaApi>".encode()


def call(unit: str) -> Make:
    """One call with much in it."""
    return lambda n: started(f"<Call id='1'>{many(unit, n)}</Call>")(1)


def listed(unit: str, nested: str, depth: int = 100) -> Make:
    """Much within elements within each other."""
    begin, end = f"<{nested}><id>1</id>", f"</{nested.partition(' ')[0]}>"
    return lambda n: f"<r>{begin * depth}{many(unit, n)}{end * depth}</r>".encode()


CALL = "<Call id='1'/>"

NASTY: dict[str, Make] = {
    "calls": started("<Call id='#'/>"),
    "the same call": started(CALL),
    "calls without an id": started("<Call/>"),
    "namespaces and calls": lambda n: started(CALL, many(" xmlns:a#='u'", n))(n),
    "a long namespace and calls": lambda n: started(CALL, f" xmlns='{'u' * n}'")(n),
    "a namespace for each call": started("<a:Call xmlns:a='u#' id='1'/>"),
    "text that looks like namespaces": call("xmlns"),
    "text that looks like prefixes": call("xmlns:a"),
    "errors and responses": document("<ErrorMessage>x</ErrorMessage><Response code='1'/>"),
    "what nobody knows": document("<x/>"),
    "answers to nobody": document("<Response code='0' id='9'/>"),
    "notifications of nobody": document("<Notification/>"),
    "a field again and again": call("<source_name>x</source_name>"),
    "an unknown field again and again": call("<x>y</x>"),
    "many unknown fields": call("<x#>y</x#>"),
    "many ids": call("<id>#</id>"),
    "text and comments": call("a<!-- b -->"),
    "deep towers": lambda n: call("<a>" * 200 + "x" + "</a>" * 200)(n // 100),
    "attributes": lambda n: started("<Call id='1'" + many(" a#='b'", n) + "/>")(1),
    "a long number": lambda n: started(f"<Call id='1' cause_id='{'9' * n}' start_time='{'2024-' * n}'/>")(1),
    "records in records": listed("<a/>", "verbacdr"),
    "requests in requests": listed("<a b='c'/>", "Request id='1'"),
    "holders": lambda n: b"<r>" + b"<a><id>1</id><cause_id>0</cause_id></a>" * n + b"</r>",
}


def stored(data: bytes) -> None:
    """From a journaled document to the rows that go into the database."""
    told = INTERPRETER.interpret(Draft(NOON, "ny-1", UUID(int=1), What.DOCUMENT, data, {"asked": "list"}))
    for fact in (*told.facts, *told.strangers):
        staging.row(fact)
    for each in told.quarantined:
        quarantine.digest(each)


def imported(data: bytes) -> None:
    """The same for a metadata file."""
    told = READER.file("/x.xml", NOON, data)
    for fact in told.read:
        staging.row(fact)
    for each in told.quarantined:
        quarantine.digest(each)


ENTRIES: dict[str, Law] = {"stored": stored, "imported": imported}


def cost(run: Law, data: bytes) -> float:
    """Seconds of processor time, the better of two."""
    return min(_once(run, data) for _ in range(2))


def _once(run: Law, data: bytes) -> float:
    before = time.process_time()
    run(data)
    return time.process_time() - before


@pytest.mark.slow
@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("name", NASTY)
def test_time_grows_in_proportion_to_the_bytes(name: str, entry: str) -> None:
    run, make, size = ENTRIES[entry], NASTY[name], 250
    while (short := cost(run, make(size))) < 0.001 and size < 64_000:  # below, the clock and the start count for more
        size *= 2
    assert cost(run, make(TIMES * size)) < GROWTH * max(short, 0.001)


@pytest.mark.slow
@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("name", NASTY)
def test_memory_is_a_few_times_the_bytes(name: str, entry: str) -> None:
    data = NASTY[name](1_000)
    ENTRIES[entry](NASTY[name](1))  # what is made once is not counted
    tracemalloc.start()
    try:
        ENTRIES[entry](data)
        assert tracemalloc.get_traced_memory()[1] < MEMORY * len(data) + 1_000_000
    finally:
        tracemalloc.stop()
