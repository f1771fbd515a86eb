"""Tumour features against hand calculations; every number is derived where it stands."""

import nibabel
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor

from revoxel.core.geometry import Grid
from revoxel.semivae.features.extract import bounding_box, extract_tumour_features
from revoxel.semivae.features.record import FeatureSettings, Flag, Mesh, Origin
from revoxel.semivae.features.resampled import NetworkGrid, resampled_volume_mm3

ONE = FeatureSettings(regions={"wt": (1,)}, shape_regions=("wt",))
MM = (1.0, 1.0, 1.0)


def ellipsoid(shape, centre, radii):
    offsets = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    distance = sum(((x - c) / r) ** 2 for x, c, r in zip(offsets, centre, radii, strict=True))
    return (distance <= 1).astype(np.uint8)


def measure(label, settings=ONE, **geometry):
    geometry = geometry or {"spacing_mm": MM}
    return extract_tumour_features(label, settings=settings, **geometry)


@pytest.mark.reference
def test_cube_has_the_volume_surface_and_hull_of_its_mesh():
    # Marching cubes at 0.5 puts vertices half a voxel outside the outermost centres: a cube of n = 4 voxels
    # is meshed as a cube of side n whose 12 edges and 8 corners are cut. Faces: 6 squares of side n - 1.
    # Along each of the 12 edges a strip of length n - 1 and width sqrt(2)/2. At each corner an equilateral
    # triangle of side sqrt(2)/2, area sqrt(3)/8.
    n = 4
    area = 6 * (n - 1) ** 2 + 12 * (n - 1) * np.sqrt(2) / 2 + 8 * np.sqrt(3) / 8
    # Volume: the cube of side n - 1, six slabs of thickness 1/2, twelve prisms of section 1/8, eight corner
    # tetrahedra with legs 1/2: volume (1/2)^3 / 6.
    volume = (n - 1) ** 3 + 6 * (n - 1) ** 2 / 2 + 12 * (n - 1) / 8 + 8 / 48
    label = np.zeros((10, 10, 10), dtype=np.uint8)
    label[3:7, 3:7, 3:7] = 1
    values = measure(label).values
    assert values["wt.volume_mm3"] == n**3
    assert values["wt.surface_mm2"] == pytest.approx(area, rel=1e-6)
    assert values["wt.sphericity"] == pytest.approx((36 * np.pi * volume**2) ** (1 / 3) / area, rel=1e-6)
    assert values["wt.solidity"] == pytest.approx(1.0, abs=1e-6)  # the cut cube is convex
    assert values["wt.elongation"] == pytest.approx(1.0)
    assert values["wt.flatness"] == pytest.approx(1.0)


# pyradiomics 3.0.1, RadiomicsShape of the same mask padded by two voxels: surface, sphericity, elongation,
# flatness. Shape, centre and radii in voxels of an ellipsoid, and the voxel size in mm.
PYRADIOMICS = [
    ((15, 15, 15), (7, 7, 7), (5, 5, 5), MM, (340.07713, 0.90158, 1.0, 1.0)),
    ((29, 29, 29), (14, 14, 14), (12, 12, 12), MM, (1934.52363, 0.92578, 1.0, 1.0)),
    ((29, 21, 13), (14, 10, 6), (12, 8, 4), MM, (827.08131, 0.78362, 0.65874, 0.32347)),
    ((29, 21, 13), (14, 10, 6), (12, 8, 4), (1.0, 1.0, 3.0), (1570.30885, 0.85851, 0.97041, 0.65874)),
]


@pytest.mark.reference
@pytest.mark.parametrize(("shape", "centre", "radii", "spacing_mm", "expected"), PYRADIOMICS)
def test_shape_is_what_pyradiomics_gives(shape, centre, radii, spacing_mm, expected):
    label = np.pad(ellipsoid(shape, centre, radii), 2)
    values = measure(label, spacing_mm=spacing_mm).values
    names = ("surface_mm2", "sphericity", "elongation", "flatness")
    np.testing.assert_allclose([values[f"wt.{name}"] for name in names], expected, rtol=2e-5)
    assert values["wt.solidity"] < 1


