"""Preparation and the expert run: geometry, background, resuming."""

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch

from laws import centroid_world
from revoxel.core.geometry import Grid
from revoxel.core.pulses import Pulse
from revoxel.core.volumes import Volume, read_volume
from revoxel.experts import run as run_module
from revoxel.experts.learned import RECIPES
from revoxel.experts.names import Expert
from revoxel.experts.prepare import prepare
from revoxel.experts.profiles import SliceProfile
from revoxel.experts.run import ExpertRequest, run_experts
from revoxel.experts.simulate import simulate

PROFILE = SliceProfile.gauss(3)


@pytest.fixture(autouse=True)
def few_steps(monkeypatch):
    """Tuning is not what these tests look at."""
    short = {expert: replace(recipe, n_steps_warm=4, n_steps_cold=4) for expert, recipe in RECIPES.items()}
    monkeypatch.setattr(run_module, "RECIPES", short)


def _oblique(shape: tuple[int, int, int]) -> Grid:
    angle = 0.3
    rotation = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, -1.0]])
    affine = np.eye(4)
    affine[:3, :3] = rotation @ np.diag([1.0, -1.0, 1.0])
    affine[:3, 3] = (11.0, -7.0, 30.0)
    return Grid(shape, affine)


def _sphere(value: float = 0.0) -> Volume:
    grid = _oblique((37, 36, 38))
    index = np.indices(grid.shape)
    centre = np.array([17.0, 18.5, 19.25]).reshape(3, 1, 1, 1)
    distance = np.sqrt(((index - centre) ** 2).sum(0))
    ball = np.clip(9.5 - distance, 0, 1)
    return Volume(data=(value + (100 - value) * ball).astype(np.float32), grid=grid)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_every_expert_keeps_the_centroid_of_a_sphere(axis):
    truth = _sphere()
    low = simulate(truth, profile=PROFILE, separation_mm=3.0, axis=axis)
    run = run_experts(ExpertRequest(volume=low, profile=PROFILE))
    expected = centroid_world(truth.data, truth.grid.affine)
    for expert, volume in run.volumes.items():
        found = centroid_world(volume, run.high_grid.affine)
        assert np.abs(found - expected).max() < 0.1, expert


def test_a_ratio_that_is_no_integer_keeps_the_centroid():
    truth = _sphere()
    low = simulate(truth, profile=PROFILE, separation_mm=2.7, axis=2)
    run = run_experts(ExpertRequest(volume=low, profile=PROFILE, voxel_mm=1.1))
    expected = centroid_world(truth.data, truth.grid.affine)
    for expert, volume in run.volumes.items():
        assert np.abs(centroid_world(volume, run.high_grid.affine) - expected).max() < 0.11, expert


@pytest.mark.parametrize("value", [0.0, 7.3])
@pytest.mark.parametrize("voxel_mm", [1.0, 0.8])
def test_a_constant_background_stays_exactly_that_constant(value, voxel_mm):
    low = simulate(_sphere(value), profile=PROFILE, separation_mm=3.0, axis=2)
    background = np.float32(value)
    low.data[np.abs(low.data - background) < 1e-4] = background  # the weighted sum rounds
    run = run_experts(ExpertRequest(volume=low, profile=PROFILE, voxel_mm=voxel_mm))
    for expert, volume in run.volumes.items():
        assert (volume[:3] == background).all(), expert
        assert (volume == background).mean() > 0.5, expert


def test_results_lie_on_one_grid_that_covers_the_slices():
    low = simulate(_sphere(), profile=PROFILE, separation_mm=3.0, axis=1)
    run = run_experts(ExpertRequest(volume=low, profile=PROFILE, experts=(Expert.BSPLINE,)))
    assert run.high_grid.shape == (37, 36, 38)
    np.testing.assert_allclose(run.high_grid.affine, _sphere().grid.affine, atol=1e-9)


