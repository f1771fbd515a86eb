"""The voxels of a scan that a fit has to answer: checked, as rows of a matrix, and back as maps."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from revoxel.asl.protocol import AslProtocol


@dataclass(frozen=True, eq=False)
class Voxels:
    """Difference signals by row, and which rows to fit.

    Args:
        curves: `(row, channel)`, every voxel of the scan, in units of M0.
        chosen: `(row,)`, bool: inside the mask and finite.
        dropped: `(row,)`, bool: inside the mask and not finite.
        shape: Shape of the maps.
        from_numpy: Whether maps go back as NumPy arrays.
    """

    curves: Tensor
    chosen: Tensor
    dropped: Tensor
    shape: tuple[int, ...]
    from_numpy: bool

    @property
    def n_items(self) -> int:
        """Length of the first axis; one for a single voxel."""
        return self.shape[0] if self.shape else 1

    def map_of(self, values: Tensor) -> Any:
        """Values of the chosen voxels as a map, of the kind of array that came in.

        Args:
            values: `(voxel,)`, chosen voxels in order.

        Returns:
            Array of the maps' shape, 0 elsewhere; floating point in the precision of the signals.
        """
        kept = values.to(self.curves.dtype) if values.is_floating_point() else values
        rows = kept.new_zeros(len(self.chosen))
        rows[self.chosen] = kept
        return self._shaped(rows)

    def dropped_map(self) -> Any:
        """`dropped` as a map."""
        return self._shaped(self.dropped)

    def _shaped(self, rows: Tensor) -> Any:
        maps = rows.reshape(self.shape)
        return maps.cpu().numpy() if self.from_numpy else maps

    @cached_property
    def rows(self) -> Tensor:
        """Row numbers of the chosen voxels, `(voxel,)`."""
        return self.chosen.nonzero().squeeze(1)

    @property
    def item_of_row(self) -> Tensor:
        """Item of the first axis that each chosen voxel belongs to, `(voxel,)`."""
        return self.rows.div(max(len(self.chosen) // self.n_items, 1), rounding_mode="floor")

    def items(self) -> list[tuple[int, Tensor]]:
        """Rows to fit by item of the first axis.

        Returns:
            Pairs of item and row numbers, items in order.
        """
        item = self.item_of_row
        return [(number, self.rows[item == number]) for number in range(self.n_items)]


def gather_voxels(dm: Any, protocol: AslProtocol, mask: Any, *, drop_nonfinite: bool) -> Voxels:
    """Check a scan and find the voxels to fit.

    Args:
        dm: `(..., channel)`, difference signal in units of M0, NumPy or torch.
        protocol: Delays of the channels.
        mask: `(...)`, true where a voxel is wanted; every voxel if none.
        drop_nonfinite: Leave out voxels that are not finite instead of raising.

    Returns:
        The voxels.

    Raises:
        ValueError: If the channels are not those of the protocol, the shapes differ, the mask is empty, or a
            wanted voxel is not finite.
    """
    signals = _real_tensor(dm)
    n_channels = signals.shape[-1] if signals.ndim else 0
    if n_channels != protocol.n_channels:
        msg = (
            f"dm must have the protocol's {protocol.n_channels} channels on its last axis, got {n_channels}; "
            f"stack them as {', '.join(protocol.labels)}."
        )
        raise ValueError(msg)
    shape = tuple(signals.shape[:-1])
    curves = signals.reshape(-1, n_channels)
    wanted = _wanted(mask, shape, curves)
    # One pass: a sum is finite only where every term is.
    finite = curves.sum(-1).isfinite()
    dropped = wanted & ~finite
    n_bad = int(dropped.sum())
    if n_bad and not drop_nonfinite:
        msg = (
            f"dm must be finite inside the mask, got {n_bad} of {int(wanted.sum())} voxels with NaN or "
            'infinity; shrink the mask or fit with on_nonfinite="mask".'
        )
        raise ValueError(msg)
    return Voxels(curves, wanted & finite, dropped, shape, not isinstance(dm, Tensor))


@dataclass(frozen=True, eq=False)
class Noise:
    """Noise of the channels, split into a part by channel and one by voxel.

    Args:
        weights: `(item or 1, channel)`, float64, one over sigma; ones where that is not known or by voxel.
        levels: `(row,)`, float64, sigma that is left after weighting; none where sigma is not known.
    """

    weights: Tensor
    levels: Tensor | None

    @classmethod
    def of(cls, sigma: Any, voxels: Voxels) -> Noise:
        """Check a standard deviation and split it.

        Args:
            sigma: None, a number, one per channel, `(..., 1)` or `(item, 1, ..., channel)`.
            voxels: What was measured.

        Returns:
            The noise.

        Raises:
            ValueError: If a value is not positive, or the shape is another.
        """
        curves = voxels.curves
        n_channels = curves.shape[1]
        ones = curves.new_ones((1, n_channels), dtype=torch.float64)
        if sigma is None:
            return cls(ones, None)
        values = torch.as_tensor(np.asarray(sigma) if not isinstance(sigma, Tensor) else sigma.detach())
        values = values.to(ones)
        if not bool((values.isfinite() & (values > 0)).all()):
            msg = f"sigma must be finite and > 0, got {float(values.min()):g}; estimate it from repeats."
            raise ValueError(msg)
        level = ones.new_ones(()).expand(len(curves))
        if values.ndim == 0 or values.shape == (n_channels,):
            return cls(ones / values, level)
        full = (*voxels.shape, n_channels)
        fits = values.ndim == len(full) and all(n in {1, m} for n, m in zip(values.shape, full, strict=True))
        if fits and values.shape[-1] == 1:
            return cls(ones, values[..., 0].expand(voxels.shape).reshape(-1))
        if fits and all(n == 1 for n in values.shape[1:-1]):
            return cls(1 / values.reshape(-1, n_channels), level)
        msg = (
            f"sigma must be a number, one per channel ({n_channels}), by voxel {(*voxels.shape, 1)} or by "
            f"item and channel, got shape {tuple(values.shape)}; reshape it."
        )
        raise ValueError(msg)


def _real_tensor(values: Any) -> Tensor:
    """A tensor of float32 or float64 without gradient, sharing memory where it can."""
    if isinstance(values, Tensor):
        tensor = values.detach()
    else:
        array = np.asarray(values)
        kind = array.dtype.newbyteorder("=") if array.dtype in (np.float32, np.float64) else np.float32
        array = np.ascontiguousarray(array, dtype=kind)
        tensor = torch.from_numpy(array if array.flags.writeable else array.copy())
    return tensor if tensor.dtype in {torch.float32, torch.float64} else tensor.float()


def _wanted(mask: ArrayLike | Tensor | None, shape: tuple[int, ...], curves: Tensor) -> Tensor:
    if mask is None:
        wanted = torch.ones(len(curves), dtype=torch.bool, device=curves.device)
    else:
        inside = mask if isinstance(mask, Tensor) else torch.as_tensor(np.array(mask, dtype=bool))
        if tuple(inside.shape) != shape:
            msg = f"mask must have the shape of dm[..., 0], {shape}, got {tuple(inside.shape)}; match it."
            raise ValueError(msg)
        wanted = inside.to(curves.device).reshape(-1).bool()
    if not bool(wanted.any()):
        msg = "mask must have a voxel, got none; check its threshold, or pass none for the whole volume."
        raise ValueError(msg)
    return wanted
