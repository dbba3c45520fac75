"""The byte patterns of framing, for a root element of a given name, and the excerpt of what is too large to keep."""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Final

EXCERPT = 64 * 1024
"""How much of each end of a document above the limit is kept, in bytes."""

BOM = b"\xef\xbb\xbf"
COMMENT = b"<!--"
CDATA = b"<![CDATA["
DOCTYPE = b"<!DOCTYPE"
INSTRUCTION = b"<?"
DECLARATION = b"<?xml"

SPACE = re.compile(rb"[ \t\r\n]*+")
SPACE_OR_BOM = re.compile(rb"(?:[ \t\r\n]++|\xef\xbb\xbf)*+")
DECLARED = re.compile(rb"<\?xml(?=[ \t\r\n])")
DECLARATION_END = re.compile(rb"\?>|<")
TARGET_END = re.compile(rb"[ \t\r\n?<]")
IN_TAG = {0: re.compile(rb"[<>\"']"), ord('"'): re.compile(rb'[<"]'), ord("'"): re.compile(rb"[<']")}
"""What matters next inside a tag: outside of quotes, in double quotes, in single quotes."""
TERMINATORS = {COMMENT: b"-->", CDATA: b"]]>", INSTRUCTION: b"?>"}


class Markup:
    """The patterns that depend on the root's name. A name counts only with its delimiter behind it."""

    def __init__(self, root: str) -> None:
        name = root.encode()
        opening = rb"<%s(?=[ \t\r\n/>])" % re.escape(name)
        starts = rb"<\?xml(?=[ \t\r\n])|" + opening
        ends = starts + rb"|<!DOCTYPE|</%s(?=[ \t\r\n>])" % re.escape(name)
        self.root_open: Final = b"<" + name
        self.root_close: Final = b"</" + name
        self.closing_tag: Final = b"</" + name + b">"
        self.openings: Final = (COMMENT, INSTRUCTION, DOCTYPE, self.root_open, BOM)
        """What a document can begin with, a byte order mark too."""
        self.prolog: Final = re.compile(rb"<!--|<\?|<!DOCTYPE|" + opening)
        self.inner_starts: Final = re.compile(starts)
        """Where to look for a document inside of rejected bytes."""
        self.starts: Final = re.compile(starts + rb"|<!DOCTYPE")
        """Where garbage ends."""
        self.ends: Final = re.compile(ends)
        """What ends a document, well or badly: its closing tag, or what only stands at a document's beginning."""
        self.tokens: Final = re.compile(ends + rb"|<!--|<!\[CDATA\[|<\?")
        """The same, and whatever can hide it."""
        self.head: Final = re.compile(rb"[ \t\r\n]*+((?:<\?xml[ \t\r\n][^<>]*\?>[ \t\r\n]*)?%s[ \t\r\n]*>)" % opening)
        """The usual beginning of a document in one piece: a declaration or none, a root without attributes."""
        self.longest: Final = max(len(name) + 3, len(CDATA), len(DOCTYPE))
        """No token is longer, the delimiter behind it included: how far a search must go back for one cut in two."""


class Excerpt:
    """The ends, the length and the digest of a piece that is too large to keep."""

    def __init__(self) -> None:
        self.length = 0
        self._head = b""
        self._tail = b""
        self._digest = sha256()

    @property
    def kept(self) -> bytes:
        """The first and the last 64 kB; everything where that is not more."""
        return self._head + self._tail

    def add(self, data: memoryview) -> None:
        """Take the next bytes."""
        self.length += len(data)
        self._digest.update(data)
        room = EXCERPT - len(self._head)
        self._head += data[:room]
        self._tail = (self._tail + bytes(data[room:][-EXCERPT:]))[-EXCERPT:]

    def told(self) -> str:
        """Length and digest in words."""
        cut = f"; kept are its first and last {EXCERPT} bytes" if self.length > 2 * EXCERPT else ""
        return f"{self.length} bytes, SHA-256 {self._digest.hexdigest()}{cut}"
