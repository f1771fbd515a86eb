"""What stands before detail refinement: a frozen model that gives a coarse volume for two X-rays."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import torch

from revoxel.ct.hounsfield import HounsfieldWindow
from revoxel.ct.smooth import blurred, smooth_error
from revoxel.ct.xray.agreement import check_views
from revoxel.ct.xray.geometry import View, XrayGeometry
from revoxel.ct.xray.projector import hounsfield_of, lift, line_integrals, ray_lengths_mm

if TYPE_CHECKING:
    from torch import Tensor

_ERROR_SIGMA_VOXELS = (5.0, 5.0, 5.0)


@runtime_checkable
class FrozenBase(Protocol):
    """A base is never trained with what refines it: it runs without gradients, in evaluation mode.

    Attributes:
        weights_sha256: Fingerprint of its weights; `None` if it has none.
    """

    weights_sha256: str | None

    def coarse(self, views: Tensor, truth: Tensor | None = None) -> Tensor:
        """Give the coarse volume.

        Args:
            views: `(batch, 2, 1, row, column)` in nepers, frontal first.
            truth: `(batch, 1, x, y, z)` normalised; only an oracle looks at it.

        Returns:
            `(batch, 1, x, y, z)` normalised by the base's window.
        """
        ...


@dataclass(frozen=True)
class Scene:
    """A volume's grid and the X-ray geometry around it.

    Attributes:
        shape: Voxels along x, y, z.
        spacing_mm: Voxel size along x, y, z.
        geometry: Of source and detector.
    """

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    geometry: XrayGeometry = field(default_factory=XrayGeometry)

    def project(self, attenuation: Tensor) -> Tensor:
        """X-ray `(batch, 1, x, y, z)` in 1/mm: `(batch, 2, 1, row, column)` in nepers."""
        images = [line_integrals(attenuation, self.spacing_mm, self.geometry, view) for view in View]
        return torch.stack(images, dim=1)

    def lift(self, features: Tensor, view: View) -> Tensor:
        """Spread `(batch, channel, row, column)` back along the rays of one view."""
        return lift(features, self.shape, self.spacing_mm, self.geometry, view)

    def mean_attenuation(self, views: Tensor) -> Tensor:
        """Nepers over the way through the volume's depth: `(batch, 2, 1, row, column)` in 1/mm."""
        lengths = [ray_lengths_mm(self.shape, self.spacing_mm, self.geometry, view) for view in View]
        return views / torch.stack(lengths)[:, None].to(views)

    def smear(self, views: Tensor) -> Tensor:
        """Mean of both views' attenuation, spread back: `(batch, 1, x, y, z)` in 1/mm."""
        even = self.mean_attenuation(views)
        return sum(self.lift(even[:, index], view) for index, view in enumerate(View)) / 2  # type: ignore[return-value]

    def check(self, views: Tensor) -> None:
        """Refuse views that are not two of the detector's size.

        Raises:
            ValueError: If they are not.
        """
        size = self.geometry.size
        check_views(views, (len(views), len(View), 1, size, size))


class OracleBase:
    """The truth, blurred and with a smooth error: a base of known quality, for training and tests.

    Args:
        window: By which volumes are normalised.
        blur_voxels: Standard deviation of the blur.
        error_hu: Root mean square of the smooth error.
        seed: Of the errors; one truth always gets the same error, another truth another.

    Raises:
        ValueError: If blur or error is negative.
    """

    weights_sha256: str | None = None

    def __init__(
        self,
        window: HounsfieldWindow | None = None,
        *,
        blur_voxels: float = 1.5,
        error_hu: float = 20.0,
        seed: int = 0,
    ) -> None:
        if not (blur_voxels > 0 and error_hu >= 0):
            msg = (
                f"blur must be positive and error not negative, got {blur_voxels} and {error_hu}; correct it."
            )
            raise ValueError(msg)
        self.window = window or HounsfieldWindow()
        self.blur_voxels, self.error_hu, self.seed = blur_voxels, error_hu, seed

    @torch.no_grad()
    def coarse(self, views: Tensor, truth: Tensor | None = None) -> Tensor:  # noqa: ARG002 - of the protocol
        """Degrade the truth.

        Args:
            views: Not looked at.
            truth: `(batch, 1, x, y, z)` normalised.

        Returns:
            The same shape, normalised.

        Raises:
            ValueError: If there is no truth.
        """
        if truth is None:
            msg = "truth must be given to an oracle, got none; take another base where there is no truth."
            raise ValueError(msg)
        smooth = blurred(truth.float(), [self.blur_voxels] * 3)
        return smooth + torch.cat([self._error(volume) for volume in truth]).to(smooth)

    def _error(self, volume: Tensor) -> Tensor:
        seed = zlib.crc32(volume.detach().float().cpu().contiguous().numpy().tobytes(), self.seed)
        rms = self.error_hu / self.window.width_hu
        return smooth_error(tuple(volume.shape[1:]), _ERROR_SIGMA_VOXELS, rms, seed)


class BackprojectionBase:
    r"""Both views smeared back over the volume and averaged; no training.

    Smearing keeps a ray's mean but flattens everything: $\hat\mu = a + b\,(s_f + s_l)/2$, clipped at 0, with
    the $a, b$ whose X-rays fit the given ones best (least squares). Nothing but the views goes into it.

    Args:
        scene: Grid of the volume, and geometry.
        window: By which the result is normalised.
    """

    weights_sha256: str | None = None

    def __init__(self, scene: Scene, window: HounsfieldWindow | None = None) -> None:
        self.scene, self.window = scene, window or HounsfieldWindow()

    @torch.no_grad()
    def coarse(self, views: Tensor, truth: Tensor | None = None) -> Tensor:  # noqa: ARG002 - of the protocol
        """Smear the views back.

        Args:
            views: `(batch, 2, 1, row, column)` in nepers, frontal first.
            truth: Not looked at.

        Returns:
            `(batch, 1, x, y, z)` normalised.

        Raises:
            ValueError: If the views are not two of the detector's size.
        """
        self.scene.check(views)
        smeared = self.scene.smear(views)
        ones = torch.ones_like(smeared[:1])
        uniform = self.scene.project(ones).flatten().expand(len(views), -1)
        columns = torch.stack([uniform, self.scene.project(smeared).flatten(1)], dim=2)
        fit = _least_squares(columns.double(), views.flatten(1).double()).to(smeared)
        offset, gain = fit[:, :, None, None, None, None].unbind(1)
        attenuation = (offset + gain * smeared).clamp(min=0)
        return self.window.normalise(hounsfield_of(attenuation))


def _least_squares(columns: Tensor, target: Tensor) -> Tensor:
    """`(batch, 2)` coefficients of `(batch, pixel, 2)` that fit `(batch, pixel)`, by a pseudoinverse."""
    return (torch.linalg.pinv(columns.mT @ columns) @ columns.mT @ target[..., None])[..., 0]
