"""Bytes -> whole documents, for any chopping of the bytes. Nothing is lost: what is no document comes out as rejected.

The transport has no length and no delimiter, so a document ends where its root closes, and is handed out at that
very byte. What is decided depends on the bytes alone, never on how they were cut into reads.

- Fast path: search for the root's closing tag, and let lxml parse what lies before it. A success proves the end
  right: no well-formed document stops inside a comment or CDATA. A document that lies whole in the buffer takes a
  short cut; one that comes in many reads is searched where the last search ended.
- Only where that fails, or a second root start is in sight, a scanner walks over comments, CDATA and processing
  instructions; what stands in them ends nothing.
- The root never nests: a second root start, or a second XML declaration, ends the document before it as cut off.
- A `<` in an attribute value is never well-formed: a closing tag in one ends a document that is dead anyway.
- After a rejected document the search goes on just behind its start (its own root aside: a document is not read
  without its prolog), for what stands inside may be whole. Such second looks are limited to a few times the
  bytes concerned; beyond, documents are still found there, but comments and CDATA are no longer honoured.

Between documents white space and byte order marks are skipped; they are the only bytes that are not handed out.
Positions count from the start of the buffer, which is trimmed once for each call of `receive`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from lxml import etree

from etl.protocol import markup
from etl.protocol.documents import NotWellFormed, new_parser, parse
from etl.protocol.markup import Excerpt, Markup

SECOND_LOOKS = 8
"""How often, on average, a rejected byte is looked at again before comments and CDATA are no longer honoured."""


@dataclass(frozen=True, slots=True)
class Document:
    """One whole, well-formed document: its bytes as received, and its root element."""

    raw: bytes
    root: etree._Element


@dataclass(frozen=True, slots=True)
class Rejected:
    """Bytes that are no document. `reason` is a machine word:

    `not_well_formed`, `doctype`, `namespaces` (too many around an element), `garbage` (bytes outside of any document),
    `cut_off` (another document began before this one was whole), `too_large` (no end within the limit), or the word
    given to `finish`.
    `detail` says more. A piece above the limit is its first and last 64 kB, with its length and SHA-256 in `detail`;
    any other is complete.
    """

    raw: bytes
    reason: str
    detail: str = ""


class _State(Enum):
    """What the byte at the cursor belongs to."""

    BETWEEN = auto()
    GARBAGE = auto()
    PROLOG = auto()
    DECLARATION = auto()
    DOCTYPE = auto()
    ROOT_TAG = auto()
    FAST = auto()
    CONTENT = auto()
    TARGET = auto()
    """The name of a processing instruction."""
    SKIPPED = auto()
    """A comment, CDATA section or processing instruction, up to its terminator."""
    CLOSING = auto()
    OVERSIZE = auto()


class Framer:
    """Cuts one connection's bytes into documents. `limit` is the size of the largest document, in bytes.

    Memory stays below about the limit plus what one call of `receive` brings; work is linear in the bytes.
    """

    def __init__(self, limit: int, root: str = "VerbaApi") -> None:
        self._limit = limit
        self._markup = Markup(root)
        self._parser = new_parser()
        self._buffer = bytearray()
        self._out: list[Document | Rejected] = []
        self._ended = False
        self._doubt_from = self._doubt_until = self._looked_again = 0
        self._steps: dict[_State, Callable[[int], bool]] = {
            _State.BETWEEN: self._between,
            _State.GARBAGE: self._garbage,
            _State.PROLOG: self._prolog,
            _State.DECLARATION: self._declaration,
            _State.DOCTYPE: self._doctype,
            _State.ROOT_TAG: self._root_tag,
            _State.FAST: self._fast,
            _State.CONTENT: self._content,
            _State.TARGET: self._target,
            _State.SKIPPED: self._skipped,
            _State.CLOSING: self._closing,
            _State.OVERSIZE: self._oversize,
        }
        self._start = self._at = 0
        self._root_at = self._content_at = -1
        self._quote = 0
        self._terminator = b""
        self._begin(0)

    @property
    def open(self) -> bool:
        """A document is begun and not whole: silence now means that the sender is stuck in the middle of it."""
        idle = self._state in (_State.BETWEEN, _State.GARBAGE) or (self._state is _State.PROLOG and not self._begun)
        return not idle

    @property
    def buffered(self) -> int:
        """Bytes held back because it is not yet known what they are."""
        return len(self._buffer)

    def receive(self, data: bytes) -> list[Document | Rejected]:
        """Take the next bytes; returns what they complete, in order."""
        self._buffer += data
        self._run()
        return self._taken()

    def finish(self, reason: str) -> list[Document | Rejected]:
        """No more bytes will come, or they are not waited for: returns all that is left.

        What is open is rejected with `reason`; whole documents inside of it come out as such. Afterwards the
        framer is as new.
        """
        self._ended = True
        self._run()
        while self._state is not _State.BETWEEN:
            self._leave(reason)
            self._run()
        self._ended = False
        return self._taken()

    def _taken(self) -> list[Document | Rejected]:
        cut = self._start
        del self._buffer[:cut]
        self._start = 0
        self._at -= cut
        self._root_at -= cut
        self._content_at -= cut
        self._doubt_from -= cut
        self._doubt_until -= cut
        out, self._out = self._out, []
        return out

    def _run(self) -> None:
        """Step until more bytes are needed. A step sees no byte beyond the limit: how many more came with a read
        must not matter."""
        size = len(self._buffer)
        while True:
            if self._state is _State.BETWEEN:
                self._usual()
                if self._start == size:
                    return
            bound = size if self._unbound() else self._start + self._limit
            if self._steps[self._state](min(size, bound)):
                continue
            if size <= bound:
                return
            self._overflow()

    def _unbound(self) -> bool:
        return self._oversized or self._state in (_State.BETWEEN, _State.GARBAGE)

    def _begin(self, at: int) -> bool:
        """Whatever comes next begins at `at`."""
        self._state = _State.BETWEEN
        self._start = self._at = at
        self._root_at = -1
        self._begun = self._oversized = False
        self._excerpt: Excerpt | None = None
        return True

    def _enter(self, state: _State, at: int) -> bool:
        self._state = state
        self._at = at
        return True

    def _starved(self, at: int) -> bool:
        """Nothing decided: go on at `at` when more bytes have come, but never back."""
        self._at = max(self._at, at)
        if self._oversized and (self._excerpt or self._at - self._start > self._limit):
            self._forget(self._at)
        return False

    def _search(self, pattern: re.Pattern[bytes], start: int, end: int) -> re.Match[bytes] | None:
        return pattern.search(self._buffer, start, end)

    def _past_space(self, pattern: re.Pattern[bytes], end: int) -> int:
        match = pattern.match(self._buffer, self._at, end)
        self._at = match.end() if match else self._at
        return self._at

    # --- between documents -----------------------------------------------------------------------------------

    def _usual(self) -> None:
        """Take usual documents that lie whole in the buffer in one go. Where that fails, everything is left to the
        steps below, which would have come to the same result."""
        buffer, known, start = self._buffer, self._markup, self._start
        while start >= self._doubt_until and (head := known.head.match(buffer, start)):
            bound = head.start(1) + self._limit
            second = buffer.find(known.root_open, head.end(), bound)
            close = buffer.find(known.closing_tag, head.end(), bound if second < 0 else second)
            if close < 0:
                break
            end = close + len(known.closing_tag)
            raw = bytes(buffer[head.start(1) : end])
            try:
                root = parse(raw, self._parser)
            except NotWellFormed:
                break
            self._out.append(Document(raw, root))
            start = end
        self._start = self._at = start

    def _between(self, end: int) -> bool:
        at = self._start = self._past_space(markup.SPACE_OR_BOM, end)
        if at == end:
            return False
        if self._markup.prolog.match(self._buffer, at):
            return self._enter(_State.PROLOG, at)
        return False if self._undecided(at, end) else self._enter(_State.GARBAGE, at)

    def _undecided(self, at: int, end: int) -> bool:
        """Too few bytes to tell what begins here."""
        rest = bytes(self._buffer[at : min(end, at + self._markup.longest)])
        undecided = any(opening.startswith(rest) for opening in self._markup.openings)
        return undecided and not (self._ended and end == len(self._buffer))

    def _garbage(self, end: int) -> bool:
        """Up to the next start; cut into pieces of the limit's size."""
        most = self._start + self._limit
        enough = most + self._markup.longest
        found = self._search(self._markup.starts, self._at, min(end, enough))
        if found and found.start() <= most:
            return self._throw_out(found.start())
        if end >= enough or (self._ended and end > most):
            return self._throw_out(most)
        return self._starved(end - self._markup.longest + 1)

    def _throw_out(self, end: int) -> bool:
        self._put_rejected(end, "garbage", "bytes outside of any document")
        return self._begin(end)

    # --- prolog ----------------------------------------------------------------------------------------------

    def _prolog(self, end: int) -> bool:
        at = self._past_space(markup.SPACE, end)
        match = self._markup.prolog.match(self._buffer, at, end)
        if match:
            return self._prolog_part(match.group(), at, end)
        return False if at == end or self._undecided(at, end) else self._enter(_State.GARBAGE, at)

    def _prolog_part(self, token: bytes, at: int, end: int) -> bool:
        if token == markup.COMMENT:
            return self._skip(token, at)
        if token == markup.INSTRUCTION:
            return self._prolog_instruction(at, end)
        self._begun = True
        if token == markup.DOCTYPE:
            return self._enter(_State.DOCTYPE, at + len(token))
        self._root_at = at
        self._quote = 0
        return self._enter(_State.ROOT_TAG, at + len(token))

    def _prolog_instruction(self, at: int, end: int) -> bool:
        if self._short_of_instruction(at, end):
            return False
        if not markup.DECLARED.match(self._buffer, at, end):
            return self._skip(markup.INSTRUCTION, at)
        if at != self._start:
            return self._reject(at, "cut_off", "another document began before this one's root")
        self._begun = True
        return self._enter(_State.DECLARATION, at + len(markup.DECLARATION))

    def _short_of_instruction(self, at: int, end: int) -> bool:
        """Too few bytes to tell an XML declaration from another processing instruction."""
        return end - at <= len(markup.DECLARATION) and not (self._ended and end == len(self._buffer))

    def _declaration(self, end: int) -> bool:
        """No `<` can stand in the XML declaration: one means that its end is missing."""
        match = self._search(markup.DECLARATION_END, self._at, end)
        if match is None:
            return self._starved(end - 1)
        if match.group() == b"<":
            return self._reject(match.start(), "cut_off", "the XML declaration has no end")
        return self._enter(_State.PROLOG, match.end())

    def _doctype(self, end: int) -> bool:
        """The parser will refuse it; but the document has an end, and that is its root's."""
        match = self._search(self._markup.starts, self._at, end)
        if match is None:
            return self._starved(end - self._markup.longest + 1)
        if match.group() == self._markup.root_open:
            return self._prolog_part(self._markup.root_open, match.start(), end)
        return self._reject(match.start(), "doctype", "a document type declaration is refused")

    # --- root ------------------------------------------------------------------------------------------------

    def _root_tag(self, end: int) -> bool:
        """To the end of the root's start tag, attributes and all. A `<` in it is wrong: left to `_content`."""
        match = self._search(markup.IN_TAG[self._quote], self._at, end)
        if match is None:
            return self._starved(end)
        at, byte = match.start(), self._buffer[match.start()]
        if byte == ord("<"):
            return self._enter_content(at)
        if byte != ord(">"):
            self._quote = 0 if self._quote else byte
            return self._enter(_State.ROOT_TAG, at + 1)
        empty = self._buffer[at - 1] == ord("/")
        return self._complete(at + 1) if empty else self._enter_content(at + 1)

    def _enter_content(self, at: int) -> bool:
        self._content_at = at
        return self._enter(_State.CONTENT if self._doubtful() else _State.FAST, at)

    def _fast(self, end: int) -> bool:
        """Search for the closing tag; whatever is unusual calls for the scanner."""
        second = self._buffer.find(self._markup.root_open, self._at, end)
        close = self._buffer.find(self._markup.root_close, self._at, end if second < 0 else second)
        if close < 0:
            return self._starved(end - self._markup.longest + 1) if second < 0 else self._scan()
        after = close + len(self._markup.root_close)
        if after == end:
            return self._starved(close)
        return self._complete(after + 1) if self._buffer[after] == ord(">") else self._scan()

    def _scan(self) -> bool:
        return self._enter(_State.CONTENT, self._content_at)

    def _content(self, end: int) -> bool:
        """Walk over everything that can be a tag of the root, or hide one."""
        pattern = self._markup.ends if self._doubtful() else self._markup.tokens
        match = self._search(pattern, self._at, end)
        if match is None:
            return self._starved(end - self._markup.longest + 1)
        at, token = match.start(), match.group()
        if token == self._markup.root_close:
            return self._enter(_State.CLOSING, match.end())
        if token not in markup.TERMINATORS:
            return self._reject(at, "cut_off", "another document began before this one was whole")
        if token == markup.INSTRUCTION and self._short_of_instruction(at, end):
            return self._starved(at)
        return self._skip(token, at)

    def _skip(self, token: bytes, at: int) -> bool:
        if self._doubtful():
            return self._enter(_State.GARBAGE, at + len(token))
        self._terminator = markup.TERMINATORS[token]
        state = _State.TARGET if token == markup.INSTRUCTION else _State.SKIPPED
        return self._enter(state, at + len(token))

    def _target(self, end: int) -> bool:
        """No `<` can stand in the name of a processing instruction: one means that this is none, but cut off."""
        match = self._search(markup.TARGET_END, self._at, end)
        if match is None:
            return self._starved(end)
        if match.group() != b"<":
            return self._enter(_State.SKIPPED, match.start())
        return self._enter(_State.GARBAGE if self._root_at < 0 else _State.CONTENT, match.start())

    def _skipped(self, end: int) -> bool:
        found = self._buffer.find(self._terminator, self._at, end)
        if found < 0:
            return self._starved(end - len(self._terminator) + 1)
        state = _State.PROLOG if self._root_at < 0 else _State.CONTENT
        return self._enter(state, found + len(self._terminator))

    def _closing(self, end: int) -> bool:
        """Behind the name in the closing tag: white space may follow, then its `>`."""
        at = self._past_space(markup.SPACE, end)
        if at == end:
            return self._starved(at)
        if self._buffer[at] != ord(">"):
            return self._enter(_State.OVERSIZE if self._oversized else _State.CONTENT, at)
        return self._end_oversize(at + 1) if self._oversized else self._complete(at + 1)

    # --- the end of a document -------------------------------------------------------------------------------

    def _complete(self, end: int) -> bool:
        """The root closes before `end`, or so it seems: only the parser knows. After a failure on the fast path the
        scanner has a look too."""
        raw = bytes(self._buffer[self._start : end])
        try:
            root = parse(raw, self._parser)
        except NotWellFormed as error:
            return self._scan() if self._state is _State.FAST else self._reject(end, error.reason, error.detail)
        self._out.append(Document(raw, root))
        return self._begin(end)

    def _reject(self, end: int, reason: str, detail: str) -> bool:
        """The bytes up to `end` are no document; go on with the first start inside of them, or behind them."""
        self._remember_doubt(end)
        cut = self._inner_start(end)
        self._put_rejected(cut, reason, detail)
        return self._begin(cut)

    def _inner_start(self, end: int) -> int:
        """The first start inside of the rejected bytes, its own root excepted; `end` without one."""
        match = self._search(self._markup.inner_starts, self._start + 1, end)
        if match and match.start() == self._root_at:
            match = self._search(self._markup.inner_starts, self._root_at + 1, end)
        return match.start() if match else end

    def _put_rejected(self, end: int, reason: str, detail: str) -> None:
        self._out.append(Rejected(bytes(self._buffer[self._start : end]), reason, detail))

    def _remember_doubt(self, end: int) -> None:
        """Keep account of what is looked at more than once."""
        seen = max(end, self._at)
        if self._start >= self._doubt_until:
            self._doubt_from, self._looked_again = self._start, 0
        else:
            self._looked_again += seen - self._start
        self._doubt_until = max(self._doubt_until, seen)

    def _doubtful(self) -> bool:
        """This document began inside of rejected bytes, and those have been looked at too often."""
        allowed = SECOND_LOOKS * (self._doubt_until - self._doubt_from)
        return self._start < self._doubt_until and self._looked_again > allowed

    # --- above the limit, and the end of the stream ----------------------------------------------------------

    def _overflow(self) -> None:
        """No end within the limit: given up. Now any closing tag or start ends it, also in a comment or CDATA."""
        self._remember_doubt(self._start + self._limit)
        self._oversized = True
        self._enter(_State.OVERSIZE, max(self._root_at, self._start) + 1)

    def _oversize(self, end: int) -> bool:
        match = self._search(self._markup.ends, self._at, end)
        if match and match.group() == self._markup.root_close:
            return self._enter(_State.CLOSING, match.end())
        if match:
            return self._end_oversize(match.start())
        return self._starved(end - self._markup.longest + 1)

    def _forget(self, end: int) -> None:
        """What is certain to belong to a piece above the limit leaves only its ends and its digest."""
        self._excerpt = self._excerpt or Excerpt()
        with memoryview(self._buffer) as view:
            self._excerpt.add(view[self._start : end])
        self._start = end

    def _end_oversize(self, end: int, reason: str = "too_large") -> bool:
        if self._excerpt is None and end - self._start <= self._limit:
            self._put_rejected(end, reason, f"no end within {self._limit} bytes")
            return self._begin(end)
        self._forget(end)
        if self._excerpt:
            self._out.append(Rejected(self._excerpt.kept, reason, self._excerpt.told()))
        return self._begin(end)

    def _leave(self, reason: str) -> None:
        """The stream ended in the middle of something."""
        end = len(self._buffer)
        if self._oversized:
            self._end_oversize(end)
        elif self._begun and self._state is not _State.GARBAGE:
            self._reject(end, reason, "nothing more came before this document was whole")
        else:
            self._reject(end, "garbage", "bytes outside of any document")
