"""The words of the archive in plain English: why coverage ended, what a flag means, where a fact stems from."""

from __future__ import annotations

from collections.abc import Mapping

from etl.model import Kind, State

REASONS: Mapping[str, str] = {
    "stop": "worker stopped",
    "drop": "connection closed",
    "reset": "connection broke",
    "crash": "worker died",
    "stall": "message cut off",
    "silence": "recorder silent",
    "refused": "refused by recorder",
    "pause": "reading stood still",
    "clock": "clock was set",
    "journal": "journal lost",
    "backlog": "journal full",
    "unknown": "not known",
}
"""Why a session or a piece of its coverage ended; short, for a column."""

KINDS: Mapping[Kind, str] = {
    Kind.DETAIL: "its finished record, from the recorder",
    Kind.HTTP: "its finished record, from the HTTP history",
    Kind.FILE: "its finished record, from a metadata file",
    Kind.UNFINISHED: "a record that is not finished",
    Kind.END: "the notification of its end",
    Kind.START: "the notification of its start",
    Kind.LIST: "a list of the calls being recorded",
    Kind.ABSENT: "the recorder's word that it does not know the call",
}

STATES: Mapping[State, str] = {
    State.COMPLETE: "a finished record is there",
    State.LOST: "the recorder does not know it any more, and nothing newer says otherwise",
    State.ENDED: "its end is known, its finished record is not there",
    State.ONGOING: "nothing has told of its end",
}
"""Why a call is in its state."""

_FLAGS: Mapping[str, str] = {
    "end_before_start": "the end lies before the start; the end is not shown",
    "end_ambiguous": "the end lies in the hour that a clock set back repeats, and nothing tells in which of the two",
    "nonexistent_time": "start or end lies in the hour that a clock set forward skips; read by the offset before",
    "duration_differs": "end minus start differs from the reported duration by more than 2 s",
    "zone_suspect": "the start misses the id's time by whole quarters of an hour: check the zone of its source",
    "recorder_differs": "the record's location names another recorder than the one whose stream showed it",
}


def reason(word: str) -> str:
    """Why coverage ended; a word that is not known is shown as it is."""
    return REASONS.get(word, word)


def flag(word: str) -> str:
    """What a flag of a call's quality means; docs/facts.md says more."""
    if word.startswith("bad_"):
        return f"what was sent for {word.removeprefix('bad_')} does not fit; nothing is shown there"
    return _FLAGS.get(word, word)
