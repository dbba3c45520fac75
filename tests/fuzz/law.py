"""What every entry of foreign bytes owes: it accepts them or refuses them with a documented error, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from etl.errors import CdrError

Law: TypeAlias = Callable[[bytes], None]
"""A law as a function of bytes: it returns where it holds, and raises whatever it is that breaks it."""

CORPUS = Path(__file__).parent / "corpus"
"""Inputs that found something, or that reach what no seed reaches: a folder for each target."""


@dataclass(frozen=True, slots=True)
class Target:
    """An entry of foreign bytes: its law, what usual inputs look like, and words that matter in them."""

    name: str
    law: Law
    seeds: tuple[bytes, ...]
    words: tuple[bytes, ...] = ()

    def kept(self) -> list[Path]:
        """The corpus of this target, in order."""
        return sorted(path for path in (CORPUS / self.name).glob("*") if path.is_file())

    def inputs(self) -> list[bytes]:
        """Where an engine begins: seeds and corpus."""
        return [*self.seeds, *(path.read_bytes() for path in self.kept())]


@contextmanager
def refused(*documented: type[CdrError]) -> Iterator[None]:
    """A refusal by one of the documented errors is fine, as long as it says something."""
    try:
        yield
    except documented as error:
        assert str(error).strip(), f"{type(error).__name__} says nothing"


def storable(texts: Sequence[str | None]) -> None:
    """PostgreSQL takes these texts: UTF-8 without NUL."""
    for text in texts:
        assert text is None or b"\0" not in text.encode()
