"""Laws that hold for any drafts, any sizes of segments, and any way of reading and discarding."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from etl.journal import Journal, Limits, adopt
from etl.model import Draft, What

times = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
drafts = st.builds(
    Draft,
    observed_at=times,
    recorder=st.text(st.characters(exclude_categories=["Cs"])),
    session=st.uuids(),
    what=st.sampled_from(What),
    body=st.binary(max_size=200) | st.binary(min_size=20_000, max_size=20_000),
    note=st.dictionaries(st.text(), json, max_size=3),
)


@pytest.mark.slow
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(data=st.data(), written=st.lists(st.lists(drafts, max_size=3), max_size=5), segment=st.integers(1, 2_000))
def test_what_is_read_is_what_was_written_however_it_is_cut_up(
    data: st.DataObject, written: list[list[Draft]], segment: int
) -> None:
    with TemporaryDirectory() as folder:
        with Journal.create(Path(folder), Limits(segment_bytes=segment)) as journal:
            for batch in written:
                for commit in [journal.append(draft) for draft in batch]:
                    commit.result(10)
        (orphan,) = adopt(Path(folder)).journals
        expected = [draft for batch in written for draft in batch]
        after, newest = 0, datetime.min.replace(tzinfo=UTC)
        while page := orphan.read(after, data.draw(st.integers(1, 5)), data.draw(st.integers(1, 30_000))):
            for entry in page:
                draft = expected[after]
                after, newest = after + 1, max(newest, draft.observed_at)
                assert entry.sequence == after
                assert entry.draft.observed_at == newest
                assert (entry.draft.what, entry.draft.session) == (draft.what, draft.session)
                assert (entry.draft.body, entry.draft.note) == (draft.body, draft.note)
                assert entry.draft.recorder == draft.recorder
            orphan.discard(data.draw(st.integers(0, after)))
        assert after == len(expected) == orphan.last_sequence
        orphan.remove(after)
