"""The HTTP history, asked over real connections to a site that misbehaves."""

from __future__ import annotations

import gzip
import logging
import socket
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from itertools import chain, repeat
from pathlib import Path
from re import escape as re_escape
from urllib.parse import urlencode
from xml.sax.saxutils import escape

import pytest
from support.history import Form, Reply, Row, Site, document, failure, rows_from, serving, settings

from etl.errors import CdrError, HistoryRefused, HistoryUnavailable, HistoryUnreadable, UsageError
from etl.history.http import LONGEST_WAIT, PAUSES, HistoryClient, NotUnderstood, Patience
from etl.history.paging import READINGS
from etl.model import Interval
from etl.protocol.markup import EXCERPT

NOON = datetime(2024, 6, 3, 12, 0, tzinfo=UTC)
WINDOW = Interval(NOON, NOON + timedelta(hours=1))
SHORT = Patience(connect=1.0, silence=0.2, whole=0.2)
LIMIT = 1_000_000


class Asker:
    """A client, and how long it slept."""

    def __init__(self, url: str, limit: int = LIMIT, patience: Patience = SHORT, **options: object) -> None:
        self.naps: list[float] = []
        own = settings(url, **options)
        self.client = HistoryClient(own, limit, sleep=self.naps.append, now=lambda: NOON, patience=patience)

    def ids(self, window: Interval = WINDOW) -> list[str]:
        with self.client:
            return [record.call_id for page in self.client.search(window) for record in page.found.records]

    def told(self) -> str:
        """What it says when it fails."""
        with pytest.raises(CdrError) as caught:
            self.ids()
        return f"{type(caught.value).__name__}: {caught.value}"


Ask = Callable[..., Asker]


@pytest.fixture
def ask() -> Iterator[Ask]:
    """Serves a site and gives a client of it."""
    with ExitStack() as stack:

        def make(site: Site, **options: object) -> Asker:
            url = stack.enter_context(serving(site))
            return Asker(url, **options)  # type: ignore[arg-type]

        yield make


def rows(count: int) -> list[Row]:
    return rows_from(NOON, count)


def ids(count: int) -> list[str]:
    return [row.call_id for row in rows(count)]


def times(count: int, reply: Reply) -> Callable[[Form], Reply | None]:
    """So many searches are answered like this."""
    left = list(repeat(reply, count))
    return lambda form: left.pop() if left else None


# What is asked


def test_a_search_asks_for_finished_calls_and_copies_in_order_of_start_in_the_zone_of_the_source(ask: Ask) -> None:
    site = Site()
    ask(site, timezone="America/New_York", api_key="k").ids()
    (form,) = site.asked
    assert form == {
        "action": "SearchCalls",
        "apiKey": "k",
        "responseType": "XML",
        "start": "2024-06-03 07:59:00.000",
        "end": "2024-06-03 09:01:00.000",
        "status": "recorded",
        "secondary": "1",
        "orderby": "start_time",
        "order": "asc",
        "pagelen": "1000",
        "returnMetadata": "1",
    }


def test_the_end_of_a_window_is_rounded_up_to_what_the_source_can_read(ask: Ask) -> None:
    site = Site()
    ask(site).ids(Interval(NOON + timedelta(microseconds=1), NOON + timedelta(seconds=1, microseconds=1)))
    assert (site.asked[0]["start"], site.asked[0]["end"]) == ("2024-06-03 11:59:00.000", "2024-06-03 12:01:01.001")


def test_a_page_was_observed_when_it_had_come(ask: Ask) -> None:
    with ask(Site(*rows(1))).client as client:
        assert {page.observed_at for page in client.search(WINDOW)} == {NOON}


@pytest.mark.parametrize("overlap", [False, True])
def test_it_does_not_matter_how_a_window_selects(ask: Ask, overlap: bool) -> None:
    early = Row("early", NOON - timedelta(minutes=5), NOON + timedelta(minutes=5))
    site = Site(early, *rows(2))
    site.overlap = overlap
    assert set(ask(site).ids()) == {*ids(2), *(["early"] if overlap else [])}


