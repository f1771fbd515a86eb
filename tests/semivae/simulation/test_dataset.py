"""Items depend on seed and number alone; labels, pulses and volumes are what the settings say."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.optimize import least_squares
from torch.utils.data import DataLoader

from revoxel.core.pulses import Pulse
from revoxel.semivae.features.extract import extract_tumour_features
from revoxel.semivae.features.resampled import NetworkGrid, resampled_volume_mm3
from revoxel.semivae.growth.curves import Curve, Law
from revoxel.semivae.simulation import phantom
from revoxel.semivae.simulation.contrast import acquire
from revoxel.semivae.simulation.course import CourseSettings, draw_course
from revoxel.semivae.simulation.dataset import SyntheticTumourDataset, longitudinal
from revoxel.semivae.simulation.lesion import ED, ET, NCR, Kind
from revoxel.semivae.simulation.phantom import PhantomSettings, draw_patient

COARSE = PhantomSettings(voxel_mm=5.0)
FINE = PhantomSettings(voxel_mm=3.0)


@pytest.fixture(scope="module")
def items():
    return [SyntheticTumourDataset(24, 3, COARSE)[index] for index in range(24)]


def same(one, other):
    return torch.equal(one["image"], other["image"]) and torch.equal(one["label"], other["label"])


def test_an_item_depends_on_seed_and_number_alone(items):
    again = SyntheticTumourDataset(9, 3, COARSE)
    assert same(again[8], items[8])
    assert same(again[2], items[2])
    assert again[8]["truth"] == items[8]["truth"]
    assert not same(again[2], again[3])
    assert not same(SyntheticTumourDataset(9, 4, COARSE)[2], items[2])


def test_patients_of_two_seeds_have_different_names():
    first, second = SyntheticTumourDataset(1, 0, COARSE)[0], SyntheticTumourDataset(1, 1, COARSE)[0]
    assert first["patient_id"] != second["patient_id"]


def test_items_make_batches(items):
    batch = next(iter(DataLoader(SyntheticTumourDataset(2, 3, COARSE), batch_size=2)))
    assert torch.equal(batch["image"][1], items[1]["image"])
    assert batch["patient_id"] == [item["patient_id"] for item in items[:2]]


def test_a_plain_loop_ends():
    assert len(list(SyntheticTumourDataset(2, 0, COARSE))) == 2


def test_pulses_are_air_outside_and_signal_inside(items):
    for item in items:
        image, label = item["image"], item["label"]
        brain = image[0] > 0
        assert image.dtype == torch.float32
        assert image.shape[0] == len(Pulse)
        assert ((image > 0) == brain).all()
        assert torch.equal(image, image.round())
        assert set(label.unique().tolist()) <= {0, NCR, ED, ET}
        assert (label[~brain] == 0).all()
        assert int(((label == NCR) | (label == ET)).sum()) >= COARSE.min_core_voxels


def test_affine_is_ras_and_the_middle_is_that_of_the_brain(items):
    affine = items[0]["affine"].numpy()
    np.testing.assert_allclose(affine[:3, :3], np.eye(3) * COARSE.voxel_mm)
    places = np.argwhere(items[0]["image"][0].numpy() > 0)
    middle = (np.array(items[0]["label"].shape) - 1) / 2
    np.testing.assert_allclose((places.min(axis=0) + places.max(axis=0)) / 2, middle, atol=2)


def test_both_kinds_every_region_and_all_sizes_occur(items):
    records = [extract_tumour_features(item["label"], affine=item["affine"]) for item in items]
    assert {item["truth"]["kind"] for item in items} == {"glioma", "meningioma"}
    for region in ("ncr", "ed"):
        present = [record.present[region] for record in records]
        assert 0.15 < np.mean(present) < 0.95
    volumes = [record.values["wt.log_volume"] for record in records]
    assert np.std(volumes) > 0.8
    centres = np.array([[record.values[f"wt.centroid_{axis}_mm"] for axis in "ras"] for record in records])
    assert (centres.std(axis=0) > 12).all()


def test_radii_are_log_uniform():
    settings = PhantomSettings(voxel_mm=8.0, radius_mm=(12.0, 26.0))
    radii = [draw_patient(0, index, settings)[1].radius_mm for index in range(24)]
    assert 12 <= min(radii) < 15
    assert 22 < max(radii) <= 26
    assert np.median(radii) == pytest.approx(np.sqrt(12 * 26), rel=0.15)


def test_meningiomas_touch_the_skull_and_gliomas_lie_deep(items):
    nearest_mm = {kind.value: [] for kind in Kind}
    for index in range(10):
        patient, _ = draw_patient(3, index, COARSE)
        outside = np.argwhere(~patient.brain)
        centre = (
            np.array(patient.lesion.centre_mm) / COARSE.voxel_mm + (np.array(patient.brain.shape) - 1) / 2
        )
        distance_mm = np.linalg.norm(outside - centre, axis=1).min() * COARSE.voxel_mm
        nearest_mm[patient.lesion.kind.value].append(distance_mm)
    assert max(nearest_mm["meningioma"]) < 6 + 2.5 * COARSE.voxel_mm
    assert min(nearest_mm["glioma"]) > 6


def test_enhancing_core_shines_on_t1c_only_and_oedema_on_flair(items):
    for item in items:
        image, label = item["image"], item["label"]
        healthy = image[:, (image[0] > 0) & (label == 0)].mean(dim=1)
        t1c, t1n, t2f, _ = (image[at] for at in range(4))
        if int((label == ET).sum()) > 20:
            assert t1c[label == ET].mean() > 1.2 * healthy[0]
            assert t1c[label == ET].mean() > 1.4 * t1n[label == ET].mean()
        if int((label == ED).sum()) > 20:
            assert t2f[label == ED].mean() > 1.15 * healthy[2]


def test_mass_effect_moves_images_before_the_tumour_is_inserted():
    """Without the tumour's own signal the pushed tissue shows; inside the core nothing of it does."""
    patient, grown = draw_patient(3, 1, FINE)
    still = patient.anatomy.tissues(phantom.MassEffect(patient.lesion.centre_mm, grown.radius_mm, 0.0, 1.0))
    around = (grown.labels == 0) & patient.brain
    assert (still - grown.tissues).abs()[:, torch.from_numpy(around)].max() > 0.2
    kind = patient.lesion.kind
    pushed, unpushed = (
        acquire(tissues, grown.labels, patient.brain, kind, np.random.default_rng(0), FINE.voxel_mm)
        for tissues in (grown.tissues, still)
    )
    deep = ndimage.binary_erosion(np.isin(grown.labels, (NCR, ET)), iterations=2)
    assert deep.any()
    difference = np.abs(pushed - unpushed)
    assert difference[:, deep].max() < 10
    assert difference[:, around].max() > 100


