"""The command `cdr`, run in the process of the test: a tenth of the time, where nothing but words is at stake."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from etl.cli.main import run


class Result(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        return self.out + self.err

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Here = Callable[..., Result]
"""`here("status", "--json", CDR_CONFIG="x.toml")`: words of the command line, and its environment."""


def in_process(home: Path, monkeypatch: pytest.MonkeyPatch, captured: pytest.CaptureFixture[str]) -> Here:
    """The console script's function, called in the folder `home` and with no setting from outside."""
    for name in [name for name in os.environ if name.startswith("CDR_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(home)

    def call(*words: str, **env: str) -> Result:
        before = signal.getsignal(signal.SIGTERM)
        captured.readouterr()
        monkeypatch.setattr(sys, "argv", ["cdr", *words])
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        code: Any = 0
        try:
            run()
        except SystemExit as ended:
            code = ended.code
        finally:
            signal.signal(signal.SIGTERM, before)
        return Result(int(code or 0), *captured.readouterr())

    return call
