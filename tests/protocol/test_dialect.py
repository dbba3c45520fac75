"""The dialect: defaults, overrides, and what a bad override says."""

from __future__ import annotations

import pytest

from etl.errors import UsageError
from etl.protocol import requests
from etl.protocol.dialect import Dialect


def test_without_overrides_the_dialect_is_the_documented_one() -> None:
    assert Dialect.from_overrides({}) == Dialect()


def test_overrides_take_the_place_of_defaults() -> None:
    dialect = Dialect.from_overrides(
        {
            "root": "Api",
            "keepalive_unit": 0.001,
            "id_names": ["uuid"],
            "finished_states": ["done"],
            "field_names": {"caller": "source_caller_id"},
        }
    )
    assert (dialect.root, dialect.keepalive_unit, dialect.id_names) == ("Api", 0.001, ("uuid",))
    assert dialect.finished_states == ("done",)
    assert dialect.field_names == {"caller": "source_caller_id"}


def test_the_probe_follows_the_list_request_unless_it_is_named() -> None:
    assert Dialect.from_overrides({"list_request": "Calls"}).probe_request == "Calls"
    assert Dialect.from_overrides({"list_request": "Calls", "probe_request": "Ping"}).probe_request == "Ping"


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("list_reqest", "x", 'did you mean "list_request"'),
        ("root", "v:Api", "without a prefix"),
        ("root", "", "name of an XML element"),
        ("call", 7, "name of an XML element"),
        ("id_attribute", "a b", "name of an XML element or attribute"),
        ("list_request", "", "not empty"),
        ("list_request", "a\x00b", "text"),
        ("keepalive_unit", 0, "number of seconds"),
        ("keepalive_unit", True, "number of seconds"),
        ("keepalive_unit", float("nan"), "number of seconds"),
        ("unknown_call_pattern", "(", "regular expression"),
        ("id_names", [], "list of texts"),
        ("finished_states", "1", "list of texts"),
        ("finished_states", [1], "text"),
        ("field_names", "x", "table"),
        ("field_names", {"caller": "source_number"}, "source_"),
    ],
)
def test_a_bad_override_is_refused_with_key_value_and_what_is_allowed(key: str, value: object, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        Dialect.from_overrides({key: value})
    assert f"dialect.{key}" in str(caught.value)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("field_names", {"caller": ["source_caller_id"]}),
        ("unknown_call_pattern", "x{99999999999999999999}"),
        ("unknown_call_pattern", "(" * 3000 + ")" * 3000),
        ("root", "x\u00b2"),
    ],
    ids=["a list for a field", "an absurd repetition", "deep parentheses", "no name in XML"],
)
def test_an_override_that_python_chokes_on_is_refused_too(key: str, value: object) -> None:
    with pytest.raises(UsageError, match=rf"dialect\.{key}"):
        Dialect.from_overrides({key: value})


@pytest.mark.parametrize("name", ["VerbaApi", "Űrlap", "_a-b.c", "日本"])
def test_whatever_is_accepted_as_a_name_can_be_sent(name: str) -> None:
    assert name.encode() in requests.call_list("1", Dialect.from_overrides({"root": name}))
