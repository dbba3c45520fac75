"""`cdr retention apply` and `erase`: what they do one after the other.

Every step is done in small transactions and can be repeated: a run that was interrupted goes on with the next one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from etl.calls.parties import Mentions
from etl.errors import UsageError
from etl.jobs import copies
from etl.jobs.copies import Copy
from etl.jobs.progress import OnProgress, Progress, unwatched
from etl.model import Json
from etl.store import audit, erasure, retention
from etl.store.audit import Author
from etl.store.database import Connection


@dataclass(frozen=True, slots=True)
class Report:
    """What a run came to: counts by the names that docs/retention.md explains, where copies are, and where some were
    that are gone by now."""

    counts: Mapping[str, int]
    copies: tuple[Copy, ...]
    gone: tuple[Copy, ...]


@dataclass(slots=True)
class _Run:
    """Counts what is done, for whoever watches and for the audit, whose row is there from the beginning."""

    connection: Connection
    on_progress: OnProgress
    number: int | None = None
    total: int | None = None
    counts: Counter[str] = field(default_factory=Counter)

    def begin(self, author: Author, action: str, target: Mapping[str, Json]) -> None:
        self.number = audit.begin(self.connection, author, action, target)

    def add(self, name: str, count: int) -> None:
        self.counts[name] += count
        self.on_progress(Progress(self.counts["calls"], self.total, "calls"))
        if self.number is not None:
            audit.effect(self.connection, self.number, dict(self.counts))


# Deletion by age --------------------------------------------------------------------------------------------------


def apply(
    connection: Connection,
    before: datetime,
    author: Author,
    *,
    dry_run: bool = False,
    on_progress: OnProgress = unwatched,
) -> Report:
    """Delete what began before a moment and is not held, and from now on store no such call. `dry_run`: only count.

    Raises UsageError where the archive's owner has such calls kept, DatabaseError.
    """
    if least := retention.kept_by_owner(connection, before):
        raise UsageError(
            f"the archive's owner has calls kept for at least {least}: make retention.keep as long, or have"
            " cdr.set_minimum_age called by a member of cdr_owner"
        )
    run = _Run(connection, on_progress, counts=Counter(calls=0, months=0))
    if not dry_run:
        run.begin(author, "retention apply", {"before": before.isoformat()})
        retention.move(connection, before)
    _apply_to_months(run, before, dry_run=dry_run)
    _apply_to_calls(run, before, dry_run=dry_run)
    run.add("documents", retention.delete_documents(connection, before, dry_run=dry_run))
    run.add("lists", retention.delete_lists(connection, before, dry_run=dry_run))
    for name, count in retention.delete_rest(connection, before, dry_run=dry_run).items():
        run.add(name, count)
    return Report(dict(run.counts), *copies.deleted(connection, before))


def _apply_to_months(run: _Run, before: datetime, *, dry_run: bool) -> None:
    for month in retention.months(run.connection, before):
        calls = month.calls if dry_run else retention.drop(run.connection, month, before)
        if calls is not None:
            run.add("months", 1)
            if not dry_run:
                run.add("calls", calls)


def _apply_to_calls(run: _Run, before: datetime, *, dry_run: bool) -> None:
    """Delete what is left. In a dry run that is all, for no month is gone."""
    expired = retention.collect(run.connection, before)
    run.total = run.counts["calls"] + expired
    done = [retention.set_aside(run.connection)] if dry_run else retention.delete(run.connection, before)
    deleted = 0
    for count in done:
        deleted += count
        run.add("calls", count)
    run.add("held", expired - deleted)
    run.add("ongoing", retention.going_on(run.connection, before))


# Erasure ----------------------------------------------------------------------------------------------------------


def erase(
    connection: Connection, party: str, author: Author, *, dry_run: bool = False, on_progress: OnProgress = unwatched
) -> Report:
    """Erase the calls that a party has in the archive now, as far as they are not held, and the documents that mention
    it. `dry_run`: only count.

    Raises UsageError where the reason would keep the party's name in the audit, DatabaseError.
    """
    refuse_named(party, author)
    run = _Run(connection, on_progress, counts=Counter(calls=0))
    run.total = erasure.find(connection, party)
    if not dry_run:
        run.begin(author, "retention erase", {})
    _erase_calls(run, dry_run=dry_run)
    for name, done in (
        ("documents", erasure.erase_quarantine(connection, party, dry_run=dry_run)),
        ("lists", erasure.erase_lists(connection, party, dry_run=dry_run)),
    ):
        run.add(name, done.removed)
        run.add(f"{name}_held", done.held)
    run.add("holds", erasure.erase_released_holds(connection, party, dry_run=dry_run))
    run.add("folders", erasure.erase_folders(connection, party, dry_run=dry_run))
    return Report(dict(run.counts), *copies.erased(connection))


def refuse_named(party: str, author: Author) -> None:
    """Raise UsageError where the reason names the party: the audit keeps it for ever."""
    if author.reason is not None and Mentions([party])(author.reason):
        raise UsageError("--reason names the party, and is kept for good: say why without the number or name")


def _erase_calls(run: _Run, *, dry_run: bool) -> None:
    assert run.total is not None
    if dry_run:
        held = erasure.held(run.connection)
        run.add("calls", run.total - held)
        run.add("held", held)
        return
    for count in erasure.erase(run.connection):
        run.add("calls", count)
    run.add("held", run.total - run.counts["calls"])
