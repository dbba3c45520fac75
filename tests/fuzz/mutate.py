"""Changes an input a little, knowing what is dangerous in XML and in numbers. Both engines use it; no clock, no luck:
the same dice give the same bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import TypeAlias

LONGEST = 8192
"""Bytes of an input; what grows with the length is measured in test_bounds.py."""

XML = (
    b"<VerbaApi>", b"</VerbaApi>", b"<VerbaApi/>", b"<VerbaApi a='", b"</VerbaApi >", b"<Response code='0'>",
    b"</Response>",
    b"<Response code='-43'/>", b"<Response/>", b"<Notification type='CallStart'>", b"</Notification>",
    b"<Call id='1'/>",
    b"<Call>", b"</Call>", b"<verbacdr>", b"</verbacdr>", b"<Request type='GetCallList' id='2'/>",
    b"<Keepalive time='30'/>",
    b"<ErrorMessage description='cannot be found'/>", b"<ccdr_id>", b"</ccdr_id>", b"<id>", b"</id>", b"<state>",
    b"</state>",
    b"<!--", b"-->", b"<!-- </VerbaApi> -->", b"<![CDATA[", b"]]>", b"<![CDATA[</VerbaApi>]]>", b"<?x ?>", b"<?", b"?>",
    b"<?xml version='1.0'?>", b"<?xml version='1.0' encoding='UTF-16'?>", b"<?xml version='1.0' encoding='UTF-7'?>",
    b"<?xml version='1.1'?>", b"<?xml version='1.0' encoding='x'?>", b"<?xml version='1.0' standalone='yes'?>",
    b"<!DOCTYPE VerbaApi>", b"<!DOCTYPE x [<!ENTITY a 'aaaa'><!ENTITY b '&a;&a;&a;'>]>",
    b"<!DOCTYPE x SYSTEM 'file:///etc/passwd'>",
    b"&lt;", b"&amp;", b"&#0;", b"&#10;", b"&#x10FFFF;", b"&#xD800;", b"&#xFFFE;", b"&b;", b"&", b"<", b">", b"'",
    b'"', b"/",
    b" xmlns='urn:x'", b" xmlns:a='urn:y'", b" a:b='c'", b"<a:b xmlns:a='u'/>", b" xml:space='preserve'", b" id=''",
    b" code=''",
    b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"\0", b"\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90\x80\x80", b"\xc2\x85",
    b"\xe2\x80\xae",
    b"\r", b"\r\n", b"\t", b" ", b"\x1b[2J", b"\x7f",
)  # fmt: skip
"""What turns well-formed XML into something else, and what hides inside of it."""

VALUES = (
    b"0", b"-1", b"+1", b"1e9", b"NaN", b"inf", b"0x10", b"2147483648", b"-2147483649", b"9" * 30, b"9" * 400,
    b"9" * 5000, b"1_0",
    b"\xd9\xa3", b"\xc2\xb2", b"true", b"TRUE", b"recorded", b"00:00:00", b"999999:59:59", b"00:61:00",
    b"1:2:3.123456789",
    b"0001-01-01 00:00:00", b"9999-12-31 23:59:59.999", b"2024-02-30 00:00", b"2024-11-03 01:30:00",
    b"2024-03-10 02:30:00",
    b"1582-10-15T00:00:00", b"2024-05-01 24:00:00", b"2024-05-01 23:59:60", b"2024-05-01 12:00:00+02:00", b"2024-W01-1",
    b"00000000-0000-1000-8000-000000000000", b"ffffffff-ffff-1fff-bfff-ffffffffffff",
    b"1e5d34f0-0b0a-11ef-9262-0242ac120002",
    b"sip:1000@example.com", b"../../etc/passwd", b"~nobody-like-this/x", b"%00", b"=cmd|' /C calc'!A0", b"a" * 300,
)  # fmt: skip
"""Numbers, times, ids and paths at their edges."""

_Change: TypeAlias = Callable[[bytes, Random, Sequence[bytes]], bytes]


def mutate(data: bytes, dice: Random, words: Sequence[bytes] = (), others: Sequence[bytes] = ()) -> bytes:
    """`data` after one to four changes. `words` matter at this target; `others` are inputs to mix it with."""
    for _ in range(dice.randint(1, 4)):
        data = dice.choice(_CHANGES)(data, dice, words if words and dice.random() < 0.7 else (*XML, *VALUES))
        if others and dice.random() < 0.1:
            other = dice.choice(others)
            data = data[: _at(data, dice)] + other[_at(other, dice) :]
    return data[:LONGEST]


def _at(data: bytes, dice: Random) -> int:
    return dice.randint(0, len(data))


def _slice(data: bytes, dice: Random) -> tuple[int, int]:
    start = _at(data, dice)
    return start, min(len(data), start + dice.choice((1, 2, 4, 8, 16, 64, 256)))


def _insert(data: bytes, dice: Random, words: Sequence[bytes]) -> bytes:
    at = _at(data, dice)
    return data[:at] + dice.choice(words) + data[at:]


def _replace(data: bytes, dice: Random, words: Sequence[bytes]) -> bytes:
    start, end = _slice(data, dice)
    return data[:start] + dice.choice(words) + data[end:]


def _replace_value(data: bytes, dice: Random, _: Sequence[bytes]) -> bytes:
    """Between two delimiters, so that the markup around it stays whole."""
    edges = [at for at, byte in enumerate(data) if byte in b"<>\"'=,: \n\0"]
    if len(edges) < 2:
        return data
    at = dice.randrange(len(edges) - 1)
    return data[: edges[at] + 1] + dice.choice(VALUES) + data[edges[at + 1] :]


def _delete(data: bytes, dice: Random, _: Sequence[bytes]) -> bytes:
    start, end = _slice(data, dice)
    return data[:start] + data[end:]


def _repeat(data: bytes, dice: Random, _: Sequence[bytes]) -> bytes:
    start, end = _slice(data, dice)
    return data[:start] + data[start:end] * dice.choice((2, 3, 10, 100)) + data[end:]


def _nest(data: bytes, dice: Random, _: Sequence[bytes]) -> bytes:
    start, end = _slice(data, dice)
    depth = dice.choice((1, 3, 255, 300))
    return data[:start] + b"<n>" * depth + data[start:end] + b"</n>" * depth + data[end:]


def _swap(data: bytes, dice: Random, _: Sequence[bytes]) -> bytes:
    a, b = sorted((_at(data, dice), _at(data, dice)))
    c = min(len(data), 2 * b - a)
    return data[:a] + data[b:c] + data[a:b] + data[c:]


def _flip(data: bytes, dice: Random, _: Sequence[bytes]) -> bytes:
    if not data:
        return bytes([dice.randrange(256)])
    at = dice.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << dice.randrange(8)]) + data[at + 1 :]


def _encode(data: bytes, dice: Random, _: Sequence[bytes]) -> bytes:
    if dice.random() < 0.8:  # of an input in UTF-16 the other changes make little
        return data
    return data.decode("utf-8", "replace").encode(
        dice.choice(("utf-16", "utf-16-be", "utf-32", "utf-7", "latin-1")), "replace"
    )


_CHANGES: tuple[_Change, ...] = (
    _insert, _insert, _replace, _replace_value, _replace_value, _delete, _repeat, _nest, _swap, _flip, _encode,
)  # fmt: skip
