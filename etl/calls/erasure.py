"""What is left of a fact when its call's personal data is erased. Pure.

Erased is what tells who spoke or may do so (`etl.fields.HIDDEN`), everything that has no column, and the element as
received.
When the call was, how long, how it ended and on which recorder stays: volumes do not change.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import blake2b

from etl.fields import HIDDEN
from etl.model import Fact, Json, Value

_MICROSECOND = timedelta(microseconds=1)


def cleared(fact: Fact) -> Fact:
    """The fact without personal data. Clearing twice changes nothing more.

    Its digest is taken over what is left: that of the element as received would let whoever knows the rest of the
    record try all numbers. Facts of one kind and moment are told apart by it as before, in the same way whatever
    order they come in. (One exception nobody can help: of two such facts the one that lost before an erasure may win
    when it comes again after it, for what decided between them is gone.)
    """
    values = {name: value for name, value in fact.values.items() if name not in HIDDEN}
    return replace(fact, values=values, attributes={}, element=b"", digest=_digest(fact, values))


def _digest(fact: Fact, values: Mapping[str, Value]) -> bytes:
    told = {name: _plain(value) for name, value in values.items()}
    content = json.dumps([fact.recorder, fact.located, fact.history, sorted(fact.quality), told], sort_keys=True)
    return blake2b(content.encode(), digest_size=16).digest()


def _plain(value: Value) -> Json:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    return value // _MICROSECOND if isinstance(value, timedelta) else value
