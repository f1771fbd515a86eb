"""Tiny ASL scans in BIDS, with known CBF and ATT, for tests of everything that reads them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from revoxel.asl.physics import AslPhysics, signal
from revoxel.asl.protocol import AslProtocol

SHAPE = (18, 16, 4)
AFFINE = np.diag([-4.0, 4.0, 6.0, 1.0])
M0_VALUE = 1000.0
PLDS_MS = (500.0, 1000.0, 1500.0, 2000.0, 2500.0, 3000.0)


def head() -> np.ndarray:
    """Ellipsoid that leaves a rim of air."""
    axes = [np.linspace(-1, 1, size) for size in SHAPE]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    return np.hypot(np.hypot(x, y), 0.6 * z) < 0.85


def truth() -> tuple[np.ndarray, np.ndarray]:
    """CBF in ml/100g/min and ATT in ms, smooth over the head."""
    i, j, _ = np.meshgrid(*map(np.arange, SHAPE), indexing="ij")
    return 30.0 + 5.0 * i, 800.0 + 70.0 * j


@dataclass
class TinyScan:
    """What is written; change what a test is about."""

    labelling: str = "PCASL"
    plds_ms: tuple[float, ...] = PLDS_MS
    duration_ms: float = 1800.0
    bolus_ms: float = 700.0
    repeats: int = 1
    sigma: float = 0.0  # of each control and label, in units of M0
    alpha: float | None = None
    slice_times_ms: tuple[float, ...] = ()
    fields: dict[str, Any] = field(default_factory=dict)  # over the sidecar; None removes a field
    types: tuple[str, ...] | None = None  # instead of control and label in turn
    m0_fields: dict[str, Any] = field(default_factory=lambda: {"RepetitionTimePreparation": 10.0})
    m0_name: str = "sub-01_m0scan"
    name: str = "sub-01_asl"

    def protocol(self) -> AslProtocol:
        if self.labelling == "PASL":
            return AslProtocol(pasl_tis_ms=self.plds_ms, pasl_bolus_ms=self.bolus_ms)
        if self.labelling == "VSASL":
            return AslProtocol(vsasl_plds_ms=self.plds_ms)
        return AslProtocol(self.plds_ms, self.duration_ms)

    def physics(self) -> AslPhysics:
        return AslPhysics(alpha_pcasl=0.68 if self.labelling == "CASL" else 0.85)

    def differences(self) -> np.ndarray:
        """`(i, j, k, delay)`, control - label in units of M0."""
        cbf, att = truth()
        times_ms = self.slice_times_ms or (0.0,) * SHAPE[2]
        planes = [
            signal(cbf[..., k], att[..., k], self.protocol().later(time), self.physics())
            for k, time in enumerate(times_ms)
        ]
        return np.stack(planes, axis=2) * head()[..., None]

    def sidecar(self) -> dict[str, Any]:
        n_volumes = 2 * self.repeats * len(self.plds_ms)
        per_volume = [pld / 1000 for pld in self.plds_ms for _ in range(2)] * self.repeats
        usual: dict[str, Any] = {
            "ArterialSpinLabelingType": self.labelling,
            "PostLabelingDelay": per_volume,
            "BackgroundSuppression": False,
            "M0Type": "Separate",
            "TotalAcquiredPairs": n_volumes // 2,
            "RepetitionTimePreparation": 5.0,
            "MagneticFieldStrength": 3,
        }
        if self.labelling in {"PCASL", "CASL"}:
            usual["LabelingDuration"] = self.duration_ms / 1000
        if self.labelling == "PASL":
            usual |= {"BolusCutOffFlag": True, "BolusCutOffDelayTime": self.bolus_ms / 1000}
        if self.slice_times_ms:
            usual["SliceTiming"] = [time / 1000 for time in self.slice_times_ms]
        return {name: value for name, value in (usual | self.fields).items() if value is not None}

    def volumes(self) -> np.ndarray:
        """`(i, j, k, volume)`: control and label of each delay in turn, all delays per repeat."""
        rng = np.random.default_rng(0)
        control = 0.5 * M0_VALUE * head()
        labels = control[..., None] - M0_VALUE * self.differences()
        images = [image for k in range(len(self.plds_ms)) for image in (control, labels[..., k])]
        series = np.stack(images * self.repeats, axis=-1)
        return series + rng.normal(0, self.sigma * M0_VALUE, series.shape) if self.sigma else series

    def write(self, root: Path, folder: str = "sub-01/perf") -> Path:
        """Write scan, sidecars, volume list and M0; returns the scan."""
        perf = root / folder
        perf.mkdir(parents=True, exist_ok=True)
        (root / "dataset_description.json").write_text('{"Name": "tiny", "BIDSVersion": "1.10.0"}')
        scan = perf / f"{self.name}.nii.gz"
        volumes = self.volumes()
        write_image(scan, volumes)
        types = self.types or ("control", "label") * (volumes.shape[-1] // 2)
        context = scan.with_name(self.name.removesuffix("_asl") + "_aslcontext.tsv")
        context.write_text("\n".join(["volume_type", *types]) + "\n")
        scan.with_name(f"{self.name}.json").write_text(json.dumps(self.sidecar()))
        if self.sidecar().get("M0Type") == "Separate":
            write_image(perf / f"{self.m0_name}.nii.gz", M0_VALUE * head())
            (perf / f"{self.m0_name}.json").write_text(json.dumps(self.m0_fields))
        return scan


def write_image(path: Path, data: np.ndarray) -> Path:
    """Write float32 NIfTI in the grid of the scans."""
    nibabel.save(nibabel.Nifti1Image(np.asarray(data, dtype=np.float32), AFFINE), path)
    return path


def write_joint(root: Path) -> list[Path]:
    """PCASL and VSASL of one session, with one M0."""
    pcasl = TinyScan(name="sub-01_acq-pcasl_asl").write(root)
    vsasl = TinyScan(labelling="VSASL", name="sub-01_acq-vsasl_asl").write(root)
    return [pcasl, vsasl]
