"""The plots as they stand in the page: text as text, nothing to fetch, the same bytes again."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from lxml import etree
from support.findings import BERLIN, NASTY, empty, lively, midnight, parsed

from etl.cli.words import reason
from etl.jobs.report import render
from etl.model import Interval
from etl.report.charts import Bars, Chart, Heat, Lane, Layer, Mark, Panels, Stack, Timeline
from etl.report.plots import MARKS, _visible, draw
from etl.report.rows import Findings

pytestmark = pytest.mark.slow

EDGES = tuple(midnight(number) for number in range(4))
LAYERS = tuple(Layer(name, (1, 2, 3)) for name in NASTY)
DAY = Interval(midnight(1), midnight(2))
CHARTS: dict[str, Chart] = {
    "stack": Stack(EDGES, LAYERS, "calls per day"),
    "panels": Panels(EDGES, LAYERS[:5], "erlangs", whole=False),
    "bars": Bars(NASTY, tuple(float(number) for number in range(len(NASTY))), "calls"),
    "heat": Heat(tuple(tuple(None if hour == day else float(hour) for day in range(7)) for hour in range(24)), "calls"),
    "timeline": Timeline(
        Interval(EDGES[0], EDGES[-1]),
        tuple(Lane(name, DAY, tuple(Mark(DAY, state) for state in MARKS)) for name in NASTY),
    ),
    "nothing heard": Timeline(DAY, (Lane("ny-1", None, ()),)),
    "zeros": Stack(EDGES, (Layer("ny-1", (0, 0, 0)),), "calls per day"),
}


@pytest.mark.parametrize("name", CHARTS)
def test_a_plot_is_one_element_with_text_and_without_pictures(name: str) -> None:
    """Names are text, whatever they hold; ids are the page's own, and only those that something refers to."""
    svg = draw(CHARTS[name], "key", BERLIN)
    root = etree.fromstring(svg)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    tags = {etree.QName(element).localname for element in root.iter()}
    assert tags <= {"svg", "defs", "g", "path", "text", "tspan", "use", "clipPath", "pattern", "rect"}
    assert "text" in tags
    assert root.get("width") is None
    assert len(svg) < 60_000
    ids = [element.attrib["id"] for element in root.iter() if "id" in element.attrib]
    assert len(ids) == len(set(ids))
    assert all(str(each).startswith("key-") for each in ids)
    links = [element.attrib["href"] for element in root.iter() if "href" in element.attrib]
    assert all(str(link).removeprefix("#") in ids for link in links)
    assert svg == draw(CHARTS[name], "key", BERLIN)


def labels(name: str) -> str:
    """All text of a plot."""
    return "".join(texts(name))


def texts(name: str) -> list[str]:
    return [str(part) for part in etree.fromstring(draw(CHARTS[name], "key", BERLIN)).itertext()]


def test_labels_are_shown_as_they_are_but_for_what_cannot_be() -> None:
    """Neither mathematics nor markup comes of them, nor does matplotlib hide one; long ones are cut."""
    shown = labels("bars")
    assert "<script>alert(1)" in shown
    assert "a$b$ &amp; " in shown
    assert "_\N{REPLACEMENT CHARACTER}[2Jclear" in shown
    assert "x" * 23 + "…" in shown
    assert "\x1b" not in shown
    assert "_\N{REPLACEMENT CHARACTER}[2Jclear" in labels("stack")


def test_each_state_of_a_recorders_time_is_named_and_has_a_hatch_of_its_own() -> None:
    """No state is told by its colour alone, nor left out of the legend."""
    assert len({hatch for _, _, hatch in MARKS.values()}) == len(MARKS)
    assert {"listened", "open gap", "pending", "filled gap", "accepted gap"} <= set(texts("timeline"))


def test_gaps_are_drawn_wide_enough_to_be_seen_and_those_that_then_touch_as_one() -> None:
    """Ten thousand short gaps must not make ten thousand shapes."""
    whole = Interval(midnight(0), midnight(30))
    second = timedelta(seconds=1)
    marks = [Mark(Interval(midnight(0) + n * 250 * second, midnight(0) + (n * 250 + 1) * second), "open")
             for n in range(10_000)]  # fmt: skip
    (piece,) = _visible(marks, "open", whole)
    assert piece.start == midnight(0)
    assert _visible(marks, "filled", whole) == []
    (short,) = _visible(marks[:1], "open", whole)
    assert (whole.end - whole.start) / 300 < short.end - short.start < timedelta(days=1)


@pytest.mark.parametrize(
    "found",
    [
        empty(),
        lively(1, ("ny-1",)),
        lively(31, NASTY),
        lively(366, tuple(f"recorder-{number}" for number in range(50))),
        replace(empty(), gaps=lively(31).gaps),
    ],
    ids=["empty", "one day", "nasty", "a year of fifty", "gaps only"],
)
def test_any_archive_gives_a_page_of_a_bearable_size(found: Findings) -> None:
    """With ids that are unique over all plots, and twice the same."""
    shown = render(found, reason)
    assert len(shown) < 1_500_000
    ids = parsed(shown).xpath("//@id")
    assert len(ids) == len(set(ids))
    assert shown == render(found, reason)
