"""Keeps our secrets out of what is shown and stored, should a source repeat what it was sent. Pure."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable, Iterator
from html import escape
from urllib.parse import quote, quote_plus

HIDDEN = "***"
_UNMISTAKABLE = 8
"""Characters."""
_ENCODINGS = ("utf-8", "utf-16-le", "utf-16-be")
_ESCAPE = re.compile("%[0-9A-F]{2}")
_APOSTROPHES = ("&#x27;", "&#39;", "&apos;", "&#039;")


def redacted(text: str, secrets: Iterable[str], name: str = "") -> str:
    """The text on one line without the secrets, in every form in which a source may repeat them.

    Those are: as they are, and as URLs, forms, HTML and XML write them; and in base64, as HTTP Basic sends them after
    the `name` of the user.
    """
    forms = _all_forms(secrets, name)
    if forms:
        text = re.sub("|".join(map(re.escape, forms)), HIDDEN, text)
    return " ".join(text.split())


def without(body: bytes, secrets: Iterable[str], name: str = "") -> bytes:
    """A document without the secrets, in all these forms and in each encoding that XML readers must know; but for
    that it stays as it came."""
    forms = _all_forms(secrets, name)
    for encoding in _ENCODINGS:
        found = [form for form in (each.encode(encoding, "replace") for each in forms) if form in body]
        if found:
            body = re.sub(b"|".join(map(re.escape, found)), HIDDEN.encode(encoding), body)
    return body


def unmistakable(secret: str) -> bool:
    """Whether no document holds it by chance: neither a word nor a number that a call might have for its own."""
    return len(secret.strip()) >= _UNMISTAKABLE and not secret.strip().isdecimal()


def _all_forms(secrets: Iterable[str], name: str) -> list[str]:
    """The longest first: one secret may begin like another."""
    forms = {form for secret in secrets if secret.strip() for form in _forms(secret, name)}
    return sorted(forms, key=len, reverse=True)


def _forms(secret: str, name: str) -> Iterator[str]:
    yield from _written(secret)
    for sent in (secret, f"{name}:{secret}"):
        yield from _written(b64encode(sent.encode()).decode().rstrip("="))


def _written(text: str) -> Iterator[str]:
    """As it is, stripped and folded as markup is read, and escaped."""
    for each in (text, text.strip(), " ".join(text.split())):
        yield each
        for quoted in (quote(each), quote(each, safe=""), quote_plus(each)):
            yield from (quoted, _ESCAPE.sub(lambda found: found[0].lower(), quoted))
        yield escape(each, quote=False)
        yield from (escape(each).replace(_APOSTROPHES[0], other) for other in _APOSTROPHES)
