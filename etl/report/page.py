"""The page: one file with all that it shows, which asks for nothing from anywhere, and runs nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta

from etl.report import coverage, traffic, usage, volume
from etl.report.charts import Chart, Column, Figure, Table
from etl.report.coverage import Describe
from etl.report.html import Html, element, joined
from etl.report.rows import Findings
from etl.report.style import STYLE
from etl.report.trust import Level, Verdict, numbers, verdict
from etl.report.words import moment

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
"""What a browser lets the page do: show itself."""
Draw = Callable[[Chart, str], str]
"""Draws a chart as an `<svg>` element whose ids begin with the key that is given."""

_LEVELS = {
    Level.WHOLE: "good",
    Level.ACCEPTED: "fair",
    Level.EXPIRED: "fair",
    Level.DOUBTFUL: "bad",
    Level.UNKNOWN: "bad",
    Level.EMPTY: "fair",
}
_WORDS = (
    ("Call", "One recording. It belongs to the day and hour in which it began, however long it lasted; where no start"
     " is known, to those in which it was first seen."),
    ("Conversation", "What people said to each other, once, however many recorders recorded it."),
    ("Complete, unresolved", "A call is complete when its finished record is archived; unresolved until then."),
    ("Recorded time", "The length of all calls that have ended, copies included."),
    ("Erlangs", "Seconds of calls within an hour, divided by 3600: how many went on at once on average."),
    ("Covered", "A session listened to the recorder and saw everything. What is not covered lies in a gap, or is"
     " pending."),
    ("Gap", "A time in which nobody listened. Open: calls in it may be missing. Filled: the history was read, and shows"
     " what there was. Accepted: somebody took note that calls in it may be missing for good."),
    ("Pending", "A time of which nobody knows yet whether a session listened: it has told nothing of it, and its end is"
     " not known either. It becomes covered, or a gap."),
    ("Recovered", "A call whose start nobody heard, and that a list of calls or the history showed first."),
)  # fmt: skip


def page(found: Findings, draw: Draw, describe: Describe) -> str:
    """The whole page. `describe` puts the reasons of gaps into words."""
    sections = (
        ("volume", "How many calls", volume.figures(found)),
        ("traffic", "How many at once", traffic.figures(found)),
        ("usage", "Whose calls, and how they ended", usage.figures(found)),
        ("listening", "Coverage and gaps", coverage.figures(found, describe)),
    )
    contents = [("glance", "At a glance"), *((key, title) for key, title, _ in sections), ("meaning", "What it means")]
    body = element(
        "body",
        element("a", "Skip to the numbers", class_="skip", href="#main"),
        _header(found),
        element("nav", element("ul", *(_item(*entry) for entry in contents)), aria_label="Contents"),
        element(
            "main",
            _glance(found),
            *(_section(key, title, _figures(figures, draw)) for key, title, figures in sections),
            _section("meaning", "What it means", element("dl", *_meanings(), class_="words")),
            id="main",
        ),
        _footer(found),
    )
    return f"<!DOCTYPE html>\n{element('html', _head(found), body, lang='en')}\n"


def _head(found: Findings) -> Html:
    return element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="referrer", content="no-referrer"),
        element("meta", name="robots", content="noindex"),
        element("link", rel="icon", href="data:,"),  # else a browser would ask for one
        element("title", f"Calls, {_period(found)}"),
        element("style", Html(STYLE)),
    )


def _period(found: Findings) -> str:
    first = found.span.start.astimezone(found.zone).date()
    last = (found.span.end - timedelta(microseconds=1)).astimezone(found.zone).date()
    return first.isoformat() if first == last else f"{first.isoformat()} to {last.isoformat()}"


def _header(found: Findings) -> Html:
    told = f"Whole days, and all times, of the zone {found.zone.key}. Made on {moment(found.now, found.zone)}"
    if found.now < found.span.end:
        told += ", before the last day was over"
    masks = "Personal data is masked: extensions are shown as pseudonyms." if usage.masked(found) else None
    lines = [element("p", f"{told}.", class_="soft"), *([element("p", masks, class_="soft")] if masks else [])]
    return element("header", element("h1", f"Calls, {_period(found)}"), *lines)


def _item(key: str, title: str) -> Html:
    return element("li", element("a", title, href=f"#{key}"))


def _section(key: str, title: str, *content: Html) -> Html:
    return element("section", element("h2", title, id=key), *content, aria_labelledby=key)


def _footer(found: Findings) -> Html:
    told = (
        f"Made by cdr report from the views of schema report, for {found.span.start:%Y-%m-%d %H:%M} to"
        f" {found.span.end:%Y-%m-%d %H:%M} UTC."
    )
    return element("footer", element("p", told, class_="soft"))


def _meanings() -> Iterable[Html]:
    for word, meaning in _WORDS:
        yield element("dt", word)
        yield element("dd", meaning)


# At a glance


def _glance(found: Findings) -> Html:
    cards = (
        element(
            "div",
            element("dt", number.name),
            element("dd", element("div", number.value, class_="value"), element("div", number.about, class_="soft")),
        )
        for number in numbers(found)
    )
    return _section("glance", "At a glance", element("dl", *cards, class_="numbers"), _verdict(verdict(found)))


def _verdict(answer: Verdict) -> Html:
    return element(
        "div",
        element("h3", "Can these numbers be trusted?"),
        element("p", f"{answer.level.value}.", class_="answer"),
        element("ul", *(element("li", reason) for reason in answer.reasons)),
        class_=f"verdict {_LEVELS[answer.level]}",
    )


# Figures


def _figures(figures: Iterable[Figure], draw: Draw) -> Html:
    return element("div", *(_figure(figure, draw) for figure in figures), class_="figures")


def _figure(figure: Figure, draw: Draw) -> Html:
    """Title, a sentence, the plot, and its numbers. The plot's text is not read aloud: the numbers are."""
    title, told = f"{figure.key}-title", f"{figure.key}-told"
    parts = [
        element("figcaption", element("h3", figure.title, id=title), element("p", figure.summary, id=told)),
        *([_plot(draw(figure.chart, figure.key), title, told)] if figure.chart else []),
        *([element("p", figure.note, class_="soft")] if figure.note else []),
        *([_numbers(figure.table, figure)] if figure.table else []),
    ]
    return element("figure", *parts, id=figure.key, aria_labelledby=title, class_="wide" if figure.wide else None)


