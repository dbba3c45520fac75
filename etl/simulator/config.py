"""Everything about a simulated recorder that can be chosen."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from etl.errors import UsageError
from etl.simulator.faults import NO_FAULTS, Faults


@dataclass(frozen=True, slots=True)
class WireStyle:
    """One way of writing the same documents; a client has to understand them all.

    `attributes`: the fields of a `Call` stand as attributes, else as child elements. `declaration`: begins
    with an XML declaration. `pretty`: one element per line. `single_quotes`: around attributes. `comments`:
    a comment that holds a closing tag. `cdata`: text as CDATA. `bom`: begins with a byte order mark.
    `loose`: white space inside the closing tag and between documents.
    """

    attributes: bool = False
    declaration: bool = True
    pretty: bool = False
    single_quotes: bool = False
    comments: bool = False
    cdata: bool = False
    bom: bool = False
    loose: bool = False


PLAIN = WireStyle()
ALL_STYLES: tuple[WireStyle, ...] = (
    PLAIN,
    WireStyle(attributes=True),
    WireStyle(declaration=False),
    WireStyle(attributes=True, declaration=False, single_quotes=True),
    WireStyle(pretty=True),
    WireStyle(comments=True, cdata=True),
    WireStyle(bom=True, loose=True),
    WireStyle(pretty=True, attributes=True, comments=True, loose=True),
)
"""A choice that has every trait; a recorder with several styles picks one per document."""

Precision = Literal["milliseconds", "seconds", "minutes"]
"""How exactly a recorder writes its times; a call's true times are cut to it."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """A TLS server: PEM files. With `client_ca` clients may, with `client_required` must, show a certificate."""

    certificate: Path
    key: Path
    client_ca: Path | None = None
    client_required: bool = True


@dataclass(frozen=True, slots=True)
class HttpConfig:
    """The HTTP history.

    Empty `api_key` or `username`: none is asked for. `delay`: seconds after a call's end at which its row
    appears. `page_limit`: no page is longer, whatever was asked. `token_lifetime`: seconds.
    """

    port: int = 0
    api_key: str = field(default="", repr=False)
    username: str = ""
    password: str = field(default="", repr=False)
    timezone: str = "UTC"
    delay: float = 0.0
    page_limit: int = 1000
    token_lifetime: float = 3600.0

    def __post_init__(self) -> None:
        _check_zone("history", self.timezone)
        _check(self.page_limit > 0, "history", "page_limit must be at least 1")


@dataclass(frozen=True, slots=True)
class SimulatorConfig:
    """One simulated recorder. Spans are in seconds.

    Who and where: `name` (also seeds the dice), `location` (as its records name it; default: the name in
    capitals), `host`, `port` (0: any free one), `timezone` (IANA, of the local times it writes), `precision`
    of those times, `styles` (one is picked per document), `tls`.

    Traffic: `rate` calls per second (0: only scripted calls), each at least `duration_min` and on average
    `duration_mean` long, between `extensions` and the world; no new call after `max_calls` or `seconds`.
    The server stays up for `linger` after the last of a bounded traffic.

    Behaviour: `keepalive` interval (0: none is announced or sent); a record is finished `detail_delay` after
    the end, until then `before_detail` (`unfinished`: a record with state 0; `unknown`: cannot be found); a
    share `provisional` of the records still changes `settle_after` the end; a call is forgotten
    `forget_after` its end. A subscriber that leaves more than `send_limit` bytes unread is cut.

    History: `http`, and `files` (a folder for metadata files).
    """

    name: str = "recorder-1"
    location: str = ""
    host: str = "127.0.0.1"
    port: int = 0
    timezone: str = "UTC"
    precision: Precision = "milliseconds"
    styles: tuple[WireStyle, ...] = (PLAIN,)
    tls: TlsFiles | None = None
    seed: int = 0
    rate: float = 1.0
    duration_min: float = 2.0
    duration_mean: float = 30.0
    extensions: tuple[str, ...] = tuple(str(number) for number in range(1000, 1020))
    max_calls: int | None = None
    seconds: float | None = None
    linger: float = 0.0
    keepalive: float = 10.0
    detail_delay: float = 0.5
    before_detail: Literal["unfinished", "unknown"] = "unfinished"
    provisional: float = 0.2
    settle_after: float = 5.0
    forget_after: float = 3600.0
    send_limit: int = 64 * 1024 * 1024
    faults: Faults = NO_FAULTS
    http: HttpConfig | None = None
    files: Path | None = None

    def __post_init__(self) -> None:
        _check_zone(self.name, self.timezone)
        _check(self.rate >= 0, self.name, "rate must not be negative")
        _check(0 <= self.duration_min <= self.duration_mean, self.name, "duration_min must be 0 .. duration_mean")
        _check(bool(self.extensions), self.name, "extensions must not be empty")
        _check(bool(self.styles), self.name, "styles must not be empty")
        _check(self.detail_delay <= self.settle_after <= self.forget_after, self.name,
               "detail_delay, settle_after and forget_after must not decrease")  # fmt: skip

    @property
    def recorder_location(self) -> str:
        """The location that its records name."""
        return self.location or self.name.upper()


def _check(holds: bool, name: str, message: str) -> None:
    if not holds:
        raise UsageError(f"simulated recorder {name}: {message}")


def _check_zone(name: str, zone: str) -> None:
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError):
        raise UsageError(f"simulated recorder {name}: timezone {zone!r} is not an IANA zone") from None
