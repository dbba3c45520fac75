"""Laws about what was received and asked: each journal, line by line, against what the recorder sent and was asked."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

from explore.disk import Folder
from explore.laws import Laws, name, settings_of
from explore.network import Line
from explore.world import INFINITY, Process

from etl.calls.coverage import Listed
from etl.ingest.interpret import Interpreted
from etl.model import Draft, Kind, What

READ_TO_THE_END = ("drop", "stall", "silence")
"""Reasons for a session to end after which nothing that came is left unread."""
CLOSING = 0.01
"""Seconds that closing a connection takes: what comes meanwhile may go unread."""
SLACK = 8.0
"""Seconds that a question may be late: a few tries that failed, and the pauses between them."""


def judge(laws: Laws) -> None:
    _every_byte(laws)
    _absent(laws)
    _asked_again(laws)


def _timed(laws: Laws, folder: Folder) -> Iterator[tuple[float, Draft, Interpreted]]:
    """The lines of a journal, with the world's time of their receipt."""
    for at, (draft, told) in zip(folder.times, laws.entries(folder), strict=False):
        yield at, draft, told


def _every_byte(laws: Laws) -> None:
    """G1: what came over the connection of a subscription is in the journal to the byte, white space aside."""
    lines = {(line.process, line.subscribed_at): line for line in laws.stage.recorder.all_lines}
    for folder in laws.stage.disks.kept.values():
        bodies: dict[UUID, list[bytes]] = {}
        for at, draft, _ in _timed(laws, folder):
            if draft.what is What.CLOSED:
                line = lines.get((folder.maker, folder.opened[draft.session]))
                if line is not None:
                    _same_bytes(laws, line, draft, at, bodies.get(draft.session, []))
            elif draft.what in (What.DOCUMENT, What.REJECTED) and draft.note.get("channel") != "query":
                bodies.setdefault(draft.session, []).append(draft.body)


def _same_bytes(laws: Laws, line: Line, closed: Draft, at: float, bodies: list[bytes]) -> None:
    kept, came = _packed(bodies), _packed([piece for _, piece in line.arrived])
    session = str(closed.session)[:8]
    laws.see(came.startswith(kept), f"the journal of session {session} has what never came")
    if closed.note.get("reason") in READ_TO_THE_END:
        owed = _packed([piece for moment, piece in line.arrived if moment < at - CLOSING])
        laws.see(len(kept) >= len(owed), f"session {session} drops the end of what came: {owed[len(kept) :][:60]!r}")


def _packed(pieces: list[bytes]) -> bytes:
    return b"".join(b"".join(pieces).split())


def _absent(laws: Laws) -> None:
    """Section 7: (b) no call is absent that is not missing in two good lists of a run, a second apart; (d) nor one
    that has ended, before its record was asked for for long enough."""
    patience = settings_of(laws.stage).worker.detail_give_up.total_seconds() - 0.5
    set_clock = any(host.steps for host in laws.stage.hosts)
    for folder in laws.stage.disks.kept.values():
        lists: dict[str, list[tuple[float, set[str]]]] = {}
        for at, draft, told in _timed(laws, folder):
            run = str(draft.note.get("run"))
            if isinstance(told.heard, Listed) or (draft.note.get("asked") == "list" and told.facts):
                lists.setdefault(run, []).append((at, {fact.call_id for fact in told.facts}))
            elif draft.what is What.ABSENT:
                call = laws.stage.recorder.calls[str(draft.note["call_id"])]
                without = [moment for moment, listed in lists.get(run, []) if call.id not in listed]
                twice = bool(without) and without[-1] - without[0] >= 0.999
                waited = call.ended is not None and at - call.ended >= patience
                breach = (
                    f"{name(call.id)} was taken for absent at {at:.2f}, neither after two lists nor long after its end"
                )
                laws.see(twice or waited, breach, excused=set_clock)


def _asked_again(laws: Laws) -> None:
    """Section 7: the first full record is provisional, and asked for once more, also when whoever had it is dead."""
    worker = settings_of(laws.stage).worker
    after = worker.refetch_after.total_seconds()
    kept_for = after + worker.detail_give_up.total_seconds()
    recorder = laws.stage.recorder
    for call_id, (at, folder) in _first_records(laws).items():
        due = at + after
        asker = _asker(laws, folder, at, due, at + kept_for - 1.0)
        refused = any(at < moment < due + SLACK + 2 for moment in recorder.refused)
        if asker is None or refused or max(due, asker.thawed_at, asker.began_at) + SLACK > laws.stage.closed_at:
            continue
        again = any(moment >= due - 0.05 for moment in recorder.asked[call_id])
        laws.see(again, f"the record of {name(call_id)}, first received at {at:.2f}, is not asked for again")


def _first_records(laws: Laws) -> dict[str, tuple[float, Folder]]:
    found: dict[str, tuple[float, Folder]] = {}
    for folder in laws.stage.disks.kept.values():
        for at, _, told in _timed(laws, folder):
            for fact in told.facts:
                if fact.kind is Kind.DETAIL and at < found.get(fact.call_id, (INFINITY, folder))[0]:
                    found[fact.call_id] = (at, folder)
    return found


def _asker(laws: Laws, folder: Folder, at: float, due: float, until: float) -> Process | None:
    """Who surely has to ask again: whoever received the record and lives; or, if it was killed before it could, the
    next process to start on that host, if it has the journal for itself and lives."""
    first = folder.maker
    if first.ended_at >= laws.stage.closed_at:
        return first
    if first.stopped_at < INFINITY or first.ended_at > due or folder.owner_host.steps or not laws.readable(folder):
        return None
    others = [each for each in laws.stage.world.processes if each.host is first.host and each is not first]
    if any(each.began_at <= first.ended_at <= each.ended_at for each in others):
        return None
    following = min((each for each in others if each.began_at > first.ended_at), key=_began, default=None)
    if following is None or following.began_at > until or following.stopped_at < laws.stage.closed_at:
        return None
    killed = following.stopped_at == INFINITY and following.ended_at < laws.stage.closed_at
    return None if killed else following


def _began(process: Process) -> float:
    return process.began_at