def test_native_and_resampled_log_volume_agree_from_six_millimetres_on():
    """The network's grid gets the spacing of the file: ln(1.875^3) = 1.886 would show."""
    settings = PhantomSettings(voxel_mm=1.5, radius_mm=(6.0, 9.0))
    patient, grown = draw_patient(0, 0, settings)
    label, grid = grown.labels, patient.anatomy.template.grid
    native = extract_tumour_features(label, affine=grid.affine).values["wt.log_volume"]
    resampled = np.log(resampled_volume_mm3(label, grid, NetworkGrid(1.875, 112)))
    assert resampled == pytest.approx(native, abs=0.05)


def test_a_mirrored_head_has_mirrored_place_and_the_same_volume(items):
    """What augmentation must recompute: a flip of the arrays moves the centroid, a stored one is wrong."""
    item = items[0]
    record = extract_tumour_features(item["label"], affine=item["affine"]).values
    mirrored = extract_tumour_features(item["label"].flip(0), affine=item["affine"]).values
    assert mirrored["wt.centroid_r_mm"] == pytest.approx(-record["wt.centroid_r_mm"])
    assert mirrored["wt.centroid_a_mm"] == pytest.approx(record["wt.centroid_a_mm"])
    assert mirrored["wt.log_volume"] == record["wt.log_volume"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"radius_mm": (0.0, 10.0)}, "radius_mm must be"),
        ({"radius_mm": (20.0, 10.0)}, "radius_mm must be"),
        ({"share_glioma": 1.5}, "share_glioma must be"),
        ({"min_core_voxels": 0}, "min_core_voxels must be"),
    ],
)
def test_impossible_settings_are_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        PhantomSettings(**changes)


@pytest.mark.parametrize(("n", "seed"), [(0, 0), (3, -1)])
def test_an_empty_data_set_is_refused(n, seed):
    with pytest.raises(ValueError, match="n must be at least 1"):
        SyntheticTumourDataset(n, seed)


