"""The judge sees what a long run must not show."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from longrun.archive import Compared, Size
from longrun.evidence import Evidence
from longrun.judge import growth, judge

SAMPLES = 200
CALLS = 10_000


def sample(number: int) -> dict[str, Any]:
    return {
        "at": 5.0 * number,
        "sent": 10_000 * (number + 1),
        "calls": CALLS,
        "rss": 120_000_000 + number % 7 * 1_000_000,
        "fds": 22 + number % 4,
        "threads": 9,
        "backlog": 0,
        "journal_bytes": 60_000_000,
        "tables": {"call": {"live": 1_000_000, "dead": 100_000}},
    }


METRICS: tuple[tuple[str, Mapping[str, str], float], ...] = (
    ("cdr_messages_total", {"recorder": "line-0", "kind": "notification"}, 20_000.0),
    ("cdr_quarantined_total", {"recorder": "line-0", "reason": "garbage"}, 3.0),
    ("cdr_calls_total", {"recorder": "line-0", "state": "complete"}, float(CALLS)),
    ("cdr_reconnects_total", {"recorder": "line-0"}, 1.0),
    ("cdr_detail_requests_total", {"recorder": "line-0", "result": "finished"}, 2.0 * CALLS),
    ("cdr_unresolved_calls", {"recorder": "line-0", "state": "ended"}, 0.0),
    ("cdr_database_up", {}, 1.0),
    ("cdr_default_partition_rows", {}, 0.0),
)


@pytest.fixture
def seen() -> Evidence:
    """A run that keeps all bounds."""
    return Evidence(
        samples=[sample(number) for number in range(SAMPLES)],
        events=[{"what": "drop"}, {"what": "stopped", "code": 0, "journals": 0}],
        sent_by=[{"start": CALLS, "end": CALLS, "detail": 2 * CALLS, "garbage": 3}],
        metrics=METRICS,
        compared=Compared(CALLS, CALLS),
        sizes=[Size("call_2026_11", CALLS, 600_000_000, 500_000_000)],
        quarantined=3,
        sessions=5,
    )


def broken(seen: Evidence) -> list[str]:
    return [verdict.what for verdict in judge(seen) if not verdict.holds]


def with_samples(seen: Evidence, change: Callable[[int, dict[str, Any]], dict[str, Any]]) -> Evidence:
    return replace(seen, samples=[each | change(number, dict(each)) for number, each in enumerate(seen.samples)])


def with_metric(seen: Evidence, name: str, value: float) -> Evidence:
    return replace(seen, metrics=[(known, labels, value if known == name else old) for known, labels, old in METRICS])


def test_a_run_that_keeps_all_bounds_breaks_none(seen: Evidence) -> None:
    assert broken(seen) == []


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda n, was: {"rss": was["rss"] + 200_000 * n}, "worker's memory: growth over the second half"),
        (lambda n, was: {"fds": was["fds"] + n // 20}, "worker's files and sockets open: most, first and second half"),
        (lambda n, was: {"threads": 9 + n // 20}, "worker's threads: most, first and second half"),
        (lambda n, was: {"backlog": 1}, "messages in the journal that are not in the database, at the end"),
        (lambda n, was: {"journal_bytes": 400_000_000}, "journal at the end"),
        (lambda n, was: {"tables": {"call": {"live": 1_000_000, "dead": 600_000}}},
         "dead rows of call: most, second half"),
    ],
)  # fmt: skip
def test_what_grows_is_seen(seen: Evidence, change: Callable[[int, dict[str, Any]], dict[str, Any]], what: str) -> None:
    assert broken(with_samples(seen, change)) == [what]


def test_a_spike_is_no_growth(seen: Evidence) -> None:
    spike = with_samples(seen, lambda n, was: {"rss": was["rss"] * 3 if 150 < n < 154 else was["rss"]})
    assert broken(spike) == []


def test_live_rows_that_postgresql_forgot_in_a_crash_are_not_taken_for_dead(seen: Evidence) -> None:
    """Its counters begin anew: 30,000 dead rows beside 20,000 live ones, in a table of a million."""
    forgot = {"tables": {"call": {"live": 20_000, "dead": 30_000}}}
    assert broken(with_samples(seen, lambda n, was: forgot if n > SAMPLES // 2 else {})) == []


def test_growth_is_that_of_the_second_half_and_of_most_of_its_windows() -> None:
    assert growth([10, 60, 70, 80, 100, 101, 102, 103]) == pytest.approx(3)
    assert growth([10, 60, 70, 80, 100, 100, 100, 130]) == pytest.approx(15)


def test_a_call_that_is_missing_or_wrong_is_seen(seen: Evidence) -> None:
    wrong = replace(seen, compared=Compared(CALLS, CALLS - 1, 0, ["a call is not archived"]))
    assert "calls unaccounted for, incomplete or different" in broken(wrong)
    assert "calls complete" in broken(wrong)


def test_a_bloated_table_is_seen(seen: Evidence) -> None:
    bloated = replace(seen, sizes=[Size("call_2026_11", CALLS, 900_000_000, 500_000_000)])
    assert broken(bloated) == ["size of call_2026_11 beside a fresh copy"]


def test_a_journal_that_is_left_behind_is_seen(seen: Evidence) -> None:
    left = replace(seen, events=[{"what": "stopped", "code": 0, "journals": 1}])
    assert broken(left) == ["after a clean stop"]


@pytest.mark.parametrize(
    ("name", "value", "what"),
    [
        ("cdr_messages_total", 19_000.0, "messages sent and not read (resets)"),
        ("cdr_quarantined_total", 2.0, "garbage: cdr_quarantined_total"),
        ("cdr_calls_total", 9_999.0, "cdr_calls_total, complete"),
        ("cdr_reconnects_total", 2.0, "cdr_reconnects_total"),
        ("cdr_detail_requests_total", 2.0 * CALLS + 1, "details finished"),
        ("cdr_unresolved_calls", 1.0, "cdr_unresolved_calls"),
        ("cdr_database_up", 0.0, "cdr_database_up"),
    ],
)
def test_a_metric_that_is_not_the_truth_is_seen(seen: Evidence, name: str, value: float, what: str) -> None:
    assert broken(with_metric(seen, name, value)) == [what]
