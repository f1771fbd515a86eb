"""The learned experts: geometry of phases, self-supervision, warm starts."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from revoxel.experts.bspline import bspline
from revoxel.experts.learned import ECLARE, RECIPES, SMORE, start_network, super_resolve_learned
from revoxel.experts.names import Expert
from revoxel.experts.phase_net import super_resolve_planes
from revoxel.experts.phases import PhaseGrid
from revoxel.experts.problem import SliceProblem
from revoxel.experts.profiles import SliceProfile
from revoxel.experts.self_training import Degradation, TrainingPlan, _PatchSampler, train_on_planes
from revoxel.experts.slices import SliceOperator
from revoxel.experts.warm_start import load_warm_start, save_warm_start, shipped_folder


def _problem(volume: np.ndarray, ratio: int) -> SliceProblem:
    profile = SliceProfile.gauss(ratio)
    n_high = volume.shape[2] // ratio * ratio
    operator = SliceOperator.build(n_high // ratio, n_high, 1.0, ratio, profile)
    return SliceProblem(
        operator.forward(torch.from_numpy(volume[..., :n_high].copy())), n_high, 1.0, ratio, profile
    )


@pytest.mark.parametrize("recipe", [SMORE, ECLARE], ids=lambda r: r.expert.value)
@pytest.mark.parametrize("ratio", [3.0, 5.5])
def test_an_untrained_network_is_the_bspline(recipe, ratio):
    n_high = round(6 * ratio)
    low = torch.rand(4, 12, 6)
    problem = SliceProblem(low, n_high, 1.0, ratio, SliceProfile.gauss(ratio))
    network = start_network(ratio, recipe, None, seed=0)
    fine = super_resolve_planes(network, low, PhaseGrid(6, network.config.n_phases, n_high, ratio))
    tolerance = 1e-5 if ratio == 3.0 else 0.05
    torch.testing.assert_close(fine, bspline(problem), atol=tolerance, rtol=0)


def test_a_degraded_patch_equals_the_operator_inside():
    profile = SliceProfile.gauss(5)
    degradation = Degradation(5.0, profile, 12)
    line = torch.rand(degradation.length)
    whole = torch.cat([line.new_zeros(40), line, line.new_zeros(40)])
    whole[:40], whole[-40:] = line[0], line[-1]
    inside = whole[40 + degradation.margin : 40 + degradation.margin + 60]
    expected = SliceOperator.build(12, 60, 1.0, 5.0, profile).forward(inside)
    torch.testing.assert_close((degradation.matrix @ line)[2:-2], expected[2:-2], atol=1e-3, rtol=0)


def test_training_lowers_the_error_below_the_bspline(brain):
    problem = _problem(brain / 140.0, 3)
    truth = torch.from_numpy(brain / 140.0)[..., : problem.n_high]
    recipe = replace(ECLARE, n_steps_cold=60, n_channels=16, n_blocks=2)
    fine = super_resolve_learned(problem, recipe, None).volume
    assert (fine - truth).std() < 0.97 * (bspline(problem) - truth).std()


def test_the_same_seed_gives_the_same_volume(brain):
    problem = _problem(brain / 140.0, 3)
    recipe = replace(SMORE, n_steps_cold=3, n_channels=8, n_blocks=1)
    first, second, other = (super_resolve_learned(problem, recipe, None, seed=s).volume for s in (0, 0, 1))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_patches_of_a_turned_plane_are_pieces_of_it():
    plane = torch.rand(50, 60) + 1
    sampler = _PatchSampler([plane[None]], TrainingPlan(1, batch_size=40, height=6), 9)
    turns = [turned.flip(axes) for turned in (plane, plane.T) for axes in ([], [0], [1], [0, 1])]
    padded = [torch.nn.functional.pad(turn[None], (9, 9, 9, 9), mode="reflect")[0] for turn in turns]
    windows = torch.cat([image.unfold(0, 6, 1).unfold(1, 9, 1).reshape(-1, 54) for image in padded])
    patches = sampler.draw(9).flatten(1)
    exact = torch.cdist(patches, windows, compute_mode="donot_use_mm_for_euclid_dist")
    assert exact.min(1).values.max() == 0
    assert len(torch.unique(patches, dim=0)) > 30


def test_planes_without_structure_are_refused():
    network = start_network(3.0, replace(SMORE, n_channels=8, n_blocks=1), None, 0)
    plan = TrainingPlan(n_steps=2)
    with pytest.raises(ValueError, match="hold tissue"):
        train_on_planes(
            network, [torch.zeros(3, 40, 40)], [Degradation(3.0, SliceProfile.gauss(3), 12)], plan
        )


@pytest.mark.parametrize("expert", list(RECIPES))
@pytest.mark.parametrize("ratio", [2.4, 5.0, 6.1])
def test_a_warm_start_is_shipped_for_every_ratio_and_is_small(expert, ratio):
    warm = load_warm_start(expert, ratio)
    start_network(ratio, RECIPES[expert], warm, 0)
    assert abs(warm.n_phases - ratio) <= 1.0
    assert (shipped_folder() / warm.source).stat().st_size < 2_000_000


def test_kernels_in_a_file_are_height_by_slice():
    record = torch.load(shipped_folder() / "smore_x5.pt", weights_only=True)
    weights = {name: value.float() for name, value in record["weights"].items()}
    low = torch.rand(2, 20, 9)

    def layer(image: torch.Tensor, name: str) -> torch.Tensor:
        return torch.conv2d(image, weights[f"{name}.weight"], weights[f"{name}.bias"], padding=1)

    features = layer(low[:, None], "head")
    for number in range(SMORE.n_blocks):
        features = features + layer(layer(features, f"blocks.{number}.0").relu(), f"blocks.{number}.2")
    expected = layer(features, "tail").permute(0, 2, 3, 1).flatten(2)
    network = start_network(5.0, SMORE, load_warm_start(Expert.SMORE, 5.0), 0)
    torch.testing.assert_close(network(low), expected, atol=1e-5, rtol=0)


def test_a_kept_warm_start_is_the_network_it_came_from(tmp_path):
    network = start_network(3.0, ECLARE, load_warm_start(Expert.ECLARE, 3.0), 0)
    save_warm_start(tmp_path / "eclare_x3.pt", Expert.ECLARE, network.state_dict(), 3)
    again = start_network(3.0, ECLARE, load_warm_start(Expert.ECLARE, 3.0, tmp_path), 0)
    for name, value in network.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])


def test_a_start_from_nothing_depends_on_its_seed_alone():
    torch.manual_seed(7)
    first, other = (start_network(3.0, SMORE, None, seed).state_dict() for seed in (1, 2))
    torch.manual_seed(8)
    again = start_network(3.0, SMORE, None, 1).state_dict()
    assert all(torch.equal(value, again[name]) for name, value in first.items())
    assert not torch.equal(first["head.weight"], other["head.weight"])


def test_a_warm_start_of_another_expert_is_refused(tmp_path):
    network = start_network(3.0, SMORE, None, 0)
    save_warm_start(tmp_path / "eclare_x3.pt", Expert.SMORE, network.state_dict(), 3)
    with pytest.raises(ValueError, match=r"eclare_x3\.pt must be .*ECLARE.*got .*SMORE"):
        load_warm_start(Expert.ECLARE, 3.0, tmp_path)
    with pytest.raises(FileNotFoundError, match="--cold"):
        load_warm_start(Expert.SMORE, 3.0, tmp_path)
