"""Properties that hold whatever the implementation: pure checks, used by the tests of every layer."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Operator = Callable[[Tensor], Tensor]


def adjoint_error(forward: Operator, adjoint: Operator, domain: tuple[int, ...], seed: int = 0) -> float:
    """Relative gap of `<A u, v> = <u, A* v>` in float64 for random `u`, `v`."""
    generator = torch.Generator().manual_seed(seed)
    u = torch.randn(domain, generator=generator, dtype=torch.float64)
    image = forward(u)
    v = torch.randn(image.shape, generator=generator, dtype=torch.float64)
    left, right = (image * v).sum(), (u * adjoint(v)).sum()
    scale = max(float(image.norm() * v.norm()), 1e-300)
    return float((left - right).abs()) / scale


def assert_adjoint(
    forward: Operator, adjoint: Operator, domain: tuple[int, ...], tolerance: float = 1e-12
) -> None:
    """`<A u, v> = <u, A* v>` for three draws."""
    for seed in range(3):
        error = adjoint_error(forward, adjoint, domain, seed)
        assert error <= tolerance, f"adjoint law broken for {domain}: relative gap {error:.3g}"


def assert_linear(forward: Operator, domain: tuple[int, ...], tolerance: float = 1e-12) -> None:
    """`A(a u + b v) = a A u + b A v` in float64."""
    generator = torch.Generator().manual_seed(0)
    u, v = torch.randn((2, *domain), generator=generator, dtype=torch.float64)
    torch.testing.assert_close(
        forward(2.5 * u - 0.5 * v), 2.5 * forward(u) - 0.5 * forward(v), rtol=tolerance, atol=tolerance
    )


def assert_constant_kept(
    function: Callable[[Tensor], Tensor],
    domain: tuple[int, ...],
    value: float = 3.25,
    tolerance: float = 1e-9,
) -> None:
    """A constant volume stays that constant, borders included."""
    result = function(torch.full(domain, value, dtype=torch.float64))
    torch.testing.assert_close(result, torch.full_like(result, value), rtol=tolerance, atol=tolerance)


def assert_batch_equals_singles(function: Operator, batch: Tensor, tolerance: float = 1e-6) -> None:
    """Running a batch equals running its items one by one."""
    together = function(batch)
    alone = torch.cat([function(item[None]) for item in batch])
    torch.testing.assert_close(together, alone, rtol=tolerance, atol=tolerance)


def assert_expert_order_ignored(
    mix: Callable[[Tensor, Tensor], Tensor], experts: Tensor, weights: Tensor
) -> None:
    """Permuting experts and weights together changes nothing."""
    order = torch.randperm(experts.shape[1], generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(mix(experts[:, order], weights[:, order]), mix(experts, weights))


def assert_gradient(function: Callable[..., Tensor], *inputs: Tensor, tolerance: float = 1e-6) -> None:
    """Analytic gradients equal finite differences (inputs float64, requiring grad)."""
    assert torch.autograd.gradcheck(function, inputs, eps=1e-6, atol=tolerance, rtol=1e-4)


def assert_grid_restored(
    there: Callable[[NDArray], NDArray], back: Callable[[NDArray], NDArray], data: NDArray
) -> None:
    """A round trip returns the same array on the same axes."""
    restored = back(there(data))
    assert restored.shape == data.shape
    np.testing.assert_array_equal(restored, data)


def assert_tiled_equals_whole(tiled: Tensor, whole: Tensor, tolerance: float = 1e-5) -> None:
    """Stitching windows of a pointwise network gives what one pass gives, rim included."""
    assert torch.isfinite(tiled).all(), "holes in the window map"
    torch.testing.assert_close(tiled, whole, rtol=tolerance, atol=tolerance)


def centroid_world(data: NDArray, affine: NDArray) -> NDArray:
    """Intensity centroid in mm: a sphere's must survive every change of grid."""
    mass = np.clip(data, 0, None)
    index = np.indices(data.shape).reshape(3, -1)
    centre = (index * mass.ravel()).sum(axis=1) / mass.sum()
    return affine[:3, :3] @ centre + affine[:3, 3]
