"""How a call's own element is kept in `cdr.fact`: compressed, with a first byte that names the format.

Format 0: as it is. Format 1: raw deflate, level 1, with `_COMMON_1` as preset dictionary. A dictionary is part of
the data that was written with it: it is never changed, a better one gets a new format. Format 2: nothing, for what was
erased.
"""

from __future__ import annotations

import zlib

from etl.errors import CdrError

_PLAIN = b"\x00"
_DEFLATED = b"\x01"
ERASED = b"\x02"
"""What is stored for an empty element: it was erased."""
_WINDOW = -13
"""8 kB hold nearly every element with the dictionary. For larger ones memory can come anew from the operating system
each time, at three times the cost."""
_WIDEST = -15

_COMMON_1 = (
    b"<participant><metadata><duration>00:0</duration><ms_conversation_id><cisco_guid><owner_eid><location_eid>"
    b"<agent_id><dialed_extension><recorded_extension><source_eth>00:</source_eth><source_device>SEP</source_device>"
    b"<destination_eth>00:</destination_eth><destination_device>SEP</destination_device>true</"
    b'<Call id="" native_id="" source_caller_id="" source_name="" destination_caller_id="" destination_name="" '
    b'start_time="2024-" end_time="2024-" cause_id="0"/>'
    b'<Call id="-11ee-"><native_id></native_id><source_caller_id>sip:</source_caller_id><source_name></source_name>'
    b"<destination_caller_id></destination_caller_id><destination_name></destination_name>"
    b"<start_time>2024-</start_time><end_time>2024-</end_time><cause_id>0</cause_id></Call>"
    b'<verbacdr state="1"><ccdr_id>-11ee-</ccdr_id><native_id>|1|-1</native_id><native_call_id></native_call_id>'
    b"<modality_id>voice</modality_id><location></location><source_ip>10.</source_ip>"
    b"<source_caller_id>sip:+1</source_caller_id><source_name></source_name><destination_ip>10.</destination_ip>"
    b"<destination_caller_id>sip:+1</destination_caller_id><destination_name></destination_name>"
    b"<start_time>2024-01-01 00:00:00.000</start_time><end_time>2024-01-01 00:00:00.000</end_time>"
    b"<audio_codec_id>4</audio_codec_id><video_codec_id>0</video_codec_id><direction_id>0</direction_id>"
    b"<cause_id>0</cause_id><signaling_id>2</signaling_id><recorder_service_id>1</recorder_service_id>"
    b"<ondemand>false</ondemand><conference>false</conference><platform_call_id></platform_call_id>"
    b"<manual>0</manual><do_not_delete>0</do_not_delete><secondary>false</secondary>"
    b"<recorded_party>false</recorded_party><meeting_id></meeting_id><shared_item><title></title></shared_item>"
    b"</verbacdr>"
)


def pack(element: bytes) -> bytes:
    """The bytes to store for an element; an empty one is one that was erased."""
    if not element:
        return ERASED
    deflate = zlib.compressobj(1, zlib.DEFLATED, _WINDOW, zdict=_COMMON_1)
    packed = deflate.compress(element) + deflate.flush()
    return _DEFLATED + packed if len(packed) < len(element) else _PLAIN + element


def unpack(stored: bytes) -> bytes:
    """The element as received, empty where it was erased. Raises `CdrError` for what `pack` did not write."""
    form, content = stored[:1], stored[1:]
    if form == _PLAIN or stored == ERASED:
        return content
    if form != _DEFLATED:
        raise CdrError(f"a stored element has the unknown format {form.hex() or 'none'}: is this version too old?")
    inflate = zlib.decompressobj(_WIDEST, zdict=_COMMON_1)
    try:
        element = inflate.decompress(content)
    except zlib.error as error:
        raise _damaged(str(error)) from error
    if not inflate.eof or inflate.unused_data:
        raise _damaged("more bytes than it has" if inflate.eof else "it has no end")
    return element


def _damaged(why: str) -> CdrError:
    return CdrError(f"a stored element cannot be decompressed ({why}): the database's data is damaged")
