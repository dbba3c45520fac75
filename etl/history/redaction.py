"""Keeps our secrets out of what is shown and stored, should a source repeat what it was sent. Pure."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable, Iterator
from html import escape
from urllib.parse import quote, quote_plus

HIDDEN = "***"
_ESCAPE = re.compile("%[0-9A-F]{2}")
_APOSTROPHES = ("&#x27;", "&#39;", "&apos;", "&#039;")


def redacted(text: str, secrets: Iterable[str], name: str = "") -> str:
    """The text on one line without the secrets, in every form in which a source may repeat them.

    Those are: as they are, and as URLs, forms, HTML and XML write them; and in base64, as HTTP Basic sends them after
    the `name` of the user.
    """
    forms = {form for secret in secrets if secret.strip() for form in _forms(secret, name)}
    if forms:
        longest_first = sorted(forms, key=len, reverse=True)
        text = re.sub("|".join(map(re.escape, longest_first)), HIDDEN, text)
    return " ".join(text.split())


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
