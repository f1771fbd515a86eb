"""MONAI dictionary transforms from difference images to perfusion maps.

The joined item has `dm`, `protocol`, `physics`, `slice_times` and `sigma`, then `estimate`, `cbf` and `att`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from monai.transforms import Transform

from revoxel.asl.quantification.estimation import MapEstimator, MapProblem, estimate_maps
from revoxel.asl.quantification.outputs import AslPaths, map_files
from revoxel.asl.scans.stacking import common_slice_times, physics_of, protocol_of
from revoxel.asl.scans.stated import Stated
from revoxel.asl.scans.transforms import ALL_KEYS, Data
from revoxel.core.geometry import check_same_grid
from revoxel.core.meta_images import grid_of, image_on
from revoxel.core.volumes import write_volume

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from revoxel.asl.quantification.estimation import AnyFitSettings


class StackAslChannelsd(Transform):
    """Join the scans of a head into `dm` with its `protocol`, `physics`, `sigma` and `slice_times`.

    Args:
        keys: Images, in stacking order.
        stated: What the user knows better than the sidecars.
    """

    def __init__(self, keys: Sequence[str] = ALL_KEYS, stated: Stated | None = None) -> None:
        self.keys = keys
        self.stated = stated or Stated()

    def __call__(self, data: Mapping[Hashable, Any]) -> Data:
        """Stack.

        Args:
            data: Item of `NormalizeByM0d`.

        Returns:
            Item with `dm`, `(channel, i, j, k)`.

        Raises:
            ValueError: If scans do not lie on one grid, or their delays or constants cannot be used.
        """
        item = dict(data)
        keys = [key for key in self.keys if key in item]
        series = [item[f"{key}_series"] for key in keys]
        check_same_grid({one.name: grid_of(item[key]) for key, one in zip(keys, series, strict=True)})
        delays = {
            one.labelling: item[f"{key}_averaged"].delays for key, one in zip(keys, series, strict=True)
        }
        sigmas = [item[f"{key}_sigma"] for key in keys]
        bolus_ms = next((one.bolus_ms for one in series if one.bolus_ms), None)
        return item | {
            "dm": image_on(np.concatenate([item[key].numpy() for key in keys]), grid_of(item[keys[0]])),
            "protocol": protocol_of(delays, bolus_ms),
            "physics": physics_of(series, self.stated),
            "slice_times": common_slice_times(series),
            "sigma": None if any(sigma is None for sigma in sigmas) else np.concatenate(sigmas),
        }


class FitAsld(Transform):
    """Estimate CBF and ATT; writes `estimate` (`Estimate`) and the maps as images, `(1, i, j, k)`.

    Args:
        settings: Of the fit.
        estimator: What turns the fit into maps, such as a network; the fit itself if not given.
    """

    def __init__(self, settings: AnyFitSettings | None = None, estimator: MapEstimator | None = None) -> None:
        self.settings = settings
        self.estimator = estimator

    def __call__(self, data: Mapping[Hashable, Any]) -> Data:
        """Estimate.

        Args:
            data: Item of `StackAslChannelsd`.

        Returns:
            Item with `estimate`, `cbf` and, where it can be told, `att`.

        Raises:
            ValueError: If the data do not fit the protocol, or are not finite in the mask.
        """
        item = dict(data)
        problem = MapProblem(
            dm=np.ascontiguousarray(np.moveaxis(item["dm"].numpy(), 0, -1)),
            mask=item["mask"].numpy()[0].astype(bool),
            protocol=item["protocol"],
            physics=item["physics"],
            sigma=item["sigma"],
        )
        estimate = estimate_maps(problem, item["slice_times"], self.settings, self.estimator)
        grid = grid_of(item["dm"])
        maps = {"cbf": estimate.maps.cbf, "att": estimate.maps.att}
        return item | {
            "estimate": estimate,
            **{name: image_on(values[None], grid) for name, values in maps.items() if values is not None},
        }


class SaveAslMapsd(Transform):
    """Write the maps of an item as NIfTI.

    Args:
        paths: Where to.
    """

    def __init__(self, paths: AslPaths) -> None:
        self.paths = paths

    def __call__(self, data: Mapping[Hashable, Any]) -> Data:
        """Write.

        Args:
            data: Item of `FitAsld`.

        Returns:
            The same item.

        Raises:
            FileExistsError: If a map exists.
            OSError: If one cannot be written.
        """
        item = dict(data)
        grid = grid_of(item["dm"])
        for name, values in map_files(item["estimate"]).items():
            write_volume(self.paths.file(name), values, grid)
        return item
