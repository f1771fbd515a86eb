"""The thick-slice operator: exact adjoint, constants, hand-computed averages, widths, positions."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from laws import assert_adjoint, assert_constant_kept, assert_linear
from revoxel.experts.profiles import SliceProfile
from revoxel.experts.slices import SliceOperator

profiles = st.builds(
    lambda kind, width: SliceProfile.parse(f"{kind}:{width}"),
    st.sampled_from(["gauss", "rect", "slr"]),
    st.floats(1.0, 9.0),
)
operators = st.builds(
    lambda n_low, n_high, separation, profile: SliceOperator.build(n_low, n_high, 1.0, separation, profile),
    st.integers(1, 9),
    st.integers(2, 41),
    st.floats(2.0, 7.5),
    profiles,
)


@settings(max_examples=40, deadline=None)
@given(operators)
def test_adjoint_is_exact_for_gaps_overlaps_and_any_size(operator: SliceOperator) -> None:
    assert_adjoint(operator.forward, operator.adjoint, (2, 3, operator.n_high))


@settings(max_examples=40, deadline=None)
@given(operators)
def test_constant_stays_constant(operator: SliceOperator) -> None:
    assert_constant_kept(operator.forward, (2, operator.n_high))


def test_operator_is_linear() -> None:
    operator = SliceOperator.build(5, 23, 1.0, 4.6, SliceProfile.gauss(5.0))
    assert_linear(operator.forward, (2, 23))


@pytest.mark.reference
@pytest.mark.parametrize("ratio", [3, 4, 5, 7])
def test_rectangle_of_integer_ratio_is_the_plain_average(ratio: int) -> None:
    # A rectangle as wide as the separation averages the `ratio` voxels of each slice: variance (r^2 - 1) / 12
    # voxels is what remains of r^2 / 12 after the voxel's own 1 / 12.
    fine = torch.arange(6 * ratio, dtype=torch.float64) ** 2
    operator = SliceOperator.build(6, 6 * ratio, 1.0, float(ratio), SliceProfile.rect(float(ratio)))
    torch.testing.assert_close(operator.forward(fine), fine.reshape(6, ratio).mean(1), rtol=1e-6, atol=1e-6)


@pytest.mark.reference
@pytest.mark.parametrize(
    ("profile", "voxel_variance"),
    [
        ("gauss:5", 1 / (8 * np.log(2))),
        ("gauss:7", 1 / (8 * np.log(2))),
        ("rect:5", 1 / 12),
        ("slr:6", 1 / 12),
    ],
)
@pytest.mark.parametrize("separation_mm", [5.0, 4.3])
def test_kernel_has_the_variance_that_the_voxels_leave(
    profile: str, voxel_variance: float, separation_mm: float
) -> None:
    # Variances add: physical profile = voxel + kernel, the voxel counted as F^2 / (8 ln 2) or W^2 / 12.
    physical = SliceProfile.parse(profile)
    operator = SliceOperator.build(20, 100, 1.0, separation_mm, physical)
    row = operator.matrix[10].numpy()
    position = np.arange(100) + 0.5
    mean = (row * position).sum()
    variance = (row * (position - mean) ** 2).sum()
    assert mean == pytest.approx(10.5 * separation_mm, abs=0.06)
    assert variance == pytest.approx(physical.std_mm**2 - voxel_variance, rel=0.02)


def test_first_edges_coincide() -> None:
    ramp = torch.arange(40, dtype=torch.float64) + 0.5  # position of each sample in mm
    operator = SliceOperator.build(8, 40, 1.0, 5.0, SliceProfile.gauss(5.0))
    centres = (torch.arange(8, dtype=torch.float64) + 0.5) * 5.0
    torch.testing.assert_close(operator.forward(ramp)[2:-2], centres[2:-2], atol=1e-3, rtol=0)


def test_length_that_is_no_multiple_repeats_the_last_sample() -> None:
    fine = torch.cat([torch.zeros(10, dtype=torch.float64), torch.ones(3, dtype=torch.float64)])
    operator = SliceOperator.build(3, 13, 1.0, 5.0, SliceProfile.rect(5.0))
    torch.testing.assert_close(operator.forward(fine), torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64))


@pytest.mark.parametrize("bad", [(0, 5, 1.0, 5.0), (5, 0, 1.0, 5.0), (5, 5, 0.0, 5.0), (5, 5, 1.0, -5.0)])
def test_impossible_samplings_are_refused(bad: tuple) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        SliceOperator.build(*bad, SliceProfile.gauss(5.0))
