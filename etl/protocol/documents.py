"""Bytes of one whole document -> element tree, hardened: no entities, no network, no DTD, no recovery.

libxml2's own limits stay in force (`huge_tree` is off): a nesting deeper than 256 elements and a single text of
more than 10 MB are refused. The number of elements is not limited: a list of 100,000 calls (26 MB) is fine.
"""

from __future__ import annotations

import re

from lxml import etree

_DOCTYPE = b"<!DOCTYPE"
_DOCTYPE_IN_PROLOG = re.compile(rb"(?>\xef\xbb\xbf)?(?>[ \t\r\n]+|<\?(?>.*?\?>)|<!--(?>.*?-->))*+<!DOCTYPE", re.DOTALL)


_DECLARED = re.compile(rb"xmlns(?>:[^ \t\r\n<>=\"':]*)?(?>[ \t\r\n]*)=(?>[ \t\r\n]*)(?:\"[^\"]*\"|'[^']*')")
"""What may declare a namespace. Wherever it begins, it ends at the next character that it cannot hold: a text full of
`xmlns` is gone through once, not once for each of them."""
_AS_WRITTEN = re.compile(r"utf-?8|(us-)?ascii|latin-?1|iso-8859-\d+|windows-125\d", re.IGNORECASE)
_PLAIN = re.compile(rb"(?:\xef\xbb\xbf)?[ \t\r\n]*<[^\0]")
"""Encodings, and the beginning of documents, in which `xmlns` is what it looks like."""

MOST_NAMESPACES = 1024
"""Characters that the namespaces around any element may take, with `_EACH` more for each of them. Each call is kept as
an element of its own, which repeats them: without a limit a document of 60 kB could take minutes and gigabytes."""
_EACH = 32


class NotWellFormed(Exception):
    """Bytes that are no well-formed document. `reason` is a machine word (`not_well_formed`, `doctype`,
    `empty`, `namespaces`), `detail` what the parser said: it can quote names from the document, so it is kept beside
    the bytes and not logged."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


def new_parser() -> etree.XMLParser:
    """A parser of one's own: lxml lets only one thread at a time use the same one."""
    return etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        dtd_validation=False,
        huge_tree=False,
        recover=False,
        collect_ids=False,
    )


_PARSER = new_parser()


def parse(raw: bytes, parser: etree.XMLParser | None = None) -> etree._Element:
    """The root of one whole document; raises NotWellFormed. A DOCTYPE is refused before anything is parsed."""
    if _DOCTYPE in raw and _DOCTYPE_IN_PROLOG.match(raw):
        raise NotWellFormed("doctype", "a document type declaration is refused")
    try:
        root = etree.fromstring(raw, parser or _PARSER)
    except etree.XMLSyntaxError as error:
        raise NotWellFormed("not_well_formed", error.msg or "no reason given") from None
    if root is None:
        raise NotWellFormed("empty", "no element")
    info = root.getroottree().docinfo
    if info.internalDTD is not None:
        raise NotWellFormed("doctype", "a document type declaration is refused")
    if _may_repeat_much(raw, info.encoding or "utf-8") and any(map(_repeats_much, root.iter("*"))):
        raise NotWellFormed("namespaces", "more namespaces than any recorder needs, or much longer ones")
    return root


def _may_repeat_much(raw: bytes, encoding: str) -> bool:
    """Whether all namespaces of a document together are too many: false for nearly all, and cheap to tell."""
    if not (_AS_WRITTEN.fullmatch(encoding) and _PLAIN.match(raw)):
        return True
    return b"xmlns" in raw and sum(len(found[0]) + _EACH for found in _DECLARED.finditer(raw)) > MOST_NAMESPACES


def _repeats_much(element: etree._Element) -> bool:
    around = element.nsmap.items()
    return sum(len(prefix or "") + len(uri) + _EACH for prefix, uri in around) > MOST_NAMESPACES
