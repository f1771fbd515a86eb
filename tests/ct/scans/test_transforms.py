"""A CT keeps its HU and its place from the file to the grid of the network and back."""

import nibabel
import numpy as np
import pytest
import torch
from monai.data.meta_tensor import MetaTensor
from monai.transforms import Compose

from ct_scans import CENTRE_MM, grid_around, sphere_hu
from laws import centroid_world
from revoxel.core.geometry import Grid
from revoxel.core.meta_images import grid_of, image_on
from revoxel.ct.consistency import block_mean, upsample_trilinear
from revoxel.ct.hounsfield import AIR_HU, PADDING_HU, HounsfieldWindow
from revoxel.ct.scans.coarse import MakeCoarsed
from revoxel.ct.scans.results import RestoreHUd, UpscaleAffined, write_hu
from revoxel.ct.scans.transforms import CheckCTd, LoadCTd, ToGridd, measured


def saved(folder, hu, grid, name="ct.nii.gz"):
    path = folder / name
    if name.endswith((".nii", ".nii.gz")):
        nibabel.save(nibabel.Nifti1Image(hu, grid.affine), path)
        return path
    import itk

    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ grid.affine
    image = itk.image_from_array(np.ascontiguousarray(hu.T))
    image.SetSpacing(grid.spacing_mm)
    image.SetOrigin(lps[:3, 3])
    image.SetDirection(itk.matrix_from_array(lps[:3, :3] / np.array(grid.spacing_mm)))
    itk.imwrite(image, path)
    return path


def loaded(path):
    return LoadCTd("ct")({"ct": path})


def tensor_of(hu, grid=None):
    return image_on(np.asarray(hu, np.float32)[None], grid or grid_around(hu.shape))


@pytest.mark.parametrize("name", ["ct.nii.gz", "ct.nii", "ct.mha", "ct.nrrd"])
def test_every_format_gives_the_same_hu_in_ras(tmp_path, name):
    grid = grid_around((20, 22, 18), axes="PIR")
    image = loaded(saved(tmp_path, sphere_hu(grid), grid, name))["ct"]
    assert nibabel.aff2axcodes(image.affine.numpy()) == ("R", "A", "S")
    np.testing.assert_allclose(image[0], sphere_hu(grid_of(image)), atol=0.01)


def test_values_below_minus_1024_become_padding_and_count_as_not_measured(tmp_path):
    grid = grid_around((20, 20, 20))
    hu = sphere_hu(grid)
    hu[:5] = -2048.0
    item = loaded(saved(tmp_path, hu, grid))
    assert item["ct"].min() == PADDING_HU
    assert item["ct"].meta["outside_share"] == pytest.approx(0.25)
    assert item["ct"].meta["below_padding_share"] == pytest.approx(0.25)
    np.testing.assert_array_equal(item["fov"], item["ct"] > PADDING_HU)


def test_noisy_air_is_measured_and_flat_padding_is_not():
    hu = np.random.default_rng(0).normal(AIR_HU, 30, (24, 24, 24)).astype(np.float32)
    hu = np.maximum(hu, PADDING_HU)
    hu[:6] = PADDING_HU
    inside = measured(hu)
    assert not inside[:5].any()
    assert inside[7:].mean() > 0.999


@pytest.mark.parametrize("n_planes", [1, 2, 3])
def test_padded_planes_at_a_face_are_not_measured_however_few(n_planes):
    hu = np.random.default_rng(0).normal(40, 10, (12, 12, 12)).astype(np.float32)
    hu[:, -n_planes:] = PADDING_HU
    inside = measured(hu)
    assert not inside[:, -n_planes:].any()
    assert inside[:, :-n_planes].all()


