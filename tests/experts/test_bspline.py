"""The B-spline expert against ITK and its laws."""

import itk
import numpy as np
import pytest
import torch

from revoxel.experts.bspline import bspline
from revoxel.experts.problem import SliceProblem
from revoxel.experts.profiles import SliceProfile


def _problem(low: torch.Tensor, ratio: float, n_high: int) -> SliceProblem:
    return SliceProblem(low, n_high, 1.0, ratio, SliceProfile.gauss(ratio))


def _itk_resample(low: np.ndarray, ratio: float, n_high: int) -> np.ndarray:
    image = itk.image_from_array(np.ascontiguousarray(low.transpose(2, 1, 0)))
    image.SetSpacing([1.0, 1.0, ratio])
    image.SetOrigin([0.0, 0.0, (ratio - 1) / 2])
    interpolator = itk.BSplineInterpolateImageFunction.New(image, spline_order=3)
    size = [low.shape[0], low.shape[1], n_high]
    result = itk.resample_image_filter(
        image, interpolator=interpolator, size=size, output_spacing=[1.0] * 3, output_origin=[0.0] * 3
    )
    return itk.array_from_image(result).transpose(2, 1, 0)


@pytest.mark.parametrize(("ratio", "n_low"), [(5.0, 8), (3.0, 7), (2.5, 8)])
def test_bspline_equals_itk_up_to_the_outer_edges(ratio, n_low):
    low = np.random.default_rng(0).standard_normal((4, 5, n_low)).astype(np.float32)
    n_high = round(n_low * ratio)
    ours = bspline(_problem(torch.from_numpy(low), ratio, n_high)).numpy()
    np.testing.assert_allclose(ours, _itk_resample(low, ratio, n_high), atol=2e-5)


def test_bspline_passes_through_the_slices_of_an_odd_ratio():
    low = torch.randn(3, 3, 6, generator=torch.Generator().manual_seed(0))
    fine = bspline(_problem(low, 5.0, 30))
    torch.testing.assert_close(fine[..., 2::5], low, atol=1e-5, rtol=0)


def test_a_single_slice_is_repeated():
    low = torch.rand(2, 2, 1)
    assert torch.equal(bspline(_problem(low, 4.0, 4)), low.expand(2, 2, 4))
