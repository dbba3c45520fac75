"""Requests: the bytes we send."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.errors import UsageError
from etl.protocol import requests
from etl.protocol.dialect import Dialect
from etl.protocol.documents import parse

ID = "54bc7c43-561f-11e0-b752-005056c00008"
DIALECT = Dialect()


def test_requests_are_those_of_the_samples(sample: Callable[[str], bytes]) -> None:
    assert requests.subscribe("1", ("1000", "1001"), DIALECT) == sample("subscribe-request").strip()
    assert requests.call_list("7", DIALECT) == sample("list-request").strip()
    assert requests.call_detail("8", ID, DIALECT) == sample("detail-request").strip()
    assert requests.probe("7", DIALECT) == sample("list-request").strip()


def test_no_extensions_ask_for_all_calls() -> None:
    assert b"<Extension" not in requests.subscribe("1", (), DIALECT)


def test_names_are_those_of_the_dialect() -> None:
    dialect = Dialect.from_overrides({"root": "R", "probe_request": "Ping", "type_attribute": "t", "request": "Q"})
    assert requests.probe("2", dialect).endswith(b'<R><Q t="Ping" id="2"/></R>')


@given(
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"])).filter(
        lambda t: not {"\ufffe", "\uffff"} & set(t)
    )
)
def test_an_id_comes_out_of_the_request_as_it_went_in(call_id: str) -> None:
    root = parse(requests.call_detail("8", call_id, DIALECT))
    assert root[0][0].get("id") == call_id


def test_an_extension_that_xml_cannot_carry_is_refused_with_its_value() -> None:
    with pytest.raises(UsageError, match=r"Extension '10\\x0000'"):
        requests.subscribe("1", ["10\0" + "00"], DIALECT)