def test_another_tenant_gives_an_empty_answer_and_no_error(ask: Ask) -> None:
    site = Site(*rows(3))
    site.tenant = False
    assert ask(site).ids() == []


# Paging


@pytest.mark.parametrize("cap", [1, 2, 3, 1000])
@pytest.mark.parametrize("count", [1, 2, 5, 6])
def test_every_row_comes_whatever_the_page_length(ask: Ask, cap: int, count: int) -> None:
    assert set(ask(Site(*rows(count), cap=cap)).ids()) == set(ids(count))


def test_a_window_without_rows_costs_one_request_and_one_with_a_page_of_them_three(ask: Ask) -> None:
    empty, full = Site(), Site(*rows(5))
    assert ask(empty).ids() == []
    assert len(empty.asked) == 1
    ask(full).ids()
    assert [form.get("pagefirst") for form in full.asked] == [None, "5", "6"]


def test_where_a_row_appears_before_the_page_the_window_is_read_again(ask: Ask) -> None:
    site, late = Site(*rows(6), cap=3), rows_from(NOON + timedelta(milliseconds=500), 1, "late")

    def before(form: Form) -> None:
        if form.get("pagefirst") == "3" and late:
            site.rows.append(late.pop())

    site.before = before
    asker = ask(site)
    assert {*ids(6), "late-0"} <= set(asker.ids())
    assert asker.naps == [PAUSES[0]]


def test_where_a_row_vanishes_no_other_is_missed(ask: Ask) -> None:
    site = Site(*rows(6), cap=3)

    def before(form: Form) -> None:
        if form.get("pagefirst") == "3":
            site.rows = [row for row in site.rows if row.call_id != "call-0"]

    site.before = before
    assert set(ids(6)) - {"call-0"} <= set(ask(site).ids())


def test_rows_that_change_places_are_noticed(ask: Ask) -> None:
    """Calls that start together have no order; what a page gives twice, another leaves out."""
    site = Site(*(Row(f"call-{number}", NOON, NOON + timedelta(minutes=1)) for number in range(3)), cap=2)
    orders = iter([[0, 1, 2], [2, 1, 0]])

    def before(form: Form) -> None:
        if order := next(orders, None):
            site.rows = [row for number in order for row in site.rows if row.call_id == f"call-{number}"]

    site.before = before
    assert set(ask(site).ids()) == set(ids(3))


def test_a_row_that_a_page_has_twice_is_the_affair_of_the_source(ask: Ask) -> None:
    first, second, third = rows(3)
    asker = ask(Site(first, second, second, third))
    assert set(asker.ids()) == set(ids(3))
    assert not asker.naps


def test_a_set_that_never_holds_still_is_given_up(ask: Ask) -> None:
    site = Site(*rows(6), cap=3)
    site.before = lambda form: site.rows.insert(0, Row(f"x{len(site.asked)}", NOON, NOON))
    asker = ask(site)
    told = asker.told()
    assert told.startswith("HistoryUnreadable: ")
    assert "moved in every reading" in told
    assert len(asker.naps) == READINGS - 1


def test_a_set_that_never_holds_still_is_given_up_where_rows_come_one_by_one_too(ask: Ask) -> None:
    site = Site(*rows(4), cap=1)
    site.before = lambda form: site.rows.insert(0, Row(f"x{len(site.asked)}", NOON, NOON))
    assert "moved in every reading" in ask(site).told()


def test_a_source_that_counts_from_zero_is_noticed(ask: Ask) -> None:
    """Else its first row would be missing from every window."""
    site = Site(*rows(5))
    site.first = 0
    assert "pagefirst" in ask(site).told()


def test_a_source_that_does_not_page_at_all_is_noticed(ask: Ask) -> None:
    site = Site(*rows(5), cap=2)
    site.pages = False
    assert "pagefirst" in ask(site).told()


# Tokens


def test_a_login_goes_by_basic_and_its_token_serves_many_requests(ask: Ask) -> None:
    site = Site(*rows(5), cap=2, username="auditor", password="päss", key="k")
    assert set(ask(site, username="auditor", password="päss", api_key="k").ids()) == set(ids(5))
    assert site.requested_tokens == 1
    assert site.logins[0] == "auditor:päss"
    assert set(site.logins[1:]) == {None}


