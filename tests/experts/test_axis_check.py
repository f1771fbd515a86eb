"""The axis check: finds thick axes that were interpolated, real and simulated."""

import numpy as np
import pytest

from revoxel.core.geometry import Grid, resample
from revoxel.core.volumes import Volume, read_volume
from revoxel.experts.axis_check import Detail, axis_check
from revoxel.experts.axis_energy import centred, difference
from revoxel.experts.profiles import SliceProfile
from revoxel.experts.simulate import simulate


@pytest.fixture(scope="module")
def fine(brain, brain_affine) -> Volume:
    return Volume(np.array(brain), Grid(brain.shape, brain_affine))


def test_isotropic_texture_is_fine_along_all_axes(fine) -> None:
    result = axis_check(fine)
    assert result.thick_axes == ()
    assert set(result.detail) == {Detail.FINE}
    assert "truly" in result.verdict


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_interpolated_thick_axis_is_found(axis: int, fine) -> None:
    thick = simulate(fine, profile=SliceProfile.gauss(4), separation_mm=4, axis=axis)
    interpolated = Volume(resample(thick.data, thick.grid, fine.grid), fine.grid)
    result = axis_check(interpolated)
    assert result.thick_axes == (axis,)
    assert f"axis {axis} and interpolated" in result.verdict


def test_rim_of_a_stripped_brain_hides_nothing(fine) -> None:
    thick = simulate(fine, profile=SliceProfile.gauss(4), separation_mm=4, axis=2)
    interpolated = np.where(fine.data > 0, np.maximum(resample(thick.data, thick.grid, fine.grid), 1), 0)
    assert axis_check(Volume(interpolated.astype(np.float32), fine.grid)).thick_axes == (2,)


def test_coarse_axis_is_judged_by_the_header(fine) -> None:
    thick = simulate(fine, profile=SliceProfile.gauss(3), separation_mm=3, axis=2)
    result = axis_check(thick)
    assert result.thick_axes == (2,)
    assert "by the header" in result.verdict


def test_small_volume_is_refused(fine) -> None:
    data = np.array(fine.data[:, :, :8])
    with pytest.raises(ValueError, match="at least 9 voxels"):
        axis_check(Volume(data, Grid(data.shape, np.eye(4))))


@pytest.mark.reference
def test_differences_are_numpys_and_centred() -> None:
    data = np.random.default_rng(0).standard_normal((7, 9, 8)).astype(np.float32)
    for order in (1, 2, 3, 4):
        inner = difference(data, order, 1)[:, order:-order]
        np.testing.assert_allclose(np.abs(inner), np.abs(np.diff(data, n=order, axis=1)), atol=1e-5)
    rough = centred(difference(data, 2, 1), 2, 1)
    assert rough.shape == data.shape
    np.testing.assert_allclose(rough[:, 3], data[:, 2] - 2 * data[:, 3] + data[:, 4], atol=1e-5)


def test_true_tumour_volume_passes_and_its_interpolated_sister_is_found(data_path) -> None:
    name = "mri/brats_gli_00001/BraTS-GLI-00001-000-{}.nii.gz"
    true, interpolated = (axis_check(read_volume(data_path(name.format(pulse)))) for pulse in ("t1c", "t1n"))
    assert true.thick_axes == ()
    assert interpolated.thick_axes == (2,)
