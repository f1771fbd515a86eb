"""Files that belong together appear together."""

from __future__ import annotations

from pathlib import Path

import pytest

from revoxel.core.staging import all_or_nothing


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_nothing_is_visible_before_the_block_succeeds(tmp_path) -> None:
    with all_or_nothing(tmp_path / "out", "a.json") as staged:
        (staged / "a.nii").write_text("map")
        (staged / "a.json").write_text("record")
        assert not [name for name in names(tmp_path / "out") if not name.startswith(".")]
    assert names(tmp_path / "out") == {"a.nii", "a.json"}


def test_a_block_that_fails_leaves_older_results_and_nothing_else(tmp_path) -> None:
    (tmp_path / "a.json").write_text("old record")
    (tmp_path / "a.nii").write_text("old map")

    def fail() -> None:
        with all_or_nothing(tmp_path, "a.json", [tmp_path / "a.nii"]) as staged:
            (staged / "a.nii").write_text("new map")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    assert names(tmp_path) == {"a.json", "a.nii"}
    assert (tmp_path / "a.nii").read_text() == "old map"


def test_older_results_that_were_not_made_again_go(tmp_path) -> None:
    old = [tmp_path / "a.nii", tmp_path / "a_sd.nii"]
    for path in old:
        path.write_text("old")
    with all_or_nothing(tmp_path, "a.json", old) as staged:
        (staged / "a.nii").write_text("new")
    assert names(tmp_path) == {"a.nii"}
    assert (tmp_path / "a.nii").read_text() == "new"


def test_no_record_vouches_for_files_of_which_some_are_missing(tmp_path, monkeypatch) -> None:
    (tmp_path / "a.json").write_text("old record")
    moved: list[str] = []
    replace = Path.replace

    def interrupted(source: Path, target: Path) -> Path:
        if moved:
            raise OSError("disk full")
        moved.append(source.name)
        return replace(source, target)

    def write() -> None:
        with all_or_nothing(tmp_path, "a.json") as staged:
            for name in ("a.json", "a_sd.nii", "a.nii"):
                (staged / name).write_text("new")

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(OSError, match="disk full"):
        write()
    assert names(tmp_path) == {moved[0]}
    assert moved[0] != "a.json"