@pytest.mark.reference
def test_two_cubes_are_what_pyradiomics_gives():
    label = np.zeros((18, 8, 8), dtype=np.uint8)
    label[2:6, 2:6, 2:6] = label[12:16, 2:6, 2:6] = 1
    values = measure(label).values
    assert values["wt.surface_mm2"] == pytest.approx(162.37579, rel=1e-6)
    assert values["wt.sphericity"] == pytest.approx(0.7138, abs=1e-5)
    assert values["wt.elongation"] == pytest.approx(0.21822, abs=1e-5)


def test_smooth_mesh_brings_sphericity_of_a_sphere_to_one():
    ball = ellipsoid((31,) * 3, (15,) * 3, (10,) * 3)
    smooth = FeatureSettings(regions={"wt": (1,)}, shape_regions=("wt",), mesh=Mesh.SMOOTH)
    assert measure(ball, smooth).values["wt.sphericity"] == pytest.approx(0.99, abs=0.006)


def test_smooth_mesh_of_a_thread_has_no_surface():
    # A line one voxel thin, smoothed by 0.7 voxels, peaks at erf(0.5 / (0.7 sqrt 2))^2 = 0.28, below 0.5.
    label = np.zeros((9, 9, 40), dtype=np.uint8)
    label[4, 4, 2:38] = 1
    smooth = FeatureSettings(regions={"wt": (1,)}, shape_regions=("wt",), mesh=Mesh.SMOOTH)
    values = measure(label, smooth).values
    assert np.isnan(values["wt.sphericity"])
    assert values["wt.elongation"] == 0.0


@pytest.mark.reference
def test_ellipsoid_axes_give_elongation_and_flatness():
    # A solid ellipsoid has variance r^2 / 5 along each axis: elongation 12/18, flatness 6/18.
    label = ellipsoid((45, 33, 21), (22, 16, 10), (18, 12, 6))
    values = measure(label).values
    assert values["wt.elongation"] == pytest.approx(12 / 18, abs=0.01)
    assert values["wt.flatness"] == pytest.approx(6 / 18, abs=0.01)
    assert values["wt.volume_mm3"] == pytest.approx(4 / 3 * np.pi * 18 * 12 * 6, rel=0.01)


@pytest.mark.reference
def test_anisotropic_voxels_are_measured_in_millimetres():
    # 12 x 12 x 4 voxels of 1 x 1 x 3 mm: a cube of 12 mm; variances (n^2 - 1)/12 steps: 143/12 and 15/12 * 9.
    label = np.zeros((16, 16, 8), dtype=np.uint8)
    label[2:14, 2:14, 2:6] = 1
    values = measure(label, spacing_mm=(1.0, 1.0, 3.0)).values
    assert values["wt.volume_mm3"] == 12**3
    assert values["wt.log_volume"] == pytest.approx(3 * np.log(12))
    assert values["wt.flatness"] == pytest.approx(np.sqrt((15 / 12 * 9) / (143 / 12)))
    assert values["wt.elongation"] == pytest.approx(1.0)


def test_two_components_are_counted_and_flagged():
    label = np.zeros((20, 12, 12), dtype=np.uint8)
    label[2:6, 4:8, 4:8] = label[12:16, 4:8, 4:8] = 1
    record = measure(label)
    assert record.values["wt.n_components"] == 2
    assert Flag.MULTI_COMPONENT in record.flags
    assert record.values["wt.centroid_r_mm"] == pytest.approx(8.5 - 9.5)
    assert record.values["wt.solidity"] < 0.8


