"""The network that adds details to a coarse CT, guided by two X-ray views."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch
from monai.networks.utils import pixelshuffle, pixelunshuffle
from torch import nn

from revoxel.ct.consistency import block_mean, shift_blocks, smooth_difference, upsample_trilinear
from revoxel.ct.detail.gate import RadialBandGate
from revoxel.ct.detail.lifting import XrayScene, lift_views, view_evidence
from revoxel.ct.detail.loss import laplacian

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

Consistency = Literal["none", "lowpass4"]
CONSISTENCIES = ("none", "lowpass4")
#: Forms by name. `small` computes on blocks of 2^3 voxels: an eighth of the voxels, for a CPU.
PRESETS: dict[str, dict[str, Any]] = {
    "full": {"hidden": 96, "blocks": 8, "lift_channels": 32, "bands": 8, "fold": 1},
    "small": {"hidden": 32, "blocks": 3, "lift_channels": 4, "bands": 6, "fold": 2},
}
_N_EVIDENCE = 2
_RESIDUAL_SCALE = 0.2
_N_SMOOTH_STEPS = 10
# Inputs of size one and a small output: else the first steps of Adam shout the coarse volume down.
_LAPLACIAN_SCALE = 10.0
_DETAIL_SCALE = 0.1


class ViewEncoder(nn.Module):
    """Image features of one view; both views share the weights.

    Args:
        lift_channels: Learned channels; view and difference are kept beside them.
    """

    def __init__(self, lift_channels: int) -> None:
        super().__init__()
        width = 2 * lift_channels
        self.layers = nn.Sequential(
            nn.Conv2d(_N_EVIDENCE, width, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(width, lift_channels, 3, padding=1),
        )
        self.n_channels = lift_channels + _N_EVIDENCE

    def forward(self, evidence: Tensor) -> Tensor:
        """Features of both views.

        Args:
            evidence: `(B, 2, 2, row, column)`; 0 for an absent view.

        Returns:
            `(B, 2, lift_channels + 2, row, column)`; 0 for an absent view.
        """
        learned = self.layers(evidence.flatten(0, 1)).unflatten(0, evidence.shape[:2])
        present = evidence.flatten(2).any(dim=2)[:, :, None, None, None]
        return torch.cat([evidence.to(learned.dtype), torch.where(present, learned, 0.0)], dim=2)


class GatedBlock(nn.Module):
    """Residual block without normalisation, whose HU level it would lose; frequencies weighed at its end.

    Args:
        hidden: Channels.
        bands: Of the frequency gate.
    """

    def __init__(self, hidden: int, bands: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv3d(hidden, hidden, 3, padding=1),
            nn.GELU(),
            nn.Conv3d(hidden, hidden, 3, padding=1),
            RadialBandGate(hidden, bands),
            nn.Conv3d(hidden, hidden, 1),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Add to the features.

        Args:
            features: `(B, hidden, X, Y, Z)`.
        """
        return features + _RESIDUAL_SCALE * self.layers(features)


