r"""`ResidualUpsampler3D`: a volume on a four (or two) times finer grid, as a correction of an interpolation.

$\hat x = B c + s\,(I - D^{+} D)\,r(c)$ with an interpolation $B$, the network $r$, and of its output the part
that block means $D$ cannot see: whatever the weights, the block means of the result are the coarse volume.
Source of the
parts: residual blocks without normalisation, Lim et al., CVPRW 2017 (EDSR); sub-pixel convolution, Shi et
al., CVPR 2016; channel attention, Hu et al., CVPR 2018.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import torch
from torch import nn

from revoxel.ct.consistency import block_mean, shift_blocks, upsample_trilinear
from revoxel.ct.upsampler.histospline import upsample_histospline
from revoxel.ct.upsampler.parts import Norm, ResidualBlock, receptive_radius, subpixel, zeroed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

Head = Literal["progressive", "coarse"]
_HEADS = ("progressive", "coarse")
_FACTORS = (2, 4)
_MIN_SIDE = 4


class ResidualUpsampler3D(nn.Module):
    """Coarse volume to a finer one; sees and gives normalised HU.

    Args:
        factor: ratio of the spacings, 2 or 4.
        channels: features of each stage, coarsest first; `progressive` has one stage per doubling and one
            more, `coarse` has one. The default is (64, 32, 16), or (48,) of the coarse head.
        blocks: residual blocks of each stage; the default is (6, 3, 1), or (4,).
        attention: channel attention; its means depend on the tile, so tiles equal the whole only without.
        head: `progressive` doubles the grid in steps (2.1 M weights); `coarse` computes on the coarse grid
            alone and shuffles once (0.58 M weights, a twentieth of the time).
        norm: `none`, or `instance` as the source has it, which loses the absolute HU.
        consistency: keep block means: correct the mean-preserving spline by what block means cannot see;
            off, correct the trilinear upsampling freely as the source does.
        correction_scale: factor of the correction.

    Raises:
        ValueError: If an argument is none of these, or stages and head do not fit.
    """

    def __init__(  # noqa: PLR0913 - one line of a bundle's config each
        self,
        factor: int = 4,
        channels: Sequence[int] | None = None,
        blocks: Sequence[int] | None = None,
        *,
        attention: bool = True,
        head: Head = "progressive",
        norm: Norm = "none",
        consistency: bool = True,
        correction_scale: float = 1.0,
    ) -> None:
        super().__init__()
        if factor not in _FACTORS or head not in _HEADS:
            msg = f"factor must be 2 or 4 and head one of {_HEADS}, got {factor} and {head!r}; choose those."
            raise ValueError(msg)
        self.factor, self.head, self.consistency = factor, head, consistency
        self.correction_scale = correction_scale
        n_stages = (factor // 2 + 1) if head == "progressive" else 1
        channels = channels or ((64, 32, 16)[:n_stages] if n_stages > 1 else (48,))
        blocks = blocks or ((6, 3, 1)[:n_stages] if n_stages > 1 else (4,))
        if not len(channels) == len(blocks) == n_stages:
            msg = (
                f"channels and blocks must have {n_stages} entries for head {head!r} and factor {factor}, "
                f"got {tuple(channels)} and {tuple(blocks)}; give one per stage."
            )
            raise ValueError(msg)
        self.stem = nn.Conv3d(1, channels[0], 3, padding=1)
        self.stages = nn.ModuleList(
            nn.Sequential(*(ResidualBlock(n, attention=attention, norm=norm) for _ in range(n_blocks)))
            for n, n_blocks in zip(channels, blocks, strict=True)
        )
        self.ups = nn.ModuleList(subpixel(before, after, 2) for before, after in pairwise(channels))
        if head == "coarse":
            self.tails = nn.ModuleList([zeroed(subpixel(channels[0], 1, factor))])
        else:
            self.tails = nn.ModuleList(zeroed(nn.Conv3d(n, 1, 3, padding=1)) for n in channels[1:])
        self.radius = receptive_radius(blocks)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Upsample.

        Args:
            x: `(B, 1, X, Y, Z)`, normalised HU, every side at least 4.

        Returns:
            `pred`, `(B, 1, factor X, factor Y, factor Z)` in float32; while training at factor 4 also `x2`,
            the volume on the grid between.

        Raises:
            ValueError: If the shape is another one.
        """
        if x.ndim != 5 or x.shape[1] != 1 or min(x.shape[2:]) < _MIN_SIDE:
            msg = (
                f"x must be (B, 1, X, Y, Z) with sides of at least {_MIN_SIDE}, got {tuple(x.shape)}; "
                "pad the volume or give one channel."
            )
            raise ValueError(msg)
        corrections = self.corrections(x)
        with torch.autocast(x.device.type, enabled=False):
            x = x.float()
            result = {"pred": self.base(x) + corrections[self.factor]}
            if self.training and self.factor == 4:
                result["x2"] = self._between(x, result["pred"], corrections)
        return result

    def base(self, x: Tensor) -> Tensor:
        """What is corrected: the upsampled coarse volume.

        Args:
            x: `(B, 1, X, Y, Z)`, normalised HU, float32.
        """
        return self._interpolated(x, self.factor)

    def corrections(self, x: Tensor) -> dict[int, Tensor]:
        """Corrections by factor, in float32; without attention each value depends on `radius` voxels around.

        Args:
            x: `(B, 1, X, Y, Z)`, normalised HU.
        """
        features = self.stages[0](self.stem(x))
        if self.head == "coarse":
            return {self.factor: self._visible(self.tails[0](features), self.factor)}
        result = {}
        for step, (up, stage, tail) in enumerate(zip(self.ups, self.stages[1:], self.tails, strict=True)):
            features = stage(up(features))
            scale = 2 ** (step + 1)
            if self.training or scale == self.factor:
                result[scale] = self._visible(tail(features), scale)
        return result

    def _visible(self, correction: Tensor, factor: int) -> Tensor:
        """The correction at its scale, without what block means would see."""
        correction = self.correction_scale * correction.float()
        if not self.consistency:
            return correction
        coarse = [side // factor for side in correction.shape[2:]]
        return shift_blocks(correction, correction.new_zeros((*correction.shape[:2], *coarse)), factor)

    def _interpolated(self, x: Tensor, factor: int) -> Tensor:
        return upsample_histospline(x, factor) if self.consistency else upsample_trilinear(x, factor)

    def _between(self, x: Tensor, pred: Tensor, corrections: dict[int, Tensor]) -> Tensor:
        """The volume at twice the coarse grid; the coarse head has no such stage, its prediction has."""
        return self._interpolated(x, 2) + corrections[2] if 2 in corrections else block_mean(pred, 2)
