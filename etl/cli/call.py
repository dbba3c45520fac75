"""`cdr call`: one call explained."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated

import typer

from etl import config
from etl.cli.archive import opened
from etl.cli.common import ConfigOption, JsonOption, data, plain, print_json, safe, table
from etl.cli.words import KINDS, STATES, flag
from etl.errors import CdrError
from etl.store.database import require_schema
from etl.store.explain import Evidence, Explained, Shown, Touched, explain

_RESULTS = {"done": "a good run", "failed": "a run that failed", None: "a run that has not ended"}


NO_FACT = "no fact: changed by hand"


def call(
    call_id: Annotated[str, typer.Argument(metavar="ID")],
    config_file: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Explain one call.

    What is known, from which document each field comes, and what was done about it. Shows personal data.
    Exit code 1 if no call has this id.

    Example: cdr call 54bc7c43-561f-11e0-b752-005056c00008
    """
    with opened(config.load(config_file)) as archive, archive.connect() as connection:
        require_schema(connection)
        found = explain(connection, call_id)
    if found is None:
        raise CdrError(f"there is no call {call_id}: check the id; what was not understood is in 'cdr quarantine list'")
    print_json(found) if as_json else _show(found)


def _show(found: Explained) -> None:
    where = f"of {found.recorder}" if found.recorder else "of no recorder that is known"
    _line(f"Call {found.call_id} {where}")
    _line(f"{found.state}: {STATES[found.state]}")
    _line(f"first seen {_time(found.first_seen_at)}, row last changed {_time(found.recorded_at)}; all times are UTC")
    for word in found.quality:
        _line(f"doubtful ({word}): {flag(word)}")
    if found.acceptance:
        accepted = found.acceptance
        _line(f"accepted as gone for good by {accepted.who}, {_time(accepted.at)}: {accepted.reason}")
    if found.erased_at:
        _line(f"its personal data was erased {_time(found.erased_at)}; whatever arrives of it is erased, too")
    for number in found.holds:
        _line(f"kept by hold {number}: 'cdr retention list'")
    _show_fields(found)
    _show_evidence(found)
    _show_actions(found)
    _show_verified(found)
    _show_quarantined(found)


def _show_fields(found: Explained) -> None:
    if found.shown:
        data.print()
        table(("field", "value", "from"), [(each.name, _value(each), each.kind or NO_FACT) for each in found.shown])


def _show_evidence(found: Explained) -> None:
    _line("\nWhat it comes from; whoever stands first speaks first:")
    for number, each in enumerate(found.evidence, 1):
        _line(f"\n{number}. {each.kind}: {KINDS[each.kind]}, {_received(each)}")
        data.out(_readable(each.element) if each.element else "   (erased)", highlight=False)


def _received(fact: Evidence) -> str:
    source = f"received from {fact.recorder} {_time(fact.observed_at)}" if fact.recorder else _time(fact.observed_at)
    since = f" (first {_time(fact.first_observed_at)})" if fact.first_observed_at < fact.observed_at else ""
    return source + since


def _show_actions(found: Explained) -> None:
    if found.actions:
        _line("\nWhat reconciliation did about it:")
        rows = [(each.started_at, _RESULTS[each.result], each.act, _told(each)) for each in found.actions]
        table(("run began (UTC)", "in", "action", "why"), rows)


def _told(action: Touched) -> str:
    return f"{action.told}; answer: {action.outcome}" if action.outcome else action.told


def _show_verified(found: Explained) -> None:
    if found.verified:
        _line("\nWhat 'cdr verify' found about it:")
        rows = [(each.started_at, each.source, each.kind, ", ".join(each.fields)) for each in found.verified]
        table(("run began (UTC)", "history", "finding", "fields"), rows)


def _show_quarantined(found: Explained) -> None:
    if found.quarantined:
        _line("\nWhat could not be understood about it ('cdr quarantine show ID'):")
        rows = [(each.id, each.observed_at, each.reason, each.state) for each in found.quarantined]
        table(("id", "received (UTC)", "reason", "state"), rows)


def _line(text: str) -> None:
    """A line in which nothing that was received steers the terminal; a line feed at its beginning is ours."""
    if text.startswith("\n"):
        data.print()
    data.print(safe(text.removeprefix("\n")), soft_wrap=True)


def _time(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S.%f}"[:-3]


def _value(each: Shown) -> str:
    if isinstance(each.value, datetime):
        return _time(each.value)
    return (
        json.dumps(each.value, default=plain, ensure_ascii=False)
        if isinstance(each.value, list | dict)
        else str(each.value)
    )


def _readable(element: bytes) -> str:
    """An element as received, broken into lines only where one tag follows another."""
    text = element.decode("utf-8", "backslashreplace").replace("><", ">\n<")
    return "\n".join(f"   {safe(line)}" for line in text.splitlines())