def _plot(svg: str, title: str, told: str) -> Html:
    named = f'<svg role="img" aria-labelledby="{title}" aria-describedby="{told}" '
    return Html(svg.replace("<svg ", named, 1))


def _numbers(table: Table, figure: Figure) -> Html:
    caption = f"{figure.key}-caption"
    grid = element(
        "table",
        element("caption", table.caption, id=caption),
        element("thead", element("tr", *(_head_cell(column) for column in table.columns))),
        element("tbody", *(_row(row, table.columns) for row in table.rows)),
    )
    scroll = element("div", grid, class_="scroll", role="region", aria_labelledby=caption, tabindex="0")
    is_open = "" if figure.chart is None and len(table.rows) <= _FEW else None
    return element("details", element("summary", f"Numbers: {figure.title.lower()}"), scroll, open=is_open)


_CLASSES = {"text": None, "number": "n", "time": "t"}
_FEW = 25
"""Rows of a table that is open from the beginning, where it is all that a figure has to show."""


def _head_cell(column: Column) -> Html:
    return element("th", column.name, scope="col", class_=_CLASSES[column.kind])


def _row(row: tuple[str, ...], columns: tuple[Column, ...]) -> Html:
    first = element("th", row[0], scope="row", class_=_CLASSES[columns[0].kind])
    cells = (
        element("td", cell, class_=_CLASSES[column.kind]) for cell, column in zip(row[1:], columns[1:], strict=True)
    )
    return element("tr", first, joined(*cells))
