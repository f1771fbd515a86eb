"""The UniRes-type expert: its optimum, its tiles and its gain."""

import numpy as np
import pytest
import torch

from revoxel.experts.bspline import bspline
from revoxel.experts.problem import SliceProblem
from revoxel.experts.profiles import SliceProfile
from revoxel.experts.slices import SliceOperator
from revoxel.experts.unires import UniresSettings, noise_std, unires

PROFILE = SliceProfile.gauss(4)


def _problem(truth: np.ndarray) -> SliceProblem:
    operator = SliceOperator.build(truth.shape[2] // 4, truth.shape[2], 1.0, 4.0, PROFILE)
    return SliceProblem(operator.forward(torch.from_numpy(truth.copy())), truth.shape[2], 1.0, 4.0, PROFILE)


@pytest.fixture(scope="module")
def truth(brain) -> np.ndarray:
    return brain / 140.0


def _objective(volume: torch.Tensor, problem: SliceProblem, strength: float) -> float:
    data = 0.5 * (problem.operator.forward(volume) - problem.low).square().sum()
    square = torch.zeros_like(volume)
    for axis in range(3):
        n = volume.shape[axis]
        step = torch.diff(volume, dim=axis)
        square.narrow(axis, 0, n - 1).add_(step.square())
    return float(data + strength * square.sqrt().sum())


def _forward_differences(volume: torch.Tensor) -> torch.Tensor:
    fields = [torch.zeros_like(volume) for _ in range(3)]
    for axis, field in enumerate(fields, start=1):
        n = volume.shape[axis]
        field.narrow(axis, 0, n - 1).copy_(torch.diff(volume, dim=axis))
    return torch.stack(fields)


def _plainly(low: torch.Tensor, strengths: list[float], n_iterations: int) -> torch.Tensor:
    """The primal-dual iteration as Condat (2013) writes it, in float64 with dense matrices."""
    settings = UniresSettings()
    problems = [SliceProblem(channel, 4 * low.shape[-1], 1.0, 4.0, PROFILE) for channel in low]
    matrix = problems[0].operator.matrix
    inverse = torch.linalg.inv(torch.eye(matrix.shape[1]).double() + settings.step * matrix.T @ matrix)
    strength = torch.tensor(strengths).double().view(-1, 1, 1, 1)
    primal = torch.stack([bspline(problem).double() for problem in problems])
    dual = torch.zeros(3, *primal.shape, dtype=torch.float64)
    _, adjoint = torch.func.vjp(_forward_differences, primal)
    for _ in range(n_iterations):
        moved = (primal + settings.step * (low.double() @ matrix - adjoint(dual)[0])) @ inverse
        trial = dual + _forward_differences(2 * moved - primal) / (12 * settings.step)
        length = (trial / strength).square().sum((0, 1)).sqrt()
        primal = primal + settings.relaxation * (moved - primal)
        dual = dual + settings.relaxation * (trial / length.clamp(min=1) - dual)
    return primal


@pytest.mark.parametrize("n_pulses", [1, 2])
def test_a_tile_equals_the_plain_iteration(truth, n_pulses):
    low = _problem(truth[20:34, 20:31]).low
    pulses = torch.stack([low, low.square()][:n_pulses])
    settings = UniresSettings(n_iterations=25)
    strengths = [max(0.0003, 0.1 * noise_std(pulse)) for pulse in pulses]
    problem = SliceProblem(low, 4 * low.shape[-1], 1.0, 4.0, PROFILE)
    found = unires(problem, list(pulses[1:]), settings)
    expected = _plainly(pulses, strengths, settings.n_iterations)[0].float()
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=0)
    assert (expected - bspline(problem)).abs().max() > 0.01


def test_unires_lowers_its_own_objective_to_a_stationary_value(truth):
    problem = _problem(truth)
    settings = {"strength_floor": 0.003, "strength_per_noise": 0.0, "tile": 100}
    values = [
        _objective(unires(problem, settings=UniresSettings(n_iterations=n, **settings)), problem, 0.003)
        for n in (30, 120, 240)
    ]
    assert values[0] < _objective(bspline(problem), problem, 0.003)
    assert values[2] <= values[1] <= values[0]
    assert values[1] - values[2] < 0.02 * values[2]


def test_tiles_equal_the_whole_within_a_thousandth_of_the_range(truth):
    problem = _problem(truth)
    tiled = unires(problem, settings=UniresSettings(tile=28))
    whole = unires(problem, settings=UniresSettings(tile=100))
    assert (tiled - whole).abs().max() < 0.02
    assert (tiled - whole).square().mean().sqrt() < 1e-3


def test_unires_beats_bspline_on_a_simulated_volume(truth):
    problem = _problem(truth)
    error_unires = (unires(problem).numpy() - truth).std()
    error_bspline = (bspline(problem).numpy() - truth).std()
    assert error_unires < 0.95 * error_bspline


def test_a_companion_pulse_enters_the_prior(truth):
    problem = _problem(truth)
    companion = problem.low.square()
    joint = unires(problem, [companion])
    assert torch.isfinite(joint).all()
    assert not torch.allclose(joint, unires(problem))


def test_a_constant_volume_stays_constant():
    problem = SliceProblem(torch.full((9, 7, 5), 0.3), 20, 1.0, 4.0, PROFILE)
    assert torch.equal(unires(problem), torch.full((9, 7, 20), 0.3))


@pytest.mark.parametrize("std", [0.01, 0.05])
def test_noise_is_measured_despite_a_zero_background(std):
    generator = torch.Generator().manual_seed(0)
    low = torch.zeros(60, 60, 12)
    low[10:50, 10:50] = 0.6 + std * torch.randn(40, 40, 12, generator=generator)
    assert noise_std(low) == pytest.approx(std, rel=0.1)
    assert noise_std(torch.zeros(8, 8, 4)) == 0.0