def test_where_basic_is_refused_the_login_goes_by_parameters_and_stays_with_them(ask: Ask) -> None:
    site = Site(*rows(5), cap=2, username="auditor", password="passing")
    site.basic = False
    site.forget_at = {2}
    asker = ask(site, username="auditor", password="passing")
    assert set(asker.ids()) == set(ids(5))
    assert [login for login in site.logins if login] == ["auditor:passing"]
    assert site.requested_tokens == 3


@pytest.mark.parametrize("status", [401, 403])
def test_basic_can_be_refused_by_http_too(ask: Ask, status: int) -> None:
    site = Site(*rows(1), username="auditor", password="passing")
    site.basic = False
    site.token_replies = [Reply(b"<html>no</html>", status)]
    assert set(ask(site, username="auditor", password="passing").ids()) == set(ids(1))


def test_without_a_user_name_no_token_is_asked_for_until_one_is_needed(ask: Ask) -> None:
    site = Site(*rows(1), key="k")
    ask(site, api_key="k").ids()
    assert site.requested_tokens == 0
    site.wants_token = True
    assert set(ask(site, api_key="k").ids()) == set(ids(1))
    assert site.requested_tokens == 1
    assert site.logins == [None] * len(site.logins)


def test_an_expired_token_is_renewed(ask: Ask) -> None:
    site = Site(*rows(9), cap=3, username="auditor", password="passing")
    site.forget_at = {2, 4}
    asker = ask(site, username="auditor", password="passing")
    assert set(asker.ids()) == set(ids(9))
    assert site.issued == 3
    assert not asker.naps


def test_a_token_that_is_never_accepted_is_not_renewed_for_ever(ask: Ask) -> None:
    site = Site(*rows(1), username="auditor", password="passing")
    site.before = lambda form: Reply(failure(-43, "Token expired"))
    told = ask(site, username="auditor", password="passing").told()
    assert told.startswith("HistoryRefused: ")
    assert "Token expired (code -43); a new token is expired at once" in told
    assert site.requested_tokens == 2


def test_a_wrong_login_is_tried_both_ways_and_no_more(ask: Ask) -> None:
    site = Site(username="auditor", password="passing")
    told = ask(site, username="auditor", password="wrong").told()
    assert told.startswith("HistoryRefused: ")
    assert "Wrong login (code -40); check history.http.username and history.http.password" in told
    assert len(site.asked) == 2


def test_a_wrong_key_stops_at_once_and_is_not_repeated_where_the_source_repeats_it(ask: Ask) -> None:
    site = Site(username="auditor", password="passing", key="right")
    told = ask(site, username="auditor", password="passing", api_key="wr0ng").told()
    assert "Wrong API key *** (code -41); check history.http.api_key" in told
    assert len(site.asked) == 1


@pytest.mark.parametrize("code", [-41, 2, -20])
def test_a_source_that_repeats_the_form_does_not_show_our_secrets(
    ask: Ask, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str], code: int
) -> None:
    password, key = "p&ss  w'rd/é+1", "k<y %41"
    site = Site(username="auditor", password="other")
    echo = escape(urlencode({"password": password, "apiKey": key}) + " " + escape(f"{key} {password}"), {"'": "&apos;"})
    site.token_replies = [Reply(failure(code, f"Wrong request: {echo}"))] * 20
    told = ask(site, username="auditor", password=password, api_key=key).told()
    assert "Wrong request: password=***&apiKey=*** *** ***" in told
    assert "w%27rd" not in told + caplog.text + "".join(capsys.readouterr())


