"""The metrics carry the names of the contract, and what a batch came to is counted once."""

from __future__ import annotations

from prometheus_client import generate_latest

from etl.ingest.loader import Loaded
from etl.store.pending import Counts
from etl.store.write import Written
from etl.worker.metrics import Metrics

NAMES = {
    "cdr_recorder_connected": ("recorder",),
    "cdr_messages_total": ("recorder", "kind"),
    "cdr_calls_total": ("recorder", "state"),
    "cdr_end_to_commit_seconds": (),
    "cdr_journal_backlog_messages": (),
    "cdr_journal_bytes": (),
    "cdr_detail_requests_total": ("recorder", "result"),
    "cdr_reconnects_total": ("recorder",),
    "cdr_gap_seconds_total": ("recorder", "reason"),
    "cdr_quarantined_total": ("recorder", "reason"),
    "cdr_reconcile_runs_total": ("recorder", "result"),
    "cdr_reconcile_actions_total": ("recorder", "action"),
    "cdr_unresolved_calls": ("recorder", "state"),
    "cdr_database_up": (),
    "cdr_default_partition_rows": (),
}


def test_every_metric_of_the_contract_is_there_with_its_labels_and_no_other() -> None:
    metrics = Metrics()
    families = list(metrics.registry.collect())
    assert {f"{each.name}_total" if each.type == "counter" else each.name for each in families} == set(NAMES)
    for collector in (
        metrics.messages, metrics.calls, metrics.detail_requests, metrics.reconnects, metrics.gap_seconds,
        metrics.quarantined, metrics.unresolved, metrics.connected, metrics.reconcile_runs, metrics.reconcile_actions,
    ):  # fmt: skip
        [described] = collector.describe()
        name = f"{described.name}_total" if described.type == "counter" else described.name
        assert collector._labelnames == NAMES[name]


def test_what_a_batch_came_to_is_counted() -> None:
    metrics = Metrics()
    written = Written(
        states={("ny-1", "complete"): 2, (None, "ended"): 1},
        quarantined={("ny-1", "garbage"): 3},
        gap_seconds={("ny-1", "drop"): 12.5},
    )
    metrics.loaded(Loaded(written, (0.2, 3.0)))
    metrics.loaded(Loaded(Written(gap_seconds={("ny-1", "drop"): 1.0}), ()))
    value = metrics.registry.get_sample_value
    assert value("cdr_calls_total", {"recorder": "ny-1", "state": "complete"}) == 2
    assert value("cdr_calls_total", {"recorder": "", "state": "ended"}) == 1
    assert value("cdr_quarantined_total", {"recorder": "ny-1", "reason": "garbage"}) == 3
    assert value("cdr_gap_seconds_total", {"recorder": "ny-1", "reason": "drop"}) == 13.5
    assert value("cdr_end_to_commit_seconds_count") == 2
    assert value("cdr_end_to_commit_seconds_bucket", {"le": "0.25"}) == 1


def test_a_recorder_whose_calls_are_all_resolved_disappears_from_the_count() -> None:
    metrics = Metrics()
    metrics.show(Counts({("ny-1", "ended"): 4, ("ny-1", "lost"): 1}, 0))
    metrics.show(Counts({("ny-1", "lost"): 1}, 7))
    text = generate_latest(metrics.registry).decode()
    assert 'cdr_unresolved_calls{recorder="ny-1",state="lost"} 1.0' in text
    assert 'state="ended"' not in text
    assert "cdr_default_partition_rows 7.0" in text
