"""A trained network whose features a perceptual loss compares; its weights are a file that the user has."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from monai.networks.nets import ResNetFeatures

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn

_PARALLEL = "module."


def load_features(path: str | Path | None, network: nn.Module | None = None) -> nn.Module | None:
    """Load a feature extractor; nothing is ever downloaded.

    Args:
        path: state dict, plain or below the key `state_dict`; None gives no extractor.
        network: any module from `(B, 1, X, Y, Z)` to a tensor or a list of them; by default a 3D ResNet-10
            in the layout of MedicalNet's weights.

    Returns:
        The network with its weights, in evaluation mode.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it holds no weights, or those of another network.
    """
    if path is None:
        return None
    if not Path(path).is_file():
        msg = (
            f"perceptual_weights_path must be an existing file, got {str(path)!r}; give it, or perceptual 0."
        )
        raise FileNotFoundError(msg)
    network = network or ResNetFeatures("resnet10", pretrained=False, spatial_dims=3, in_channels=1)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        network.load_state_dict(_weights(content))
    except (pickle.UnpicklingError, RuntimeError, EOFError, AttributeError) as error:
        msg = (
            f"{path} must hold weights of {type(network).__name__}, got others; give the network's own file."
        )
        raise ValueError(msg) from error
    return network.eval()


def _weights(content: Mapping[str, Any]) -> dict[str, Any]:
    """The state dict, without what data parallel training puts before its names."""
    return {
        name.removeprefix(_PARALLEL): values for name, values in content.get("state_dict", content).items()
    }
