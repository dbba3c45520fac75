"""Ids: one spelling per call, and the time inside."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.calls.ids import UNTIMED, canonical, id_time

VENDOR = "54bc7c43-561f-11e0-b752-005056c00008"


@given(st.uuids(), st.sampled_from([str.upper, str.lower]), st.sampled_from(["", " ", "\n"]))
def test_a_uuid_has_one_spelling(uuid: UUID, case: Callable[[str], str], space: str) -> None:
    assert canonical(space + case(str(uuid)) + space) == str(uuid)


@pytest.mark.parametrize(
    "opaque",
    ["Call-7", "54BC7C43561F11E0B752005056C00008", "{54BC7C43-561F-11E0-B752-005056C00008}", VENDOR.upper() + "x"],
)
def test_any_other_id_keeps_its_case(opaque: str) -> None:
    assert canonical(f" {opaque} ") == opaque
    assert id_time(opaque) == UNTIMED


@given(st.text())
def test_ids_are_total_and_the_spelling_stable(text: str) -> None:
    assert canonical(canonical(text)) == canonical(text)
    assert id_time(canonical(text)) == id_time(text)


def test_the_vendors_sample_lies_about_a_second_before_its_call_in_utc() -> None:
    assert id_time(VENDOR) == datetime(2011, 3, 24, 14, 2, 18, 672851, tzinfo=UTC)
    assert id_time(VENDOR.upper()) == id_time(VENDOR)


@given(st.datetimes(min_value=datetime(1582, 10, 15), max_value=datetime(5236, 1, 1)))  # noqa: DTZ001
def test_the_time_put_into_an_id_comes_out(timed_id: Callable[[datetime], str], naive: datetime) -> None:
    time = naive.replace(tzinfo=UTC)
    assert id_time(timed_id(time)) == time


@given(st.uuids(version=1))
def test_the_time_is_that_of_the_standard_library(uuid: UUID) -> None:
    assert id_time(str(uuid)) == datetime(1582, 10, 15, tzinfo=UTC) + timedelta(microseconds=uuid.time // 10)


def test_absurd_times_are_returned_as_they_are() -> None:
    assert id_time("00000000-0000-1000-8000-000000000000").year == 1582
    assert id_time("ffffffff-ffff-1fff-8000-000000000000").year == 5236


@given(st.uuids(version=4))
def test_other_versions_carry_no_time(uuid: UUID) -> None:
    assert id_time(str(uuid)) == UNTIMED


def test_a_uuid_of_another_variant_carries_no_time() -> None:
    assert id_time("54bc7c43-561f-11e0-0752-005056c00008") == UNTIMED