@pytest.mark.parametrize("turned_deg", [0, 9])
@pytest.mark.parametrize("size", [None, 64])
def test_sphere_stays_where_it_is_to_a_tenth_of_a_fine_voxel(tmp_path, turned_deg, size):
    """Law: load -> grid -> coarse -> refined grid preserves positions in world millimetres."""
    scan = grid_around((60, 64, 25), (0.9, 0.9, 2.5), axes="LPS", turned_deg=turned_deg)
    steps = Compose(
        [
            LoadCTd("fine"),
            CheckCTd("fine"),
            ToGridd("fine", spacing_mm=1.5, size=size),
            MakeCoarsed("fine", coarse_key="coarse", factor=4),
        ]
    )
    item = steps({"fine": saved(tmp_path, sphere_hu(scan), scan)})
    item["pred"] = upsample_trilinear(torch.as_tensor(item["coarse"])[None])[0]
    item = UpscaleAffined("pred", factor=4)(item)
    np.testing.assert_allclose(item["pred"].affine, item["fine"].affine, atol=1e-6)
    for key in ("fine", "coarse", "pred"):
        centre = centroid_world(np.asarray(item[key])[0] - AIR_HU, item[key].affine.numpy())
        assert np.abs(centre - CENTRE_MM).max() < 0.1 * 1.5, key


def test_network_output_with_the_coarse_affine_gets_its_own(tmp_path):
    coarse = tensor_of(np.zeros((8, 8, 8)), Grid((8, 8, 8), np.diag([6.0, 6.0, 6.0, 1.0])))
    wrong = MetaTensor(torch.zeros(1, 32, 32, 32), affine=coarse.affine)
    item = UpscaleAffined("pred")({"coarse": coarse, "pred": wrong})
    assert grid_of(item["pred"]).spacing_mm == (1.5, 1.5, 1.5)
    np.testing.assert_allclose(item["pred"].affine[:3, 3], [-2.25] * 3)


def test_upscaled_affine_of_another_size_is_refused():
    item = {"coarse": tensor_of(np.zeros((8, 8, 8))), "pred": torch.zeros(1, 32, 32, 16)}
    with pytest.raises(ValueError, match=r"pred must be 4 times as large as coarse, \(32, 32, 32\), got"):
        UpscaleAffined("pred")(item)


def test_unchanged_spacing_changes_no_value():
    grid = grid_around((42, 44, 37))
    hu = sphere_hu(grid)
    item = ToGridd("ct", spacing_mm=1.5)({"ct": tensor_of(hu, grid)})
    assert item["ct"].shape == (1, 44, 44, 40)
    np.testing.assert_array_equal(item["ct"][0, 1:43, :, 2:39], hu)
    assert item["ct"][0, 0].max() == PADDING_HU


def test_fine_texture_does_not_alias_onto_a_coarser_grid():
    """Stripes of 1.2 mm cannot be seen at 1.5 mm voxels; sampling without a filter would show broad ones."""
    grid = Grid((100, 12, 12), np.diag([0.6, 1.5, 1.5, 1.0]))
    stripes = np.where(np.arange(100) % 2, 300.0, -1000.0)[:, None, None] * np.ones((1, 12, 12))
    moved = ToGridd("ct", spacing_mm=1.5)({"ct": tensor_of(stripes, grid)})["ct"]
    assert moved[0, 4:-4].std() < 0.1 * stripes.std()


def test_resampling_never_leaves_the_range_of_the_scan():
    grid = grid_around((30, 30, 30), (1.1, 1.1, 1.1))
    hu = np.where(sphere_hu(grid, soft_mm=0.01) > -500, 3000.0, AIR_HU)
    moved = ToGridd("ct", spacing_mm=1.5)({"ct": tensor_of(hu, grid)})
    values = moved["ct"][moved["fov"].bool()]
    assert values.min() >= AIR_HU
    assert values.max() <= 3000


def test_field_of_view_is_exactly_where_the_image_is_above_padding():
    grid = grid_around((30, 30, 30), (1.1, 1.1, 1.1))
    hu = np.maximum(np.random.default_rng(0).normal(AIR_HU, 30, grid.shape), PADDING_HU)
    hu[:9] = PADDING_HU
    moved = ToGridd("ct", spacing_mm=1.5, size=32)({"ct": tensor_of(hu, grid)})
    np.testing.assert_array_equal(moved["fov"], moved["ct"] > PADDING_HU)
    assert 0.1 < float(moved["fov"].float().mean()) < 0.9


