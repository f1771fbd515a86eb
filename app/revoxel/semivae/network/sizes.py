"""Networks by size: the arguments of `SemiVAE` that go with the side of the images."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_FULL: Mapping[str, Any] = {
    "encoder": {"channels": [32, 64, 128, 256], "norm_groups": 8},
    "pooling": {"strides": {"loc": [8, 16], "shape": [4, 8, 16]}},
    "decoder": {"channels": [256, 128, 64, 32, 16]},
}
#: `full128`: that of the project this one follows; `full96`: the same on a smaller cube; both for a GPU.
#: `phantom32`: trains on one processor core.
SIZES: Mapping[str, Mapping[str, Any]] = {
    "full128": {"spatial_size": 128, **_FULL},
    "full96": {"spatial_size": 96, **_FULL},
    "phantom32": {
        "spatial_size": 32,
        "encoder": {"channels": [8, 16, 32, 64], "norm_groups": 4},
        "pooling": {"strides": {"vol": [8, 16], "loc": [4, 8], "shape": [4, 8, 16], "residual": [8, 16]}},
        "decoder": {"grid": 4, "channels": [64, 32, 16, 8], "last": "subpixel"},
    },
}


def size_preset(name: str) -> dict[str, Any]:
    """Arguments of `SemiVAE` for a size.

    Args:
        name: `full128`, `full96` or `phantom32`.

    Returns:
        Plain values, free to be changed.

    Raises:
        ValueError: If there is none of this name.
    """
    if name not in SIZES:
        msg = f"size must be one of {', '.join(SIZES)}, got {name!r}; choose one."
        raise ValueError(msg)
    return deepcopy(dict(SIZES[name]))
