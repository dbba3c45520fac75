"""`cdr quarantine`: what could not be understood."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

import typer

from etl import config
from etl.cli.accept import whoever
from etl.cli.archive import opened
from etl.cli.audited import audited
from etl.cli.common import ConfigOption, JsonOption, data, finish, note, print_json, safe, table
from etl.errors import UsageError
from etl.ingest.history import HistoryReader
from etl.ingest.interpret import Interpreter
from etl.jobs.retry import Retried, retry
from etl.model import Json
from etl.store import audit, quarantine
from etl.store.audit import Author
from etl.store.database import Connection, name_of
from etl.store.errors import translate

app = typer.Typer(help="What could not be understood, kept as it came.", no_args_is_help=True)

Numbers = Annotated[list[int] | None, typer.Argument(help="Ids, as shown by `list`.")]
All = Annotated[bool, typer.Option("--all", help="Every open row.")]


@app.command("list")
def list_(
    config_file: ConfigOption = None,
    as_json: JsonOption = False,
    resolved: Annotated[bool, typer.Option("--resolved", help="Also what was retried or discarded.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="The newest so many.")] = 100,
) -> None:
    """List what is in quarantine.

    The newest first, without its content.

    Example: cdr quarantine list --limit 20
    """
    with opened(config.load(config_file)) as archive, archive.connect() as connection:
        items = quarantine.items(connection, state=None if resolved else "open", limit=limit)
    if as_json:
        print_json(items)
        return
    rows = [(i.id, i.observed_at, i.recorder or i.origin, i.reason, i.size, i.state) for i in items]
    table(("id", "received (UTC)", "recorder", "reason", "bytes", "state"), rows)


@app.command()
def show(number: int, config_file: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show one row with its bytes.

    They can hold personal data.

    Example: cdr quarantine show 17
    """
    with opened(config.load(config_file)) as archive, archive.connect() as connection:
        item, body = quarantine.show(connection, number)
    if as_json:
        print_json({"item": item, "body": body})
        return
    session = str(item.session or "")
    words = [
        ("recorder", item.recorder),
        ("received (UTC)", item.observed_at),
        ("reason", item.reason),
        ("session", session),
    ]
    table(("what", "value"), [*words, *sorted(item.note.items())])
    data.print()
    data.out(
        "\n".join(safe(line) for line in body.decode("utf-8", "backslashreplace").splitlines()),
        highlight=False,
    )


@app.command("retry")
def retry_(
    numbers: Numbers = None, every: All = False, config_file: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """Read rows again.

    After the dialect or a setting was mended; with the original time of receipt. Exit code 5 if some are still not
    understood: they stay as they are.

    Example: cdr quarantine retry 17 18
    """
    _check(numbers, every)
    settings = config.load(config_file)
    with opened(settings) as archive, archive.connect() as connection:
        interpreter, history = Interpreter(settings), HistoryReader(settings)
        now = datetime.now(UTC)
        chosen = _chosen(connection, numbers)
        with audited(archive, "quarantine retry", {"rows": [*chosen]}) as effect:
            done = []
            for number in chosen:
                done.append(retry(connection, interpreter, history, number, now))
                effect.update(_effect(done))
    if as_json:
        print_json(done)
    else:
        table(("id", "outcome"), [(each.id, _outcome(each)) for each in done])
    finish(5 if any(each.reason for each in done) else 0)


@app.command()
def discard(
    numbers: Numbers = None, every: All = False, config_file: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """Mark rows as of no interest.

    They stay, with their bytes, and no longer count.

    Example: cdr quarantine discard 17
    """
    _check(numbers, every)
    with opened(config.load(config_file)) as archive, archive.connect() as connection:
        chosen = _chosen(connection, numbers)
        with translate(name_of(connection)), connection.transaction():
            for number in chosen:
                quarantine.resolve(connection, number, "discarded", datetime.now(UTC))
            with connection.cursor() as cursor:
                effect: dict[str, Json] = {"discarded": len(chosen)}
                audit.note(cursor, Author(whoever(), None), "quarantine discard", {"rows": [*chosen]}, effect)
    if as_json:
        print_json({"discarded": chosen})
    else:
        note(f"{len(chosen)} discarded")


def _check(numbers: list[int] | None, every: bool) -> None:
    if every == bool(numbers):
        raise UsageError("give ids, or --all")


def _chosen(connection: Connection, numbers: list[int] | None) -> list[int]:
    if numbers:
        return numbers
    return [item.id for item in quarantine.items(connection, limit=1_000_000)][::-1]


def _effect(done: Sequence[Retried]) -> dict[str, Json]:
    """What the audit says of it."""
    understood = sum(not each.reason for each in done)
    facts, expired = sum(each.facts for each in done), sum(each.expired for each in done)
    return {"understood": understood, "left": len(done) - understood, "facts": facts, "expired": expired}


def _outcome(done: Retried) -> str:
    if done.reason:
        return f"still not understood: {done.reason}"
    expired = f", {done.expired} of calls that were deleted by age" if done.expired else ""
    return f"understood: {done.facts} facts{expired}"
