"""Networks by name: build one from a configuration, read one from a checkpoint, refuse what does not fit."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from revoxel.asl.network.ensemble import EnsembleASLNet
from revoxel.asl.network.networks import AmplitudeAwareSpatialASLNet, SpatialASLNet
from revoxel.asl.network.voxel_network import VoxelASLNet
from revoxel.asl.physics import AslPhysics
from revoxel.asl.protocol import AslProtocol
from revoxel.core.bundle_checks import wanted_protocol
from revoxel.core.bundles import WEIGHTS, bundle_folder
from revoxel.core.checkpoints import best_checkpoint, load_checkpoint, save_weights

if TYPE_CHECKING:
    from torch import nn

    from revoxel.core.checkpoints import Checkpoint

MODELS: dict[str, type[nn.Module]] = {
    kind.__name__: kind for kind in (VoxelASLNet, SpatialASLNet, AmplitudeAwareSpatialASLNet)
}
SYSTEM = "asl"
#: Entry of a checkpoint that holds several networks: how many.
MEMBERS = "members"
#: Best network of a run, with calibrated standard deviations.
CALIBRATED = "model.pt"


def build_network(model: str, arguments: Mapping[str, Any], members: int = 1) -> nn.Module:
    """Build a network, or the mean of several.

    Args:
        model: name of its class: VoxelASLNet, SpatialASLNet or AmplitudeAwareSpatialASLNet.
        arguments: of the class.
        members: networks whose mean is taken.

    Raises:
        ValueError: If the class is unknown, does not take these arguments, or there is no member.
    """
    if members < 1:
        msg = f"members must be >= 1, got {members}; correct the config."
        raise ValueError(msg)
    if members > 1:
        return EnsembleASLNet([build_network(model, arguments) for _ in range(members)])
    if model not in MODELS:
        msg = f"model must be one of {', '.join(MODELS)}, got {model!r}; correct the config."
        raise ValueError(msg)
    try:
        return MODELS[model](**arguments)
    except TypeError as error:
        msg = f"network must hold arguments of {model}, got {dict(arguments)}: {error}; correct the config."
        raise ValueError(msg) from error


def model_protocol(
    model: str,
    arguments: Mapping[str, Any],
    protocol: AslProtocol,
    physics: AslPhysics | None = None,
    training: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Say what weights are for, as it stands in every checkpoint.

    Args:
        model: name of the network's class.
        arguments: of the class.
        protocol: delays of the channels.
        physics: constants of the signal; the standard ones if not given.
        training: what the slices were like: ranges of noise and constants.
    """
    return {
        "system": SYSTEM,
        "model": model,
        "arguments": dict(arguments),
        "asl_protocol": protocol.as_dict(),
        "physics": (physics or AslPhysics()).as_dict(),
        "training": dict(training or {}),
    }


def weights_protocol(
    model: str, arguments: Mapping[str, Any], protocol: AslProtocol, members: int = 1
) -> dict[str, Any]:
    """What weights must say about themselves to be used by a bundle.

    Args:
        model: name of the network's class.
        arguments: of the class.
        protocol: delays of the channels.
        members: networks whose mean is taken.
    """
    wanted = model_protocol(model, arguments, protocol)
    several = {MEMBERS: members} if members > 1 else {}
    return {name: wanted[name] for name in ("system", "model", "arguments", "asl_protocol")} | several


@dataclass(frozen=True, eq=False)
class AslModel:
    """A trained network and what it is for.

    Attributes:
        network: weights loaded, in evaluation mode.
        path: its checkpoint.
        name: name of its class.
        protocol: delays of its channels.
        physics: constants that it was trained with.
        record: all that its checkpoint says about it.
    """

    network: nn.Module
    path: Path
    name: str
    protocol: AslProtocol
    physics: AslPhysics
    record: dict[str, Any]

    @property
    def any_protocol(self) -> bool:
        """Whether it sees the fit alone, and so suits every protocol."""
        return bool(self.network.channels.n_signal == 0)  # type: ignore[union-attr]


