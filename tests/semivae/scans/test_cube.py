"""One visit in the network's cube: z-scores of the native grid, shares of brain and tumour, all in place."""

import nibabel
import numpy as np
import pytest
import torch

from revoxel.core.geometry import Grid
from revoxel.core.pulses import Pulse
from revoxel.core.volumes import write_volume
from revoxel.semivae.features.extract import extract_tumour_features
from revoxel.semivae.features.resampled import NetworkGrid, resampled_volume_mm3
from revoxel.semivae.scans.cube import cube_from, cube_of
from revoxel.semivae.simulation.dataset import SyntheticTumourDataset
from revoxel.semivae.simulation.phantom import PhantomSettings

GRID = NetworkGrid(6.5, 32)


@pytest.fixture(scope="module")
def item():
    return SyntheticTumourDataset(4, 0, PhantomSettings(voxel_mm=4.0))[1]


@pytest.fixture(scope="module")
def visit(item, tmp_path_factory):
    """The phantom's files: pulses and label map."""
    return written(item, tmp_path_factory.mktemp("visit"))


def written(item, folder, affine=None):
    grid = Grid(tuple(item["label"].shape), item["affine"].numpy() if affine is None else affine)
    images = {
        pulse: write_volume(folder / f"{pulse}.nii.gz", item["image"][at].numpy(), grid)
        for at, pulse in enumerate(Pulse)
    }
    return images, write_volume(folder / "seg.nii.gz", item["label"].numpy(), grid, dtype=np.uint8)


def cube_in_memory(item, grid=GRID):
    return cube_from(item["image"], item["label"], item["affine"], grid)


def centroid_mm(share, affine):
    places = np.argwhere(share.numpy() > 0)
    weights = share.numpy()[tuple(places.T)]
    return (places * weights[:, None]).sum(axis=0) / weights.sum() @ affine[:3, :3].T + affine[:3, 3]


def test_files_and_arrays_give_the_same_cube(item, visit):
    from_files, from_arrays = cube_of(*visit, GRID), cube_in_memory(item)
    for name in ("image", "brain", "tumour", "available"):
        assert torch.equal(getattr(from_files, name), getattr(from_arrays, name)), name
    np.testing.assert_allclose(from_files.affine, from_arrays.affine)


def test_a_scan_turned_in_memory_gives_the_same_cube(item, visit, tmp_path):
    """Axes stored as P, S, L instead of R, A, S."""
    upright = cube_of(*visit, GRID)
    turned = {}
    for name, path in {**visit[0], "seg": visit[1]}.items():
        image = nibabel.load(path)
        goal = nibabel.orientations.axcodes2ornt("PSL")
        change = nibabel.orientations.ornt_transform(nibabel.io_orientation(image.affine), goal)
        turned[name] = tmp_path / f"{name}.nii.gz"
        nibabel.save(image.as_reoriented(change), turned[name])
    label = turned.pop("seg")
    cube = cube_of(turned, label, GRID)
    np.testing.assert_allclose(cube.affine, upright.affine, atol=1e-4)
    np.testing.assert_allclose(cube.image.numpy(), upright.image.numpy(), atol=1e-4)
    np.testing.assert_allclose(cube.tumour.numpy(), upright.tumour.numpy(), atol=1e-5)


def test_zscores_are_of_the_native_brain_and_air_stays_zero(item):
    size = max(item["label"].shape)
    native = cube_in_memory(item, NetworkGrid(4.0, size + size % 2 + 1))
    inside = native.brain > 0.999
    assert native.image[:, native.brain == 0].abs().max() == 0
    # Half of the grid may lie half a voxel aside, so values are a little smoother than the native ones.
    assert native.image[:, inside].mean(dim=1).abs().max() < 0.15
    assert ((native.image[:, inside].std(dim=1) - 1).abs() < 0.25).all()


def test_gain_of_a_scanner_does_not_matter(item):
    louder = cube_from(item["image"] * 7.0, item["label"], item["affine"], GRID)
    np.testing.assert_allclose(louder.image.numpy(), cube_in_memory(item).image.numpy(), atol=1e-4)


def test_tumour_keeps_volume_and_place(item):
    cube = cube_in_memory(item)
    record = extract_tumour_features(item["label"], affine=item["affine"]).values
    assert float(cube.tumour.sum()) * GRID.voxel_mm**3 == pytest.approx(record["wt.volume_mm3"], rel=0.06)
    middle_mm = cube.affine[:3, :3] @ np.full(3, (GRID.size - 1) / 2) + cube.affine[:3, 3]
    expected = [record[f"wt.centroid_{axis}_mm"] for axis in "ras"]
    np.testing.assert_allclose(centroid_mm(cube.tumour, cube.affine) - middle_mm, expected, atol=0.6)


