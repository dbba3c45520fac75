"""A party to calls, a number or a name as people write it: how it is searched for in fields and documents. Pure."""

from __future__ import annotations

import codecs
import html
import re
from collections.abc import Iterable
from itertools import product
from math import prod

from etl.errors import UsageError

_MOST = 100
"""Spellings that are searched for. A name of many words that has more is searched for as a whole."""
_MARKS = ((codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


def forms(party: str) -> tuple[str, ...]:
    """The spellings of a party that count as the same, for a comparison in lower case.

    PostgreSQL's lower case may know ASCII only, so each word with other letters is spelled in every usual way. Raises
    UsageError where there is nothing to search for.
    """
    stripped = party.strip()
    if not stripped:
        raise UsageError("--party is empty: give a number, an address or a name")
    if "\0" in stripped:
        raise UsageError("--party has a NUL byte: no call can say that")
    words = [_spellings(word) for word in stripped.split(" ")]
    if prod(len(each) for each in words) <= _MOST:
        return tuple(sorted(" ".join(each) for each in product(*words)))
    return tuple(sorted(_spellings(stripped)))


def _spellings(word: str) -> set[str]:
    written = (word, word.lower(), word.upper(), word.title(), word.casefold())
    return {_ascii_lower(each) for each in written}


def _ascii_lower(text: str) -> str:
    return "".join(char.lower() if char.isascii() else char for char in text)


def said(document: bytes) -> str:
    """A document as text, whatever its encoding, with character references resolved."""
    encoding = next((name for mark, name in _MARKS if document.startswith(mark)), "utf-8")
    try:
        text = document.decode(encoding)
    except UnicodeDecodeError:
        text = document.decode("latin-1")
    return html.unescape(text)


class Mentions:
    """Finds parties in text: as whole words, whatever their case. A number is not found inside a longer one."""

    def __init__(self, parties: Iterable[str]) -> None:
        words = "|".join(re.escape(each.strip().casefold()) for each in parties)
        self._pattern = re.compile(rf"(?<!\w)(?:{words})(?!\w)") if words else None

    def __call__(self, text: str) -> bool:
        """Whether any of them is in the text."""
        return self._pattern is not None and self._pattern.search(text.casefold()) is not None


_WORD = re.compile(r"[^\s\"'<>=]+")


def words(text: str) -> set[str]:
    """Everything in a text that may be the id of a call."""
    return set(_WORD.findall(text))
