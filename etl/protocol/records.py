"""Element of one call -> `Record`: one parser for notifications, lists, details, metadata files and HTTP rows.

Fields may stand as attributes or as child elements (section 3 of the protocol). Whatever is not one of our
fields, stands twice, or is nested, is kept in `extras`: elements become text or objects (attributes under
`@name`, text beside children under `#text`), repeated names become lists, empty things are left out.
Namespaces are ignored: names are compared by their local part.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from lxml import etree

from etl.model import Json, Record
from etl.protocol.dialect import Dialect

_FEW = 100
"""Attributes that are searched through faster than they are asked for otherwise."""


@dataclass(frozen=True, slots=True)
class BadRecord:
    """A call's element that cannot be a record. `reason` is a machine word; `element` as received, in UTF-8."""

    reason: str
    element: bytes


@dataclass(slots=True)
class _Found:
    """What an element holds, before its id is chosen."""

    ids: dict[str, list[str]] = field(default_factory=dict)
    state: str | None = None
    fields: dict[str, str] = field(default_factory=dict)
    extras: dict[str, Json] = field(default_factory=dict)


def read_call(element: etree._Element, dialect: Dialect) -> Record | BadRecord:
    """A `Call` of a notification or list: its own id attribute is the call's id, else a child is."""
    own = (element.get(dialect.id_attribute) or "").strip()
    return _read(element, dialect, own or None)


def read_record(element: etree._Element, dialect: Dialect) -> Record | BadRecord:
    """A full record (`verbacdr`, a metadata file's root, an HTTP row): the id is a child or an attribute."""
    return _read(element, dialect, None)


def local_name(element: etree._Element) -> str:
    """The element's name without its namespace; empty for a comment or processing instruction."""
    tag = element.tag
    return _local(tag) if isinstance(tag, str) else ""


def _local(name: str) -> str:
    return name.rpartition("}")[2] if name[0] == "{" else name


def attributes(element: etree._Element) -> list[tuple[str, str]]:
    """Local names and values of the element's attributes, in time that grows with their number. lxml's own `items`
    searches for each value among all of them: a document of 64 MB would take it a day."""
    found: Any
    if len(element.attrib) <= _FEW:
        found = element.items()
        return [(_local(name), value) for name, value in found]
    found = element.xpath("@*")
    return [(_local(value.attrname), str(value)) for value in found]


def own_text(element: etree._Element) -> str:
    """The element's own text, stripped; comments and processing instructions do not cut it."""
    text = element.text or ""
    if len(element):
        text += "".join([child.tail or "" for child in element])
    return text.strip()


def _read(element: etree._Element, dialect: Dialect, call_id: str | None) -> Record | BadRecord:
    found = _found(element, dialect)
    call_id = call_id or next((found.ids[name][0] for name in dialect.id_names if name in found.ids), None)
    raw = etree.tostring(element, encoding="utf-8", with_tail=False)
    if call_id is None:
        return BadRecord("no_id", raw)
    for name, others in found.ids.items():
        for other in others:
            if other != call_id:
                _keep(found.extras, name, other)
    return Record(call_id, found.state, found.fields, found.extras, raw)


def _found(element: etree._Element, dialect: Dialect) -> _Found:
    """Everything an element holds. Children go first: a record's id is a child before it is an attribute."""
    found = _Found()
    known, fields = dialect.known_fields, found.fields
    own = element.text or ""
    for child in element:  # gone through once: lxml makes the children anew each time
        if len(child) or child.keys():
            _place_nested(found, local_name(child), _json(child), dialect)
        elif (text := child.text) and (text := text.strip()):
            if (ours := known.get(child.tag)) and ours not in fields:  # nearly all: what `_place` would do
                fields[ours] = text
            elif name := local_name(child):
                _place(found, name, text, dialect)
        if tail := child.tail:
            own += tail
    for key, value in attributes(element):
        if text := value.strip():
            _place(found, key, text, dialect)
    _keep(found.extras, "#text", own.strip())
    return found


def _place(found: _Found, name: str, text: str, dialect: Dialect) -> None:
    """Put a value where it belongs: the first of a field is its value, others are extras."""
    ours = dialect.known_fields.get(name)
    if ours is not None and ours not in found.fields:
        found.fields[ours] = text
    elif name in dialect.id_names:
        found.ids.setdefault(name, []).append(text)
    elif name == dialect.state_name and found.state is None:
        found.state = text
    else:
        _keep(found.extras, name, text)


def _place_nested(found: _Found, name: str, value: Json, dialect: Dialect) -> None:
    """A field with attributes still has its text as value; the rest is extras. What is unknown stays in one piece."""
    if isinstance(value, str):
        if value:
            _place(found, name, value, dialect)
        return
    known = name in dialect.known_fields or name in dialect.id_names or name == dialect.state_name
    flat = value if known and isinstance(value, dict) and all(key[0] in "#@" for key in value) else {}
    if text := flat.pop("#text", None):
        _place(found, name, str(text), dialect)
    _keep(found.extras, name, value)


def _json(element: etree._Element) -> Json:
    """The element as JSON without empty things: text where it holds nothing else, else an object."""
    if not (len(element) or element.keys()):
        return (element.text or "").strip()
    tree: dict[str, Json] = {}
    for key, value in attributes(element):
        _keep(tree, f"@{key}", value.strip())
    own = element.text or ""
    for child in element:
        if name := local_name(child):
            _keep(tree, name, _json(child))
        own += child.tail or ""
    own = own.strip()
    if not tree:
        return own
    _keep(tree, "#text", own)
    return tree


def _keep(tree: dict[str, Json], name: str, value: Json) -> None:
    if not value:
        return
    if name not in tree:
        tree[name] = value
    elif isinstance(there := tree[name], list):
        there.append(value)
    else:
        tree[name] = [there, value]
