"""What a long run must show, as bounds; held against what its folder holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from statistics import median

from longrun.evidence import Evidence
from longrun.plan import MANY, RECORDERS
from longrun.watch import Sample

WINDOWS = 20
"""The run is cut into so many parts, and each is judged by its median: single samples tell of the moment."""
GROWTH = 0.05
"""Share by which memory may grow over the second half."""
ROOM = 8_000_000
"""Bytes by which it may in any case: a short run is not flat yet."""
JOURNAL = 80_000_000
"""Bytes of a journal that is wholly in the database: its last segment (64 MB), with SQLite's log, stays."""
DEAD = 0.25
"""Share of dead rows: autovacuum comes at 20 %."""
FEW = 50_000
"""Dead rows of a table that are no matter: autovacuum looks once a minute."""
BLOAT = 1.5
"""Times the size of a fresh copy."""
SMALL = 10_000_000
"""Bytes beside: those dead rows."""
LOST_AT_RESET = 20_000
"""Messages that may lie in the buffers of a connection that is reset: 4 MB of them."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One line of the result: what was measured, beside its bound."""

    what: str
    measured: str
    bound: str
    holds: bool


def judge(seen: Evidence) -> list[Verdict]:
    """All of it."""
    parts = (_calls, _flat, _journal, _tables, _metrics)
    return [verdict for part in parts for verdict in part(seen)]


def _calls(seen: Evidence) -> Iterator[Verdict]:
    found = seen.compared
    yield Verdict("calls of the truth", f"{found.happened:,}", "", found.happened > 0)
    yield _at_most("calls unaccounted for, incomplete or different", len(found.broken), 0)
    yield Verdict("calls never told, inside listed gaps", f"{found.in_gaps:,}", "not judged", True)
    complete = found.happened - found.in_gaps
    yield Verdict("calls complete", f"{found.complete:,}", f"{complete:,}", found.complete == complete)


def windows(samples: Sequence[Sample], key: str) -> list[float]:
    """The medians of the run's windows, from the first message to the last."""
    values = [sample[key] for sample in samples if key in sample and sample["sent"]]
    count = min(WINDOWS, len(values))
    cuts = [round(number * len(values) / count) for number in range(count + 1)]
    return [median(values[start:end]) for start, end in pairwise(cuts)]


