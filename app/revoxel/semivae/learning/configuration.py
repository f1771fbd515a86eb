"""What a bundle's configuration says of a network, as the arguments of `SemiVAE`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from revoxel.core.training import overlaid
from revoxel.semivae.network.partition import as_partition
from revoxel.semivae.network.sizes import size_preset

if TYPE_CHECKING:
    from collections.abc import Mapping


def architecture(
    size: str, partition: str | Mapping[str, Any], changes: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Arguments of `SemiVAE`.

    Args:
        size: Of `size_preset`.
        partition: Name of one, or its parts.
        changes: Arguments that replace those of the size, mappings key by key.

    Raises:
        ValueError: If size or partition is unknown.
    """
    return {**overlaid(size_preset(size), changes or {}), "partition": as_partition(partition).to_dict()}
