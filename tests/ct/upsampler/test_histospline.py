"""The spline through cumulative sums: means kept, polynomials kept, local."""

import pytest
import torch

from revoxel.ct.consistency import block_mean, face_gradient_ratio, upsample_trilinear
from revoxel.ct.upsampler.histospline import RADIUS, spline_taps, upsample_histospline


@pytest.mark.parametrize("factor", [2, 4])
def test_block_means_are_the_coarse_values(factor):
    coarse = torch.randn(2, 1, 3, 4, 5, dtype=torch.float64)
    assert torch.allclose(block_mean(upsample_histospline(coarse, factor), factor), coarse, atol=1e-12)


@pytest.mark.reference
def test_quadratic_is_recovered_from_its_means():
    # Mean of t^2 over [a - h/2, a + h/2] is a^2 + h^2/12: coarse h = 1, fine h = 1/4.
    centres = torch.arange(40.0, dtype=torch.float64) - 19.5
    coarse = (centres**2 + 1 / 12).expand(1, 1, 2, 2, 40).contiguous()
    fine = upsample_histospline(coarse, 4)[0, 0, 0, 0]
    fine_centres = (torch.arange(160.0, dtype=torch.float64) - 79.5) / 4
    vertex = slice(70, 90)
    # The kernel is cut off; linear interpolation is off by 0.3 at the vertex.
    assert torch.allclose(fine[vertex], (fine_centres**2 + 1 / 192)[vertex], atol=0.03)


def test_taps_sum_to_one_and_mirror():
    taps = torch.from_numpy(spline_taps(4))
    assert torch.allclose(taps.sum(1), torch.ones(4, dtype=torch.float64))
    assert torch.allclose(taps, taps.flip(0, 1), atol=1e-6)


def test_constant_stays_constant_to_the_borders():
    coarse = torch.full((1, 1, 2, 3, 4), 0.3)
    assert torch.allclose(upsample_histospline(coarse), torch.tensor(0.3), atol=1e-6)


def test_it_depends_on_the_neighbourhood_alone():
    coarse = torch.randn(1, 1, 2, 2, 30)
    other = coarse.clone()
    other[..., 20:] += 5
    same = 4 * (20 - RADIUS)
    first, second = upsample_histospline(coarse), upsample_histospline(other)
    assert torch.allclose(first[..., :same], second[..., :same], atol=1e-5)
    assert not torch.allclose(first[..., :80], second[..., :80], atol=1e-2)


def test_no_blocks_show():
    torch.manual_seed(0)
    coarse = upsample_trilinear(torch.randn(1, 1, 4, 4, 4), 4)
    assert face_gradient_ratio(upsample_histospline(coarse)) < 1.1
