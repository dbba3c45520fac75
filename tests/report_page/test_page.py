"""The page as HTML: nothing in the data becomes markup, and what a screen reader needs is there."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.findings import NASTY, empty, lively, parsed, table, undrawn

from etl.cli.words import reason
from etl.report.html import element, printable, text
from etl.report.page import POLICY, page
from etl.report.rows import CauseCount, ExtensionUse, Findings

MINUTE = timedelta(minutes=1)
_OUTSIDE = re.compile(r"""(?:src|href|action|url)\s*[=(]\s*["']?\s*(?!#|data:,)[^"'\s>)]""")


def written(found: Findings) -> str:
    return page(found, undrawn, reason)


def nasty() -> Findings:
    """Wherever a name of somebody else's can stand, it tries something."""
    found = lively(3, NASTY)
    extensions = tuple(ExtensionUse(name, 9, 9, MINUTE, MINUTE, None) for name in NASTY)
    causes = tuple(CauseCount(name, 9) for name in NASTY)
    gaps = tuple(replace(gap, reason=name) for gap, name in zip(found.gaps, NASTY, strict=True))
    return replace(found, extensions=extensions, causes=causes, gaps=gaps)


SIZES = {"empty": empty(), "one day": lively(1, ("ny-1",)), "month": lively(31), "nasty": nasty()}


@pytest.fixture(params=list(SIZES.values()), ids=list(SIZES))
def found(request: pytest.FixtureRequest) -> Findings:
    given = request.param
    assert isinstance(given, Findings)
    return given


def test_names_are_text_and_nothing_else() -> None:
    """No element comes of them, and no character that a terminal or the direction of writing obeys."""
    shown = written(nasty())
    assert not parsed(shown).xpath("//script | //*[starts-with(name(@*), 'on')]")
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", shown)
    cells = {row[0] for row in table(shown, "extensions")}
    assert cells == {printable(name) for name in NASTY}
    assert {row[4] for row in table(shown, "gaps")} == {printable(name) for name in NASTY}


@given(st.text())
def test_whatever_is_put_into_markup_comes_out_as_it_went_in(value: str) -> None:
    """As text and as the value of an attribute; what cannot be shown is written as an escape."""
    back = parsed(element("p", "-", value, title=value) + "").xpath("//p")[0]
    assert back.text_content() == "-" + printable(value)
    assert back.get("title") == printable(value)
    assert text(text(value)) == text(value)


def test_the_page_asks_for_nothing_and_runs_nothing(found: Findings) -> None:
    shown = written(found)
    assert _OUTSIDE.findall(shown) == []
    root = parsed(shown)
    assert not root.xpath("//script | //iframe | //object | //embed | //form | //img | //base")
    assert root.xpath("//meta[@http-equiv='Content-Security-Policy']/@content") == [POLICY]
    assert POLICY.startswith("default-src 'none';")


def test_headings_come_in_order_and_name_their_sections(found: Findings) -> None:
    root = parsed(written(found))
    levels = [int(heading.tag[1]) for heading in root.xpath("//h1 | //h2 | //h3 | //h4")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(later - earlier <= 1 for earlier, later in pairwise(levels))
    for name in ("header", "nav", "main", "footer"):
        assert len(root.xpath(f"//body/{name}")) == 1
    assert root.get("lang") == "en"


def test_ids_are_unique_and_whatever_refers_to_one_finds_it(found: Findings) -> None:
    root = parsed(written(found))
    ids = root.xpath("//@id")
    assert len(ids) == len(set(ids))
    named = " ".join(root.xpath("//@aria-labelledby | //@aria-describedby")).split()
    assert named
    assert set(named) <= set(ids)
    assert {link.removeprefix("#") for link in root.xpath("//a/@href")} <= set(ids)


def test_every_figure_has_a_name_a_sentence_and_its_numbers(found: Findings) -> None:
    figures = parsed(written(found)).xpath("//figure")
    assert len(figures) == 9
    for figure in figures:
        assert figure.xpath("./figcaption/h3")[0].text_content()
        assert figure.xpath("./figcaption/p")[0].text_content().endswith(".")
        for plot in figure.xpath("./svg"):
            assert plot.get("role") == "img"
            assert figure.xpath("./details//table")


def test_tables_have_a_caption_and_say_what_heads_what(found: Findings) -> None:
    for grid in parsed(written(found)).xpath("//table"):
        assert grid.xpath("./caption")[0].text_content()
        assert {cell.get("scope") for cell in grid.xpath("./thead//th")} == {"col"}
        for row in grid.xpath("./tbody/tr"):
            assert [cell.tag for cell in row] == ["th"] + ["td"] * (len(row) - 1)
            assert row[0].get("scope") == "row"


def test_masked_extensions_are_said_to_be_pseudonyms() -> None:
    masked = (ExtensionUse("#0123456789abcdef", 9, 9, MINUTE, MINUTE, None),)
    assert "Personal data is masked" in written(replace(lively(3), extensions=masked))
    assert "Personal data is masked" not in written(lively(3))


def test_a_report_of_a_day_that_is_not_over_says_so() -> None:
    found = lively(3)
    assert "before the last day was over" not in written(found)
    assert "before the last day was over" in written(replace(found, now=found.span.end - MINUTE))


def test_the_same_rows_give_the_same_page(found: Findings) -> None:
    assert written(found) == written(found)
