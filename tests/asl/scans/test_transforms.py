"""Each transform, and the chain of them, from files to the maps that made the signal."""

from __future__ import annotations

import numpy as np
import pytest
from monai.transforms import Compose

from asl_scans import AFFINE, M0_VALUE, PLDS_MS, TinyScan, head, truth, write_image, write_joint
from revoxel.asl.quantification.map_transforms import FitAsld, StackAslChannelsd
from revoxel.asl.scans.calibration import T1_TISSUE_MS
from revoxel.asl.scans.stated import Stated
from revoxel.asl.scans.transforms import (
    AverageRepeatsByPldd,
    BrainMaskd,
    LoadAslBidsd,
    NormalizeByM0d,
    SubtractControlLabeld,
)

CBF, ATT = truth()


def steps(stated: Stated | None = None, mask=None) -> list:
    return [
        LoadAslBidsd(stated=stated),
        SubtractControlLabeld(),
        AverageRepeatsByPldd(),
        BrainMaskd(mask),
        NormalizeByM0d(),
        StackAslChannelsd(stated=stated),
        FitAsld(),
    ]


def quantified(item: dict, stated: Stated | None = None, mask=None) -> dict:
    """The whole chain, one by one: MONAI's `Compose` would wrap what a step raises."""
    for step in steps(stated, mask):
        item = step(item)
    return item


def assert_true_maps(item: dict, tolerance: float = 3e-3) -> None:
    inside = head()
    np.testing.assert_array_equal(item["mask"].numpy()[0], inside)
    np.testing.assert_allclose(item["cbf"].numpy()[0][inside], CBF[inside], rtol=tolerance)
    np.testing.assert_allclose(item["att"].numpy()[0][inside], ATT[inside], atol=8)
    np.testing.assert_array_equal(item["cbf"].affine.numpy(), AFFINE)


@pytest.mark.parametrize("labelling", ["PCASL", "CASL", "PASL"])
def test_files_give_the_maps_that_made_them(tmp_path, labelling):
    scan = TinyScan(labelling=labelling, repeats=2).write(tmp_path)
    key = "pasl" if labelling == "PASL" else "pcasl"
    assert_true_maps(quantified({key: scan}))


def test_pcasl_and_vsasl_are_fitted_together(tmp_path):
    pcasl, vsasl = write_joint(tmp_path)
    item = quantified({"pcasl": pcasl, "vsasl": vsasl})
    assert item["dm"].shape[0] == 12
    assert item["protocol"].vsasl_plds_ms == PLDS_MS
    assert_true_maps(item)


def test_joined_scans_must_lie_on_one_grid(tmp_path):
    import nibabel

    pcasl, vsasl = write_joint(tmp_path)
    image = nibabel.load(vsasl)
    moved = AFFINE.copy()
    moved[0, 3] = 5
    nibabel.save(nibabel.Nifti1Image(image.get_fdata(dtype=np.float32), moved), vsasl)
    with pytest.raises(ValueError, match="must lie on one grid"):
        quantified({"pcasl": pcasl, "vsasl": vsasl})


def test_m0_is_corrected_for_its_repetition_time(tmp_path):
    scan = TinyScan(m0_fields={"RepetitionTimePreparation": T1_TISSUE_MS * np.log(2) / 1000}).write(tmp_path)
    item = quantified({"pcasl": scan})
    np.testing.assert_allclose(item["pcasl_divisor"][head()], 2 * M0_VALUE, rtol=1e-4)


def test_an_m0_of_unknown_repetition_time_is_noted(tmp_path):
    scan = TinyScan(m0_fields={}).write(tmp_path)
    assert "states no RepetitionTimePreparation" in quantified({"pcasl": scan})["notes"][0]
    known = quantified({"pcasl": scan}, Stated(m0_tr_ms=T1_TISSUE_MS * np.log(2)))
    np.testing.assert_allclose(known["pcasl_divisor"][head()], 2 * M0_VALUE, rtol=1e-4)


