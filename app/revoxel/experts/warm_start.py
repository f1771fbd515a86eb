"""Warm starts: weights of the learned experts, trained once on public volumes and shipped in the package."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import torch
from torch import Tensor

from revoxel.experts.names import Expert

PROTOCOL = "revoxel-warm-start-1"
NOMINAL_RATIOS = (3, 5, 7)


@dataclass(frozen=True, eq=False)
class WarmStart:
    """Weights of one learned expert for one nominal ratio.

    Args:
        n_phases: Output samples per slice of the network.
        weights: State dictionary of a `PhaseNet`.
        source: Where the weights came from.
    """

    n_phases: int
    weights: dict[str, Tensor]
    source: str


def load_warm_start(expert: Expert, ratio: float, folder: Path | None = None) -> WarmStart:
    """The shipped weights of the nominal ratio nearest to `ratio`.

    Args:
        expert: `SMORE` or `ECLARE`.
        ratio: Slice separation in fine samples.
        folder: Another folder with files of the same names (leave-one-out copies).

    Raises:
        FileNotFoundError: If the weights are not there.
        ValueError: If the file is no warm start of this expert.
    """
    nominal = min(NOMINAL_RATIOS, key=lambda r: abs(r - ratio))
    path = (folder or shipped_folder()) / f"{expert.value.lower()}_x{nominal}.pt"
    if not path.is_file():
        msg = f"warm start {path} must exist; reinstall the package or start without it (--cold)."
        raise FileNotFoundError(msg)
    return _checked(torch.load(path, weights_only=True, map_location="cpu"), expert, nominal, path)


def save_warm_start(path: Path, expert: Expert, weights: dict[str, Tensor], n_phases: int) -> None:
    """Write weights (as bfloat16, half the size) with what is needed to refuse a wrong file."""
    record = {
        "protocol": PROTOCOL,
        "expert": expert.value,
        "n_phases": n_phases,
        "weights": {
            name: _turned(value.detach().cpu()).to(torch.bfloat16) for name, value in weights.items()
        },
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(record, path)


def shipped_folder() -> Path:
    """Folder of the weights inside the package."""
    return Path(str(files("revoxel.experts") / "warm_starts"))


def _checked(record: dict, expert: Expert, nominal: int, path: Path) -> WarmStart:
    found = (record.get("protocol"), record.get("expert"), record.get("n_phases"))
    expected = (PROTOCOL, expert.value, nominal)
    if found != expected:
        msg = f"warm start {path} must be {expected}, got {found}; restore the shipped file."
        raise ValueError(msg)
    weights = {name: _turned(value).to(torch.float32) for name, value in record["weights"].items()}
    return WarmStart(nominal, weights, path.name)


def _turned(weight: Tensor) -> Tensor:
    # Kernels in files are (height, slice), in the network (slice, height).
    return weight.mT.contiguous() if weight.ndim > 1 else weight
