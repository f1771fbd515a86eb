"""Roughness along the slices, and the excess that a too wide profile makes."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from revoxel.experts.bspline import bspline
from revoxel.experts.problem import SliceProblem
from revoxel.experts.profiles import SliceProfile
from revoxel.experts.sharpness import excess_sharpness, roughness_log_ratio
from revoxel.experts.slices import SliceOperator

PROFILE = SliceProfile.gauss(3)


def test_roughness_ratio_is_zero_for_isotropic_noise_and_negative_after_blurring() -> None:
    noise = np.random.default_rng(0).standard_normal((40, 40, 40)).astype(np.float32)
    assert roughness_log_ratio(torch.from_numpy(noise)) == pytest.approx(0, abs=0.02)
    blurred = gaussian_filter1d(noise, 1.0, axis=2)
    assert roughness_log_ratio(torch.from_numpy(blurred)) < -0.5


def _problem() -> SliceProblem:
    noise = np.random.default_rng(0).standard_normal((36, 36, 36)).astype(np.float32)
    noise = gaussian_filter(noise, 1.5)
    operator = SliceOperator.build(12, 36, 1.0, 3.0, PROFILE)
    return SliceProblem(operator.forward(torch.from_numpy(noise)), 36, 1.0, 3.0, PROFILE)


def test_sharpening_only_the_slice_axis_is_excess() -> None:
    problem = _problem()
    fine = bspline(problem)
    honest = excess_sharpness(bspline, problem, fine)
    assert abs(honest) < 0.15
    sharpened = fine + 1.5 * (fine - torch.from_numpy(gaussian_filter1d(fine.numpy(), 1.5, axis=2)))
    assert excess_sharpness(bspline, problem, sharpened) > honest + 0.2


def test_planes_too_small_to_tell_give_no_excess() -> None:
    problem = SliceProblem(torch.rand(6, 6, 12), 36, 1.0, 3.0, PROFILE)
    assert excess_sharpness(bspline, problem, bspline(problem)) == 0.0
