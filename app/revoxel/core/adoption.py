"""Trained weights become a bundle's own, and a wrapped network keeps the names of what it wraps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from revoxel.core.bundle_checks import bundle_network, wanted_protocol
from revoxel.core.bundles import WEIGHTS, bundle_folder
from revoxel.core.checkpoints import fill_network, load_checkpoint, save_weights
from revoxel.core.training import checkpoint_of

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn


def adopt_checkpoint(
    name: str, checkpoint: Path, *, overwrite: bool = False, root: Path | None = None
) -> Path:
    """Make a trained checkpoint the weights of its bundle.

    Args:
        name: name of the bundle.
        checkpoint: a checkpoint, or a run's folder for its best one.
        overwrite: replace weights that are there.
        root: folder with the bundles; the shipped ones by default.

    Returns:
        The bundle's `models/model.pt`.

    Raises:
        FileNotFoundError: If there is no such bundle or checkpoint.
        FileExistsError: If the bundle has weights and `overwrite` is off.
        ValueError: If the checkpoint was made for something else; what was there is left as it is.
    """
    folder = bundle_folder(name, root)
    target = folder / WEIGHTS
    if target.exists() and not overwrite:
        msg = f"{target} must not exist yet, got a file; give --overwrite to replace it."
        raise FileExistsError(msg)
    source = load_checkpoint(checkpoint_of(checkpoint), wanted_protocol(folder))
    fill_network(bundle_network(folder), source)
    return save_weights(target, source.states["model"], source.protocol)


def share_names(wrapper: nn.Module, inner: str) -> None:
    """Let a wrapper's state dict be that of the network inside, so that both read the same files.

    Args:
        wrapper: has the network as its attribute `inner` and no weights beside.
        inner: name of the attribute.
    """
    prefix = f"{inner}."

    def without(_: nn.Module, state: dict[str, Any], before: str, __: dict[str, Any]) -> None:
        for key in [key for key in state if key.startswith(before + prefix)]:
            state[before + key.removeprefix(before + prefix)] = state.pop(key)

    def with_prefix(_: nn.Module, state: dict[str, Any], before: str, *__: Any) -> None:
        for key in [key for key in state if key.startswith(before)]:
            state[before + prefix + key.removeprefix(before)] = state.pop(key)

    wrapper.register_state_dict_post_hook(without)
    wrapper.register_load_state_dict_pre_hook(with_prefix)
