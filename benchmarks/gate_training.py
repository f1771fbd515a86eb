"""The documented training line of a bundle, for the scripts that train many gates."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from revoxel.core.bundles import bundles_root
from revoxel.core.checkpoints import best_checkpoint
from revoxel.core.manifest import load_manifest
from revoxel.core.pulses import Pulse, Spacing
from revoxel.sagnef.gates import bundle_name
from revoxel.sagnef.training import model_folder


@dataclass(frozen=True)
class GateRun:
    """One training run.

    Args:
        manifest: Training set.
        out_root: Root of the outputs.
        spacing: Spacing of the gate.
        pulse: Pulse of the gate.
        fold: Patients.
        train_pulses: Pulses of the cases that teach.
        validation_pulses: Pulses of the cases that choose the epoch.
        n_steps: Optimiser steps, rounded to whole epochs.
        overrides: Further values of `train.json`; must hold `batch_size`.
    """

    manifest: Path
    out_root: Path
    spacing: Spacing
    pulse: Pulse
    fold: str
    train_pulses: tuple[Pulse, ...]
    validation_pulses: tuple[Pulse, ...]
    n_steps: int
    overrides: Mapping[str, object] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """Where checkpoints and log go."""
        return Path(model_folder(self.out_root, self.spacing, self.pulse, self.fold))

    @property
    def epochs(self) -> int:
        """Epochs of four patches per volume that make up the steps."""
        study = load_manifest(self.manifest)
        n_cases = len(study.select(study.fold(self.fold).train, self.spacing, self.train_pulses))
        n_patches = n_cases * int(str(self.overrides.get("patches_per_volume", 4)))
        return max(1, round(self.n_steps * int(str(self.overrides["batch_size"])) / n_patches))

    def line(self) -> list[str]:
        """The command, as `docs/training.md` has it."""
        bundle = bundles_root() / bundle_name(self.pulse, self.spacing)
        values: dict[str, object] = {
            "config_file": bundle / "configs" / "train.json",
            "bundle_root": bundle,
            "manifest": self.manifest,
            "fold": self.fold,
            "out_root": self.out_root,
            "epochs": self.epochs,
            "train_pulses": [pulse.value for pulse in self.train_pulses],
            "validation_pulses": [pulse.value for pulse in self.validation_pulses],
            "patches_per_volume": 4,
            # The rate falls to a hundredth, so the last epoch is the one to keep.
            "schedule": "cosine",
            "val_interval": self.epochs,
            **self.overrides,
        }
        flags = [part for key, value in values.items() for part in (f"--{key}", str(value))]
        return [sys.executable, "-m", "monai.bundle", "run", "training", *flags]

    def train(self, threads: int = 1) -> Path:
        """Train, or go on, or find it done.

        Args:
            threads: CPU threads.

        Returns:
            The best checkpoint.

        Raises:
            CalledProcessError: If the line fails.
        """
        environment = {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
        subprocess.run(self.line(), check=True, env={**os.environ, **environment})
        return best_checkpoint(self.folder)
