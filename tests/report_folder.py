"""A cohort's output folder as the verbs leave it: two patients with truths, and one that failed."""

from __future__ import annotations

import json
from collections import defaultdict
from html.parser import HTMLParser
from pathlib import Path

import numpy as np

from quick_experts import write_expert_files, write_gate, write_thick_scan
from revoxel.core.geometry import Grid
from revoxel.core.pulses import Pulse, Spacing
from revoxel.core.volumes import read_volume, write_volume
from revoxel.sagnef.predict import PredictRequest, predict

SHAPE = (40, 44, 32)
HOSTILE = "bert<img src=x onerror=alert(1)>"
PATIENTS = {"anna": "anna", HOSTILE: "bert"}


def write_cohort(root: Path, brain: np.ndarray, affine: np.ndarray) -> Path:
    """Write `data/`, `manifest.json` and `out/` with `cohort.json`; returns `out`."""
    gate = write_gate(root / "gate.pt")
    out, cases, tasks = root / "out", [], []
    for subject, patient in PATIENTS.items():
        volume = np.array(brain) if patient == "anna" else np.array(brain[::-1])
        record = _write_run(root, patient, volume, affine, gate)
        cases.append(_case(patient))
        names = {"subject": subject, "spacing": "5mm", "pulse": "t1c"}
        task = {**names, "folder": f"{patient}_5mm_t1c", "state": "done", "reason": "", "seconds": 1.0}
        tasks.append({**task, "record": str(record.relative_to(out))})
    lost = {"subject": "lost", "spacing": "5mm", "pulse": "t1c", "folder": "lost_5mm_t1c"}
    tasks.append({**lost, "state": "failed", "reason": "lost.nii.gz must be <readable>", "seconds": 0.1})
    manifest = {"schema": 1, "experts": ["BSPLINE"], "cases": cases}
    (root / "manifest.json").write_text(json.dumps(manifest))
    cohort = {"manifest": str(root / "manifest.json"), "verb": "predict", "version": "0", "tasks": tasks}
    (out / "cohort.json").write_text(json.dumps(cohort))
    return out


def change_record(path: Path, **changes: object) -> None:
    """Replace entries of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def attributes(html: str) -> dict[str, list[str]]:
    """Values of all attributes of all elements, by name."""
    values: dict[str, list[str]] = defaultdict(list)
    parser = HTMLParser()
    parser.handle_starttag = lambda _, pairs: [values[name].append(value or "") for name, value in pairs]
    parser.feed(html)
    return values


def _write_run(root: Path, patient: str, volume: np.ndarray, affine: np.ndarray, gate: Path) -> Path:
    data = root / "data"
    write_volume(data / f"{patient}_hr.nii.gz", volume[..., : SHAPE[2]], Grid(SHAPE, affine))
    scan = write_thick_scan(data / f"{patient}_t1c.nii.gz", volume, affine)
    request = PredictRequest(
        experts=write_expert_files(read_volume(scan), data / f"{patient}_t1c"),
        low=scan,
        out=root / "out" / f"{patient}_5mm_t1c" / f"{patient}_fused.nii.gz",
        pulse=Pulse.t1c,
        spacing=Spacing.mm5,
        checkpoint=gate,
        device="cpu",
    )
    return predict(request).paths.record


def _case(patient: str) -> dict[str, object]:
    return {
        "subject": patient,
        "patient": patient,
        "pulse": "t1c",
        "spacing": "5mm",
        "axis": 2,
        "profile": {"std_mm": 1.7},
        "hr": f"data/{patient}_hr.nii.gz",
        "lr": f"data/{patient}_t1c.nii.gz",
    }
