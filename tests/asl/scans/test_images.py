"""Images of any number of axes are read as volumes of one grid; others are named."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest

from revoxel.asl.scans.images import image_shape, read_series


def saved(path, data):
    nibabel.save(nibabel.Nifti1Image(data, np.eye(4)), path)
    return path


@pytest.mark.parametrize(
    ("shape", "echo", "expected"),
    [
        ((3, 4, 5), None, (1, 3, 4, 5)),
        ((3, 4, 5, 2), None, (2, 3, 4, 5)),
        ((3, 4, 5, 2, 1), None, (2, 3, 4, 5)),
        ((3, 4, 5, 2, 3), 1, (2, 3, 4, 5)),
        ((3, 4, 5, 1, 3), 2, (1, 3, 4, 5)),
    ],
)
def test_volumes_come_first(tmp_path, shape, echo, expected):
    data = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    path = saved(tmp_path / "x.nii.gz", data)
    volumes, grid = read_series(path, echo)
    assert volumes.shape == image_shape(path, echo) == expected
    assert grid.shape == expected[1:]
    full = data.reshape(*shape, *(1,) * (5 - len(shape)))[..., echo or 0]
    np.testing.assert_array_equal(volumes, np.moveaxis(full, -1, 0))


@pytest.mark.parametrize("echo", [None, 3])
def test_a_fifth_axis_needs_a_choice_that_exists(tmp_path, echo):
    path = saved(tmp_path / "x.nii.gz", np.zeros((3, 4, 5, 2, 3), np.float32))
    with pytest.raises(ValueError, match=f"--echo must be 0 to 2, got {echo}; pass --echo 0"):
        read_series(path, echo)


@pytest.mark.parametrize("shape", [(3, 4), (3, 4, 5, 2, 1, 2)])
def test_other_axes_are_refused(tmp_path, shape):
    path = saved(tmp_path / "x.nii.gz", np.zeros(shape, np.float32))
    with pytest.raises(ValueError, match="must have axes i, j, k, volume, got shape"):
        image_shape(path)


def test_complex_images_are_refused(tmp_path):
    path = saved(tmp_path / "x.nii.gz", np.zeros((3, 4, 5), np.complex64))
    with pytest.raises(ValueError, match=r"x.nii.gz must hold one real number per voxel, got complex64"):
        read_series(path)


def test_a_file_that_is_no_image_is_named(tmp_path):
    path = tmp_path / "x.nii.gz"
    path.write_text("not an image")
    with pytest.raises(ValueError, match=r"x.nii.gz must be a readable image"):
        read_series(path)


def test_an_absent_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"x.nii must be an existing image, got nothing there"):
        read_series(tmp_path / "x.nii")


def test_a_header_without_directions_is_named(tmp_path):
    path = tmp_path / "x.nii"
    image = nibabel.Nifti1Image(np.zeros((3, 4, 5), np.float32), np.eye(4))
    image.set_sform(np.diag([0.0, 1, 1, 1]), code=1)
    nibabel.save(image, path)
    with pytest.raises(ValueError, match=r"x.nii: "):
        read_series(path)
