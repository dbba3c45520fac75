"""A source that repeats what it was sent does not bring our secrets into messages, logs or the archive."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable
from html import escape
from urllib.parse import quote, quote_plus, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.history.redaction import HIDDEN, redacted

ECHOES: dict[str, Callable[[str], str]] = {
    "plain": str,
    "stripped": str.strip,
    "folded": lambda secret: " ".join(secret.split()),
    "quoted": quote,
    "quoted whole": lambda secret: quote(secret, safe=""),
    "with %c3": lambda secret: re.sub("%..", lambda found: found[0].lower(), quote_plus(secret)),
    "as a form": lambda secret: urlencode({"": secret})[1:],
    "as HTML": escape,
    "as XML": lambda secret: escape(secret, quote=False),
    "with &apos;": lambda secret: escape(secret).replace("&#x27;", "&apos;"),
    "by HTTP Basic": lambda secret: b64encode(f"auditor:{secret}".encode()).decode().rstrip("="),
    "in base64": lambda secret: b64encode(secret.encode()).decode().rstrip("="),
    "in base64, quoted": lambda secret: quote(b64encode(secret.encode()).decode().rstrip("="), safe=""),
}
secrets = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20).filter(str.strip)


@pytest.mark.parametrize("echo", ECHOES.values(), ids=ECHOES)
@given(secrets)
def test_no_form_of_a_secret_is_shown(echo: Callable[[str], str], secret: str) -> None:
    """Between figures that no secret here can continue, so that all of it must be gone."""
    assert redacted(echo(secret), [secret], "auditor") == HIDDEN


@given(secrets, secrets)
def test_a_secret_that_begins_like_another_does_not_shield_its_end(one: str, other: str) -> None:
    assert redacted(quote(one + other), [one, one + other]) == HIDDEN


@given(st.text())
def test_without_secrets_a_text_is_only_put_on_one_line(text: str) -> None:
    assert redacted(text, ["", "  "]) == " ".join(text.split())
