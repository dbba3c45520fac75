"""Texts that mean something to whoever does not treat them as text."""

from __future__ import annotations

SQL = (
    "'; DROP TABLE cdr.call CASCADE; --",
    "Robert'); DROP SCHEMA cdr CASCADE; --",
    "' || (SELECT encode(secret, 'hex') FROM cdr.mask_key) || '",
    '"; DROP TABLE cdr.call; --',
    "\\'; DROP TABLE cdr.call; --",
    "$$; DROP TABLE cdr.call; $$ $a$ x $a$",
    "E'\\x41' U&'\\0041' \\x41 \\101",
    "\\N",
    "\\.",
    "\\.\n\\N\tNULL\n\\",
    "a\tb\nc\\td\\ne\\\\",
    "NULL",
    "{a,b} (1,2) [3] {'x': null}",
    '{"a": "\\u0000"} \\u0000 \\x00',
    "%s %(name)s %% {0} {name!r} ${HOME} `id`",
    ":'party' :\"party\" :party \\gset \\! id \\copy cdr.call to stdout",
    "/* */ -- # ; \0".replace("\0", "\u2400"),
    "1=1 OR TRUE; SELECT pg_sleep(60)",
    "\ufffd\u00e9e\u0301\U0001f4de\u4f60\u597d\u05d0",
    "long " * 6_000 + "end",
)
"""Each is what a field may hold: without white space at its ends, and of characters that XML has."""

TERMINAL = (
    "\x1b[2J\x1b[31mred",
    "\x1b]0;title\x07\x1b]8;;http://x\x07link\x1b]8;;\x07\x1b]52;c;Y2xpcA==\x07",
    "\x9b31m\x9d0;title\x9c\x84\x85\x90",
    "over\rwritten\x08\x7f\x0b\x0c",
    "two\nlines\u2028three\u2029four",
    "\u202eesrever\u2066\u2069\u200f\u061c\ufeff\u200b",
    "[red]markup[/red] [link=http://x]y[/link] [/] [bold",
    ":warning: :ab: :skull:",
    "tag\U000e0041\U000e0042",
)
"""What a terminal, or who writes to it, would obey."""

HTML = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'><svg/onload=alert(1)>",
    "</style><script>alert(1)</script>",
    "</svg></figure></body><iframe src=javascript:alert(1)>",
    "&lt;script&gt; &amp; &#60;b&#62;",
    "javascript:alert(1)",
    "<!-- --> <![CDATA[ ]]> <?php ?>",
    "$\\frac{a}{$ $x^2$ \\mathbf{",
)
"""What a browser would obey, or a plotting library would take for a formula."""

FORMULAS = ('=HYPERLINK("http://x","y")', "+1+cmd|' /C calc'!A0", "-2+3", "@SUM(1)", "\t=1+1".strip())
"""What a spreadsheet would obey."""


def for_xml(text: str) -> str:
    """The text as XML has it; what it has no character for is left out."""
    allowed = "".join(char for char in text if char in "\t\n" or char >= " ")
    escaped = allowed.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
    return "".join(f"&#{ord(char)};" if "\x7f" <= char <= "\x9f" else char for char in escaped)
