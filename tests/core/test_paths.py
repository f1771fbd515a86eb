"""Paths keep their links, BIDS names say what they say."""

from __future__ import annotations

from pathlib import Path

from revoxel.core.paths import absolute, dataset_root, entities


def test_links_are_not_followed(tmp_path, monkeypatch) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "key.nii").touch()
    (tmp_path / "data" / "sub-01").mkdir(parents=True)
    (tmp_path / "data" / "dataset_description.json").touch()
    link = tmp_path / "data" / "sub-01" / "sub-01_asl.nii"
    link.symlink_to(tmp_path / "store" / "key.nii")
    monkeypatch.chdir(tmp_path / "store")
    relative = link.parent.relative_to(tmp_path)
    assert absolute(Path("..") / relative / link.name) == link
    assert dataset_root(link) == tmp_path / "data"
    assert dataset_root(tmp_path / "store" / "key.nii") is None


def test_entities_keep_their_order_and_leave_the_suffix() -> None:
    found = entities("sub-01_ses-pre_acq-pcasl_run-2_asl")
    assert list(found.items()) == [("sub", "01"), ("ses", "pre"), ("acq", "pcasl"), ("run", "2")]
