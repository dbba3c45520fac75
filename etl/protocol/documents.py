"""Bytes of one whole document -> element tree, hardened: no entities, no network, no DTD, no recovery.

libxml2's own limits stay in force (`huge_tree` is off): a nesting deeper than 256 elements and a single text of
more than 10 MB are refused. The number of elements is not limited: a list of 100,000 calls (26 MB) is fine.
"""

from __future__ import annotations

import re

from lxml import etree

_DOCTYPE = b"<!DOCTYPE"
_DOCTYPE_IN_PROLOG = re.compile(rb"(?>\xef\xbb\xbf)?(?>[ \t\r\n]+|<\?(?>.*?\?>)|<!--(?>.*?-->))*+<!DOCTYPE", re.DOTALL)


class NotWellFormed(Exception):
    """Bytes that are no well-formed document. `reason` is a machine word (`not_well_formed`, `doctype`,
    `empty`), `detail` what the parser said: it can quote names from the document, so it is kept beside the bytes and
    not logged."""

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
    if root.getroottree().docinfo.internalDTD is not None:
        raise NotWellFormed("doctype", "a document type declaration is refused")
    return root
