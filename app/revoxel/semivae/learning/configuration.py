"""What a bundle's configuration says of a network, as the arguments of `SemiVAE`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from revoxel.core.one_line import one_line_errors
from revoxel.core.training import overlaid
from revoxel.semivae.network.models import build_network
from revoxel.semivae.network.partition import as_partition
from revoxel.semivae.network.sizes import size_preset

if TYPE_CHECKING:
    from collections.abc import Mapping

    from revoxel.semivae.network.semivae import SemiVAE


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


def configured_network(arguments: Mapping[str, Any]) -> SemiVAE:
    """The network of a configuration.

    Args:
        arguments: Of `SemiVAE`.

    Raises:
        SystemExit: With one line, if they contradict one another.
    """
    with one_line_errors():
        return build_network(arguments)
