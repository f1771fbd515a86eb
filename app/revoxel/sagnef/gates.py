"""Which gate fits a scan, whether its weights are there, and what else to fuse with if they are not."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from revoxel.core.bundles import WEIGHTS, bundle_folder, bundles_root
from revoxel.core.checkpoints import best_checkpoint, fill_network, load_checkpoint, save_weights
from revoxel.core.pulses import Pulse, Spacing
from revoxel.experts.names import Expert

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from revoxel.sagnef.network import SAGNEF

PROFILE_PLANES = ("estimated_std/separation", "assumed_std/separation", "confidence")
SIMPLEX_WEIGHTS = Path(__file__).with_name("simplex_weights.json")


@dataclass(frozen=True, eq=False)
class Gate:
    """A trained gate.

    Attributes:
        network: weights loaded, in evaluation mode.
        path: checkpoint.
        experts: experts in channel order.
        spacing: spacing that it was trained at.
        pulse: pulse that it is used for.
        window: side of its training patches in voxels, the best window to run it at.
        protocol: all that its checkpoint says about it.
    """

    network: SAGNEF
    path: Path
    experts: tuple[Expert, ...]
    spacing: Spacing
    pulse: Pulse
    window: int
    protocol: dict[str, Any]

    @property
    def name(self) -> str:
        """Name of its bundle."""
        return bundle_name(self.pulse, self.spacing)


def bundle_name(pulse: Pulse, spacing: Spacing) -> str:
    """Name of the bundle for a pulse and spacing, such as `sagnef_5mm_t1c`."""
    return f"sagnef_{spacing}_{pulse}"


def gate_protocol(  # noqa: PLR0913 - one line of a bundle's config each
    *,
    architecture: Mapping[str, Any],
    experts: Sequence[str],
    spacing: str,
    pulse: str,
    train_pulses: Sequence[str],
    intensity: Mapping[str, Any],
    entropy: str = "spread",
    window: Sequence[int] = (48, 48, 48),
) -> dict[str, Any]:
    """Say what a gate's weights are for, as it stands in every checkpoint.

    Args:
        architecture: arguments of `SAGNEF`.
        experts: experts in channel order.
        spacing: spacing of the training cases.
        pulse: pulse of the model.
        train_pulses: pulses of the training cases; the gate may be used for each of them.
        intensity: mode and percentiles of the shared intensity map, taken on the scan's foreground.
        entropy: sign of the entropy term that it was trained with.
        window: sides of the training patches.
    """
    return {
        "system": "sagnef",
        "architecture": dict(architecture),
        "experts": list(experts),
        "profile_planes": list(PROFILE_PLANES[: architecture["n_profile"]]),
        "spacing": str(spacing),
        "pulse": str(pulse),
        "train_pulses": [str(name) for name in train_pulses],
        "intensity": dict(intensity),
        "entropy": entropy,
        "window": list(window),
    }


def load_gate(path: Path | str, *, pulse: Pulse | None = None, spacing: Spacing | None = None) -> Gate:
    """Load a gate from a checkpoint and check what it is for.

    Args:
        path: checkpoint of the training, or `models/model.pt` of a bundle.
        pulse: pulse that it must have been trained on; its own if not given.
        spacing: spacing that it must be for; any if not given.

    Returns:
        The gate on the CPU, in evaluation mode.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the checkpoint is damaged or for something else.
    """
    from revoxel.sagnef.network import SAGNEF

    wanted = {"system": "sagnef"} | ({} if spacing is None else {"spacing": spacing})
    checkpoint = load_checkpoint(path, wanted)
    protocol = checkpoint.protocol
    _check_pulse(path, protocol, pulse)
    try:
        network = SAGNEF(**protocol["architecture"])
    except (KeyError, TypeError, ValueError) as error:
        msg = (
            f"{path}: protocol must hold arguments of SAGNEF, got {protocol}; update revoxel or train again."
        )
        raise ValueError(msg) from error
    fill_network(network, checkpoint)
    return Gate(
        network=network.eval(),
        path=Path(path),
        experts=tuple(Expert(name) for name in protocol["experts"]),
        spacing=Spacing(protocol["spacing"]),
        pulse=Pulse(pulse or protocol["pulse"]),
        window=min(protocol["window"]),
        protocol=protocol,
    )


def _check_pulse(path: Path | str, protocol: Mapping[str, Any], pulse: Pulse | None) -> None:
    known = _pulses_of(protocol)
    if pulse is not None and pulse not in known:
        msg = f"{path} must be a gate for {pulse}, got one for {', '.join(known)}; choose another checkpoint."
        raise ValueError(msg)


def _pulses_of(protocol: Mapping[str, Any]) -> list[str]:
    """Pulses that a gate may be used for."""
    return sorted({protocol["pulse"], *protocol.get("train_pulses", ())})


def find_gate(pulse: Pulse, spacing: Spacing, root: Path | None = None) -> Gate | None:
    """Load the gate of a bundle.

    Args:
        pulse: pulse of the scan.
        spacing: trained spacing nearest to the scan's (`Spacing.from_separation`).
        root: folder with the bundles; the shipped ones by default.

    Returns:
        The gate, or None if the bundle has no weights: fuse with `simplex_weights` then and say so.

    Raises:
        ValueError: If the bundle's weights are damaged or for something else.
    """
    path = (root or bundles_root()) / bundle_name(pulse, spacing) / WEIGHTS
    return load_gate(path, pulse=pulse, spacing=spacing) if path.is_file() else None


def simplex_weights(pulse: Pulse, spacing: Spacing) -> dict[Expert, float]:
    """Shipped global weights of the experts, fitted on the training volumes.

    Args:
        pulse: pulse of the scan.
        spacing: trained spacing nearest to the scan's.

    Returns:
        One weight per expert, non-negative, summing to 1; equal weights where nothing was fitted.
    """
    return _fitted(spacing, pulse)


def cautious_weights() -> dict[Expert, float]:
    """Shipped global weights for experts that were told too wide a slice profile."""
    return _fitted("any", "over_sharpened")


def _fitted(group: str, name: str) -> dict[Expert, float]:
    table = json.loads(SIMPLEX_WEIGHTS.read_text(encoding="utf-8")) if SIMPLEX_WEIGHTS.is_file() else {}
    fitted = table.get(group, {}).get(name)
    if fitted is None:
        return {expert: 1.0 / len(Expert) for expert in Expert}
    return {expert: float(fitted.get(expert, 0.0)) for expert in Expert}


def adopt_checkpoint(
    name: str, checkpoint: Path, *, overwrite: bool = False, root: Path | None = None
) -> Path:
    """Make a trained checkpoint the weights of its bundle.

    Args:
        name: name of the bundle.
        checkpoint: named checkpoint of a training run, or the run's folder for its best one.
        overwrite: replace weights that are there.
        root: folder with the bundles; the shipped ones by default.

    Returns:
        The bundle's `models/model.pt`.

    Raises:
        FileNotFoundError: If there is no such bundle or checkpoint.
        FileExistsError: If the bundle has weights and `overwrite` is off.
        ValueError: If the checkpoint was trained on neither pulse nor spacing of the bundle, or has another
            architecture.
    """
    from revoxel.core.bundle_checks import wanted_protocol

    folder = bundle_folder(name, root)
    target = folder / WEIGHTS
    if target.exists() and not overwrite:
        msg = f"{target} must not exist yet, got a file; give --overwrite to replace it."
        raise FileExistsError(msg)
    gate = load_gate(best_checkpoint(checkpoint) if checkpoint.is_dir() else checkpoint)
    pulses = {bundle_name(Pulse(pulse), gate.spacing): pulse for pulse in _pulses_of(gate.protocol)}
    if name not in pulses:
        msg = f"{checkpoint} must be for {name}, got one for {', '.join(pulses)}; adopt it there."
        raise ValueError(msg)
    # The gate may have been trained under the name of another pulse of its pool.
    load_checkpoint(gate.path, wanted_protocol(folder) | {"pulse": gate.protocol["pulse"]})
    return save_weights(target, gate.network.state_dict(), {**gate.protocol, "pulse": pulses[name]})
