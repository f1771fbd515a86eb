"""Which estimator makes the maps: the fit, or a network that suits the scan."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from revoxel.core.bundles import bundles_root

if TYPE_CHECKING:
    from revoxel.asl.network.models import AslModel
    from revoxel.asl.physics import AslPhysics
    from revoxel.asl.protocol import AslProtocol
    from revoxel.asl.quantification.estimation import MapEstimator, SliceTimes

#: Shipped networks, the better one for the delays that both know first.
BUNDLES = ("asl_cbf_att", "asl_cbf_att_any")
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
        models: Trained networks, whose mean is taken; a shipped one if empty.
        device: Where networks run.

    Raises:
        ValueError: If a network is named and the fit is asked for.
    """

    method: Method = Method.FIT
    models: tuple[Path, ...] = ()
    device: str = "auto"

    def __post_init__(self) -> None:
        """Refuse networks that nothing would use."""
        if self.models and self.method is Method.FIT:
            msg = f"--model must come with --method network or auto, got {self.models[0]} with fit; add it."
            raise ValueError(msg)

    def candidates(self) -> list[tuple[Path, ...]]:
        """Weights to be used together, in the order in which they are tried; none for the fit.

        Raises:
            FileNotFoundError: If a network that was named is not there, or none where one is asked for.
        """
        if self.method is Method.FIT:
            return []
        shipped = [(bundles_root() / name / "models" / "model.pt",) for name in BUNDLES]
        wanted = [self.models] if self.models else shipped
        at_hand = [files for files in wanted if all(path.exists() for path in files)]
        if not at_hand and (self.models or self.method is Method.NETWORK):
            missing = next(path for files in wanted for path in files if not path.exists())
            msg = f"{missing} must be a trained network, got nothing; pass --model FILE or --method fit."
            raise FileNotFoundError(msg)
        return at_hand


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
    from revoxel.asl.network.inference import InferenceOptions, NetworkEstimator
    from revoxel.asl.network.models import load_asl_model

    if choice.method is Method.FIT or protocol.n_channels == 1:
        return Chosen()
    reasons = []
    for files in choice.candidates():
        models = [load_asl_model(path) for path in files]
        unsuited = next((model for model in models if not _suits(model, protocol, slice_times)), None)
        if unsuited is None:
            names = ", ".join(model.name for model in models)
            estimator = NetworkEstimator(models, InferenceOptions(device=choice.device))
            return Chosen(f"network ({names})", estimator, _doubts(models, physics))
        reasons.append(f"{unsuited.path} is made for {', '.join(unsuited.protocol.labels)}")
    by_slice = " at times that differ by slice" if slice_times.times_ms else ""
    reason = f"{'; '.join(reasons) or 'none is at hand'}; the scan has {', '.join(protocol.labels)}{by_slice}"
    if choice.method is Method.AUTO:
        return Chosen(notes=(f"No network suits, so the fit is used: {reason}.",))
    msg = f"a network must be made for the delays of the scan, but {reason}; pass --method fit."
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