@pytest.mark.parametrize("index", [-1, 3])
def test_a_patient_that_is_not_there_is_refused(index):
    with pytest.raises(IndexError, match="index must be from 0 to 2"):
        SyntheticTumourDataset(3, 0, COARSE)[index]


def test_tumours_that_no_voxel_can_show_are_refused(monkeypatch):
    monkeypatch.setattr(phantom, "ATTEMPTS", 3)
    settings = PhantomSettings(voxel_mm=8.0, radius_mm=(2.0, 3.0))
    with pytest.raises(ValueError, match="at least 8 voxels, got fewer 3 times at 8 mm"):
        SyntheticTumourDataset(1, 0, settings)[0]


class TestLongitudinal:
    """Visits of one patient."""

    @pytest.fixture(scope="class")
    @staticmethod
    def visits():
        return longitudinal(0, 1, FINE, CourseSettings(n_visits=(4, 4)))

    def test_volumes_follow_the_gompertz_curve_within_their_noise(self, visits):
        truth = visits[0]["truth"]
        above = truth["log_capacity"] - truth["log_v0"]
        for visit in visits:
            curve = truth["log_capacity"] - above * np.exp(-truth["alpha_per_year"] * visit["time_years"])
            assert visit["truth"]["log_volume"] == pytest.approx(curve)
            measured = np.log(int((visit["label"] > 0).sum()) * FINE.voxel_mm**3)
            assert measured == pytest.approx(curve, abs=4 * 0.05 + 0.02)

    def test_without_noise_volumes_are_met_to_the_voxel(self):
        for visit in longitudinal(2, 1, FINE, CourseSettings(n_visits=(2, 3), noise_sd=0.0)):
            wanted = np.exp(visit["truth"]["log_volume"]) / FINE.voxel_mm**3
            assert int((visit["label"] > 0).sum()) == pytest.approx(wanted, abs=1.5)

    def test_rate_and_capacity_are_found_again_in_the_label_maps(self):
        settings = PhantomSettings(voxel_mm=4.0)
        visits = longitudinal(3, 1, settings, CourseSettings(n_visits=(6, 6), noise_sd=0.0))
        times = np.array([visit["time_years"] for visit in visits])
        volumes = [int((visit["label"] > 0).sum()) * settings.voxel_mm**3 for visit in visits]
        law = Curve(Law.GOMPERTZ)
        truth = visits[0]["truth"]
        start = np.array([np.log(volumes[0]), np.log(0.5), 2.5])
        found = least_squares(lambda guess: law(times, guess)[0] - np.log(volumes), start).x
        # A voxel more or less at the first visit is 2 %.
        assert np.exp(found[1]) == pytest.approx(truth["alpha_per_year"], rel=0.05)
        assert law.log_capacity(found) == pytest.approx(truth["log_capacity"], abs=0.05)

    def test_parameters_lie_in_the_ranges_of_the_growth_simulation(self, visits):
        truth = visits[0]["truth"]
        assert 1.5 <= truth["alpha_per_year"] * 5.0 <= 6.0
        assert np.log(5) <= truth["log_capacity"] - truth["log_v0"] <= np.log(30)

    def test_times_are_irregular_and_rise(self, visits):
        times = [visit["time_years"] for visit in visits]
        assert times[0] == 0
        assert (np.diff(times) > 0).all()
        assert np.std(np.diff(times)) > 0.05

    def test_counts_of_visits_stay_in_their_range(self):
        counts = {len(draw_course(0, index, CourseSettings()).times_years) for index in range(60)}
        assert counts == {2, 3, 4, 5, 6}

    def test_anatomy_and_place_stay_and_the_tumour_contains_its_past(self, visits):
        first, last = visits[0], visits[-1]
        assert first["patient_id"] == last["patient_id"]
        assert len({visit["scan_id"] for visit in visits}) == len(visits)
        assert torch.equal(first["image"][0] > 0, last["image"][0] > 0)
        core = [torch.from_numpy(np.isin(visit["label"], (NCR, ET))) for visit in (first, last)]
        assert (core[1] | ~core[0]).all()
        assert not torch.equal(first["image"], last["image"])

    @pytest.mark.parametrize(
        "changes", [{"n_visits": (3, 2)}, {"n_visits": (0, 2)}, {"span_years": 0.0}, {"noise_sd": -1.0}]
    )
    def test_impossible_courses_are_refused(self, changes):
        with pytest.raises(ValueError, match="must be"):
            CourseSettings(**changes)