def test_one_voxel_has_a_volume_and_no_shape():
    label = np.zeros((5, 5, 5), dtype=np.uint8)
    label[2, 2, 2] = 1
    record = measure(label, spacing_mm=(2.0, 2.0, 2.0))
    assert record.values["wt.volume_mm3"] == 8
    assert np.isnan(record.values["wt.sphericity"])
    assert record.flags == {Flag.BELOW_MIN_VOXELS}
    assert record.values["wt.centroid_s_mm"] == 0


def test_empty_label_map_is_undefined_not_zero():
    record = measure(np.zeros((4, 4, 4)), FeatureSettings())
    assert record.flags == {Flag.EMPTY}
    assert not any(record.present.values())
    assert np.isnan(list(record.values.values())).all()


def test_absent_region_is_undefined():
    label = np.zeros((12, 12, 12), dtype=np.uint8)
    label[3:9, 3:9, 3:9] = 2
    record = measure(label, FeatureSettings())
    assert record.present == {"wt": True, "tc": False, "et": False, "ncr": False, "ed": True}
    assert np.isnan(record.values["ncr.log_volume"])
    assert record.values["wt.volume_mm3"] == record.values["ed.volume_mm3"] == 216


def test_tumour_at_the_border_is_flagged():
    label = np.zeros((12, 12, 12), dtype=np.uint8)
    label[0:4, 4:8, 4:8] = 1
    assert Flag.TOUCHES_CROP_BORDER in measure(label).flags


def test_tumour_at_the_brains_edge_is_flagged():
    label = np.zeros((16, 16, 16), dtype=np.uint8)
    label[5:9, 5:9, 5:9] = 1
    brain = np.zeros(label.shape, dtype=bool)
    brain[4:12, 4:12, 4:12] = True
    assert (
        Flag.TOUCHES_MASK_EDGE
        not in extract_tumour_features(label, spacing_mm=MM, brain=brain, settings=ONE).flags
    )
    brain[4] = False
    assert (
        Flag.TOUCHES_MASK_EDGE
        in extract_tumour_features(label, spacing_mm=MM, brain=brain, settings=ONE).flags
    )
    with pytest.raises(ValueError, match="brain must have"):
        extract_tumour_features(label, spacing_mm=MM, brain=brain[1:], settings=ONE)


@settings(max_examples=8)
@given(st.permutations(range(3)), st.tuples(*[st.booleans()] * 3), st.integers(0, 3))
def test_axes_may_be_stored_in_any_order_and_direction(order, flips, seed):
    rng = np.random.default_rng(seed)
    label = np.zeros((14, 18, 16), dtype=np.uint8)
    label[3:9, 4:12, 5:10] = rng.integers(1, 4, (6, 8, 5))
    affine = np.diag((1.0, 1.5, 2.0, 1.0))
    affine[:3, 3] = (-7, 3, 11)
    stored, place = np.transpose(label, order), affine.copy()
    place[:3, :3] = affine[:3, order]
    for axis in np.flatnonzero(flips):
        place[:3, 3] += place[:3, axis] * (stored.shape[axis] - 1)
        place[:3, axis] *= -1
        stored = np.flip(stored, axis)
    for origin in Origin:
        choice = FeatureSettings(origin=origin)
        first = extract_tumour_features(label, affine=affine, settings=choice)
        second = extract_tumour_features(stored, affine=place, settings=choice)
        # Where four voxels meet in a saddle, marching cubes decides by its axes: surface may differ a little.
        for name, value in first.values.items():
            loose = any(word in name for word in ("surface", "sphericity", "solidity"))
            np.testing.assert_allclose(second.values[name], value, rtol=0.02 if loose else 1e-9, atol=1e-9)


