"""The laws of the contract (G1 to G9), held against the recorder's truth. What the workers say is not asked."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import chain
from random import Random
from uuid import UUID

from explore.disk import Folder
from explore.recorder import Call, Told
from explore.stage import Stage, settings
from explore.world import Host
from support.merge_oracle import Row, merge

from etl.calls import coverage, gaps
from etl.calls.coverage import SessionState
from etl.calls.intervals import FOREVER, Spans, intersect, span, union
from etl.config import Settings
from etl.ingest.interpret import Interpreted, Interpreter
from etl.model import FINISHED, Draft, Entry, Interval, Kind, State

MARGIN = timedelta(seconds=1)
FRESH = timedelta(seconds=12)
"""A session on a healthy connection has covered all but so much: a keep-alive or probe, the margin, and a little."""


@dataclass
class Laws:
    """Watches a stage. `checked` counts the obligations, `excused` those that a listed gap or a set clock explains."""

    stage: Stage
    checked: int = 0
    excused: int = 0
    broken: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._interpreter = Interpreter(settings_of(self.stage))
        self._told: dict[tuple[UUID, int], Interpreted] = {}
        self._heard_upto: dict[UUID, int] = defaultdict(int)
        self._calls_heard: dict[UUID, set[str]] = defaultdict(set)
        self.stage.archive.on_entered = self.entered
        self.stage.archive.on_covered = self.covered
        self.stage.disks.on_removed = self.removed

    def see(self, holds: bool, breach: str, *, excused: bool = False) -> None:
        """Count an obligation."""
        self.checked += 1
        if not holds:
            if excused:
                self.excused += 1
            else:
                self.broken.append(breach)

    # At every commit

    def entered(self, row: Row) -> None:
        """A call enters a state: neither ends nor gets lost by absence alone (G3, G8)."""
        call = self.stage.recorder.calls.get(row.call_id)
        if call is None:
            self.see(False, f"{name(row.call_id)} is archived, and never was")
            return
        kinds = {fact.kind for fact in self.stage.archive.facts[row.call_id]}
        if call.going_on():
            self.see(row.state is State.ONGOING, f"{name(call.id)} goes on, and is {row.state.value} with us")
        if row.state is State.LOST:
            asked = call.id in self.stage.recorder.unknown
            self.see(asked, f"{name(call.id)} is lost, though the recorder never said that it does not know it")
        elif row.state is not State.ONGOING:
            self.see(bool(kinds & {Kind.END, *FINISHED}), f"{name(call.id)} is {row.state.value} without an end")

    def covered(self, state: SessionState) -> None:
        """Coverage travels with the data (G4): what it claims is archived at that very moment."""
        host = self._host(state)
        if host.steps:
            return
        archive, heard = self.stage.archive.facts, self._heard_by(state)
        for piece in coverage.covered(state, MARGIN)[-1:]:
            breach = f"session {str(state.id)[:8]} covers {piece.start:%H:%M:%S.%f} to {piece.end:%H:%M:%S.%f} already"
            for told in self.stage.recorder.told:
                if piece.start <= host.shown(told.at) < piece.end:
                    known = any(fact.kind == told.kind for fact in archive.get(told.call, ()))
                    self.see(known, f"{breach}, and the {told.kind} of {name(told.call)} is not archived")
            for call in self._going_on(piece.start, host):
                self.see(call.id in archive, f"{breach}, and {name(call.id)}, which went on then, is not archived")
                self.see(call.id in heard, f"{breach}, and has not heard of {name(call.id)}, which went on then")

    def _heard_by(self, state: SessionState) -> set[str]:
        """The calls of which a session has heard in all that is loaded of its journal."""
        folder = self.stage.disks.kept[UUID(state.worker)]
        upto = self.stage.archive.checkpoints.get(folder.id, 0)
        for entry in folder.entries[self._heard_upto[folder.id] : upto]:
            told = self._interpreted(folder, entry)
            self._calls_heard[entry.draft.session] |= {fact.call_id for fact in told.facts}
        self._heard_upto[folder.id] = upto
        return self._calls_heard[state.id]

    def _going_on(self, moment: datetime, host: Host) -> Iterator[Call]:
        for call in self.stage.recorder.calls.values():
            over = call.ended if call.ended is not None else call.forgotten_at
            if host.shown(call.began) < moment and (over is None or host.shown(over) > moment):
                yield call

    def removed(self, folder: Folder) -> None:
        """A worker deletes a journal: nothing can be learned from it any more about its sessions, so none may be left
        open, whose time would be pending for no reason (G4)."""
        of_it = [each for each in self.stage.archive.sessions.values() if each.worker == str(folder.id)]
        live = [str(each.id)[:8] for each in of_it if each.live]
        self.see(not live, f"journal {str(folder.id)[:8]} is deleted, and sessions of it live: {live}")

    # When all is well again

    def unsettled(self) -> list[str]:
        """What is not yet as it must become by itself when nothing is in the way; empty when all is."""
        return [*self._unloaded(), *self._unresolved(), *self._uncovered()]

    def _unloaded(self) -> Iterator[str]:
        for folder in self.stage.disks.folders.values():
            left = len(folder.entries) - self.stage.archive.checkpoints.get(folder.id, 0)
            if left and folder.damaged_from is None:
                yield f"{left} entries of journal {str(folder.id)[:8]} are not loaded"

    def _unresolved(self) -> Iterator[str]:
        rows = self.stage.archive.rows()
        for call in self.stage.recorder.calls.values():
            row = rows.get(call.id)
            if row is None:
                if call.going_on():
                    yield f"{name(call.id)} goes on and is not archived"
            elif not self._right(call, row):
                yield f"{name(call.id)} is {row.state.value}, and in truth {truth(call)}"

    def _right(self, call: Call, row: Row) -> bool:
        if call.going_on():
            return row.state is State.ONGOING
        if row.state is State.COMPLETE:
            return True
        if row.state is State.ONGOING:
            return False
        # Its record is out of reach, or was for as long as anybody asked.
        if call.forgotten:
            return True
        heard = any(fact.kind is Kind.END for fact in self.stage.archive.facts[call.id])
        return row.state is State.LOST and (not heard or self._clocks_differ())

    def _clocks_differ(self) -> bool:
        """Or were set."""
        return any(host.steps for host in self.stage.hosts)

    def _uncovered(self) -> Iterator[str]:
        states = self.stage.archive.sessions.values()
        owners = {str(process.worker.journal.id) for process in self.stage.running.values() if process.worker}
        for state in states:
            if state.live and state.worker not in owners:
                yield f"session {str(state.id)[:8]} lives, and its owner does not"
        for process in self.stage.running.values():
            if process.worker is None:
                continue
            own = [each for each in states if each.worker == str(process.worker.journal.id) and each.live]
            ends = [covered[-1].end for each in own if (covered := coverage.covered(each, MARGIN))]
            if not ends or max(ends) < process.now() - FRESH:
                yield f"{process.name} covers nothing"

    # At the end

    def judge(self) -> None:
        """Everything that can be told from the end."""
        self.broken += self.stage.world.complaints
        self._received()
        self._converged()
        self._accounted()
        self._honest()
        self._complete()
        self._newest()
        self._patient()
        self._kept_nonsense()
        self._calm()

    def readable(self, folder: Folder) -> bool:
        """Nobody deleted or damaged this journal."""
        return folder.id not in self.stage.disks.lost and folder.damaged_from is None

    def entries(self, folder: Folder) -> list[tuple[Draft, Interpreted]]:
        """What of a journal must be archived: all, or what was loaded before someone deleted or damaged it."""
        loaded = self.stage.archive.checkpoints.get(folder.id, 0)
        readable = 0 if folder.id in self.stage.disks.lost else len(folder.readable)
        entries = folder.entries[: max(loaded, readable)]
        return [(entry.draft, self._interpreted(folder, entry)) for entry in entries]

    def _interpreted(self, folder: Folder, entry: Entry) -> Interpreted:
        key = (folder.id, entry.sequence)
        if key not in self._told:
            self._told[key] = self._interpreter.interpret(entry.draft)
        return self._told[key]

    def _received(self) -> None:
        """G1: nothing received is lost."""
        archive = self.stage.archive
        known = {(each.call_id, each.kind, each.observed_at, each.digest) for each in chain(*archive.facts.values())}
        kept = {(each.reason, each.body, each.observed_at) for each in archive.quarantined}
        for folder in self.stage.disks.kept.values():
            for draft, told in self.entries(folder):
                for fact in told.facts:
                    key = (fact.call_id, fact.kind, fact.observed_at, fact.digest)
                    seen = fact.kind is Kind.LIST and "run" in draft.note and fact.call_id in archive.facts
                    self.see(
                        key in known or seen, f"{fact.kind.value} of {name(fact.call_id)} was received and is lost"
                    )
                for each in told.quarantined:
                    there = (each.reason, each.body, each.observed_at) in kept
                    self.see(there, f"what was quarantined ({each.reason}) was received and is lost")

    def _converged(self) -> None:
        """G2: the order and repetition of facts show nowhere."""
        for call_id, facts in self.stage.archive.facts.items():
            shuffled = [*facts, *facts[:2]]
            Random(len(facts)).shuffle(shuffled)
            self.see(merge(shuffled) == self.stage.archive.row(call_id), f"{name(call_id)} depends on an order")

    def _spans(self) -> list[gaps.SessionSpan]:
        found = (gaps.session_span(state, MARGIN) for state in self.stage.archive.sessions.values())
        return [each for each in found if each is not None]

    def _accounted(self) -> None:
        """G4, G5: every moment since the first subscription is covered, pending, or in a gap."""
        spans = self._spans()
        if not spans:
            return
        first = min(each.subscribed_at for each in spans)
        covered = union(*(each.covered for each in spans))
        missing: Spans = tuple(Interval(gap.start, gap.end or FOREVER) for gap in gaps.gaps(spans))
        self.see(intersect(covered, missing) == (), "a moment is covered and in a gap")
        whole = union(covered, missing, gaps.pending(spans)) == span(first, FOREVER)
        self.see(whole, "a moment is neither covered, nor pending, nor in a gap")
        live = [str(each.id) for each in self.stage.archive.sessions.values() if each.live]
        self.see(not live, f"sessions live that nobody has: {live}")

    def _honest(self) -> None:
        """G4: what happened in time that a session covers, it has heard."""
        heard = self._heard()
        for state in self.stage.archive.sessions.values():
            host = self._host(state)
            covered = coverage.covered(state, MARGIN)
            for told in self.stage.recorder.told:
                moment = host.shown(told.at)
                if any(each.start <= moment < each.end for each in covered):
                    breach = f"{told.kind} of {name(told.call)} lies in what session {str(state.id)[:8]} covers"
                    known = (told.call, told.kind) in heard[state.id]
                    self.see(known, f"{breach}, which has not heard it", excused=self._came_again(host, state, told))

    def _complete(self) -> None:
        """G4: coverage counts once a whole list was received, so it knows each call that goes on when it begins."""
        heard = self._heard()
        for state in self.stage.archive.sessions.values():
            host = self._host(state)
            known = {call_id for call_id, _ in heard[state.id]}
            for piece in () if host.steps else coverage.covered(state, MARGIN):
                for call in self._going_on(piece.start, host):
                    breach = f"session {str(state.id)[:8]} covers the time from {piece.start:%H:%M:%S.%f} on"
                    self.see(call.id in known, f"{breach} and does not know {name(call.id)}, which went on then")

    def _heard(self) -> dict[UUID, set[tuple[str, str]]]:
        heard: dict[UUID, set[tuple[str, str]]] = defaultdict(set)
        for folder in self.stage.disks.kept.values():
            for draft, interpreted in self.entries(folder):
                heard[draft.session] |= {(fact.call_id, fact.kind.value) for fact in interpreted.facts}
        return heard

    def _host(self, state: SessionState) -> Host:
        return self.stage.disks.kept[UUID(state.worker)].owner_host

    def _came_again(self, host: Host, state: SessionState, told: Told) -> bool:
        """This moment came twice by this clock, the second time with the session: set back before it was opened, and
        after the event. Both times have one name."""
        moment = host.shown(told.at)
        opened = self.stage.disks.kept[UUID(state.worker)].opened[state.id]
        return any(step.after <= moment <= step.before and told.at <= step.at <= opened for step in host.steps)

    def _newest(self) -> None:
        """Section 6: of two full records the one received last counts."""
        received: dict[str, list[tuple[float, str, UUID]]] = defaultdict(list)
        for folder in self.stage.disks.kept.values():
            for at, (_, told) in zip(folder.times, self.entries(folder), strict=False):
                for fact in told.facts:
                    if fact.kind is Kind.DETAIL:
                        received[fact.call_id].append((at, str(fact.attributes.get("version")), folder.id))
        for call_id, records in received.items():
            _, version, _ = max(records)
            shown = str(self.stage.archive.row(call_id).attributes.get("version"))
            breach = f"{name(call_id)} shows version {shown} of its record, though {version} was received later"
            self.see(shown == version, breach, excused=self._other_clock(records, shown))

    def _other_clock(self, records: list[tuple[float, str, UUID]], shown: str) -> bool:
        """The record that is shown was the last of some journal, and clocks were set or differ: nothing in the facts
        tells which of two journals was right."""
        clocks = any(step.after < step.before for host in self.stage.hosts for step in host.steps) or any(
            host.offset != self.stage.hosts[0].offset for host in self.stage.hosts
        )
        last = {journal: version for _, version, journal in sorted(records)}
        return clocks and shown in last.values()

    def _patient(self) -> None:
        """Section 7 (d): a record is asked for until `detail_give_up` has passed before "unknown" is the last word."""
        set_clock = any(host.steps for host in self.stage.hosts)
        patience = settings_of(self.stage).worker.detail_give_up.total_seconds() - 0.5
        for folder in self.stage.disks.kept.values():
            for at, (draft, _) in zip(folder.times, self.entries(folder), strict=False):
                call = self.stage.recorder.calls.get(str(draft.note.get("call_id")))
                if draft.note.get("purpose") == "last" and call is not None and call.ended is not None:
                    breach = f"{name(call.id)} ended at {call.ended:.2f} and was asked for the last time by {at:.2f}"
                    self.see(at - call.ended >= patience, breach, excused=set_clock)

    def _kept_nonsense(self) -> None:
        """G1, G9: what cannot be understood is kept."""
        bodies = [each.body for each in self.stage.archive.quarantined]
        for at, data, lines in self.stage.recorder.garbage:
            if not lines:
                continue
            covered = False
            for state in self.stage.archive.sessions.values():
                moment = self._host(state).shown(at)
                spans = coverage.covered(state, MARGIN)
                covered = covered or any(each.start <= moment < each.end for each in spans)
            there = any(data.strip() in body for body in bodies)
            set_clock = any(host.steps for host in self.stage.hosts)
            self.see(there, f"nonsense at {at:.2f} is not in quarantine", excused=not covered or set_clock)

    def _calm(self) -> None:
        """Where nothing happened there is no gap."""
        blows = [step for step in self.stage.schedule.steps if step.do.name not in ("CALL", "LATE_START")]
        if blows or self.stage.schedule.workers > 1:
            return
        found = [gap for gap in gaps.gaps(self._spans()) if gap.end is not None]
        self.see(not found, f"nothing happened, and there are gaps: {found}")


def settings_of(stage: Stage) -> Settings:
    return settings(stage.hosts[0].root)


def name(call_id: str) -> str:
    return f"call {int(call_id[:8], 16)}"


def truth(call: Call) -> str:
    if call.forgotten:
        return "forgotten" + (f" (ended at {call.ended:.2f})" if call.ended else "")
    return "going on" if call.ended is None else f"over since {call.ended:.2f}"