def test_no_secret_stands_in_a_url_or_a_log(ask: Ask, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    site = Site(*rows(3), username="auditor", password="hush", key="whisper")
    site.before = times(1, Reply(status=500))
    ask(site, username="auditor", password="hush", api_key="whisper").ids()
    urls = "\n".join(record.getMessage() for record in caplog.records if record.name == "httpx")
    assert urls
    assert not any(secret in urls for secret in ("hush", "whisper", "token-1", "auditor"))


# Failures that pass


PASSING = {
    "500": Reply(b"<html>Oops</html>", 500),
    "503": Reply(b"", 503),
    "429": Reply(b"", 429),
    "code 2": Reply(failure(2, "Processing Error: no database")),
    "malformed": Reply(b'<VerbaApi><Response code="0""></VerbaApi>'),
    "empty": Reply(b""),
    "a page of a proxy": Reply(b"<html><body>Welcome</body></html>"),
    "no code": Reply(b"<VerbaApi><Response/></VerbaApi>"),
    "cut off": Reply(pieces=iter([]), headers={"Content-Length": "100"}),
}


@pytest.mark.parametrize("name", PASSING)
def test_what_may_pass_is_tried_again(ask: Ask, name: str) -> None:
    site = Site(*rows(2))
    site.before = times(2, PASSING[name])
    asker = ask(site)
    assert set(asker.ids()) == set(ids(2))
    assert asker.naps == list(PAUSES[:2])


@pytest.mark.parametrize(
    ("name", "told", "of_window"),
    [
        ("500", "HTTP 500 Internal Server Error", True),
        ("code 2", "Processing Error: no database (code 2)", True),
        ("cut off", "the connection broke", True),
        ("429", "HTTP 429", False),
        ("malformed", "not XML: not_well_formed", True),
    ],
)
def test_what_does_not_pass_is_given_up_with_the_reason(ask: Ask, name: str, told: str, of_window: bool) -> None:
    """`of_window`: the history answers, so another window may fare better."""
    site = Site(*rows(2))
    site.before = times(99, PASSING[name])
    asker = ask(site)
    with pytest.raises(HistoryUnavailable, match=re_escape(told)) as caught:
        asker.ids()
    assert isinstance(caught.value, HistoryUnreadable) == of_window
    assert asker.naps == list(PAUSES)
    assert len(site.asked) == len(PAUSES) + 1


@pytest.mark.parametrize(
    ("name", "reason"), [("malformed", "not_well_formed"), ("a page of a proxy", "not_understood")]
)
def test_an_answer_that_stays_incomprehensible_is_kept_for_quarantine(ask: Ask, name: str, reason: str) -> None:
    site = Site()
    site.before = times(99, PASSING[name])
    with pytest.raises(NotUnderstood) as caught:
        ask(site).ids()
    kept = caught.value.quarantined
    assert (kept.origin, kept.reason, kept.body, kept.observed_at) == ("http", reason, PASSING[name].body, NOON)
    assert kept.note == {"kind": "http"}


def test_an_answer_to_a_login_is_not_kept_because_a_token_may_stand_in_it(ask: Ask) -> None:
    site = Site(username="auditor", password="passing")
    site.token_replies = [Reply(b'<Response token="secret"')] * (len(PAUSES) + 1)
    told = ask(site, username="auditor", password="passing").told()
    assert told.startswith("HistoryUnavailable: ")
    assert "secret" not in told


@pytest.mark.parametrize(
    ("header", "nap"),
    [
        ("7", 7.0),
        ("100000", LONGEST_WAIT),
        ("Mon, 03 Jun 2024 12:00:09 GMT", 9.0),
        ("Mon, 03 Jun 2024 11:00:00 GMT", PAUSES[0]),
        ("soon", PAUSES[0]),
        ("0", PAUSES[0]),
    ],
)
def test_a_source_that_asks_for_peace_gets_it_within_reason(ask: Ask, header: str, nap: float) -> None:
    site = Site()
    site.before = times(1, Reply(status=429, headers={"Retry-After": header}))
    asker = ask(site)
    asker.ids()
    assert asker.naps == [nap]


def test_rows_that_came_before_a_failure_are_not_lost_with_it(ask: Ask) -> None:
    site = Site(*rows(4), cap=2)
    site.before = lambda form: Reply(status=500) if "pagefirst" in form else None
    with ask(site).client as client:
        pages = client.search(WINDOW)
        assert list(next(pages).found.names) == ids(2)
        with pytest.raises(HistoryUnavailable):
            next(pages)


# Failures that stay


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (Reply(failure(-20, "Bad parameter")), "Bad parameter (code -20); is history.http.url"),
        (Reply(failure(-99, "Odd")), "Odd (code -99); the source gives no other reason"),
        (Reply(failure(-40, "No"), 500), "No (code -40); check history.http.username"),
        (Reply(b"", 401), "HTTP 401 Unauthorized (code -40); check history.http.username"),
        (Reply(b"", 404), "HTTP 404 Not Found; check history.http.url"),
        (Reply(failure(2, "Gone"), 410), "HTTP 410 Gone: Gone; check history.http.url"),
        (Reply(b"", 302, {"Location": "https://other.example/x?y=z"}), "redirects to 'https://other.example/x'"),
    ],
)
def test_a_refusal_is_told_at_once_with_what_to_do(ask: Ask, reply: Reply, told: str) -> None:
    site = Site()
    site.before = lambda form: reply
    asker = ask(site)
    with pytest.raises(HistoryRefused, match=re_escape(told)):
        asker.ids()
    assert not asker.naps
    assert len(site.asked) == 1


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("https://user:hush@h/verba/api", "neither a login nor parameters"),
        ("https://h/verba/api?apiKey=hush", "neither a login nor parameters"),
        ("verba.example/api", "write a URL such as"),
        ("ftp://h/api", "write a URL such as"),
        ("http://h:port/", "is no URL"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_without_showing_a_secret(url: str, told: str) -> None:
    with pytest.raises(UsageError, match=told) as caught:
        Asker(url)
    assert "hush" not in str(caught.value)


def test_nobody_at_the_other_end_is_tried_again() -> None:
    with serving(Site()) as url:
        pass
    asker = Asker(url)
    assert "cannot connect" in asker.told()
    assert asker.naps == list(PAUSES)


# Answers without end


@pytest.mark.slow
def test_an_answer_that_trickles_ends(ask: Ask) -> None:
    site = Site()
    site.before = lambda form: Reply(pieces=repeat(b" "), pause=0.02)
    assert "the answer was not whole within 0.2 s" in ask(site).told()


@pytest.mark.slow
def test_silence_ends(ask: Ask) -> None:
    site = Site()
    site.before = lambda form: Reply(pieces=repeat(b" "), pause=60)
    assert "nothing came for 0.2 s" in ask(site).told()


def test_an_endless_answer_ends_and_its_beginning_is_kept(ask: Ask) -> None:
    site = Site()
    site.before = lambda form: Reply(pieces=chain([b"<VerbaApi>"], repeat(b"<row/>" * 1000)))
    asker = ask(site, limit=200_000, patience=Patience(10, 10, 10))
    with pytest.raises(NotUnderstood, match=r"worker\.document_limit") as caught:
        asker.ids()
    assert not asker.naps
    assert caught.value.quarantined.reason == "too_large"
    assert caught.value.quarantined.body.startswith(b"<VerbaApi><row/>")
    assert len(caught.value.quarantined.body) == 2 * EXCERPT
    assert "SHA-256" in str(caught.value.quarantined.note["detail"])


# TLS


def test_a_certificate_that_fits_is_accepted(keys: Path) -> None:
    with serving(Site(*rows(2)), keys) as url:
        assert set(Asker(url, ca=keys / "authority.pem").ids()) == set(ids(2))


@pytest.mark.parametrize(
    ("ca", "host", "told"),
    [
        ("stranger.pem", "127.0.0.1", "its certificate is not trusted"),
        (None, "127.0.0.1", "set history.http.ca to the authority that signed it"),
        ("authority.pem", "localhost", "its certificate is for another name"),
    ],
)
def test_a_certificate_that_does_not_fit_is_refused_at_once(keys: Path, ca: str | None, host: str, told: str) -> None:
    site = Site()
    with serving(site, keys) as url:
        asker = Asker(url.replace("127.0.0.1", host), ca=keys / ca if ca else None)
        with pytest.raises(HistoryRefused, match=told):
            asker.ids()
    assert not asker.naps
    assert not site.asked


def test_tls_with_a_source_that_speaks_none_is_refused_at_once(keys: Path) -> None:
    with serving(Site()) as url:
        asker = Asker(url.replace("http:", "https:"), ca=keys / "authority.pem")
        assert "does not speak TLS on this port" in asker.told()
    assert not asker.naps


@pytest.mark.slow
def test_tls_with_a_source_that_waits_for_more_names_tls_and_no_firewall(keys: Path) -> None:
    """A server without TLS may take the first bytes of a handshake for the beginning of a request."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://127.0.0.1:{silent.getsockname()[1]}/api"
        told = Asker(url, patience=Patience(connect=0.1, silence=5, whole=5), ca=keys / "authority.pem").told()
    assert "TLS got no answer within 0.1 s; is the port of history.http.url right, or should it be http?" in told


def test_a_file_of_authorities_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"history\.http\.ca"):
        Asker("https://h/api", ca=tmp_path / "none.pem")


def test_a_proxy_of_the_environment_sees_nothing(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    assert ask(Site(*rows(1))).ids()


# What comes over the wire, and what it may cost


def test_a_packed_answer_is_read(ask: Ask) -> None:
    site = Site(*rows(3))
    plain = site.page

    def packed(form: Form) -> Reply:
        return Reply(gzip.compress(document(f"<rows>{plain(form)}</rows>")), headers={"Content-Encoding": "gzip"})

    site.before = packed
    assert sorted(set(ask(site).ids())) == ids(3)


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_an_answer_that_unpacks_to_gigabytes_is_refused_in_little_memory(ask: Ask, layers: int) -> None:
    """Packed three times it was a bomb: each layer makes a thousand bytes of one."""
    body = b" " * 50_000_000
    for _ in range(layers):
        body = gzip.compress(body, 1)
    site = Site()
    site.before = lambda _: Reply(body, headers={"Content-Encoding": ", ".join(["gzip"] * layers)})
    asker = ask(site)
    tracemalloc.start()
    try:
        told = asker.told()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert ("worker.document_limit" if layers == 1 else "encoded in a way that we do not accept") in told
    assert peak < len(body) + 5 * LIMIT


def test_an_answer_that_is_not_packed_as_it_says_is_not_understood(ask: Ask) -> None:
    site = Site()
    site.before = lambda _: Reply(b"<VerbaApi/>", headers={"Content-Encoding": "gzip"})
    assert "no gzip, though it says so" in ask(site).told()


@pytest.mark.parametrize(
    "moment", ["Mon, 01 Jan 99999999999999999999 00:00:00 GMT", "Mon, 01 Jan 2024 00:00:00 +99999999999999"]
)
def test_a_pause_that_no_calendar_can_hold_is_none(ask: Ask, moment: str) -> None:
    site = Site(*rows(1))
    site.before = times(1, Reply(b"", status=429, headers={"Retry-After": moment}))
    asker = ask(site)
    assert asker.ids()
    assert asker.naps == [PAUSES[0]]


def test_a_head_that_repeats_our_password_is_told_without_it() -> None:
    """What is wrong with a broken head was told in the source's own bytes."""
    answer = b"HTTP/1.1 200 OK\r\nhunter-2 is no header\r\n\r\n"
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as pool:
        pool.submit(_give, server, answer, len(PAUSES) + 1)
        url = f"http://127.0.0.1:{server.getsockname()[1]}/api"
        told = Asker(url, username="auditor", password="hunter-2").told()
    assert "the connection broke" in told
    assert "hunter-2" not in told


def _give(server: socket.socket, answer: bytes, count: int) -> None:
    for _ in range(count):
        connection, _ = server.accept()
        with connection:
            connection.recv(65_536)
            connection.sendall(answer)


def test_a_redirect_that_repeats_our_password_is_told_without_it(ask: Ask) -> None:
    site = Site()
    site.before = lambda _: Reply(status=302, headers={"Location": "/login/hunter-2"})
    told = ask(site, username="auditor", password="hunter-2").told()
    assert "redirects to '/login/***'" in told


@pytest.mark.parametrize("url", ["http://h:99999/", "http://xn--/", "http://[::1"])
def test_a_url_that_no_connection_can_have_is_refused_as_configuration(url: str) -> None:
    with pytest.raises(UsageError, match=r"history\.http\.url"):
        Asker(url)