def test_real_glioma_has_the_volume_of_its_voxels(data_path):
    image = nibabel.load(data_path("mri/brats_gli_00001/seg_brats23_1.nii.gz"))
    label = np.asarray(image.dataobj)
    record = extract_tumour_features(label, affine=image.affine)
    _, n_necrotic, n_oedema, n_enhancing = np.bincount(label.astype(int).ravel(), minlength=4)
    found = [record.values[f"{region}.volume_mm3"] for region in ("ncr", "ed", "et", "wt")]
    assert found == pytest.approx([n_necrotic, n_oedema, n_enhancing, np.count_nonzero(label)])
    assert 0.5 < record.values["wt.sphericity"] < record.values["tc.sphericity"] < 1
    moved_mm3 = resampled_volume_mm3(label, Grid(label.shape, image.affine), NetworkGrid())
    assert np.log(moved_mm3) == pytest.approx(record.values["wt.log_volume"], abs=0.05)


def test_world_origin_gives_scanner_coordinates():
    label = np.zeros((8, 8, 8), dtype=np.uint8)
    label[2:5, 2:5, 2:5] = 1
    affine = np.eye(4)
    affine[:3, 3] = (10, 20, 30)
    settings = FeatureSettings(regions={"wt": (1,)}, shape_regions=(), origin=Origin.WORLD)
    values = extract_tumour_features(label, affine=affine, settings=settings).values
    assert [values[f"wt.centroid_{axis}_mm"] for axis in "ras"] == pytest.approx([13, 23, 33])


def test_metatensor_brings_its_affine():
    label = torch.zeros(1, 10, 10, 10)
    label[0, 3:7, 3:7, 3:7] = 3
    image = MetaTensor(label, affine=torch.diag(torch.tensor([2.0, 2.0, 2.0, 1.0])))
    record = extract_tumour_features(image)
    assert record.values["et.volume_mm3"] == 64 * 8
    assert record.units["et.volume_mm3"] == "mm^3"


BAD = [
    (np.full((3, 3, 3), 0.5), {"spacing_mm": MM}, "whole numbers, got 0.5"),
    (np.full((3, 3, 3), 4), {"spacing_mm": MM}, r"got \[4\]"),
    (np.full((3, 3, 3), -1), {"spacing_mm": MM}, r"got \[-1\]"),
    (np.full((3, 3, 3), np.nan), {"spacing_mm": MM}, "finite"),
    (np.ones((3, 3)), {"spacing_mm": MM}, r"shape \(3, 3\)"),
    (np.ones((2, 3, 3, 3)), {"spacing_mm": MM}, r"shape \(2, 3, 3, 3\)"),
    (np.ones((3, 3, 3)), {"spacing_mm": (1, 0, 1)}, r"\[1, 0, 1\]"),
    (np.ones((3, 3, 3)), {"spacing_mm": (1, 1)}, r"\[1, 1\]"),
    (np.ones((3, 3, 3)), {"affine": np.zeros((4, 4))}, "affine"),
    (np.ones((3, 3, 3)), {"affine": np.eye(4), "spacing_mm": MM}, "affine and spacing"),
]


@pytest.mark.parametrize(("label", "geometry", "words"), BAD)
def test_what_cannot_be_measured_is_refused_with_its_value(label, geometry, words):
    with pytest.raises(ValueError, match=words):
        extract_tumour_features(label, **geometry)


def test_label_map_without_geometry_is_refused():
    with pytest.raises(ValueError, match="got none"):
        extract_tumour_features(np.ones((3, 3, 3)))


@pytest.mark.parametrize(
    "settings",
    [{"shape_regions": ("core",)}, {"regions": {"wt": (0, 1)}}, {"regions": {"wt": ()}}, {"min_voxels": 0}],
)
def test_impossible_settings_are_refused(settings):
    with pytest.raises(ValueError, match="must"):
        FeatureSettings(**{"shape_regions": (), **settings})


@settings(max_examples=20)
@given(st.integers(0, 20))
def test_bounding_box_is_the_smallest(seed):
    mask = np.random.default_rng(seed).random((6, 7, 8)) > 0.97
    box = bounding_box(mask)
    if not mask.any():
        assert box is None
    else:
        expected = [(int(index.min()), int(index.max()) + 1) for index in np.nonzero(mask)]
        assert [(one.start, one.stop) for one in box] == expected
