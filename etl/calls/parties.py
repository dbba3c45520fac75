"""A party to calls, a number or a name as people write it: how it is searched for in fields and documents. Pure."""

from __future__ import annotations

import codecs
import html
import re
import unicodedata
from collections.abc import Iterable
from itertools import product
from math import prod

from etl.errors import UsageError

_MOST = 100
"""Spellings that are searched for. A name of many words that has more is searched for as a whole."""
_MARKS = ((codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


SHORT = 3
"""A party of fewer characters names too much else: it is compared with whole fields and numbers only."""

APART = (
    r"[\u0003-\u002f\u003a-\u0040\u005b-\u0060\u007b-\u00a9\u00ab-\u00b4\u00b6-\u00b9\u00bb-\u00bf\u00d7\u00f7"
    r"\u2000-\u206f\u3000-\u3004\u3008-\u3020\ufeff]+"
)
"""What stands between words, as a regular expression of Python and PostgreSQL: neither letters nor digits. Spelled out,
since PostgreSQL's classes depend on its locale."""

POINT = r"(?<=[0-9])\.(?=[0-9])"
"""A point that parts no words: 100 is no word of 10.0.0.100."""

JOINED = "\u0002"
"""What stands for such a point."""


def _apart(text: str) -> str:
    """The words of a text, parted by single spaces, whatever its spacing and compatibility forms."""
    normal = unicodedata.normalize("NFKC", text.replace("\0", " "))
    return re.sub(APART, " ", re.sub(POINT, JOINED, normal)).strip()


def forms(party: str) -> tuple[str, ...]:
    """The spellings of a party that count as the same, for a comparison with words in lower case.

    PostgreSQL's lower case may know ASCII only, so each word with other letters is spelled in every usual way. Raises
    UsageError where there is nothing to search for.
    """
    if "\0" in party:
        raise UsageError("--party has a NUL byte: no call can say that")
    stripped = _apart(party)
    if not stripped:
        raise UsageError("--party is empty: give a number, an address or a name")
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
    """Finds parties in a document as in a call: as whole words. Of one that is short it finds nothing: a document does
    not tell fields from anything else."""

    def __init__(self, parties: Iterable[str]) -> None:
        spelled = (_apart(each).casefold() for each in parties)
        self._parties = [f" {each} " for each in spelled if len(each) >= SHORT]

    def __call__(self, text: str) -> bool:
        """Whether any of them is in the text."""
        if not self._parties:
            return False
        read = f" {_apart(text).casefold()} "
        return any(each in read for each in self._parties)


_WORD = re.compile(r"[^\s\"'<>=]+")


def words(text: str) -> set[str]:
    """Everything in a text that may be the id of a call."""
    return set(_WORD.findall(text))
