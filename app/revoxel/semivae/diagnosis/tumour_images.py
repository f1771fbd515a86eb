"""How well tumours come back from the latent: PSNR and sharpness inside them, scan by scan."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from revoxel.core.metrics import psnr, range_of
from revoxel.semivae.diagnosis.encoding import decode_in_batches, frozen

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from numpy.typing import NDArray

    from revoxel.semivae.diagnosis.latents import Latents
    from revoxel.semivae.network.semivae import SemiVAE

    Volume = NDArray[np.float32]
    Mask = NDArray[np.bool_]

_HALF = 0.5
_UNKNOWN = {"tumour_psnr_db": float("nan"), "brain_psnr_db": float("nan"), "tumour_sharpness": float("nan")}


def tumour_images(
    network: SemiVAE, batches: Iterable[Mapping[str, Any]], latents: Latents
) -> Iterator[dict[str, float]]:
    """Score the reconstruction of every scan.

    Args:
        network: With a decoder.
        batches: `image`, `available`, `tumour` and `brain` of the scans of `latents`, in their order.
        latents: Of `encode_scans`.

    Yields:
        Means over the pulses that are there: `tumour_psnr_db` and `brain_psnr_db` (peak: 99.9th percentile of
        the z-scores in the brain) and `tumour_sharpness`. NaN for a scan whose tumour fills no voxel by half.
    """
    start = 0
    for batch in batches:
        rows = slice(start, start + len(batch["image"]))
        start = rows.stop
        with frozen(network):
            decoded = [one.cpu().numpy() for one in decode_in_batches(network, latents.mu[rows])]
        for row, guess in enumerate(np.concatenate(decoded)):
            image, there, tumour, brain = (
                batch[name][row].numpy() for name in ("image", "available", "tumour", "brain")
            )
            yield _scores(image[there], guess[there], tumour[0] > _HALF, brain[0] > _HALF)


def sharpness(guess: Volume, image: Volume, region: Mask) -> float:
    """Root mean square slope of a reconstruction over that of the image.

    Args:
        guess: `(i, j, k)`.
        image: `(i, j, k)`.
        region: `(i, j, k)`, not empty.

    Returns:
        1 if edges are as steep as in the image, less if they are blurred; NaN if the image is flat.
    """
    steep, wanted = (_mean_square_slope(volume, region) for volume in (guess, image))
    return float(np.sqrt(steep / wanted)) if wanted > 0 else float("nan")


def _scores(image: Volume, guess: Volume, tumour: Mask, brain: Mask) -> dict[str, float]:
    if not (tumour.any() and brain.any()):
        return dict(_UNKNOWN)
    rows = []
    for truth, made in zip(image, guess, strict=True):
        peak = range_of(truth, brain)
        if peak > 0:
            in_tumour, in_brain = (psnr(made, truth, region, data_range=peak) for region in (tumour, brain))
            rows.append((in_tumour, in_brain, sharpness(made, truth, tumour)))
    return dict(zip(_UNKNOWN, np.mean(rows, axis=0).tolist(), strict=True)) if rows else dict(_UNKNOWN)


def _mean_square_slope(volume: Volume, region: Mask) -> float:
    slopes = np.stack(list(np.gradient(volume.astype(np.float64))))
    return float(np.square(slopes).sum(axis=0)[region].mean())
