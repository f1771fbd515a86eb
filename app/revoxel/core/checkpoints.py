"""Checkpoints of plain values that say what they were made for and refuse to be used for anything else.

A checkpoint is one dictionary: `format`, `package_version`, `protocol` (plain values that say what the
weights are: architecture, channel order, intensity convention, spacing, pulse) and the states, such as
`model`. It loads with `torch.load(path, weights_only=True)` anywhere.

A bundle's `models/model.pt` is a plain state dict, as MONAI's tools want it; its header rides in the state
dict's `_metadata`, where torch itself keeps the versions of modules.
"""

from __future__ import annotations

import os
import pickle
from collections import OrderedDict
from dataclasses import dataclass
from errno import ENOSPC
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from revoxel import __version__
from revoxel.core.volumes import atomic_path

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMAT = "revoxel-checkpoint-1"
_HEADER = ("format", "package_version", "protocol")
_METADATA = "_metadata"
_TAG = "revoxel"


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint file holds.

    Attributes:
        path: file it came from.
        states: state dictionaries and numbers by name, such as `model` or `epoch`.
        protocol: what the weights are for.
        package_version: revoxel version that wrote it.
        is_plain: whether the file is a plain state dict, as `save_weights` writes it.
    """

    path: Path
    states: dict[str, Any]
    protocol: dict[str, Any]
    package_version: str
    is_plain: bool = False


def save_checkpoint(path: Path, states: Mapping[str, Any], protocol: Mapping[str, Any]) -> Path:
    """Write a checkpoint atomically, replacing an older one.

    Args:
        path: target file; its folder is made.
        states: state dictionaries and plain values by name.
        protocol: plain values that say what the weights are for.

    Returns:
        The target.

    Raises:
        TypeError: If a value is neither tensor nor plain.
    """
    return save_tensors(_plain({**_new_header(protocol), **states}), path)


def save_weights(path: Path, weights: Mapping[str, torch.Tensor], protocol: Mapping[str, Any]) -> Path:
    """Write a network's weights as a plain state dict, atomically, replacing older ones.

    Args:
        path: target file; its folder is made.
        weights: state dictionary of the network.
        protocol: plain values that say what the weights are for.

    Returns:
        The target.
    """
    content = OrderedDict(_plain(weights))
    vars(content)[_METADATA] = OrderedDict({_TAG: _plain(_new_header(protocol))})
    return save_tensors(content, path)


def load_checkpoint(path: Path | str, expected: Mapping[str, Any] | None = None) -> Checkpoint:
    """Read a checkpoint on the CPU and check what it is for.

    Args:
        path: file written by `save_checkpoint` or `save_weights`.
        expected: protocol entries that must be equal; other entries are not looked at.

    Returns:
        The checkpoint.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged, of another program, or for something else (both values are named).
    """
    path = Path(path)
    if not path.is_file():
        msg = f"checkpoint must be an existing file, got {str(path)!r}; train one or give another path."
        raise FileNotFoundError(msg)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, OSError) as error:
        msg = f"{path} must be a checkpoint of plain tensors, got an unreadable file; copy or train it again."
        raise ValueError(msg) from error
    header, states = _parts(content)
    if header.get("format") != FORMAT:
        found = header.get("format", type(content).__name__)
        msg = f"{path} must have format {FORMAT!r}, got {found!r}; give a checkpoint written by revoxel."
        raise ValueError(msg)
    is_plain = header is not content
    checkpoint = Checkpoint(path, states, header["protocol"], header["package_version"], is_plain)
    check_protocol(checkpoint, expected or {})
    return checkpoint


def fill_network(network: torch.nn.Module, checkpoint: Checkpoint) -> None:
    """Put the weights of a checkpoint into a network.

    Args:
        network: where they go.
        checkpoint: has the state `model`.

    Raises:
        ValueError: If there is none, or it belongs to another architecture.
    """
    try:
        network.load_state_dict(checkpoint.states["model"])
    except (KeyError, TypeError, RuntimeError) as error:
        msg = f"{checkpoint.path}: weights must fit {type(network).__name__}, got others; train it again."
        raise ValueError(msg) from error


def best_checkpoint(folder: Path) -> Path:
    """Find the named checkpoint with the lowest validation loss.

    Args:
        folder: folder of a training run, with files `model_epoch{e:03d}_val{loss:.6f}.pt`.

    Returns:
        Its path; of equal losses the earliest epoch.

    Raises:
        FileNotFoundError: If there is none.
    """
    named = sorted(folder.glob("model_epoch*_val*.pt"))
    if not named:
        msg = f"{folder} must hold a named checkpoint (model_epoch*_val*.pt), got none; train first."
        raise FileNotFoundError(msg)
    return min(named, key=lambda path: float(path.stem.rpartition("_val")[2]))


def check_protocol(checkpoint: Checkpoint, expected: Mapping[str, Any]) -> None:
    """Refuse a checkpoint that was made for something else.

    Args:
        checkpoint: what was read.
        expected: protocol entries that must be equal.

    Raises:
        ValueError: If an entry differs; every difference is named with both values.
    """
    wanted = _plain(expected)
    differences = [
        f"{key}: wanted {value!r}, got {checkpoint.protocol.get(key)!r}"
        for key, value in wanted.items()
        if checkpoint.protocol.get(key) != value
    ]
    if differences:
        msg = (
            f"{checkpoint.path} was made for something else ({'; '.join(differences)}); "
            "give a fitting checkpoint or change the configuration."
        )
        raise ValueError(msg)


def _new_header(protocol: Mapping[str, Any]) -> dict[str, Any]:
    return {"format": FORMAT, "package_version": __version__, "protocol": protocol}


def _parts(content: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and states of a loaded file; both empty if it is none of ours."""
    header = getattr(content, _METADATA, {}).get(_TAG)
    if header is not None:
        return header, {"model": dict(content)}
    if not isinstance(content, dict) or "format" not in content:
        return {}, {}
    return content, {key: value for key, value in content.items() if key not in _HEADER}


def save_tensors(content: Mapping[str, Any], path: Path) -> Path:
    """Write tensors and plain values whole or not at all, replacing an older file.

    Args:
        content: what `torch.load(path, weights_only=True)` shall give.
        path: target file; its folder is made.

    Returns:
        The target.

    Raises:
        OSError: If the disk is full or the folder cannot be written; an older file stays as it is.
    """
    with atomic_path(path, overwrite=True) as temporary, temporary.open("wb") as file:
        try:
            torch.save(content, file)
        except RuntimeError as error:
            # torch reports a full disk as a broken assumption of its zip writer.
            raise OSError(ENOSPC, os.strerror(ENOSPC), str(temporary)) from error
    return path


def _plain(value: Any) -> Any:
    """Copy of a nested value with plain CPU tensors and Python numbers only."""
    if isinstance(value, dict):
        return {_plain(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, torch.Tensor):
        return value.as_subclass(torch.Tensor).detach().cpu().clone()
    return _plain_scalar(value)


def _plain_scalar(value: Any) -> str | bool | int | float | None:
    if hasattr(value, "item"):
        value = value.item()
    if value is None or type(value) in {bool, int, float, str}:
        return value
    if isinstance(value, Path | str):
        return str(value)
    msg = f"checkpoint values must be tensors or plain values, got {type(value).__name__}; convert it first."
    raise TypeError(msg)
