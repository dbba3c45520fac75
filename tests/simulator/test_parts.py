"""The simulator's parts without sockets: dice, documents, faults, timeline, truth."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from etl.errors import CdrError, UsageError
from etl.simulator.calls import CallGenerator, Fields, cut, local_text
from etl.simulator.clock import ManualClock
from etl.simulator.config import ALL_STYLES, HttpConfig, SimulatorConfig, WireStyle
from etl.simulator.faults import LENGTHS, Fault, FaultKind, Faults, Manner, manner, parse_faults
from etl.simulator.timeline import Timeline
from etl.simulator.truth import (
    CallLine,
    ConnectionLine,
    DeliveryLine,
    FaultLine,
    Line,
    RecorderLine,
    ServedLine,
    Truth,
    TruthWriter,
    decode,
    encode,
    load,
)
from etl.simulator.wire import AS_PRINTED_BY_THE_VENDOR, GARBAGE, HALF_A_DOCUMENT, Wire

NOON = datetime(2024, 6, 3, 12, 0, 0, 123456, tzinfo=UTC)
XML_TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters="\ufffe\uffff"))


def _second(number: float) -> datetime:
    return NOON + timedelta(seconds=number)


# calls


def test_the_same_seed_gives_the_same_calls() -> None:
    def draw(seed: int, name: str = "a") -> list[object]:
        generator = CallGenerator(SimulatorConfig(name=name, seed=seed))
        calls = [generator.call(_second(number)) for number in range(20)]
        return [(call.call_id, call.fields, call.first, generator.pause(), generator.duration()) for call in calls]

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)
    assert draw(1) != draw(1, "b")


def test_the_time_in_an_id_lies_about_a_second_before_the_start() -> None:
    generator = CallGenerator(SimulatorConfig())
    for number in range(200):
        call = generator.call(_second(number))
        id_time = datetime(1582, 10, 15, tzinfo=UTC) + timedelta(microseconds=UUID(call.call_id).time // 10)
        assert UUID(call.call_id).version == 1
        assert timedelta(seconds=0.6) < _second(number) - id_time < timedelta(seconds=1.4)


def test_ids_differ_also_at_one_moment_and_when_the_clock_is_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Random, "uniform", lambda *_: 1.0)
    generator = CallGenerator(SimulatorConfig())
    moments = [NOON] * 500 + [_second(-3600)] * 500 + [NOON] * 500
    assert len({generator.call(moment).call_id for moment in moments}) == 1500


def test_two_recorders_differ_in_the_node_of_their_ids() -> None:
    nodes = {UUID(CallGenerator(SimulatorConfig(name=name)).call(NOON).call_id).node for name in "abc"}
    assert len(nodes) == 3


def test_some_records_are_provisional_and_settle_to_something_else() -> None:
    generator = CallGenerator(SimulatorConfig(provisional=0.5))
    calls = [generator.call(NOON) for _ in range(100)]
    changing = [call for call in calls if call.record(settled=False) != call.record()]
    assert 30 < len(changing) < 70


def test_durations_keep_their_minimum_and_mean() -> None:
    generator = CallGenerator(SimulatorConfig(duration_min=2, duration_mean=5))
    durations = [generator.duration() for _ in range(4000)]
    assert min(durations) >= 2
    assert 4.8 < sum(durations) / 4000 < 5.2


@pytest.mark.parametrize(("precision", "text"), [
    ("milliseconds", "2024-06-03 08:00:00.123"), ("seconds", "2024-06-03 08:00:00"), ("minutes", "2024-06-03 08:00"),
])  # fmt: skip
def test_times_are_local_and_as_exact_as_the_recorder_writes_them(precision: str, text: str) -> None:
    assert local_text(NOON, ZoneInfo("America/New_York"), precision) == text  # type: ignore[arg-type]


@given(st.datetimes(datetime(2000, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
def test_a_cut_time_is_what_is_read_back(moment: datetime) -> None:
    read = datetime.fromisoformat(local_text(moment, ZoneInfo("UTC"), "milliseconds") + "+00:00")
    assert read == cut(moment, "milliseconds")


@pytest.mark.parametrize("options", [
    {"rate": -1}, {"duration_min": 5, "duration_mean": 1}, {"extensions": ()}, {"styles": ()},
    {"timezone": "Mars/Base"}, {"timezone": "../etc"}, {"settle_after": 0.1},
])  # fmt: skip
def test_a_configuration_that_makes_no_sense_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="simulated recorder ny-1: "):
        SimulatorConfig(name="ny-1", **options)  # type: ignore[arg-type]


def test_secrets_do_not_show() -> None:
    assert "hush" not in repr(HttpConfig(password="hush", api_key="hush"))


# documents

FIELDS = {"source_name": 'Zoë <"O\'Hara"> & ]]> </VerbaApi>', "start_time": "2024-06-03 12:00:00.000"}


@pytest.mark.parametrize("style", ALL_STYLES)
def test_every_document_of_every_style_parses_to_the_same_content(style: WireStyle) -> None:
    wire = Wire(style)
    nested: Fields = {**FIELDS, "shared_item": {"title": "a & b"}, "participants": {"participant": ["<x>", "y"]}}
    detail = etree.fromstring(wire.detail("8", "1", "id-1", nested).strip())
    assert detail.findtext("Response/verbacdr/source_name") == FIELDS["source_name"]
    assert detail.findtext(".//shared_item/title") == "a & b"
    assert [item.text for item in detail.iterfind(".//participants/participant")] == ["<x>", "y"]
    call = etree.fromstring(wire.notification("CallStart", "id-1", FIELDS).strip()).find("Notification/Call")
    assert call is not None
    shown = {name: call.get(name) if style.attributes else call.findtext(name) for name in FIELDS}
    assert shown == FIELDS
    for document in (
        wire.subscribed(None, 0),
        wire.keepalive(10),
        wire.call_list("7", []),
        wire.error("x", None, 2, "d", "&"),
    ):
        assert etree.fromstring(document.strip()).tag == "VerbaApi"


@given(XML_TEXT, st.sampled_from(ALL_STYLES))
def test_any_text_comes_out_as_it_went_in(text: str, style: WireStyle) -> None:
    root = etree.fromstring(Wire(style).detail("1", "1", "x", {"source_name": text}).strip())
    assert (root.findtext(".//source_name") or "") == text


def test_the_styles_show_every_trait() -> None:
    wires = [Wire(style).notification("CallStart", "x", FIELDS) for style in ALL_STYLES]
    traits = (
        b'<?xml version="',
        b"'",
        b"\xef\xbb\xbf",
        b"</VerbaApi >",
        b"<!--",
        b"<![CDATA[",
        b'<Call id="x" ',
        b"\n  ",
    )
    for trait in traits:
        assert any(trait in wire for wire in wires), trait
        assert any(trait not in wire for wire in wires), trait


def test_what_is_meant_to_be_broken_is_broken() -> None:
    for broken in (*AS_PRINTED_BY_THE_VENDOR, HALF_A_DOCUMENT):
        with pytest.raises(etree.XMLSyntaxError):
            etree.fromstring(broken)
    assert not any(b"<VerbaApi" in item or b"<?xml" in item for item in GARBAGE)


# faults


def test_faults_are_read_as_documented() -> None:
    faults = parse_faults("drop=2/min, silence@30s:20s,duplicates=5%,close-after-response,slow-details=10%:3s,")
    assert faults.items == (
        Fault(FaultKind.DROP, per_second=2 / 60),
        Fault(FaultKind.SILENCE, at=30.0, length=20.0),
        Fault(FaultKind.DUPLICATES, share=0.05),
        Fault(FaultKind.CLOSE_AFTER_RESPONSE, share=1.0),
        Fault(FaultKind.SLOW_DETAILS, share=0.1, length=3.0),
    )
    assert (faults.share(FaultKind.DUPLICATES), faults.share(FaultKind.COALESCE)) == (0.05, 0.0)
    assert (faults.length(FaultKind.SLOW_DETAILS), faults.length(FaultKind.COALESCE)) == (3.0, 0.05)
    assert [fault.kind for fault in faults.moments()] == [FaultKind.DROP, FaultKind.SILENCE]
    assert parse_faults("") == Faults()


@pytest.mark.parametrize("kind", FaultKind)
def test_every_fault_can_be_asked_for_and_has_its_default_length(kind: FaultKind) -> None:
    text = f"{kind}@1m" if manner(kind) is Manner.MOMENT else kind
    (fault,) = parse_faults(text).items
    assert (fault.kind, fault.length) == (kind, LENGTHS[kind] or 0.0)


@pytest.mark.parametrize(("text", "said"), [
    ("fire=1/min", "'fire' is not known; there are drop, reset"),
    ("drop", "takes a rate such as 2/min"),
    ("drop=5%", "takes a rate such as 2/min"),
    ("drop=1/min@3s", "takes a rate such as 2/min"),
    ("drop=2", "is not understood"),
    ("drop=1/min:3s", "has no length"),
    ("duplicates=1/min", "takes a share such as 5%"),
    ("duplicates@3s", "takes a share such as 5%"),
    ("duplicates=101%", "at most 100%"),
    ("drop=-1/min", "is not understood"),
    ("silence@3", "is not understood"),
    ("drop=" + "9" * 400 + "/s", "at most 1000/s"),
    ("drop=99999999999999999999/s", "at most 1000/s"),
    ("silence@" + "9" * 400 + "h", "too long for a simulation"),
    ("silence@3s:9999999999h", "too long for a simulation"),
])  # fmt: skip
def test_a_fault_that_is_not_understood_says_what_is_allowed(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse_faults(text)


def test_random_moments_have_their_rate_and_repeat_with_their_seed() -> None:
    fault = Fault(FaultKind.DROP, per_second=0.5)

    def draw(seed: int) -> list[float]:
        moments = fault.moments(Random(seed))
        return [next(moments) for _ in range(1000)]

    assert draw(1) == draw(1) != draw(2)
    assert 1800 < draw(1)[-1] < 2200
    assert list(Fault(FaultKind.DROP, at=3.0).moments(Random(1))) == [3.0]


# timeline


async def test_the_timeline_acts_in_order_of_moments_then_of_asking() -> None:
    clock = ManualClock(NOON)
    timeline, done = Timeline(clock), Counter[str]()
    order: list[str] = []
    for name, seconds in (("c", 2.0), ("a", 1.0), ("b", 1.0)):
        timeline.after(seconds, lambda name=name: order.append(name))  # type: ignore[misc]
    timeline.every(0.5, lambda: done.update(["tick"]))
    await timeline.run_due()
    assert order == []
    clock.advance(2.0)
    await timeline.run_due()
    assert order == ["a", "b", "c"]
    assert done["tick"] == 4


# truth

LINES: list[Line] = [
    RecorderLine(NOON, "ny-1", "NY", "UTC", 1, 10100),
    ConnectionLine(NOON, 1, "opened"),
    ConnectionLine(_second(1), 1, "subscribed", ("1000",)),
    CallLine(_second(2), "a", "begin", NOON, None, {"source_name": "Zoë", "shared_item": {"x": ["1", "2"]}}),
    DeliveryLine(_second(2), "a", "start", 1, True),
    CallLine(_second(3), "b", "begin", NOON, None, {}),
    DeliveryLine(_second(3), "b", "start", 1, True),
    FaultLine(_second(4), "reset", "moment", 1),
    DeliveryLine(_second(4), "b", "start", 1, False),
    ConnectionLine(_second(4), 1, "closed", (), "reset"),
    CallLine(_second(5), "a", "end", NOON, _second(5), {"cause_id": "0"}),
    CallLine(_second(5), "b", "forgotten", NOON, None, {}),
    CallLine(_second(5), "a", "record_lost", NOON, _second(5), {"cause_id": "0"}),
    ServedLine(_second(6), "detail", "finished", 2, "a"),
]


@pytest.mark.parametrize("line", LINES)
def test_a_line_of_truth_is_read_as_it_was_written(line: Line) -> None:
    assert decode(encode(line)) == line
    assert "\n" not in encode(line)


def test_a_truth_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    with TruthWriter(tmp_path / "truth.jsonl") as writer:
        for line in LINES:
            writer.write(line)
    truth = load(tmp_path / "truth.jsonl")
    assert truth.recorder == LINES[0]
    assert truth.reached() == {("a", "start")}
    assert truth.reached(timedelta(seconds=3)) == set()
    a, b = truth.calls["a"], truth.calls["b"]
    assert (a.began, a.end, a.fields, a.record_lost) == (_second(2), _second(5), {"cause_id": "0"}, True)
    assert (b.ended, b.forgotten) == (None, _second(5))
    assert truth.connections[1].reason == "reset"
    assert truth.unheard(NOON, _second(9)) == [(NOON, _second(1)), (_second(4), _second(9))]
    assert truth.served == [LINES[-1]]


def test_a_torn_last_line_is_left_out_and_a_bad_one_is_named(tmp_path: Path) -> None:
    path = tmp_path / "truth.jsonl"
    path.write_text(f"{encode(LINES[0])}\n" + encode(LINES[1])[:20], encoding="utf-8")
    assert load(path).connections == {}
    path.write_text(f'{encode(LINES[0])}\n{{"what": "weather"}}\n', encoding="utf-8")
    with pytest.raises(CdrError, match="line 2"):
        load(path)


SPAN = st.tuples(st.integers(0, 50), st.integers(1, 50), st.one_of(st.none(), st.integers(0, 60)))


@given(st.lists(SPAN, max_size=6))
def test_a_moment_is_either_live_or_unheard(spans: list[tuple[int, int, int | None]]) -> None:
    """Against the definition, second by second: some subscriber that is neither muted nor closed."""
    truth = Truth()
    for number, (begin, length, muted) in enumerate(spans):
        truth.add(ConnectionLine(_second(begin), number, "opened"))
        truth.add(ConnectionLine(_second(begin), number, "subscribed"))
        if muted is not None and begin <= muted:
            truth.add(FaultLine(_second(muted), "stall", "begin", number))
        truth.add(ConnectionLine(_second(begin + length), number, "closed"))

    def live(moment: float) -> bool:
        lasts = [
            (begin, min(begin + length, muted if muted is not None and begin <= muted else 999))
            for begin, length, muted in spans
        ]
        return any(begin <= moment < end for begin, end in lasts)

    unheard = truth.unheard(NOON, _second(120))
    for tick in range(120):
        moment = _second(tick + 0.5)
        assert any(start <= moment < end for start, end in unheard) is not live(tick + 0.5)


# documentation


def test_the_documentation_lists_every_fault_with_its_length() -> None:
    page = (Path(__file__).parents[2] / "docs/simulator.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.split("|")] for line in page.splitlines() if line.startswith("| `")]
    lasts = {row[1].strip("`"): row[3] for row in rows if len(row) == 5}
    shown = {kind.value: "" if length is None else _length_text(length) for kind, length in LENGTHS.items()}
    assert lasts == shown


def _length_text(seconds: float) -> str:
    return f"{seconds:g} s" if seconds >= 1 else f"{seconds * 1000:g} ms"
