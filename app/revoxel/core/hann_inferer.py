"""MONAI's sliding window, exact in float32, with a Hann map that has no holes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from monai.inferers import SlidingWindowInferer

from revoxel.core.windows import hann_weights, window_sides

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    Outputs = Tensor | tuple[Tensor, ...]


class HannSlidingWindowInferer(SlidingWindowInferer):
    """MONAI's sliding window with a Hann map; every voxel of the volume gets a positive weight.

    MONAI's own inferer takes no user map in its constructor, so a bundle cannot ask for one.
    Networks may return one tensor or a tuple; each is stitched.

    Args:
        roi_size: Sides of the window in voxels, one number or one per axis, positive.
        sw_batch_size: Windows per call of the network.
        overlap: Share of a window that the next one repeats, from 0 to below 1.
        sw_device: Where the network runs; the input's device if None.
        device: Where the result is stitched; the input's device if None.
        progress: Show a progress bar.

    Raises:
        ValueError: If a side is not positive.
    """

    def __init__(
        self,
        roi_size: Sequence[int] | int = 64,
        sw_batch_size: int = 1,
        overlap: float = 0.5,
        sw_device: torch.device | str | None = None,
        device: torch.device | str | None = None,
        progress: bool = False,
    ) -> None:
        window = window_sides(roi_size)
        super().__init__(
            roi_size=window,
            sw_batch_size=sw_batch_size,
            overlap=overlap,
            padding_mode="replicate",
            sw_device=sw_device,
            device=device,
            progress=progress,
        )
        self.roi_weight_map = hann_weights(window)

    def __call__(self, inputs: Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Run the network over all windows and blend its outputs.

        Args:
            inputs: `(batch, channel, z, y, x)`.
            network: Called with batches of windows.
            *args: Passed to the network.
            **kwargs: Passed to the network.

        Returns:
            What the network returns, for the whole volume, in float32.
        """

        def in_float32(*windows: Any, **options: Any) -> Outputs:
            outputs = network(*windows, **options)
            # MONAI scales outputs in place; without a copy a network that returns its input would damage it.
            if isinstance(outputs, torch.Tensor):
                return outputs.to(torch.float32, copy=True)
            return tuple(output.to(torch.float32, copy=True) for output in outputs)

        return super().__call__(inputs.float(), in_float32, *args, **kwargs)
