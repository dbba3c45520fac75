"""The id of a call: one spelling for each, and the time that a version 1 UUID carries."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

UNTIMED = datetime(1970, 1, 1, tzinfo=UTC)
"""Stands for the time of an id that carries none (section 4 of the contract)."""

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE | re.ASCII)
_VERSION_1 = re.compile(
    r"([0-9a-f]{8})-([0-9a-f]{4})-1([0-9a-f]{3})-[89ab][0-9a-f]{3}-[0-9a-f]{12}", re.IGNORECASE | re.ASCII
)
_UUID_EPOCH = datetime(1582, 10, 15, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def canonical(call_id: str) -> str:
    """The one spelling of a call's id: stripped, and lower-cased where it is a UUID of 36 characters.

    Any other id is opaque text and keeps its case (section 3 of the protocol).
    """
    stripped = call_id.strip()
    return stripped.lower() if _UUID.fullmatch(stripped) else stripped


def id_time(call_id: str) -> datetime:
    """The UTC time inside a version 1 UUID, to the microsecond; `UNTIMED` for every other id.

    Such a time spans the years 1582 to 5236 and is returned however absurd it is: whoever can't believe it
    has to say so.
    """
    match = _VERSION_1.fullmatch(call_id.strip())
    if match is None:
        return UNTIMED
    low, middle, high = match.groups()
    tenths_of_microseconds = int(high + middle + low, 16)
    return _UUID_EPOCH + tenths_of_microseconds // 10 * _MICROSECOND


def is_timed(time: datetime) -> bool:
    """Whether a time from `id_time` tells anything."""
    return time != UNTIMED
