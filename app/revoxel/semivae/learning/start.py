"""Where a training starts: the decoder's template at the mean of the training scans."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from revoxel.semivae.network.decoder import AroundTemplate

if TYPE_CHECKING:
    from pathlib import Path

    from revoxel.semivae.learning.bank import ScanBank
    from revoxel.semivae.network.semivae import SemiVAE

_MOST_SCANS = 512


def start_at_mean_image(network: SemiVAE, bank: ScanBank, start_from: str | Path | None = None) -> None:
    """Set the template of a decoder that has one to the mean of the training scans, mirrored ones included.

    Args:
        network: As it starts.
        bank: Scans of the training.
        start_from: Other weights that the run starts from; their template stays.
    """
    if start_from is not None or not isinstance(network.decoder, AroundTemplate):
        return
    template = network.decoder.template
    total, count = torch.zeros(template.shape[1:]), torch.zeros(template.shape[1])
    for index in range(min(len(bank), _MOST_SCANS)):
        item = bank[index]
        total += item["image"]
        count += item["measured"]
    with torch.no_grad():
        template.copy_((total / count.clamp_min(1)[:, None, None, None])[None])
