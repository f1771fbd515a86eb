"""The datastore, without a server around it."""

import shutil
from pathlib import Path

import pytest

pytest.importorskip("monailabel", reason="monailabel has an environment of its own: make label-test")

from revoxel.label.refusals import RefusedError
from revoxel.label.store import ScanStore


@pytest.fixture
def store(scan):
    return ScanStore(scan.parent, auto_reload=False)


def test_full_disk_leaves_no_half_image(store, scan, monkeypatch):
    def copy_half(source, target):
        with Path(target).open("wb") as file:
            file.write(b"half")
        raise OSError(28, "No space left on device", str(target))

    monkeypatch.setattr(shutil, "copy", copy_half)
    with pytest.raises(OSError, match="No space"):
        store.add_image("sub-02_T1w", str(scan), {})
    store.refresh()
    assert store.list_images() == ["sub-01_T1w"]
    assert not (store.studies / "sub-02_T1w.nii.gz").exists()


def test_pairs_are_scans_with_a_truth(store, scan):
    assert store.pairs() == []
    store.save_label("sub-01_T1w", str(scan), "final", {})
    (pair,) = store.pairs()
    assert pair.scan == scan
    assert pair.truth == (scan.parent / "labels" / "final" / scan.name)


def test_index_that_names_a_place_elsewhere_is_not_followed(store, scan):
    store._datastore.objects["../secret"] = store._datastore.objects["sub-01_T1w"]
    with pytest.raises(RefusedError, match="id must be"):
        store.get_image_uri("../secret")
    with pytest.raises(RefusedError, match="id must be"):
        store.get_label_uri("../secret", "final")