def test_a_second_run_reads_what_the_first_one_kept(tmp_path):
    low = simulate(_sphere(), profile=PROFILE, separation_mm=3.0, axis=2)
    request = ExpertRequest(volume=low, profile=PROFILE, out_dir=tmp_path, stem="ball")
    first = run_experts(request)
    (tmp_path / "ball_SR-SMORE.nii.gz").unlink()
    second = run_experts(request)
    assert second.seconds[Expert.UNIRES] == 0.0 < second.seconds[Expert.SMORE]
    for expert in Expert:
        np.testing.assert_array_equal(first.volumes[expert], second.volumes[expert])


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("cold", [False, True])
def test_results_do_not_depend_on_the_schedule(two_threads, cold):
    low = simulate(_sphere(), profile=PROFILE, separation_mm=3.0, axis=2)
    request = ExpertRequest(volume=low, profile=PROFILE, cold=cold)
    beside = run_experts(request)
    torch.set_num_threads(1)
    alone = run_experts(request)
    assert list(beside.volumes) == list(alone.volumes) == list(Expert)
    for expert in Expert:
        np.testing.assert_array_equal(beside.volumes[expert], alone.volumes[expert])
    assert beside.excess_sharpness == alone.excess_sharpness


def test_an_expert_that_fails_leaves_the_finished_ones(two_threads, tmp_path, monkeypatch):
    kept = threading.Event()
    real = run_module.super_resolve_learned

    def failing(problem, recipe, *others, progress, **options):
        if recipe.expert is Expert.SMORE:
            assert kept.wait(60)
            raise OSError("the graphics card fell out")
        return real(problem, recipe, *others, progress=progress, **options)

    def progress(stage, share):
        if (stage, share) == ("ECLARE", 1.0) and (tmp_path / "ball_SR-ECLARE.nii.gz").exists():
            kept.set()

    monkeypatch.setattr(run_module, "super_resolve_learned", failing)
    low = simulate(_sphere(), profile=PROFILE, separation_mm=3.0, axis=2)
    request = ExpertRequest(volume=low, profile=PROFILE, out_dir=tmp_path, stem="ball")
    with pytest.raises(OSError, match="the graphics card fell out"):
        run_experts(request, progress)
    monkeypatch.setattr(run_module, "super_resolve_learned", real)
    resumed = run_experts(request)
    assert {expert for expert, seconds in resumed.seconds.items() if seconds > 0} == {Expert.SMORE}


def test_results_of_other_settings_are_neither_used_nor_replaced(tmp_path):
    low = simulate(_sphere(), profile=PROFILE, separation_mm=3.0, axis=2)
    request = ExpertRequest(
        volume=low, experts=(Expert.BSPLINE,), profile=PROFILE, out_dir=tmp_path, stem="ball"
    )
    run_experts(request)
    before = (tmp_path / "ball_SR-BSPLINE.nii.gz").read_bytes()
    other = replace(request, profile=SliceProfile.rect(3))
    with pytest.raises(FileExistsError, match=r"profile.*--overwrite"):
        run_experts(other)
    assert (tmp_path / "ball_SR-BSPLINE.nii.gz").read_bytes() == before
    run_experts(replace(other, overwrite=True))
    assert read_volume(tmp_path / "ball_SR-BSPLINE.nii.gz").data.shape == (37, 36, 39)


def test_companions_change_only_unires():
    low = simulate(_sphere(), profile=PROFILE, separation_mm=3.0, axis=2)
    companion = Volume(data=np.sqrt(low.data), grid=low.grid)
    request = ExpertRequest(volume=low, profile=PROFILE, experts=(Expert.BSPLINE, Expert.UNIRES))
    alone = run_experts(request)
    joint = run_experts(replace(request, companions={Pulse.t2w: companion}))
    np.testing.assert_array_equal(alone.volumes[Expert.BSPLINE], joint.volumes[Expert.BSPLINE])
    assert not np.array_equal(alone.volumes[Expert.UNIRES], joint.volumes[Expert.UNIRES])


def test_an_isotropic_volume_has_nothing_to_restore():
    with pytest.raises(ValueError, match="nothing to do"):
        prepare(_sphere(), PROFILE)


def test_in_plane_resampling_is_reported():
    low = simulate(_sphere(), profile=PROFILE, separation_mm=3.0, axis=2)
    assert not prepare(low, PROFILE, 1.02).resampled_in_plane
    assert prepare(low, PROFILE, 0.8).resampled_in_plane
    assert not prepare(low, PROFILE, None).resampled_in_plane
