"""The network of the upsampler's bundle: coarse HU in, fine HU out, consistent with what came in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from monai.data.meta_tensor import MetaTensor
from monai.transforms import MapTransform
from torch import nn

from revoxel.core.adoption import share_names
from revoxel.core.iterations import Precision
from revoxel.ct.consistency import project_onto_coarse, round_within_blocks
from revoxel.ct.hounsfield import HounsfieldWindow
from revoxel.ct.upsampler.inference import TILE, UpsampleOptions, upsample
from revoxel.ct.upsampler.models import build_upsampler

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from monai.config import KeysCollection
    from torch import Tensor


class UpsamplerBundleNet(nn.Module):
    """An upsampler with its HU window and the projection: one tensor out, as MONAI's verifier wants.

    Its state dict is the network's: training checkpoints and bundles hold the same names.

    Args:
        arguments: of `ResidualUpsampler3D`.
        window: `low_hu` and `high_hu`, what the network sees as 0 and 1.
        tile: side of a tile in coarse voxels.
        mirrored: mean over eight mirror images.
        precision: number format; by default bfloat16 where the hardware has it.

    Attributes:
        no_export: why a trace of one volume serves no other.
    """

    no_export = "computes tile by tile, as many as the volume has"

    def __init__(
        self,
        arguments: Mapping[str, Any],
        window: Mapping[str, float],
        tile: int = TILE,
        mirrored: bool = True,
        precision: Precision | None = None,
    ) -> None:
        super().__init__()
        self.core = build_upsampler(arguments)
        self.window, self.options = (
            HounsfieldWindow(**window),
            UpsampleOptions(tile, mirrored, precision or Precision()),
        )
        share_names(self, "core")

    @torch.no_grad()
    def forward(self, image: Tensor, views: Tensor | None = None) -> Tensor:
        """Upsample volumes.

        Args:
            image: `(B, 1, X, Y, Z)`, coarse, HU.
            views: X-ray views, which this network has no use for; part of the call of all CT bundles.

        Returns:
            `(B, 1, factor X, factor Y, factor Z)`, HU inside the window; block means are `image`.

        Raises:
            ValueError: If the shape is another one, or views are given.
        """
        if views is not None:
            msg = f"views must be None for the upsampler, got {tuple(views.shape)}; use the detail network."
            raise ValueError(msg)
        window = self.window
        fine = [
            upsample(self.core, one, window=window, options=self.options)
            for one in image.as_subclass(torch.Tensor).split(1)
        ]
        coarse = image.as_subclass(torch.Tensor).to(fine[0].dtype)
        return project_onto_coarse(torch.cat(fine), coarse, window=window, factor=self.core.factor)


class WholeHUd(MapTransform):
    """Round refined images to whole HU so that their block means stay, and name them after the coarse one.

    Args:
        keys: images in HU, `(1, X, Y, Z)`, where they lie.
        factor: side of a block in voxels.
        coarse_key: image with the name of the file; without it there is no name.
        allow_missing_keys: skip absent keys.
    """

    def __init__(
        self,
        keys: KeysCollection,
        factor: int = 4,
        coarse_key: str = "image",
        *,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.factor, self.coarse_key = factor, coarse_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Round the images.

        Args:
            data: item with images.

        Returns:
            Item with images of int16.
        """
        item = dict(data)
        name = getattr(item.get(self.coarse_key), "meta", {}).get("filename_or_obj")
        for key in self.key_iterator(item):
            image = item[key]
            whole = round_within_blocks(
                torch.as_tensor(image).as_subclass(torch.Tensor)[None].float(), self.factor
            )
            item[key] = MetaTensor(whole[0], affine=getattr(image, "affine", None))
            item[key].meta |= {} if name is None else {"filename_or_obj": name}
        return item


class KnownMetad(MapTransform):
    """Keep of an image's metadata what is known: a data loader refuses None and empty lists.

    Args:
        keys: images.
        allow_missing_keys: skip absent keys.
    """

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Leave out what is not known.

        Args:
            data: item with images.

        Returns:
            Item with the same images.
        """
        item = dict(data)
        for key in self.key_iterator(item):
            item[key].meta = {k: v for k, v in item[key].meta.items() if v is not None and v != []}
        return item