def load_asl_model(path: Path | str, *, model: str | None = None) -> AslModel:
    """Load a network; class and switches come from the checkpoint.

    Args:
        path: checkpoint of a training, the run's folder for its calibrated or else its best one, or a
            bundle's `models/model.pt`.
        model: name of the class that it must be; any if not given.

    Returns:
        The network on the CPU, in evaluation mode.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the checkpoint is damaged, of another system or class, or its weights are of another
            class than it says.
    """
    path = _checkpoint_of(Path(path))
    checkpoint = load_checkpoint(path, {"system": SYSTEM} | ({} if model is None else {"model": model}))
    record = checkpoint.protocol
    try:
        name, arguments = record["model"], record["arguments"]
        protocol, physics = AslProtocol(**record["asl_protocol"]), AslPhysics(**record["physics"])
    except (KeyError, TypeError) as error:
        msg = f"{path}: protocol must say model, arguments, delays and constants, got {record}; train again."
        raise ValueError(msg) from error
    network = build_network(name, arguments, record.get(MEMBERS, 1))
    fill_asl_network(network, checkpoint)
    return AslModel(network.eval(), path, name, protocol, physics, record)


def _checkpoint_of(path: Path) -> Path:
    if not path.is_dir():
        return path
    calibrated = path / CALIBRATED
    return calibrated if calibrated.is_file() else best_checkpoint(path)


def fill_asl_network(network: nn.Module, checkpoint: Checkpoint) -> None:
    """Put the weights of a checkpoint into a network.

    Args:
        network: where they go.
        checkpoint: has the state `model`.

    Raises:
        ValueError: If the weights are of another class; both classes are named.
    """
    try:
        network.load_state_dict(checkpoint.states["model"])
    except (KeyError, TypeError, RuntimeError) as error:
        own = type(network).__name__
        stated = checkpoint.protocol.get("model", "an unknown class")
        found = class_of_weights(checkpoint.states.get("model", {}))
        msg = (
            f"{checkpoint.path}: weights must be those of {own}, got weights that look like {found} in a "
            f"checkpoint that says {stated} with {checkpoint.protocol.get('arguments')}; give the class and "
            "switches that it was trained with."
        )
        raise ValueError(msg) from error


def class_of_weights(state: Mapping[str, Any]) -> str:
    """Tell the class from the names of weights.

    Args:
        state: state dictionary.

    Returns:
        Name of the class, `none of ours` for other weights.
    """
    names = {re.sub(r"^members\.\d+\.", "", name) for name in state}
    if any(name.startswith("layers.") for name in names):
        return VoxelASLNet.__name__
    if "amplitude_aware" in names:
        return AmplitudeAwareSpatialASLNet.__name__
    return SpatialASLNet.__name__ if any(name.startswith("trunk.") for name in names) else "none of ours"


def first_member(checkpoint: Checkpoint) -> Checkpoint:
    """The first network of an ensemble; another checkpoint as it is.

    Args:
        checkpoint: has the state `model`.
    """
    if checkpoint.protocol.get(MEMBERS, 1) == 1:
        return checkpoint
    prefix = "members.0."
    weights = checkpoint.states["model"].items()
    own = {name.removeprefix(prefix): value for name, value in weights if name.startswith(prefix)}
    return replace(checkpoint, states={"model": own})


def adopt_checkpoint(
    name: str, checkpoint: Path, *, overwrite: bool = False, root: Path | None = None
) -> Path:
    """Make a trained checkpoint the weights of its bundle.

    Args:
        name: name of the bundle.
        checkpoint: a run's calibrated `model.pt`, its folder, or any of its checkpoints.
        overwrite: replace weights that are there.
        root: folder with the bundles; the shipped ones by default.

    Returns:
        The bundle's `models/model.pt`.

    Raises:
        FileNotFoundError: If there is no such bundle or checkpoint.
        FileExistsError: If the bundle has weights and `overwrite` is off.
        ValueError: If the checkpoint has another class, other switches or other delays.
    """
    target = bundle_folder(name, root) / WEIGHTS
    if target.exists() and not overwrite:
        msg = f"{target} must not exist yet, got a file; give --overwrite to replace it."
        raise FileExistsError(msg)
    model = load_asl_model(checkpoint)
    load_checkpoint(model.path, wanted_protocol(target.parents[1]))
    return save_weights(target, model.network.state_dict(), model.record)
