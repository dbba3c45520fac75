"""Reads what a document says, without holding up the event loop: a list of 100,000 calls takes a second."""

from __future__ import annotations

import asyncio

from lxml import etree

from etl import heap
from etl.protocol.dialect import Dialect
from etl.protocol.framing import Document, Rejected
from etl.protocol.messages import Message, read


async def read_messages(item: Document | Rejected, dialect: Dialect) -> tuple[Message, ...]:
    """The messages of a document; none of rejected bytes. A large one is read in a thread: other recorders go on."""
    if isinstance(item, Rejected):
        return ()
    if len(item.raw) < heap.LARGE:
        return read(item.root, dialect)
    return await asyncio.to_thread(_read_and_free, item.root, dialect)


def _read_and_free(root: etree._Element, dialect: Dialect) -> tuple[Message, ...]:
    """Nobody needs the tree of a large document any more: what is kept of it is its bytes."""
    messages = read(root, dialect)
    root.clear()
    heap.give_back()
    return messages
