"""The dialect: every name of the recorder's protocol that a site may spell differently, in one place.

Source: the recorder's protocol as described in `docs/protocol.md`. What the vendor documents is a default
here as much as what had to be chosen: a real site can differ in both.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from functools import cached_property
from types import MappingProxyType
from typing import Any

from etl.errors import UsageError
from etl.fields import BY_WIRE_NAME

_STARTS = (
    r"A-Z_a-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u02ff\u0370-\u037d\u037f-\u1fff\u200c\u200d\u2070-\u218f\u2c00-\u2fef"
    r"\u3001-\ud7ff\uf900-\ufdcf\ufdf0-\ufffd\U00010000-\U000effff"
)
_NAME = re.compile(rf"[{_STARTS}][{_STARTS}0-9.\-\u00b7\u0300-\u036f\u203f\u2040]*")
"""A name in XML, without a prefix."""


@dataclass(frozen=True)
class Dialect:
    """How one recorder names things. The defaults are those of the protocol description."""

    subscribe_request: str = "SubscribeOnCallEvent"
    list_request: str = "GetCallList"
    detail_request: str = "GetCallDetails"
    probe_request: str = "GetCallList"
    """The proof of life where no keep-alive is announced; follows `list_request` unless given."""
    call_start: str = "CallStart"
    call_end: str = "CallEnd"

    root: str = "VerbaApi"
    request: str = "Request"
    response: str = "Response"
    notification: str = "Notification"
    call: str = "Call"
    record: str = "verbacdr"
    keepalive: str = "Keepalive"
    error: str = "ErrorMessage"
    extension: str = "Extension"

    type_attribute: str = "type"
    id_attribute: str = "id"
    code_attribute: str = "code"
    number_attribute: str = "number"
    description_attribute: str = "description"
    keepalive_attribute: str = "time"
    keepalive_unit: float = 1.0
    """Seconds in one unit of the keep-alive's time."""
    success_code: str = "0"
    unknown_call_pattern: str = r"cannot be found"
    """Regular expression, searched in any case: beside a failure code it means that a call is not known."""

    id_names: tuple[str, ...] = ("ccdr_id", "id")
    state_name: str = "state"
    finished_states: tuple[str, ...] = ("1", "recorded")
    field_names: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), hash=False)
    """The site's name of a field -> the name we know it by (see `etl.fields`)."""

    @cached_property
    def known_fields(self) -> Mapping[str, str]:
        """Every name that a field has at this site -> the name we know it by; ids and the state are none."""
        names = {**{name: name for name in BY_WIRE_NAME}, **self.field_names}
        return {name: ours for name, ours in names.items() if name not in (*self.id_names, self.state_name)}

    @classmethod
    def from_overrides(cls, overrides: Mapping[str, Any]) -> Dialect:
        """The defaults with a recorder's `dialect` table over them.

        Raises UsageError that names the unknown key or bad value and what is allowed.
        """
        known = {item.name for item in fields(cls)}
        for key in overrides:
            if key not in known:
                raise UsageError(f"dialect.{key}: unknown key; {_allowed(key, known)}")
        values: dict[str, Any] = {key: _READERS.get(key, _text)(key, value) for key, value in overrides.items()}
        if "list_request" in values:
            values.setdefault("probe_request", values["list_request"])
        return cls(**values)


def _allowed(given: str, known: set[str]) -> str:
    near = get_close_matches(given, known, n=1)
    hint = f'did you mean "{near[0]}"? ' if near else ""
    return f"{hint}Allowed are {', '.join(sorted(known))}"


def _refuse(key: str, value: object, allowed: str) -> UsageError:
    return UsageError(f"dialect.{key} = {value!r}: must be {allowed}")


def _text(key: str, value: object) -> str:
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise _refuse(key, value, "text that is not empty")
    return value


def _name(key: str, value: object) -> str:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise _refuse(key, value, "the name of an XML element or attribute, without a prefix")
    return value


def _seconds(key: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 3600:
        raise _refuse(key, value, "a number of seconds above 0, at most 3600 (0.001 for milliseconds)")
    return float(value)


def _pattern(key: str, value: object) -> str:
    text = _text(key, value)
    try:
        re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise _refuse(key, value, f"a regular expression ({error})") from None
    return text


def _texts(key: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not value:
        raise _refuse(key, value, "a list of texts that is not empty")
    return tuple(_text(key, item) for item in value)


def _field_names(key: str, value: object) -> Mapping[str, str]:
    if not isinstance(value, Mapping):
        raise _refuse(key, value, 'a table such as { caller = "source_caller_id" }')
    for theirs, ours in value.items():
        if not isinstance(ours, str) or ours not in BY_WIRE_NAME:
            raise UsageError(
                f"dialect.{key}.{theirs} = {ours!r}: no such field; {_allowed(str(ours), set(BY_WIRE_NAME))}"
            )
    return MappingProxyType(dict(value))


_ELEMENTS = ("root", "request", "response", "notification", "call", "record", "keepalive", "error", "extension")
_READERS: dict[str, Callable[[str, object], object]] = {
    **{item.name: _name for item in fields(Dialect) if item.name in _ELEMENTS or item.name.endswith("_attribute")},
    "state_name": _name,
    "keepalive_unit": _seconds,
    "unknown_call_pattern": _pattern,
    "id_names": _texts,
    "finished_states": _texts,
    "field_names": _field_names,
}