def test_absent_pulses_are_zero_and_said_to_be(visit):
    images, label = visit
    cube = cube_of({Pulse.t1n: images[Pulse.t1n], Pulse.t2f: images[Pulse.t2f]}, label, GRID)
    assert cube.available.tolist() == [False, True, True, False]
    assert cube.image[[0, 3]].abs().max() == 0
    whole = cube_of(images, label, GRID)
    assert torch.equal(cube.image[1:3], whole.image[1:3])


def test_without_label_map_there_is_no_tumour(visit):
    cube = cube_of(visit[0], None, GRID)
    assert cube.tumour is None
    assert cube.brain_kept > 0.99


def test_an_empty_label_map_is_a_tumour_of_nothing(item):
    cube = cube_from(item["image"], torch.zeros_like(item["label"]), item["affine"], GRID)
    assert float(cube.tumour.sum()) == 0


def test_a_tumour_outside_the_cube_is_refused(item):
    with pytest.raises(ValueError, match=r"tumour must lie inside the cube of 8 voxels of 4 mm, got \d+%"):
        cube_in_memory(item, NetworkGrid(4.0, 8))


def test_a_cut_brain_is_said_to_be_cut(item):
    small = cube_from(item["image"], None, item["affine"], NetworkGrid(4.0, 24))
    assert 0.2 < small.brain_kept < 0.8


def test_no_pulse_is_refused(visit, item):
    with pytest.raises(ValueError, match="at least one of t1c, t1n, t2f, t2w"):
        cube_of({}, visit[1], GRID)
    with pytest.raises(ValueError, match="0 filled channels"):
        cube_from(torch.zeros_like(item["image"]), None, item["affine"], GRID)


@pytest.mark.parametrize("channels", [1, 3])
def test_other_numbers_of_channels_are_refused(item, channels):
    with pytest.raises(ValueError, match="image must be"):
        cube_from(item["image"][:channels], None, item["affine"], GRID)


def test_a_label_of_another_shape_is_refused(item):
    with pytest.raises(ValueError, match="label must have the image's shape"):
        cube_from(item["image"], item["label"][1:], item["affine"], GRID)


def test_a_label_map_elsewhere_is_refused_before_resampling(item, visit, tmp_path):
    moved = item["affine"].numpy().copy()
    moved[0, 3] += 1.0
    elsewhere = written(item, tmp_path, moved)[1]
    with pytest.raises(ValueError, match="must lie on the grid of label"):
        cube_of(visit[0], elsewhere, GRID)


def test_pulses_on_two_grids_are_refused(item, visit, tmp_path):
    moved = item["affine"].numpy().copy()
    moved[0, 3] += 1.0
    others = written(item, tmp_path, moved)[0]
    with pytest.raises(ValueError, match="t1c and t2w must lie on one grid"):
        cube_of({Pulse.t1c: visit[0][Pulse.t1c], Pulse.t2w: others[Pulse.t2w]}, None, GRID)


def test_a_cut_off_file_is_named(visit, tmp_path):
    broken = tmp_path / "t1c.nii.gz"
    broken.write_bytes(visit[0][Pulse.t1c].read_bytes()[:-500])
    with pytest.raises(ValueError, match=r"t1c.nii.gz must be a readable image"):
        cube_of({Pulse.t1c: broken}, None, GRID)


def test_an_absent_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"t1c.nii.gz must be an existing file"):
        cube_of({Pulse.t1c: tmp_path / "t1c.nii.gz"}, None, GRID)


def test_a_real_glioma_keeps_volume_and_place(data_path):
    folder = data_path("mri/brats_gli_00001")
    images = {pulse: folder / f"BraTS-GLI-00001-000-{pulse}.nii.gz" for pulse in Pulse}
    label = folder / "seg_brats23_1.nii.gz"
    grid = NetworkGrid(3.75, 64)
    cube = cube_of(images, label, grid)
    native = nibabel.load(label)
    values = np.asarray(native.dataobj)
    record = extract_tumour_features(values, affine=native.affine).values
    assert cube.available.all()
    assert cube.brain_kept > 0.999
    assert float(cube.tumour.sum()) * grid.voxel_mm**3 == pytest.approx(record["wt.volume_mm3"], rel=0.01)
    middle_mm = cube.affine[:3, :3] @ np.full(3, (grid.size - 1) / 2) + cube.affine[:3, 3]
    expected = [record[f"wt.centroid_{axis}_mm"] for axis in "ras"]
    np.testing.assert_allclose(centroid_mm(cube.tumour, cube.affine) - middle_mm, expected, atol=0.2)
    tumour = cube.tumour > 0.9
    assert cube.image[list(Pulse).index(Pulse.t2f), tumour].mean() > 1.0
    nearest_mm3 = resampled_volume_mm3(values, Grid(values.shape, native.affine), grid)
    assert nearest_mm3 == pytest.approx(record["wt.volume_mm3"], rel=0.05)