def _flat(seen: Evidence) -> Iterator[Verdict]:
    memory = windows(seen.samples, "rss")
    grown, level = growth(memory), median(memory[len(memory) // 2 :])
    bound = max(GROWTH * level, ROOM)
    told = f"{_mb(grown, '+')} of {_mb(level)}"
    yield Verdict("worker's memory: growth over the second half", told, f"{_mb(bound, '+')}", grown <= bound)
    for key, name in (("fds", "files and sockets open"), ("threads", "threads")):
        found = windows(seen.samples, key)
        half = len(found) // 2
        before, after = max(found[:half]), max(found[half:])
        told = f"{before:g}, then {after:g}"
        yield Verdict(f"worker's {name}: most, first and second half", told, "+ 2", after <= before + 2)


def growth(medians: Sequence[float]) -> float:
    """By how much a value grows over the second half: the median of all slopes between two windows (Theil and Sen)."""
    half = medians[len(medians) // 2 :]
    slopes = [(after - before) / (late - early) for (early, before), (late, after) in combinations(enumerate(half), 2)]
    return median(slopes) * (len(half) - 1) if slopes else 0.0


def _journal(seen: Evidence) -> Iterator[Verdict]:
    last = seen.samples[-1]
    most = max(sample["journal_bytes"] for sample in seen.samples)
    yield _at_most("messages in the journal that are not in the database, at the end", last["backlog"], 0)
    told = f"{_mb(last['journal_bytes'])} (most: {_mb(most)})"
    yield Verdict("journal at the end", told, _mb(JOURNAL), last["journal_bytes"] <= JOURNAL)
    stopped = [each for each in seen.events if each["what"] == "stopped"]
    left = stopped[-1] if stopped else {"code": None, "journals": None}
    told = f"exit code {left['code']}, {left['journals']} journals left"
    yield Verdict("after a clean stop", told, "0 and 0", (left["code"], left["journals"]) == (0, 0))


def _tables(seen: Evidence) -> Iterator[Verdict]:
    for name in sorted(seen.samples[-1].get("tables", {})):
        shares = windows(list(_dead(seen.samples, name)), "dead")
        half = shares[len(shares) // 2 :]
        yield Verdict(f"dead rows of {name}: most, second half", f"{max(half):.1%}", f"{DEAD:.0%}", max(half) <= DEAD)
    for size in seen.sizes:
        bound = BLOAT * size.fresh + SMALL
        told = f"{_mb(size.bytes)}, {size.bytes / size.fresh:.2f} times ({size.rows:,} rows)"
        yield Verdict(f"size of {size.table} beside a fresh copy", told, f"{BLOAT} times", size.bytes <= bound)


def _dead(samples: Iterable[Sample], name: str) -> Iterator[Sample]:
    """The share of dead rows. A crash takes PostgreSQL's counters with it: the live rows of before are still there."""
    live = 0
    for sample in samples:
        if name in sample.get("tables", {}):
            table = sample["tables"][name]
            live, dead = max(live, table["live"]), max(table["dead"] - FEW, 0)
            yield {"sent": sample["sent"], "dead": dead / max(live + dead, 1)}


def _metrics(seen: Evidence) -> Iterator[Verdict]:
    faults = seen.faults()
    streamed = seen.sent("start", "end", "repeated", "keepalive", "subscribed")
    lost = streamed - round(seen.metric("cdr_messages_total"))
    bound = faults["reset"] * LOST_AT_RESET
    yield Verdict("messages sent and not read (resets)", f"{lost:,}", f"0 .. {bound:,}", 0 <= lost <= bound)
    garbage, cut = seen.sent("garbage"), seen.metric("cdr_quarantined_total", reason="cut_off")
    yield Verdict("documents cut off (resets)", f"{cut:g}", f"0 .. {faults['reset']}", cut <= faults["reset"])
    for name, found in (
        ("garbage: in quarantine", seen.quarantined),
        ("garbage: cdr_quarantined_total", seen.metric("cdr_quarantined_total") - cut),
    ):
        yield Verdict(name, f"{found:g}", f"{garbage} sent", found == garbage)
    complete, counted = seen.compared.complete, seen.metric("cdr_calls_total", state="complete")
    yield Verdict("cdr_calls_total, complete", f"{counted:,.0f}", f"{complete:,}", counted == complete)
    again = seen.metric("cdr_reconnects_total")
    sessions = seen.sessions - RECORDERS
    told = f"{again:g}; drops and resets: {faults['drop'] + faults['reset']}"
    yield Verdict("cdr_reconnects_total", told, f"{sessions} sessions after the first", again == sessions)
    # What nobody told of is asked for by reconciliation, whose questions are no detail requests of the metric.
    asked, answered = seen.metric("cdr_detail_requests_total", result="finished"), seen.sent("detail")
    fewest = 2 * complete - seen.sent("untold") - lost
    yield Verdict("details finished", f"{asked:,.0f}", f"{fewest:,} .. {answered:,}", fewest <= asked <= answered)
    if seen.samples[-1]["sent"] >= MANY:  # a short run does not wait until the worker counts again
        yield _at_most("cdr_unresolved_calls", seen.metric("cdr_unresolved_calls"), 0)
    for name, value in (("cdr_database_up", 1), ("cdr_default_partition_rows", 0)):
        yield Verdict(name, f"{seen.metric(name):g}", str(value), seen.metric(name) == value)


def _at_most(what: str, measured: float, bound: float) -> Verdict:
    return Verdict(what, f"{measured:,.0f}", f"{bound:,.0f}", measured <= bound)


def _mb(number: float, sign: str = "") -> str:
    return f"{number / 1e6:{sign},.1f} MB"


def table(verdicts: Sequence[Verdict]) -> str:
    """The result for people."""
    lines = [("", "what", "measured", "bound")]
    lines += [("ok" if each.holds else "BROKEN", each.what, each.measured, each.bound) for each in verdicts]
    widths = [max(len(line[column]) for line in lines) for column in range(4)]
    align: tuple[Callable[[str, int], str], ...] = (str.ljust, str.ljust, str.rjust, str.rjust)
    return "\n".join(
        "  ".join(put(cell, width) for put, cell, width in zip(align, line, widths, strict=True)).rstrip()
        for line in lines
    )
