"""The simulator: positions, padding, noise, record."""

import numpy as np
import pytest

from laws import centroid_world
from revoxel.core.geometry import Grid, resample
from revoxel.core.provenance import read_sidecar
from revoxel.core.volumes import Volume, read_volume
from revoxel.experts.profiles import SliceProfile
from revoxel.experts.simulate import Acquisition, default_axis, simulate, write_simulation


def oblique_affine(spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> np.ndarray:
    angle = 0.3
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    tilt = np.array([[1, 0, 0], [0, np.cos(0.2), -np.sin(0.2)], [0, np.sin(0.2), np.cos(0.2)]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ tilt @ np.diag(spacing_mm)
    affine[:3, 3] = (-11.0, 7.0, 3.0)
    return affine


def sphere(shape: tuple[int, int, int], affine: np.ndarray) -> Volume:
    centre = (np.array(shape) - 1) / 2 + np.array([0.7, -0.4, 1.3])
    distance = np.linalg.norm(np.indices(shape) - centre[:, None, None, None], axis=0)
    return Volume(np.clip((11.0 - distance) / 5, 0, 1).astype(np.float32), Grid(shape, affine))


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("separation_mm", [3.0, 5.0, 4.3])
@pytest.mark.parametrize("profile", ["gauss:5", "rect:4", "slr:6"])
def test_sphere_stays_where_it_is_there_and_back(axis: int, separation_mm: float, profile: str) -> None:
    fine = sphere((41, 42, 43), oblique_affine())
    thick = simulate(fine, profile=SliceProfile.parse(profile), separation_mm=separation_mm, axis=axis)
    truth = centroid_world(fine.data, fine.grid.affine)
    assert np.linalg.norm(centroid_world(thick.data, thick.grid.affine) - truth) < 0.1
    restored = resample(thick.data, thick.grid, fine.grid)
    assert np.linalg.norm(centroid_world(restored, fine.grid.affine) - truth) < 0.1


@pytest.mark.parametrize("size", [20, 21, 22, 23, 24])
def test_odd_sizes_are_padded_never_shifted(size: int) -> None:
    data = np.broadcast_to(np.arange(size, dtype=np.float32), (9, 9, size)).copy()
    fine = Volume(data, Grid(data.shape, np.eye(4)))
    thick = simulate(fine, profile=SliceProfile.rect(5), separation_mm=5, axis=2)
    assert thick.grid.shape == (9, 9, -(-size // 5))
    assert thick.grid.affine[2, 3] == pytest.approx(2.0)
    np.testing.assert_allclose(thick.data[4, 4, : size // 5], np.arange(size // 5) * 5 + 2, atol=1e-4)


def test_noise_has_the_stated_level_and_spares_the_stripped_background() -> None:
    data = np.zeros((40, 40, 40), dtype=np.float32)
    data[8:32, 8:32, :] = 200
    fine = Volume(data, Grid(data.shape, np.eye(4)))
    noisy = simulate(fine, profile=SliceProfile.rect(4), separation_mm=4, axis=2, noise_std=0.05, seed=3)
    assert (noisy.data[:8] == 0).all()
    assert noisy.data[8:32, 8:32].std() == pytest.approx(0.05 * 200, rel=0.1)
    again = simulate(fine, profile=SliceProfile.rect(4), separation_mm=4, axis=2, noise_std=0.05, seed=3)
    np.testing.assert_array_equal(noisy.data, again.data)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"separation_mm": 0.5}, "at least the voxel size"),
        ({"axis": 3}, "axis must be 0, 1 or 2"),
        ({"noise_std": -0.1}, "noise_std must be"),
        ({"separation_mm": float("nan")}, "separation_mm must be"),
    ],
)
def test_impossible_acquisitions_are_refused(changed: dict, message: str, brain, brain_affine) -> None:
    volume = Volume(np.array(brain), Grid(brain.shape, brain_affine))
    settings = {"profile": SliceProfile.gauss(5), "separation_mm": 5.0, "axis": 2, **changed}
    with pytest.raises(ValueError, match=message):
        simulate(volume, **settings)


def test_default_axis_is_the_coarsest_or_the_one_nearest_head_foot() -> None:
    assert default_axis(Grid((9, 9, 9), np.diag([1, 3, 1, 1.0]))) == 1
    sagittal = np.eye(4)[[1, 2, 0, 3]]
    assert default_axis(Grid((9, 9, 9), sagittal)) == int(np.argmax(np.abs(sagittal[2, :3])))


def test_record_tells_how_it_was_made(brain_file, tmp_path) -> None:
    target = tmp_path / "thick.nii.gz"
    acquisition = Acquisition(profile=SliceProfile.rect(4), separation_mm=5, axis=2)
    thick = write_simulation(read_volume(brain_file), acquisition, target)
    record = read_sidecar(tmp_path / "thick.json")
    assert record["profile"] == "rect:4"
    assert record["thickness_mm"] == 4
    assert record["separation_mm"] == 5
    assert record["high_resolution_grid"]["shape"] == [40, 44, 36]
    np.testing.assert_allclose(read_volume(target).grid.affine, thick.grid.affine, atol=1e-5)
    with pytest.raises(FileExistsError, match="overwrite"):
        write_simulation(read_volume(brain_file), acquisition, target)
