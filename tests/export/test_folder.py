"""A folder is written by one, holds nothing of others, and says when it is not what was written."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.errors import UsageError
from etl.lake import folder
from etl.lake.folder import LakeFailed, opened, path_of
from etl.lake.manifest import File, Manifest, load

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
EMPTY = Manifest(masked=False, schema="0004", start=NOON, end=NOON.replace(month=4), created=NOON)


def file(recorder: str | None = "ny-1", **changes: object) -> File:
    known = File(
        path=path_of("2026-03", recorder),
        month="2026-03",
        recorder=recorder,
        start=NOON,
        end=NOON.replace(month=4),
        rows=1,
        bytes=4,
        sha256="",
        min_start=NOON,
        max_start=None,
        fingerprint="-5",
        view="v",
        exported_at=NOON,
    )
    return replace(known, **changes)  # type: ignore[arg-type]


def put(place: folder.Folder, recorder: str | None = "ny-1", content: bytes = b"PAR1") -> File:
    path = path_of("2026-03", recorder)
    place.beside(path).write_bytes(content)
    sum_ = folder.checksum(place.beside(path))
    place.put(path)
    return file(recorder, bytes=len(content), sha256=sum_)


@given(st.lists(st.text(min_size=1, max_size=300).filter(lambda name: "\0" not in name), unique=True, max_size=5))
def test_every_recorder_has_a_folder_of_its_own_that_file_systems_take(names: list[str]) -> None:
    parts = [path_of("2026-03", name).split("/") for name in names]
    assert all(len(each) == 4 and len(each[2].encode()) < 255 for each in parts)
    assert len({each[2] for each in parts}) == len(names)


@given(st.text(min_size=1, max_size=40))
def test_a_name_is_read_back_from_its_folder(name: str) -> None:
    assert unquote(path_of("2026-03", name).split("/")[2].removeprefix("recorder=")) == name


def test_a_recorder_called_like_hives_null_or_nothing_at_all_is_not_taken_for_none() -> None:
    paths = [path_of("2026-03", name) for name in (None, "__HIVE_DEFAULT_PARTITION__", "", "%")]
    assert len(set(paths)) == 4
    assert unquote(paths[1]).split("/")[2] == "recorder=__HIVE_DEFAULT_PARTITION__"


def test_a_manifest_is_read_as_it_was_written(tmp_path: Path) -> None:
    told = EMPTY.with_files([file("ny-2"), file(None), file("München", min_start=None)])
    (tmp_path / "m.json").write_text(told.dump())
    assert load(tmp_path / "m.json") == told
    assert [each.recorder for each in told.files] == ["München", None, "ny-2"], "in the order of their paths"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "no manifest"),
        ("[]", "no manifest"),
        ('{"format": "other"}', "no manifest"),
        ('{"format": "cdr-archive calls", "version": 1}', "no manifest"),
        ('{"format": "cdr-archive calls", "version": 99}', "another layout"),
    ],
)
def test_what_is_no_manifest_of_ours_is_refused(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(UsageError, match=said), opened(tmp_path):
        pass


def test_a_folder_with_something_else_in_it_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "thesis.odt").write_text("years of work")
    with pytest.raises(UsageError, match="something else"), opened(tmp_path):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.odt"]


def test_what_others_lay_into_a_lake_stays(tmp_path: Path) -> None:
    with opened(tmp_path) as place:
        place.begin(EMPTY)
        known = put(place)
        place.save([known])
        (tmp_path / "README").write_text("ours")
        (tmp_path / known.path).with_name("notes.txt").write_text("ours")
        place.finish(EMPTY)
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {"README", "manifest.json", "calls/month=2026-03/recorder=ny-1/notes.txt"}


def test_two_exports_do_not_share_a_folder_at_a_time(tmp_path: Path) -> None:
    with opened(tmp_path), pytest.raises(UsageError, match="another export"), opened(tmp_path):
        pass
    with opened(tmp_path):
        pass


def test_a_folder_is_whole_or_unfinished_and_never_both(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no export"):
        folder.whole(tmp_path)
    with opened(tmp_path) as place:
        place.begin(EMPTY)
        with pytest.raises(UsageError, match="interrupted"):
            folder.whole(tmp_path)
        place.finish(EMPTY)
        assert folder.whole(tmp_path) == EMPTY
        place.begin(EMPTY)
        assert not (tmp_path / "manifest.json").exists()


def test_what_a_killed_export_left_is_cleared_away(tmp_path: Path) -> None:
    """A file that came to its place and was never noted, and one that was being written."""
    with opened(tmp_path) as place:
        place.begin(EMPTY)
        noted = put(place, "noted")
        place.save([noted])
        put(place, "never noted")
        place.beside(path_of("2026-03", "half")).write_bytes(b"PA")
    with opened(tmp_path) as place:
        assert place.manifest is not None
        assert place.manifest.files == (noted,)
        place.begin(place.manifest)
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*arquet*")] == [noted.path]


def test_what_a_killed_export_left_never_stands_beside_a_younger_manifest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its calls would pass for as young as that, and for erased."""
    with opened(tmp_path) as place:
        place.begin(EMPTY)
        put(place, "never noted")
        assert [each.month for each in place.left()] == ["2026-03"]

        def kill(*_: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(folder.Folder, "_save", kill)
        with pytest.raises(KeyboardInterrupt):
            place.begin(replace(EMPTY, created=NOON.replace(month=5)))
        assert place.left() == []


def test_a_kill_in_the_very_beginning_does_not_lock_the_folder(tmp_path: Path) -> None:
    (tmp_path / ".unfinished.json.part").write_text("{")
    with opened(tmp_path) as place:
        assert place.manifest is None
        place.begin(EMPTY)


def test_damage_is_named(tmp_path: Path) -> None:
    with opened(tmp_path) as place:
        place.begin(EMPTY)
        known = put(place)
    assert folder.damage(tmp_path, known) is None
    (tmp_path / known.path).write_bytes(b"PAR2")
    assert folder.damage(tmp_path, known) == "has another content"
    (tmp_path / known.path).write_bytes(b"PAR")
    assert folder.damage(tmp_path, known) == "has another size"
    (tmp_path / known.path).unlink()
    assert folder.damage(tmp_path, known) == "is missing"


def test_a_place_that_is_no_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LakeFailed, match="file"), opened(tmp_path / "file"):
        pass
    with pytest.raises(LakeFailed, match="file"), opened(tmp_path / "file" / "below"):
        pass


def test_a_file_that_was_damaged_at_its_size_is_not_kept(tmp_path: Path) -> None:
    with opened(tmp_path) as place:
        place.begin(EMPTY)
        known = put(place)
        assert place.holds(known)
        (tmp_path / known.path).write_bytes(b"PAR2")
        assert not place.holds(known)
