"""The worker's metrics, by the names of section 5 of the contract."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from etl.ingest.loader import Loaded
from etl.store.pending import Counts

BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900)


class Metrics:
    """One registry for one worker. Counters of Prometheus carry `_total` by themselves."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.connected = Gauge(
            "cdr_recorder_connected", "1 while a confirmed session lives", ["recorder"], registry=registry
        )
        self.messages = Counter("cdr_messages", "Messages read, by kind", ["recorder", "kind"], registry=registry)
        self.calls = Counter("cdr_calls", "Calls that entered a state", ["recorder", "state"], registry=registry)
        self.end_to_commit = Histogram(
            "cdr_end_to_commit_seconds",
            "From reading an end notification to the commit of the full record",
            buckets=BUCKETS,
            registry=registry,
        )
        self.backlog_messages = Gauge(
            "cdr_journal_backlog_messages", "Journaled messages that are not in PostgreSQL", registry=registry
        )
        self.journal_bytes = Gauge("cdr_journal_bytes", "Size of the journal on disk", registry=registry)
        self.detail_requests = Counter(
            "cdr_detail_requests", "Detail requests, by result", ["recorder", "result"], registry=registry
        )
        self.reconnects = Counter("cdr_reconnects", "Sessions begun after the first", ["recorder"], registry=registry)
        self.gap_seconds = Counter(
            "cdr_gap_seconds", "Seconds in gaps that were closed", ["recorder", "reason"], registry=registry
        )
        self.quarantined = Counter(
            "cdr_quarantined", "Messages put into quarantine", ["recorder", "reason"], registry=registry
        )
        self.database_up = Gauge("cdr_database_up", "1 while PostgreSQL can be written to", registry=registry)
        self.default_partition_rows = Gauge(
            "cdr_default_partition_rows", "Rows with absurd times in the default partitions", registry=registry
        )
        self.unresolved = Gauge(
            "cdr_unresolved_calls", "Calls without a finished record", ["recorder", "state"], registry=registry
        )
        self.reconcile_runs = Counter(
            "cdr_reconcile_runs", "Reconciliation runs, by result", ["recorder", "result"], registry=registry
        )
        self.reconcile_actions = Counter(
            "cdr_reconcile_actions", "What reconciliation did", ["recorder", "action"], registry=registry
        )

    def loaded(self, loaded: Loaded) -> None:
        """Count what a batch came to."""
        for (recorder, state), count in loaded.written.states.items():
            self.calls.labels(recorder or "", state).inc(count)
        for (recorder, reason), count in loaded.written.quarantined.items():
            self.quarantined.labels(recorder or "", reason).inc(count)
        for (recorder, reason), length in loaded.written.gap_seconds.items():
            self.gap_seconds.labels(recorder, reason).inc(length)
        for seconds in loaded.end_to_commit:
            self.end_to_commit.observe(seconds)

    def show(self, counts: Counts) -> None:
        """Show what only the database knows."""
        self.unresolved.clear()
        for (recorder, state), count in counts.unresolved.items():
            self.unresolved.labels(recorder or "", state).set(count)
        self.default_partition_rows.set(counts.default_partition_rows)
