"""Bad usage and bad configuration: exit code 2, and a message that says what is wrong and what is allowed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer

from etl.cli.main import COMMANDS, application

Cdr = Callable[..., Any]
DATABASE = '[database]\nurl = "postgresql://cdr@localhost/cdr"\n'
RECORDER = '[[recorder]]\nname = "ny-1"\nhost = "localhost"\nport = 10100\n'


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[worker]\nmargn = '2s'", ["unknown key worker.margn"]),
        (RECORDER.replace("10100", "101000"), ['recorder["ny-1"].port', "101000", "65535"]),
        (RECORDER + 'timezone = "Mars/Olympus"', ['recorder["ny-1"].timezone', "Mars/Olympus", "IANA"]),
        (RECORDER + "prot = 1", ['unknown key recorder["ny-1"].prot']),
        ("[worker]\nmargin = 2", ["worker.margin", "500ms"]),
        ("[worker\n", ["not valid TOML"]),
        ('[database]\nurl = "mysql://cdr:geheim@db/cdr"', ["database.url", "postgresql://"]),
        ('[database]\nurl = "postgresql://cdr:geheim@[db/cdr"', ["database.url", "postgresql://"]),
        ("[database]\nembedded = false", ["no database is configured", "database.url"]),
        (RECORDER + 'dialect = { lst = "x" }', ["lst"]),
    ],
)
def test_a_bad_configuration_is_named_with_what_is_allowed(
    here: Cdr, tmp_path: Path, content: str, said: list[str]
) -> None:
    """The file, the key and its value, and never what may be a password."""
    path = tmp_path / "mine.toml"
    path.write_text(content if "[database]" in content else DATABASE + content)
    done = here("worker" if "dialect" in content else "status", "--config", str(path))
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("cdr: ")
    assert all(word in done.err for word in said), done.err
    assert "geheim" not in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("words", "env", "said"),
    [
        (["status"], {"CDR_WORKER__MARGN": "2s"}, ["CDR_WORKER__MARGN", "CDR_WORKER__MARGIN"]),
        (["status"], {"CDR_WORKER__MARGIN": "never"}, ["worker.margin", "never"]),
        (["status"], {"CDR_DATABASE__URL": "geheim"}, ["database.url"]),
        (["status"], {"CDR_CONFIG": "/nowhere/cdr.toml"}, ["/nowhere/cdr.toml", "No such file"]),
        (["status", "--config", "nowhere.toml"], {}, ["nowhere.toml", "No such file"]),
        (["status", "--config", "."], {}, ["Is a directory"]),
        (["status"], {}, ["no database is configured", "--config"]),
        (["worker"], {"CDR_DATABASE__URL": "postgresql://db/cdr"}, ["no recorder is configured", "[[recorder]]"]),
        (["worker", "--for", "3"], {"CDR_DATABASE__URL": "postgresql://db/cdr"}, ["--for 3", "5m"]),
        (["rebuild", "--from", "yesterday"], {"CDR_DATABASE__URL": "postgresql://db/cdr"}, ["yesterday", "ISO 8601"]),
        (["simulate", "--faults", "drop=often"], {}, ["drop=often"]),
        (["simulate", "--timezone", "Mars/Olympus"], {}, ["Mars/Olympus"]),
        (["quarantine", "retry"], {"CDR_DATABASE__URL": "postgresql://db/cdr"}, ["--all"]),
        (["status", "--bogus"], {}, ["--bogus"]),
        (["bogus"], {}, ["bogus"]),
    ],
)
def test_bad_usage_says_what_is_wrong(here: Cdr, words: list[str], env: dict[str, str], said: list[str]) -> None:
    """Exit code 2, nothing on stdout, and no traceback."""
    done = here(*words, **env)
    assert (done.code, done.out) == (2, ""), done.err
    assert all(word in done.err for word in said), done.err
    assert "geheim" not in done.err
    assert "Traceback" not in done.err


@pytest.mark.slow
def test_without_a_command_there_is_help_and_code_2(cdr: Cdr) -> None:
    """A script that lost its arguments must not succeed."""
    done = cdr()
    assert done.code == 2
    assert "Start with: cdr demo" in done.err


@pytest.mark.slow
def test_version_and_help_succeed(cdr: Cdr) -> None:
    """On stdout, as for any command."""
    version, shown = cdr("--version"), cdr("--help")
    assert (version.code, version.err) == (0, "")
    assert version.out.startswith("cdr-archive ")
    assert shown.code == 0
    assert "..." not in shown.out.partition("Commands:")[2]  # no command's description is cut at 80 columns


def _commands(group: Any, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    if hasattr(group, "commands"):
        return [found for name, each in group.commands.items() for found in _commands(each, (*path, name))]
    return [(path, group)]


@pytest.mark.parametrize(("wanted", "there"), [("db", ["db"]), (None, list(COMMANDS)), ("nonsense", list(COMMANDS))])
def test_only_the_command_that_is_named_is_imported(wanted: str | None, there: list[str]) -> None:
    """All of them where none is named, or one that there is not: for the help, and for what was meant."""
    assert list(typer.main.get_command(application(wanted)).commands) == there  # type: ignore[attr-defined]


@pytest.mark.parametrize("path", [path for path, _ in _commands(typer.main.get_command(application()))], ids=" ".join)
def test_every_command_shows_an_example_of_itself(path: tuple[str, ...]) -> None:
    """An example that could be typed: the command's own name, and only options that it has."""
    command = dict(_commands(typer.main.get_command(application())))[path]
    _, found, example = (command.help or "").partition(f"Example: cdr {' '.join(path)}")
    assert found
    options = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in example.split() if word.startswith("-")} <= options