@pytest.mark.parametrize("factor", [2, 4])
def test_area_coarse_volume_is_the_block_mean(factor):
    hu = np.random.default_rng(0).normal(0, 300, (16, 12, 8)).astype(np.float32)
    coarse = MakeCoarsed("ct", factor=factor)({"ct": tensor_of(hu)})["coarse"]
    assert tuple(coarse.shape[1:]) == tuple(side // factor for side in hu.shape)
    first = hu[:factor, :factor, :factor].mean()
    assert float(coarse[0, 0, 0, 0]) == pytest.approx(first, abs=1e-3)


def test_blurred_coarse_volume_keeps_a_constant_to_its_edges_and_is_smoother():
    constant = MakeCoarsed("ct", mode="blur")({"ct": tensor_of(np.full((16, 16, 16), 40.0))})["coarse"]
    np.testing.assert_allclose(constant, 40.0, atol=1e-3)
    hu = np.random.default_rng(0).normal(0, 300, (32, 32, 32)).astype(np.float32)
    area, blur = (MakeCoarsed("ct", mode=mode)({"ct": tensor_of(hu)})["coarse"] for mode in ("area", "blur"))
    assert blur.std() < 0.8 * area.std()


def test_corrupted_coarse_volume_has_the_stated_smooth_error():
    item = {"ct": tensor_of(np.full((64, 64, 64), 40.0))}
    coarse = MakeCoarsed("ct", mode="corrupt", error_hu=90.0).set_random_state(3)(item)["coarse"]
    error = np.asarray(coarse)[0] - 40
    assert np.sqrt((error**2).mean()) == pytest.approx(90, rel=1e-3)
    assert np.abs(np.diff(error, axis=0)).mean() < 0.5 * np.abs(error).mean()


def test_corruption_is_drawn_anew_and_repeats_with_its_seed():
    item = {"ct": tensor_of(np.full((32, 32, 32), 40.0))}
    transform = MakeCoarsed("ct", mode="corrupt").set_random_state(3)
    first, second = transform(item)["coarse"], transform(item)["coarse"]
    again = MakeCoarsed("ct", mode="corrupt").set_random_state(3)(item)["coarse"]
    assert not torch.allclose(first, second)
    torch.testing.assert_close(first, again)


def test_restored_hu_are_whole_and_clipping_is_counted():
    window = HounsfieldWindow()
    hu = torch.tensor([-1100.0, -1000.4, 40.6, 1476.0, 2000.0]).reshape(1, 5, 1, 1)
    item = RestoreHUd("pred")({"pred": window.normalise(hu)})
    assert item["pred"].dtype == torch.int16
    assert item["pred"].flatten().tolist() == [-1024, -1000, 41, 1476, 1476]
    assert item["pred_clipped_share"] == pytest.approx(2 / 5)


def test_network_output_that_is_not_finite_is_refused():
    with pytest.raises(ValueError, match="pred must be finite"):
        RestoreHUd("pred")({"pred": torch.full((1, 4, 4, 4), float("nan"))})


def test_written_hu_are_int16_and_marked(tmp_path):
    grid = grid_around((8, 8, 8))
    stored = nibabel.load(write_hu(tmp_path / "out.nii.gz", sphere_hu(grid), grid))
    assert stored.get_data_dtype() == np.int16
    assert b"not for diagnosis" in stored.header["descrip"].item()


def test_several_channels_are_refused():
    with pytest.raises(ValueError, match=r"one 3D channel \(1, x, y, z\), got \(2, 4, 4, 4\)"):
        CheckCTd("ct")({"ct": torch.zeros(2, 4, 4, 4)})


def test_flat_image_is_refused():
    with pytest.raises(ValueError, match=r"one 3D channel"):
        CheckCTd("ct")({"ct": torch.zeros(1, 4, 4)})


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_bad_voxels_are_counted(bad):
    hu = torch.full((1, 4, 4, 4), AIR_HU)
    hu[0, 0, 0, :2] = bad
    with pytest.raises(ValueError, match="must be finite, got 2 NaN or infinite"):
        CheckCTd("ct")({"ct": hu})


def test_volume_without_air_is_refused_unless_allowed():
    item = {"ct": torch.full((1, 4, 4, 4), 40.0)}
    with pytest.raises(ValueError, match=r"must hold air .* got 40.*--allow-no-air"):
        CheckCTd("ct")(item)
    CheckCTd("ct", allow_no_air=True)(item)


def test_stored_values_are_recognised():
    with pytest.raises(ValueError, match="stored values, subtract 1024"):
        CheckCTd("ct")({"ct": tensor_of(sphere_hu(grid_around()) + 1024)})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"spacing_mm": 0.0}, "spacing_mm must be a positive length"),
        ({"spacing_mm": float("nan")}, "spacing_mm must be a positive length"),
        ({"spacing_mm": 1.5, "size": 250}, "size must be divisible by the factor 4, got 250"),
        ({"spacing_mm": 1.5, "factor": 3}, "factor must be one of"),
    ],
)
def test_impossible_grid_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        ToGridd("ct", **options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"factor": 8}, "factor must be one of"),
        ({"mode": "median"}, "mode must be one of area, blur, corrupt"),
        ({"error_hu": -1.0}, "must be finite and not negative"),
    ],
)
def test_impossible_coarse_volume_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        MakeCoarsed("ct", **options)


