"""The HTTP history, asked over real connections to a site that misbehaves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import pytest
from support.history import Form, Reply, Row, Site, document, failure, serving, settings

from etl.errors import HistoryRefused, HistoryUnavailable
from etl.history.http import PAUSES, HistoryClient, NotUnderstood, Patience
from etl.model import Interval

NOON = datetime(2024, 6, 3, 12, 0, tzinfo=UTC)
WINDOW = Interval(NOON, NOON + timedelta(hours=1))
SHORT = Patience(connect=1.0, silence=0.2, whole=0.2)


def rows(count: int) -> list[Row]:
    starts = [NOON.replace(tzinfo=None) + timedelta(seconds=each) for each in range(count)]
    return [Row(f"call-{number}", start, start + timedelta(minutes=1)) for number, start in enumerate(starts)]


class Asker:
    """A client of a site, and how long it slept."""

    def __init__(self, stack: ExitStack, site: Site, url: str, limit: int, options: dict[str, object]) -> None:
        self.naps: list[float] = []
        own = {name: value for name, value in options.items() if name != "patience"}
        self.client = stack.enter_context(
            HistoryClient(
                settings(url, **own),
                limit,
                sleep=self.naps.append,
                now=lambda: NOON,
                patience=options.get("patience", SHORT),
            )  # fmt: skip
        )

    def ids(self, window: Interval = WINDOW) -> list[str]:
        return [record.call_id for page in self.client.search(window) for record in page.found.records]


Ask = Callable[..., Asker]


@pytest.fixture
def ask() -> Iterator[Ask]:
    """Serves a site and gives a client of it."""
    with ExitStack() as stack:

        def make(site: Site, limit: int = 1_000_000, **options: object) -> Asker:
            url = stack.enter_context(serving(site))
            return Asker(stack, site, url, limit, options)

        yield make


@pytest.mark.parametrize("cap", [1, 2, 3, 1000])
def test_every_row_comes_whatever_the_page_length(ask: Ask, cap: int) -> None:
    assert set(ask(Site(*rows(5), cap=cap)).ids()) == {row.call_id for row in rows(5)}


def test_an_empty_window_costs_one_request(ask: Ask) -> None:
    site = Site()
    assert ask(site).ids() == []
    assert len(site.asked) == 1
