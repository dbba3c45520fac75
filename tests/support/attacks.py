"""Documents that attack whoever reads XML, for every way in: a stream, a metadata file, an answer over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10 if n else "ha"}">' for n in range(10))
"""Ten entities, the last of which is a thousand million words."""
NEST = 100_000
HUGE = 10_500_000
"""Characters: more than libxml2 takes in one piece."""


@dataclass(frozen=True)
class Stage:
    """Where an attack is played: `root` and what stands in it around the fields of a call, the `secret` file that must
    not be read, and the `port` to which nobody must connect."""

    root: str
    before: str
    after: str
    secret: Path
    port: int

    def document(self, inside: str, prologue: str = '<?xml version="1.0" encoding="UTF-8"?>', on_root: str = "") -> str:
        return f"{prologue}<{self.root}{on_root}>{self.before}{inside}{self.after}</{self.root}>"

    def with_doctype(self, doctype: str, inside: str = "<source_name>&x;</source_name>") -> str:
        return self.document(inside, f'<?xml version="1.0"?><!DOCTYPE {self.root} {doctype}>')

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/x"

    def named(self, name: str) -> Stage:
        """The same for the call `attack-NAME`."""
        return Stage(self.root, self.before.replace("NAME", name), self.after, self.secret, self.port)


Attack = Callable[[Stage], bytes]


def _text(make: Callable[[Stage], str]) -> Attack:
    return lambda stage: make(stage).encode()


def _utf7(text: str) -> str:
    """With its angle brackets hidden, as nobody looks for them."""
    return text.replace("<", "+ADw-").replace(">", "+AD4-").replace("&", "+ACY-")


REFUSED: dict[str, Attack] = {
    "laughs": _text(lambda s: s.with_doctype(f"[{LAUGHS}]", "<source_name>&l9;</source_name>")),
    "laughs-attribute": _text(lambda s: s.with_doctype(f"[{LAUGHS}]", '<source_name note="&l9;"/>')),
    "laughs-default": _text(
        lambda s: s.with_doctype(f'[{LAUGHS}<!ATTLIST source_name note CDATA "&l9;">]', "<source_name/>")
    ),
    "quadratic": _text(
        lambda s: s.with_doctype(f'[<!ENTITY x "{"a" * 100_000}">]', f"<source_name>{'&x;' * 20_000}</source_name>")
    ),
    "file": _text(lambda s: s.with_doctype(f'[<!ENTITY x SYSTEM "{s.secret.as_uri()}">]')),
    "network": _text(lambda s: s.with_doctype(f'[<!ENTITY x SYSTEM "{s.url}">]')),
    "outer-dtd": _text(lambda s: s.with_doctype(f'SYSTEM "{s.url}"', "")),
    "outer-dtd-file": _text(lambda s: s.with_doctype(f'PUBLIC "-//X//Y" "{s.secret.as_uri()}"', "")),
    "parameter": _text(lambda s: s.with_doctype(f'[<!ENTITY % p SYSTEM "{s.url}"> %p;]', "")),
    "undeclared": _text(lambda s: s.document("<source_name>&xxe;</source_name>")),
    "nested": _text(lambda s: s.document("<a>" * NEST + "</a>" * NEST)),
    "huge-attribute": _text(lambda s: s.document(f'<source_name note="{"x" * HUGE}"/>')),
    "huge-text": _text(lambda s: s.document(f"<source_name>{'x' * HUGE}</source_name>")),
    "nul": _text(lambda s: s.document("<source_name>a\0b</source_name>")),
    "nul-reference": _text(lambda s: s.document("<source_name>a&#0;b</source_name>")),
    "surrogate-reference": _text(lambda s: s.document("<source_name>&#xD800;</source_name>")),
    "escape": _text(lambda s: s.document("<source_name>\x1b[2J</source_name>")),
    "no-utf8": lambda s: s.document("<source_name>@</source_name>").encode().replace(b"@", b"\xff\xfe\xc0\x80"),
    "unknown-encoding": _text(lambda s: s.document("", '<?xml version="1.0" encoding="x-nobody"?>')),
    "says-utf16": _text(lambda s: s.document("", '<?xml version="1.0" encoding="UTF-16"?>')),
    "twice-the-same-attribute": _text(lambda s: s.document('<source_name a="1" a="2"/>')),
}
"""What nobody needs to understand: it goes to quarantine as it came."""

HARMLESS: dict[str, Attack] = {
    "xinclude": _text(
        lambda s: s.document(
            f'<source_name><i:include xmlns:i="http://www.w3.org/2001/XInclude" href="{s.secret.as_uri()}"'
            ' parse="text"/></source_name>'
        )
    ),
    "stylesheet": _text(
        lambda s: s.document("", f'<?xml version="1.0"?><?xml-stylesheet href="{s.url}" type="text/xsl"?>')
    ),
    "schema": _text(
        lambda s: s.document(
            "", on_root=f' xmlns:s="http://www.w3.org/2001/XMLSchema-instance" s:schemaLocation="urn:x {s.url}"'
        )
    ),
    "php": _text(lambda s: s.document("<?php system('id') ?><source_name>x</source_name>")),
    "many-attributes": _text(
        lambda s: s.document("<source_name " + " ".join(f'a{n}="{n}"' for n in range(50_000)) + "/>")
    ),
    "many-namespaces": _text(
        lambda s: s.document(
            "<source_name " + " ".join(f'xmlns:n{n}="urn:{n}" n{n}:a="{n}"' for n in range(3_000)) + "/>"
        )
    ),
    "many-fields": _text(lambda s: s.document("".join(f"<f{n}>{n}</f{n}>" for n in range(50_000)))),
    "wide-text": _text(lambda s: s.document(f"<source_name>{'x' * 5_000_000}</source_name>")),
    "comments": _text(lambda s: s.document("<!-- <VerbaApi> -->" * 20_000)),
    "c1": _text(lambda s: s.document("<source_name>&#x9b;31m&#x202e;</source_name>")),
}
"""What is strange and means nothing: it may be stored as it is written, or kept in quarantine."""

OTHER_ENCODINGS: dict[str, Attack] = {
    "utf16": lambda s: s.document("", '<?xml version="1.0" encoding="UTF-16"?>').encode("utf-16"),
    "utf16-laughs": lambda s: (
        s.with_doctype(f"[{LAUGHS}]", "<source_name>&l9;</source_name>")
        .replace('"1.0"', '"1.0" encoding="UTF-16"', 1)
        .encode("utf-16")
    ),
    "utf16-attribute-laughs": lambda s: (
        s.with_doctype(f"[{LAUGHS}]", '<source_name note="&l9;"/>')
        .replace('"1.0"', '"1.0" encoding="UTF-16"', 1)
        .encode("utf-16")
    ),
    "utf16-file": lambda s: (
        s.with_doctype(f'[<!ENTITY x SYSTEM "{s.secret.as_uri()}">]')
        .replace('"1.0"', '"1.0" encoding="UTF-16"', 1)
        .encode("utf-16")
    ),
    "utf16-network": lambda s: (
        s.with_doctype(f'SYSTEM "{s.url}" [<!ENTITY % p SYSTEM "{s.url}"> %p;]', "")
        .replace('"1.0"', '"1.0" encoding="UTF-16"', 1)
        .encode("utf-16")
    ),
    "utf7-laughs": lambda s: (
        '<?xml version="1.0" encoding="UTF-7"?>'
        + _utf7(s.with_doctype(f"[{LAUGHS}]", "<source_name>&l9;</source_name>").partition("?>")[2])
    ).encode(),
    "utf7-file": lambda s: (
        '<?xml version="1.0" encoding="UTF-7"?>'
        + _utf7(s.with_doctype(f'[<!ENTITY x SYSTEM "{s.secret.as_uri()}">]').partition("?>")[2])
    ).encode(),
    "ebcdic-laughs": lambda s: (
        s.with_doctype(f"[{LAUGHS}]", "<source_name>&l9;</source_name>")
        .replace('"1.0"', '"1.0" encoding="IBM037"', 1)
        .encode("cp037")
    ),
}
"""In which a document type declaration cannot be seen in the bytes. Only files and HTTP: a stream is of UTF-8."""
