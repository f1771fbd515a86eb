"""Which estimator makes the maps: the fit, or a network that suits the scan."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from revoxel.core.bundles import bundles_root

if TYPE_CHECKING:
    from revoxel.asl.estimation import MapEstimator, SliceTimes
    from revoxel.asl.models import AslModel
    from revoxel.asl.physics import AslPhysics
    from revoxel.asl.protocol import AslProtocol

BUNDLE = "asl_cbf_att"
#: Constants whose value shapes the signal that a network learned from.
_LEARNED = {
    "t1_blood_ms": "T1 of blood",
    "alpha_pcasl": "efficiency of PCASL",
    "alpha_vsasl": "efficiency of VSASL",
}


class Method(StrEnum):
    """How maps are made."""

    FIT = "fit"
    NETWORK = "network"
    AUTO = "auto"  # the network where it is made for the scan's delays, else the fit


@dataclass(frozen=True)
class MethodChoice:
    """What a user asks for.

    Args:
        method: Fit, network, or what suits.
        models: Trained networks, whose mean is taken; the shipped one if empty.
        device: Where networks run.
    """

    method: Method = Method.FIT
    models: tuple[Path, ...] = ()
    device: str = "auto"

    @property
    def files(self) -> tuple[Path, ...]:
        """Weights to be read; none for the fit."""
        if self.method is Method.FIT:
            return ()
        return self.models or (bundles_root() / BUNDLE / "models" / "model.pt",)

    def at_hand(self) -> tuple[Path, ...]:
        """Weights that exist.

        Raises:
            FileNotFoundError: If a network is asked for and is not there.
        """
        missing = [path for path in self.files if not path.exists()]
        if missing and self.method is Method.NETWORK:
            msg = f"{missing[0]} must be a trained network, got nothing; pass --model FILE or --method fit."
            raise FileNotFoundError(msg)
        return () if missing else self.files


@dataclass(frozen=True)
class Chosen:
    """What will be used.

    Args:
        name: For the record.
        estimator: None for the fit.
        notes: What a user should know.
    """

    name: str = "fit"
    estimator: MapEstimator | None = None
    notes: tuple[str, ...] = ()


def choose(
    choice: MethodChoice, protocol: AslProtocol, physics: AslPhysics, slice_times: SliceTimes
) -> Chosen:
    """Choose the estimator of a scan.

    Args:
        choice: What the user asks for.
        protocol: Delays of the scan.
        physics: Its constants.
        slice_times: When its slices are read out.

    Returns:
        The estimator and what is to be said about it.

    Raises:
        FileNotFoundError: If a network is asked for and is not there.
        ValueError: If a network is asked for that is not made for these delays, or cannot be loaded.
    """
    from revoxel.asl.inference import InferenceOptions, NetworkEstimator
    from revoxel.asl.models import load_asl_model

    if choice.method is Method.FIT or protocol.n_channels == 1:
        return Chosen()
    models = [load_asl_model(path) for path in choice.at_hand()]
    if not models:
        return Chosen(notes=(f"no network is at hand ({choice.files[0].name}): the fit is used.",))
    unsuited = next((model for model in models if not _suits(model, protocol, slice_times)), None)
    if unsuited is None:
        names = ", ".join(model.name for model in models)
        estimator = NetworkEstimator(models, InferenceOptions(device=choice.device))
        return Chosen(f"network ({names})", estimator, _doubts(models, physics))
    reason = (
        f"{unsuited.path.name} is made for {', '.join(unsuited.protocol.labels)}, and the scan has "
        f"{', '.join(protocol.labels)}{' at times that differ by slice' if slice_times.times_ms else ''}"
    )
    if choice.method is Method.AUTO:
        return Chosen(notes=(f"{reason}: the fit is used.",))
    msg = f"the network must be made for the delays of the scan, but {reason}; pass --method fit."
    raise ValueError(msg)


def _suits(model: AslModel, protocol: AslProtocol, slice_times: SliceTimes) -> bool:
    shifts = set(slice_times.times_ms) or {0.0}
    return model.any_protocol or all(model.protocol == protocol.later(shift) for shift in shifts)


def _doubts(models: list[AslModel], physics: AslPhysics) -> tuple[str, ...]:
    """Constants of the scan that a network never saw."""
    notes = []
    for model in models:
        if model.record.get("training", {}).get("physics") not in {None, "none"}:
            continue
        for name, words in _LEARNED.items():
            learned, found = (float(getattr(one, name)) for one in (model.physics, physics))
            if abs(found / learned - 1) > 0.01:
                notes.append(
                    f"{words} is {found:g}, outside the training of {model.path.name} ({learned:g}): the "
                    "network may be biased; compare with the fit's maps."
                )
    return tuple(notes)
