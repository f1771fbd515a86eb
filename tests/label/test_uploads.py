"""What a client sends is one usable volume."""

import nibabel
import numpy as np
import pytest

from revoxel.label.refusals import RefusedError
from revoxel.label.uploads import check_volume


def saved(path, data):
    nibabel.save(nibabel.Nifti1Image(data, np.eye(4)), path)
    return path


def test_volume_is_taken(brain_file):
    check_volume(brain_file)


def test_text_is_refused_without_the_place_it_was_received_at(tmp_path):
    path = tmp_path / "a.nii.gz"
    path.write_text("no image")
    with pytest.raises(RefusedError, match="NIfTI") as error:
        check_volume(path)
    assert str(tmp_path) not in str(error.value)


@pytest.mark.parametrize("content", [np.zeros((4, 4, 4), np.float32), np.full((4, 4, 4), np.nan, np.float32)])
def test_useless_volumes_are_refused(tmp_path, content):
    with pytest.raises(RefusedError, match=r"^a\.nii"):
        check_volume(saved(tmp_path / "a.nii", content))


def test_size_is_judged_by_the_header_before_anything_is_unpacked(tmp_path):
    path = saved(tmp_path / "a.nii.gz", np.ones((8, 8, 8), np.uint8))
    with pytest.raises(RefusedError, match="at most 100 voxels"):
        check_volume(path, max_voxels=100)


def test_cut_off_file_is_refused(brain_file):
    brain_file.write_bytes(brain_file.read_bytes()[:-200])
    with pytest.raises(RefusedError):
        check_volume(brain_file)
