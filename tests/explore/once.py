"""What a document says is read once in each world: for the loader, for the laws, and for another worker that heard the
same. Half of the time of a world went there; reading is pure, and what it yields cannot be changed."""

from __future__ import annotations

from explore.threads import world

from etl.ingest.interpret import Interpreter
from etl.protocol.dialect import Dialect
from etl.protocol.messages import Message

_messages = Interpreter._messages


def messages(interpreter: Interpreter, body: bytes, dialect: Dialect) -> tuple[Message, ...]:
    """`Interpreter._messages`."""
    known = world().documents
    if body not in known:
        known[body] = _messages(interpreter, body, dialect)
    return known[body]


SEAMS: dict[str, object] = {"etl.ingest.interpret.Interpreter._messages": messages}
