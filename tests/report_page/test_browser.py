"""The page in a real browser: on a phone, on a desk, on paper, and as a screen reader gets it."""

from __future__ import annotations

import re
import shutil
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import Browser, Error, Page, sync_playwright
from support.findings import KNOWN_NOW, NASTY, empty, lively, march
from support.postgres import connection

from etl.cli.words import reason
from etl.jobs.report import render
from etl.report.rows import Findings
from etl.store.report import look

pytestmark = pytest.mark.slow

WIDTHS = (320, 360, 1280)
Open = Callable[..., Page]
CONTRAST = """() => {
  const channel = value => value <= 10.31 ? value / 3294.6 : ((value / 255 + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const parts = colour => colour.match(/[0-9.]+/g).map(Number);
  const behind = node => {
    for (; node; node = node.parentElement) {
      const colour = parts(getComputedStyle(node).backgroundColor);
      if (colour.length < 4 || colour[3] > 0) return colour;
    }
    return parts(getComputedStyle(document.documentElement).getPropertyValue('color-scheme'));
  };
  const texts = [...document.querySelectorAll('h1, h2, h3, p, a, li, dt, dd, th, td, caption, summary, svg text')];
  return texts.filter(node => node.textContent.trim()).map(node => {
    const style = getComputedStyle(node);
    const ink = light(parts(node.closest('svg') ? style.fill : style.color)), paper = light(behind(node));
    return [(Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05), node.tagName, node.textContent.slice(0, 40)];
  }).filter(([ratio]) => ratio < 4.5);
}"""
"""Texts with less contrast than WCAG AA wants."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium; without it these tests are skipped, and say so."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("no chromium found: install Debian's package chromium")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def pages(known_url: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Reports of several archives, as files."""
    zone = ZoneInfo("Europe/Berlin")
    with connection(known_url) as opened:
        known = look(opened, march(zone.key), zone, KNOWN_NOW).findings
    archives: dict[str, Findings] = {
        "known": known,
        "empty": empty(),
        "nasty": lively(31, NASTY),
        "many": lively(40, tuple(f"recorder-{number}" for number in range(50))),
        "gaps only": replace(empty(), gaps=known.gaps[:2]),
    }
    folder = tmp_path_factory.mktemp("reports")
    for name, found in archives.items():
        (folder / f"{name}.html").write_text(render(found, reason), encoding="utf-8")
    return {name: folder / f"{name}.html" for name in archives}


@pytest.fixture
def see(browser: Browser, pages: dict[str, Path]) -> Iterator[Open]:
    """Opens a report; any request but for the file itself, and any complaint of the browser's, is an error."""
    complaints: list[str] = []
    asked: list[str] = []
    contexts = []

    def view(name: str, width: int = 1280, **options: Any) -> Page:
        context = browser.new_context(viewport={"width": width, "height": 800}, **options)
        contexts.append(context)
        page = context.new_page()
        own = pages[name].as_uri()
        page.on("console", lambda message: complaints.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(own)
        return page

    yield view
    for context in contexts:
        context.close()
    assert complaints == []
    assert set(asked) <= {path.as_uri() for path in pages.values()}


def open_all(page: Page) -> None:
    page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")


@pytest.mark.parametrize("name", ["known", "empty", "nasty", "many", "gaps only"])
def test_a_page_never_scrolls_sideways(see: Open, name: str) -> None:
    """At any width, with all tables open; a table that is too wide scrolls in its own frame."""
    for width in WIDTHS:
        page = see(name, width)
        open_all(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        sticking_out = """width => [...document.querySelectorAll('main *:not(.scroll *):not(svg *)')]
            .filter(node => node.getBoundingClientRect().right > width + 1).map(node => node.outerHTML.slice(0, 80))"""
        assert page.evaluate(sticking_out, width) == []


def test_letters_of_a_plot_can_be_read_on_a_phone(see: Open) -> None:
    page = see("known", 360)
    heights = "[...document.querySelectorAll('svg text')].map(node => node.getBoundingClientRect().height)"
    assert min(page.evaluate(heights)) > 8


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["known", "nasty"])
def test_text_stands_out_by_day_and_by_night(see: Open, name: str, scheme: str) -> None:
    page = see(name, 1280, color_scheme=scheme)
    open_all(page)
    assert page.evaluate(CONTRAST) == []
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(255, 255, 255)") is (scheme == "light")


def test_a_screen_reader_finds_headings_landmarks_figures_and_tables(see: Open) -> None:
    """By role and name, as the browser's accessibility tree has them."""
    page = see("known")
    for role in ("banner", "navigation", "main", "contentinfo"):
        assert page.get_by_role(role).count() == 1
    assert page.get_by_role("heading", level=1).inner_text() == "Calls, 2025-03-01 to 2025-03-31"
    sections = page.get_by_role("heading", level=2).all_inner_texts()
    assert page.get_by_role("region").count() >= len(sections)
    for title in ("Calls per day", "Calls by hour and weekday", "Busy hour of each day", "Concurrent calls",
                  "Extensions with the most calls", "Why calls ended", "Who was listened to, and when"):  # fmt: skip
        assert page.get_by_role("figure", name=title, exact=True).count() == 1
        plot = page.get_by_role("img", name=title, exact=True)
        assert plot.count() == 1
        described = page.locator(f"#{plot.get_attribute('aria-describedby')}").inner_text()
        assert described.endswith(".")
    page.get_by_text("Numbers: calls per recorder").click()
    grid = page.get_by_role("table", name="Calls by recorder")
    assert grid.get_by_role("columnheader").all_inner_texts()[:2] == ["recorder", "calls"]
    assert grid.get_by_role("rowheader").all_inner_texts() == ["berlin-1", "ny-1", "ny-2"]


def test_the_keyboard_is_enough(see: Open) -> None:
    """First a link past the contents, then the contents; a table opens with Enter."""
    page = see("known")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the numbers"
    opened = page.locator("#calls-by-day details")
    opened.locator("summary").focus()
    page.keyboard.press("Enter")
    assert opened.get_attribute("open") is not None


@pytest.mark.parametrize("name", ["known", "empty", "nasty"])
def test_on_paper_everything_is_black_on_white_and_whole(see: Open, name: str) -> None:
    """Tables are printed although they are closed on the screen, in full width; a PDF comes of it."""
    page = see(name, color_scheme="dark")
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.get_by_role("navigation").count() == 0
    tables = page.locator("main table")
    assert all(tables.nth(number).is_visible() for number in range(tables.count()))
    frames = "[...document.querySelectorAll('.scroll')].map(node => getComputedStyle(node).overflowX)"
    assert set(page.evaluate(frames)) <= {"visible"}
    paper = page.pdf(format="A4")
    assert paper.startswith(b"%PDF-")
    assert len(re.findall(rb"/Type\s*/Page\b", paper)) >= 2


def test_the_policy_stops_what_should_not_be_there(browser: Browser, pages: dict[str, Path], tmp_path: Path) -> None:
    """Were somebody's markup to get into the page after all, it would neither run nor call anybody."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        where = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        injected = f"<script>document.title = 'owned'</script><img src='{where}'></main>"
        file = tmp_path / "injected.html"
        file.write_text(pages["known"].read_text(encoding="utf-8").replace("</main>", injected), encoding="utf-8")
        page = browser.new_page()
        page.goto(file.as_uri())
        assert page.title() == "Calls, 2025-03-01 to 2025-03-31"
        with pytest.raises(Error, match="Failed to fetch"):
            page.evaluate(f"fetch('{where}')")
        page.close()
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()