def test_m0_may_be_inside_the_scan(tmp_path):
    import nibabel

    tiny = TinyScan(types=("m0scan", *("control", "label") * 6))
    times_s = [0.0, *(pld / 1000 for pld in PLDS_MS for _ in range(2))]
    tiny.fields = {"M0Type": "Included", "RepetitionTimePreparation": 10.0, "PostLabelingDelay": times_s}
    scan = tiny.write(tmp_path)
    volumes = np.concatenate([M0_VALUE * head()[..., None], tiny.volumes()], axis=-1)
    nibabel.save(nibabel.Nifti1Image(volumes.astype(np.float32), AFFINE), scan)
    assert_true_maps(quantified({"pcasl": scan}))


def test_an_estimate_of_m0_is_that_of_blood(tmp_path):
    fields = {"M0Type": "Estimate", "M0Estimate": M0_VALUE / 0.9}
    item = quantified({"pcasl": TinyScan(fields=fields).write(tmp_path)})
    assert item["mask_source"].startswith("mean difference")
    inside = head() & item["mask"].numpy()[0].astype(bool)
    np.testing.assert_allclose(item["cbf"].numpy()[0][inside], CBF[inside], rtol=3e-3)


def test_m0_on_another_grid_is_resampled(tmp_path):
    import nibabel

    scan = TinyScan().write(tmp_path)
    coarse = np.full((6, 6, 3), M0_VALUE, np.float32)
    affine = np.diag([-8.0, 8.0, 12.0, 1.0])
    nibabel.save(nibabel.Nifti1Image(coarse, affine), tmp_path / "m0.nii.gz")
    mask = write_image(tmp_path / "mask.nii.gz", head())
    assert_true_maps(quantified({"pcasl": scan}, Stated(m0=tmp_path / "m0.nii.gz"), mask))


def test_an_empty_mask_is_named(tmp_path):
    scan = TinyScan().write(tmp_path)
    item = LoadAslBidsd()({"pcasl": scan})
    with pytest.raises(ValueError, match=r"the mask \(none.nii.gz\) must hold a voxel .*--mask"):
        BrainMaskd(write_image(tmp_path / "none.nii.gz", 0 * head()))(item)


def test_repeats_tell_the_noise_in_units_of_m0(tmp_path):
    scan = TinyScan(repeats=4, sigma=2e-3).write(tmp_path)
    item = quantified({"pcasl": scan})
    np.testing.assert_allclose(item["sigma"], 2e-3 * np.sqrt(2 / 4), rtol=0.3)
    assert item["estimate"].sigma_source == "repeats"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, 0.85),
        ({"LabelingEfficiency": 0.7}, 0.7),
        ({"BackgroundSuppression": True, "BackgroundSuppressionNumberPulses": 2}, 0.85 * 0.95**2),
        (
            {
                "BackgroundSuppression": True,
                "BackgroundSuppressionNumberPulses": 2,
                "LabelingEfficiency": 0.7,
            },
            0.7,
        ),
    ],
)
def test_efficiency_is_stated_or_usual(tmp_path, fields, expected):
    physics = quantified({"pcasl": TinyScan(fields=fields).write(tmp_path)})["physics"]
    assert physics.alpha_pcasl * physics.alpha_bs**physics.n_bs_pcasl == pytest.approx(expected)


@pytest.mark.parametrize(("field_t", "expected"), [(1.5, 1350), (3, 1650), (7, 2087), (None, 1650)])
def test_t1_of_blood_follows_the_magnet(tmp_path, field_t, expected):
    scan = TinyScan(fields={"MagneticFieldStrength": field_t}).write(tmp_path)
    assert quantified({"pcasl": scan})["physics"].t1_blood_ms == expected
    assert quantified({"pcasl": scan}, Stated(t1_blood_ms=1700.0))["physics"].t1_blood_ms == 1700.0


def test_slice_times_of_joined_scans_must_agree(tmp_path):
    pcasl = TinyScan(name="sub-01_acq-p_asl", slice_times_ms=(0, 30, 60, 90)).write(tmp_path)
    vsasl = TinyScan(labelling="VSASL", name="sub-01_acq-v_asl").write(tmp_path)
    with pytest.raises(ValueError, match=r"SliceTiming of .* must agree to be fitted together"):
        quantified({"pcasl": pcasl, "vsasl": vsasl})


def test_monai_composes_the_steps(tmp_path):
    assert_true_maps(Compose(steps())({"pcasl": TinyScan().write(tmp_path)}))
