"""What one line of the journal says; and that nothing, whatever it is, is lost or breaks the reading."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.recorders import (
    CALL,
    NOON,
    detail,
    document,
    ended,
    failed,
    keepalive,
    listed,
    notification,
    started,
    subscribed,
)

from etl.calls import coverage
from etl.config import Settings
from etl.errors import CdrError
from etl.ingest.interpret import Interpreted, Interpreter
from etl.model import Draft, Fact, Json, Kind, What

SESSION = UUID(int=7)
SCENARIOS = Path(__file__).parent.parent / "scenarios"


def settings(**options: Any) -> Settings:
    known = {"name": "ny-1", "host": "recorder.example", "port": 1, "timezone": "America/New_York", **options}
    return Settings.model_validate({"recorder": [known], "recorder_defaults": {"timezone": "Europe/Budapest"}})


def line(body: bytes, what: What = What.DOCUMENT, recorder: str = "ny-1", **note: Json) -> Draft:
    return Draft(NOON, recorder, SESSION, what, body, note)


def read(body: bytes, **note: Json) -> Interpreted:
    return Interpreter(settings()).interpret(replace(line(body), note=note))


ASKED_DETAIL: dict[str, Json] = {
    "channel": "query",
    "asked": "detail",
    "requested_at": NOON.isoformat(),
    "call_id": CALL,
}


def test_a_notification_is_a_fact_and_a_sign_of_life() -> None:
    told = read(started())
    [fact] = told.facts
    assert (fact.kind, fact.call_id, fact.recorder, fact.observed_at) == (Kind.START, CALL, "ny-1", NOON)
    assert told.heard == coverage.Message()
    assert told.quarantined == []


@pytest.mark.parametrize(
    ("body", "note", "heard"),
    [
        (subscribed("1"), {"asked": "subscribe"}, coverage.Subscribed()),
        (failed("1"), {"asked": "subscribe"}, coverage.Message()),
        (keepalive(), {}, coverage.Message()),
        (listed("2"), {"asked": "probe"}, coverage.Message()),
        (listed("2"), {"channel": "query", "asked": "list", "requested_at": NOON.isoformat()}, coverage.Listed(NOON)),
        (failed("2"), {"channel": "query", "asked": "list", "requested_at": NOON.isoformat()}, None),
        (detail("3"), ASKED_DETAIL, None),
    ],
)
def test_coverage_learns_from_what_was_heard_on_which_connection(
    body: bytes, note: dict[str, Json], heard: coverage.Heard | None
) -> None:
    assert read(body, **note).heard == heard


def test_an_answer_to_nothing_asked_is_quarantined_and_makes_no_facts() -> None:
    told = read(listed("99", "x"), channel="query")
    assert told.facts == []
    assert [each.reason for each in told.quarantined] == ["answers_nothing_asked"]


def test_a_failure_says_nothing_about_any_call() -> None:
    told = read(failed("3", "Database error"), **ASKED_DETAIL, purpose="last")
    assert (told.facts, told.quarantined) == ([], [])


@pytest.mark.parametrize(("purpose", "kinds"), [("end", []), ("refetch", []), ("last", [Kind.ABSENT])])
def test_only_the_last_answer_that_a_call_is_unknown_makes_it_absent(purpose: str, kinds: list[Kind]) -> None:
    told = read(failed("3", f"Call cannot be found: {CALL}"), **ASKED_DETAIL, purpose=purpose)
    assert [fact.kind for fact in told.facts] == kinds


def test_a_record_that_says_it_is_not_finished_is_unfinished() -> None:
    assert [fact.kind for fact in read(detail("3", state="0"), **ASKED_DETAIL).facts] == [Kind.UNFINISHED]


def test_rejected_bytes_are_quarantined_with_the_reason_of_the_framing() -> None:
    told = Interpreter(settings()).interpret(line(b"\x00\xff", What.REJECTED, reason="garbage", detail="bytes"))
    [kept] = told.quarantined
    assert (kept.reason, kept.body, kept.recorder, kept.session) == ("garbage", b"\x00\xff", "ny-1", SESSION)
    assert told.heard is None


def test_a_call_without_an_id_costs_only_itself() -> None:
    told = read(document('<Notification type="CallStart"><Call><x>1</x></Call><Call id="b"/></Notification>'))
    assert [fact.call_id for fact in told.facts] == ["b"]
    [kept] = told.quarantined
    assert (kept.reason, kept.note) == ("no_id", {"kind": "start"})


def test_a_recorder_that_is_no_longer_configured_is_read_with_the_defaults() -> None:
    fields = "<start_time>2024-05-01 14:00:00</start_time>"
    told = Interpreter(settings()).interpret(line(notification("CallStart", "x", fields), recorder="retired"))
    [fact] = told.facts
    assert fact.recorder == "retired"
    assert fact.values["start_time"] == NOON  # read in Budapest, the zone of the defaults


def test_a_stored_element_that_cannot_be_read_any_more_is_told_with_its_call() -> None:
    interpreter = Interpreter(settings())
    with pytest.raises(CdrError, match=f"call {CALL}: the kept element of its start fact cannot be read"):
        interpreter.reread(Kind.START, "ny-1", CALL, NOON, b"<Call")
    with pytest.raises(CdrError, match=f"call {CALL}: the kept element of its start fact has no id"):
        interpreter.reread(Kind.START, "ny-1", CALL, NOON, b"<Call/>")
    with pytest.raises(CdrError, match=r"file fact needs the timezone under \[history\.files\]"):
        interpreter.reread(Kind.FILE, None, CALL, NOON, f"<verbacdr><ccdr_id>{CALL}</ccdr_id></verbacdr>".encode())


def test_a_wrong_zone_is_mended_by_reading_again_and_the_fact_stays_the_same_one() -> None:
    first = read(notification("CallStart", "x", "<start_time>2024-05-01 08:00:00</start_time>")).facts[0]
    mended = Interpreter(settings(timezone="UTC"))
    again = mended.reread(first.kind, first.recorder, first.call_id, first.observed_at, first.element)
    assert first.values["start_time"] == NOON
    assert again.values["start_time"] == NOON - timedelta(hours=4)
    assert again.digest == first.digest


# Laws

_texts = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=8)
_names = st.sampled_from(
    ["Call", "verbacdr", "Request", "Response", "Notification", "Keepalive", "ErrorMessage", "ccdr_id", "id", "state",
     "start_time", "end_time", "duration", "cause_id", "source_name", "location", "conference", "strange"]
)  # fmt: skip
_values = st.one_of(
    _texts,
    st.sampled_from(
        ["0", "1", "2", "CallStart", "CallEnd", CALL, "2024-10-27 02:30:00", "9999-99-99", "00:00:10",
         "cannot be found", "0001-01-01 00:00:00", "9999-12-31 23:59:59.999", "true", "-1", "10"]
    ),
)  # fmt: skip


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;").replace("]]>", "")


@st.composite
def _elements(draw: st.DrawFn, depth: int = 4) -> str:
    name = draw(_names)
    attributes = draw(st.dictionaries(st.sampled_from(["id", "type", "code", "time", "state", "location"]), _values))
    inner = _escaped(draw(_values))
    if depth:
        inner += "".join(draw(st.lists(_elements(depth - 1), max_size=3)))
    given_ = "".join(f' {key}="{_escaped(value)}"' for key, value in attributes.items())
    return f"<{name}{given_}>{inner}</{name}>"


_documents = st.one_of(
    st.binary(max_size=50),
    st.lists(_elements(), max_size=3).map(lambda parts: document("".join(parts))),
)
_notes = st.fixed_dictionaries(
    {},
    optional={
        "asked": st.one_of(st.sampled_from(["subscribe", "list", "detail", "probe"]), _texts),
        "requested_at": st.one_of(st.just(NOON.isoformat()), _texts),
        "call_id": _values,
        "purpose": st.sampled_from(["end", "last", "refetch"]),
        "channel": st.just("query"),
        "reason": _texts,
    },
)


@pytest.mark.slow
@given(st.builds(Draft, st.just(NOON), st.sampled_from(["ny-1", "retired"]), st.just(SESSION), st.sampled_from(What),
                 _documents, _notes))  # fmt: skip
def test_reading_is_total_and_what_is_read_again_is_the_same(draft: Draft) -> None:
    interpreter = Interpreter(settings())
    told = interpreter.interpret(draft)
    for fact in (*told.facts, *told.strangers):
        assert interpreter.reread(fact.kind, fact.recorder, fact.call_id, fact.observed_at, fact.element) == fact
    assert all(kept.body or not draft.body for kept in told.quarantined)


@pytest.mark.slow
@given(st.lists(_elements(2), min_size=1, max_size=3), st.sampled_from(["CallStart", "CallEnd"]))
def test_every_call_of_a_notification_is_a_fact_or_in_quarantine(parts: list[str], kind: str) -> None:
    calls = [part for part in parts if part.startswith("<Call")]
    told = read(document(f'<Notification type="{kind}">{"".join(parts)}</Notification>'))
    assert len(told.facts) + sum(each.reason == "no_id" for each in told.quarantined) == len(calls)


def _drafts_of_scenarios() -> list[Draft]:
    bodies = [path.read_bytes().strip() for path in sorted(SCENARIOS.glob("*/*.xml")) if path.name != "stream.xml"]
    notes = [ASKED_DETAIL, {**ASKED_DETAIL, "purpose": "last"}, {**ASKED_DETAIL, "asked": "list"}]
    answers = [replace(line(body), note=note) for body in bodies for note in notes]
    return [*answers, line(started()), line(ended())]


def test_every_fact_of_the_scenarios_is_the_same_when_read_again() -> None:
    interpreter = Interpreter(settings())
    facts: list[Fact] = [fact for draft in _drafts_of_scenarios() for fact in interpreter.interpret(draft).facts]
    assert len(facts) > 10
    for fact in facts:
        again = interpreter.reread(fact.kind, fact.recorder, fact.call_id, fact.observed_at, fact.element)
        assert again == fact


def test_a_document_full_of_what_nobody_knows_is_quarantined_once() -> None:
    """It was kept once for each thing in it: 100 kB of `<x/>` came to gigabytes."""
    body = (
        b"<VerbaApi>"
        + b"<x/>" * 1000
        + b"<Notification type='CallStart'><Call id='1'/><Call/></Notification></VerbaApi>"
    )
    told = read(body)
    assert [(each.reason, each.body == body) for each in told.quarantined] == [
        ("unknown_message", True),
        ("no_id", False),
    ]
    assert [fact.call_id for fact in told.facts] == ["1"]
