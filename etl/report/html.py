"""A few functions that build HTML: whatever is not markup already is escaped."""

from __future__ import annotations

from html import escape

_VOID = frozenset({"meta", "link"})


class Html(str):
    """Markup. Plain strings are text, and are escaped wherever they are put into markup."""

    __slots__ = ()


def text(value: str) -> Html:
    """Text that neither a browser nor a terminal obeys: control characters are shown as such."""
    shown = value if isinstance(value, Html) else escape(printable(value))
    return Html(shown)


def printable(value: str) -> str:
    """Without anything that steers a terminal, or turns the direction of what follows."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in value)


def element(name: str, /, *children: str, **attributes: str | None) -> Html:
    """`element("p", "a < b", class_="x")`. An attribute of None is left out; `aria_label` is `aria-label`."""
    given = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items() if value is not None}
    begin = "".join(f' {key}="{escape(printable(value))}"' for key, value in given.items())
    if name in _VOID:
        return Html(f"<{name}{begin}>")
    return Html(f"<{name}{begin}>{joined(*children)}</{name}>")


def joined(*children: str) -> Html:
    """Markup and text one after the other."""
    return Html("".join(text(child) for child in children))
