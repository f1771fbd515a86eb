"""The width estimator: right on simulated scans, modest where it cannot know."""

import numpy as np
import pytest

from revoxel.core.geometry import Grid
from revoxel.core.volumes import Volume, read_volume
from revoxel.experts.estimate_profile import WITHIN, estimate_profile
from revoxel.experts.profiles import SliceProfile
from revoxel.experts.simulate import simulate


@pytest.fixture(scope="module")
def fine(data_path) -> Volume:
    return read_volume(data_path("mri/openms/p19_FLAIR.nii.gz"))


def estimated(fine: Volume, text: str, separation_mm: float, axis: int = 2, **settings: float):
    profile = SliceProfile.parse(text)
    thick = simulate(fine, profile=profile, separation_mm=separation_mm, axis=axis, **settings)
    return profile, estimate_profile(thick)


@pytest.mark.parametrize(
    ("text", "separation_mm"), [("gauss:5", 5), ("rect:5", 5), ("gauss:3.9", 3), ("slr:7", 7), ("rect:3", 3)]
)
def test_width_is_within_fifteen_percent(text: str, separation_mm: float, fine) -> None:
    profile, estimate = estimated(fine, text, separation_mm)
    assert abs(estimate.std_mm / profile.std_mm - 1) < WITHIN
    assert estimate.interval_mm[0] < profile.std_mm < estimate.interval_mm[1]
    assert estimate.trusted
    assert estimate.interval_mm[0] < estimate.profile.std_mm < estimate.std_mm


def test_gap_and_overlap_are_told_apart(fine) -> None:
    gap, overlap = (estimated(fine, f"gauss:{width}", 5)[1].std_mm for width in (3.5, 6.5))
    assert overlap > 1.5 * gap


def test_noise_does_not_mislead(fine) -> None:
    profile, estimate = estimated(fine, "gauss:5", 5, noise_std=0.05)
    assert abs(estimate.std_mm / profile.std_mm - 1) < WITHIN


def test_axis_order_and_units_do_not_matter(fine) -> None:
    thick = simulate(fine, profile=SliceProfile.gauss(5), separation_mm=5, axis=2)
    turned_affine = thick.grid.affine[:, [2, 0, 1, 3]]
    turned = Volume(
        np.ascontiguousarray(np.moveaxis(thick.data, 2, 0)) * np.float32(37.0),
        Grid((thick.grid.shape[2], *thick.grid.shape[:2]), turned_affine),
    )
    assert estimate_profile(turned).std_mm == pytest.approx(estimate_profile(thick).std_mm, rel=1e-3)


def test_too_few_slices_leave_the_stated_thickness(brain, brain_affine) -> None:
    fine = Volume(np.array(brain), Grid(brain.shape, brain_affine))
    thick = simulate(fine, profile=SliceProfile.rect(6), separation_mm=7, axis=2)
    estimate = estimate_profile(thick)
    assert not estimate.trusted
    assert estimate.confidence == 0
    assert estimate.profile == SliceProfile.gauss(6)


def test_isotropic_volume_is_nothing_to_do(brain, brain_affine) -> None:
    with pytest.raises(ValueError, match="nothing to do"):
        estimate_profile(Volume(np.array(brain), Grid(brain.shape, brain_affine)))


@pytest.mark.parametrize("pulse", ["t1", "t1c", "flair"])
def test_skull_and_cut_field_of_view_do_not_make_slices_wider_than_apart(pulse: str, data_path) -> None:
    # A real 5.5 mm scan: its outline alone would tell 6.5 to 7 mm.
    scan = read_volume(data_path(f"mri/thick/TCGA-FG-6692_{pulse}.nii.gz"))
    estimate = estimate_profile(scan)
    assert 2.5 < estimate.fwhm_mm < 5.5
    assert estimate.inside_share > 0.5
    assert estimate.confidence < 0.7


def test_record_is_plain(fine) -> None:
    _, estimate = estimated(fine, "gauss:5", 5)
    record = estimate.record()
    assert record["profile"] == estimate.profile.label
    assert record["fwhm_mm"] == pytest.approx(estimate.std_mm * 2.3548, rel=1e-4)