def test_fine_volume_that_does_not_divide_is_refused():
    with pytest.raises(ValueError, match="ct must have sides divisible by 4"):
        MakeCoarsed("ct")({"ct": tensor_of(np.zeros((16, 16, 15)))})


def test_sheared_scan_is_refused_by_its_file(tmp_path):
    grid = grid_around()
    affine = grid.affine.copy()
    affine[:3, 2] += 0.2 * affine[:3, 1]
    with pytest.raises(ValueError, match=r"ct.nii.gz must have perpendicular axes"):
        loaded(saved(tmp_path, sphere_hu(grid), Grid(grid.shape, affine)))


def test_grid_that_holds_only_padding_is_refused():
    grid = grid_around((40, 40, 40))
    hu = np.full(grid.shape, -2048.0)
    hu[:4] = AIR_HU
    with pytest.raises(ValueError, match="must hold measured voxels"):
        ToGridd("ct", spacing_mm=1.5, size=16)({"ct": tensor_of(hu, grid)})


@pytest.mark.parametrize("file", ["totalseg_aorta_ct_cropped.nii.gz", "totalseg_example_ct_sm.nii.gz"])
def test_real_scan_passes_and_coarse_voxels_are_its_block_means(data_path, file):
    steps = Compose(
        [LoadCTd("fine"), CheckCTd("fine"), ToGridd("fine", spacing_mm=3.0, size=32), MakeCoarsed("fine")]
    )
    item = steps({"fine": data_path(f"ct/{file}")})
    assert item["fine"].shape == (1, 32, 32, 32)
    means = block_mean(torch.as_tensor(item["fine"])[None])[0]
    torch.testing.assert_close(means.as_tensor(), item["coarse"].as_tensor(), atol=0.01, rtol=0)
    assert -1024 <= item["fine"].min() < -900
    assert item["fine"].max() > 150


def test_outside_of_a_real_reconstruction_circle_is_not_measured(data_path, tmp_path):
    """A few slices of the chest scan: -2048 HU beyond the circle, nearly all of the rest measured."""
    scan = nibabel.load(data_path("ct/lidc_chest.nii.gz")).slicer[::4, ::4, 2:6]
    item = loaded(saved(tmp_path, np.asarray(scan.dataobj, np.float32), Grid(scan.shape, scan.affine)))
    corners = item["fov"][0, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert not corners.any()
    assert item["ct"].min() == PADDING_HU
    assert 1 - np.pi / 4 - 0.01 < item["ct"].meta["outside_share"] < 0.25
