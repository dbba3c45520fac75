"""Shared by the protocol tests: the samples, and framing over any chopping of a stream."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from etl.protocol.framing import Document, Framer, Rejected

Item = Document | Rejected
Frame = Callable[..., list[Item]]

SAMPLES = Path(__file__).parent / "samples"


@pytest.fixture(scope="session")
def sample() -> Callable[[str], bytes]:
    """The bytes of a sample file, by its name without the ending."""
    return lambda name: (SAMPLES / f"{name}.xml").read_bytes()


@pytest.fixture(scope="session")
def frame() -> Frame:
    """Frames pieces of a stream and finishes it."""

    def run(pieces: Iterable[bytes], *, limit: int = 1 << 20, root: str = "VerbaApi") -> list[Item]:
        framer = Framer(limit, root)
        items = [item for piece in pieces for item in framer.receive(piece)]
        items += framer.finish("cut_off")
        assert framer.buffered == 0
        assert not framer.open
        return items

    return run
