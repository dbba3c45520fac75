"""Gives memory back to the operating system.

A tree of a large document takes many times its bytes, in pieces so small that the C library keeps them for later when
they are freed; and each thread has its own. Reading the same list in two threads would cost it twice.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Final

LARGE: Final = 256 * 1024
"""Bytes of a document from which on it pays: giving back takes some milliseconds."""


def _trim() -> Callable[[int], int]:
    """glibc's `malloc_trim`; other C libraries have none, and need none."""
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return lambda keep: 0


_malloc_trim = _trim()


def give_back() -> None:
    """Call it when a large tree has been freed."""
    _malloc_trim(0)
