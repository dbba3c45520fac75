"""Elements come back byte for byte, and in a tenth of the room."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.errors import CdrError
from etl.store.elements import pack, unpack


@given(st.binary(max_size=2_000))
def test_an_element_comes_back_as_it_was(element: bytes) -> None:
    assert unpack(pack(element)) == element
    assert len(pack(element)) <= len(element) + 1


def test_a_typical_record_is_packed_small() -> None:
    record = (
        b'<verbacdr state="1"><ccdr_id>54bc7c43-561f-11e0-b752-005056c00008</ccdr_id>'
        b"<native_id>25579707|1|-1</native_id><modality_id>voice</modality_id><location>NY-RECORDER</location><source_ip>192.168.1.210</source_ip>"
        b"<source_caller_id>1000</source_caller_id><start_time>2011-03-24 14:02:19.673</start_time>"
        b"<end_time>2011-03-24 14:02:24.325</end_time><audio_codec_id>4</audio_codec_id>"
        b"<direction_id>0</direction_id><cause_id>0</cause_id></verbacdr>"
    )
    assert len(pack(record)) < len(record) / 2


def test_what_earlier_versions_stored_can_still_be_read() -> None:
    """Bytes of format 1: its dictionary must never change."""
    assert unpack(bytes.fromhex(STORED)) == b'<Call id="a"><cause_id>0</cause_id></Call>'


STORED = "0143946789a02c0b0b7f94b880e47100"


@pytest.mark.parametrize(
    "stored", [b"", b"\x07x", b"\x01\xff\xff", b"\x01", bytes.fromhex(STORED)[:-1], bytes.fromhex(STORED) + b"x"]
)
def test_what_was_not_packed_here_is_an_error(stored: bytes) -> None:
    with pytest.raises(CdrError):
        unpack(stored)