class DetailRefiner3D(nn.Module):
    """Adds details to a coarse volume; before training it returns the coarse volume itself.

    Args:
        hidden: Channels of the trunk.
        blocks: Residual blocks.
        lift_channels: Learned channels per view.
        bands: Of the frequency gates.
        views: X-ray views, which must be 2.
        fold: Side of the block of voxels that the trunk sees as channels of one; 1 for single voxels.
        consistency: `lowpass4` keeps the means of 4^3 voxels those of the coarse volume.
        scene: Ties voxels to pixels; 1.5 mm voxels and parallel rays if not given.

    Raises:
        ValueError: If `views` is not 2 or `consistency` unknown.
    """

    def __init__(  # noqa: PLR0913 - one switch of the published form each
        self,
        hidden: int = 96,
        blocks: int = 8,
        lift_channels: int = 32,
        bands: int = 8,
        views: int = 2,
        *,
        fold: int = 1,
        consistency: Consistency = "none",
        scene: XrayScene | None = None,
    ) -> None:
        super().__init__()
        if views != 2:
            msg = f"views must be 2, frontal and lateral, got {views}; other numbers have no geometry here."
            raise ValueError(msg)
        if consistency not in CONSISTENCIES:
            msg = f"consistency must be one of {', '.join(CONSISTENCIES)}, got {consistency!r}; correct it."
            raise ValueError(msg)
        self.fold, self.consistency = fold, consistency
        self.scene = scene or XrayScene((1.5, 1.5, 1.5))
        self.encoder = ViewEncoder(lift_channels)
        n_inputs = 2 + views * self.encoder.n_channels
        self.head = nn.Conv3d(n_inputs * fold**3, hidden, 3, padding=1)
        self.trunk = nn.Sequential(
            *(GatedBlock(hidden, bands) for _ in range(blocks)), nn.Conv3d(hidden, hidden, 3, padding=1)
        )
        self.tail = nn.Conv3d(hidden, fold**3, 3, padding=1)
        nn.init.zeros_(self.tail.weight)
        nn.init.zeros_(self.tail.bias)  # type: ignore[arg-type]

    def forward(self, coarse: Tensor, views: Tensor | None = None) -> Tensor:
        """Refine a batch.

        Args:
            coarse: `(B, 1, X, Y, Z)`, normalised by the scene's window.
            views: `(B, 2, 1, row, column)` in nepers, frontal first; a view of zeros counts as absent, `None`
                as two absent ones.

        Returns:
            The refined volume, float32, of the shape and units of `coarse`.

        Raises:
            ValueError: If a shape does not fit.
        """
        self._check(coarse)
        coarse = coarse.float()
        own = torch.cat([2 * coarse - 1, _LAPLACIAN_SCALE * laplacian(coarse)], dim=1)
        inputs = torch.cat([own, self._guidance(coarse, views)], dim=1)
        shallow = self.head(pixelunshuffle(inputs, 3, self.fold))
        details = pixelshuffle(self.tail(shallow + self.trunk(shallow)), 3, self.fold)
        refined = coarse + _DETAIL_SCALE * details.float()
        return refined if self.consistency == "none" else keep_low_frequencies(refined, coarse)

    def _guidance(self, coarse: Tensor, views: Tensor | None) -> Tensor:
        n_batch, _, *sides = coarse.shape
        if views is None:
            return coarse.new_zeros((n_batch, 2 * self.encoder.n_channels, *sides))
        # Line integrals of hundreds of voxels have no room in half precision.
        with torch.autocast(coarse.device.type, enabled=False):
            evidence = view_evidence(coarse, views.to(coarse), self.scene)
        features = self.encoder(evidence).float()
        return lift_views(features, tuple(sides), self.scene)  # type: ignore[arg-type]

    def _check(self, coarse: Tensor) -> None:
        multiple = self.fold if self.consistency == "none" else 4 * self.fold // min(self.fold, 4)
        if coarse.ndim != 5 or coarse.shape[1] != 1 or any(side % multiple for side in coarse.shape[2:]):
            msg = (
                f"coarse must be (B, 1, X, Y, Z) with sides divisible by {multiple}, got "
                f"{tuple(coarse.shape)}; crop or pad it."
            )
            raise ValueError(msg)


def keep_low_frequencies(refined: Tensor, coarse: Tensor) -> Tensor:
    """Give a refined volume the means over 4^3 voxels of the coarse one, smoothly where it can be.

    Args:
        refined: `(B, 1, X, Y, Z)`.
        coarse: The same.
    """
    means = block_mean(coarse)
    smooth = smooth_difference(means - block_mean(refined), _N_SMOOTH_STEPS)
    return shift_blocks(refined + upsample_trilinear(smooth), means)


def architecture(preset: str, changes: Mapping[str, Any], consistency: Consistency) -> dict[str, Any]:
    """Arguments of a network by the name of its form.

    Args:
        preset: `full` or `small`.
        changes: Arguments that differ from the preset's.
        consistency: `none` or `lowpass4`.

    Returns:
        Arguments of `DetailRefiner3D`, all but the scene.

    Raises:
        ValueError: If the preset is unknown.
    """
    if preset not in PRESETS:
        msg = f"preset must be one of {', '.join(PRESETS)}, got {preset!r}; correct the configuration."
        raise ValueError(msg)
    return PRESETS[preset] | dict(changes) | {"consistency": consistency}


def build_refiner(arguments: Mapping[str, Any], scene: XrayScene) -> DetailRefiner3D:
    """Build a network.

    Args:
        arguments: Of `DetailRefiner3D`, all but the scene.
        scene: Ties voxels to pixels.

    Raises:
        ValueError: If an argument is unknown or impossible.
    """
    try:
        return DetailRefiner3D(**arguments, scene=scene)
    except TypeError as error:
        msg = f"network must hold arguments of DetailRefiner3D, got {dict(arguments)}: {error}; correct it."
        raise ValueError(msg) from error
