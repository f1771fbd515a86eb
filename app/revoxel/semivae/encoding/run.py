"""The verb `semivae encode` in Python: images of a visit in; latent, predictions, record and picture out."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from revoxel.core.done_before import size_of
from revoxel.core.provenance import write_sidecar
from revoxel.core.pulses import Pulse
from revoxel.core.staging import all_or_nothing
from revoxel.core.volumes import read_volume
from revoxel.semivae.diagnosis.coverage import latent_coverage
from revoxel.semivae.diagnosis.encoding import frozen
from revoxel.semivae.encoding.picture import LatentPicture, save_picture
from revoxel.semivae.encoding.predictions import Prediction, predictions_of
from revoxel.semivae.features.extract import extract_tumour_features
from revoxel.semivae.features.record import Flag
from revoxel.semivae.scans.cube import ScanCube, cube_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from revoxel.semivae.encoding.planning import EncodePlan
    from revoxel.semivae.features.record import FeatureRecord
    from revoxel.semivae.network.models import SemiVaeModel

_LEAST_BRAIN = 0.98


@dataclass(frozen=True, eq=False)
class Answer:
    """What the network says of a visit.

    Attributes:
        mu: `(z_dim,)` posterior means.
        sd: `(z_dim,)` posterior standard deviations.
        reconstruction: `(4, S, S, S)` decoded from the means.
        presence: Probability by region.
        predictions: By feature.
    """

    mu: NDArray[np.float64]
    sd: NDArray[np.float64]
    reconstruction: NDArray[np.float32]
    presence: dict[str, float]
    predictions: dict[str, Prediction]


def encode(plan: EncodePlan, model: SemiVaeModel) -> dict[str, Any]:
    """Encode a visit and write every result, or none.

    Args:
        plan: From `plan_encoding`.
        model: The network of the plan's weights, on its device.

    Returns:
        Content of the record.

    Raises:
        ValueError: If the images cannot be used.
        OSError: If a file cannot be written; nothing is left behind.
    """
    start = time.perf_counter()
    visit = plan.visit
    cube = cube_of(visit.images, visit.label, model.grid)
    measured = None if visit.label is None else measure(visit.label)
    answer = ask(model, cube, measured)
    record = _record(plan, model, cube, answer) | {"measured": _measured(measured)}
    record["warnings"] = warnings_of(record, cube)
    record["seconds"] = round(time.perf_counter() - start, 2)
    _save(plan, cube, answer, record)
    return record


def measure(label: Path) -> FeatureRecord:
    """Features of a label map on its own grid.

    Args:
        label: The file.

    Returns:
        The record.

    Raises:
        ValueError: If it is no label map of these regions.
    """
    volume = read_volume(label, allow_constant=True)
    return extract_tumour_features(volume.data, affine=volume.grid.affine)


def ask(model: SemiVaeModel, cube: ScanCube, measured: FeatureRecord | None = None) -> Answer:
    """Ask the network about a visit.

    Args:
        model: The network.
        cube: What it sees.
        measured: Features of the label map, to stand beside the predictions.

    Returns:
        Its answer.
    """
    with frozen(model.network) as device:
        output = model.network(cube.image[None].to(device), cube.available[None].to(device))
        mu, logvar = (output[name][0].double().cpu().numpy() for name in ("mu", "logvar"))
        decoded = output["recon"][0].cpu().numpy()
    predictions = predictions_of(model, mu, logvar, measured)
    return Answer(mu, np.exp(0.5 * logvar), decoded, model.presence_of(mu), predictions)


def _record(plan: EncodePlan, model: SemiVaeModel, cube: ScanCube, answer: Answer) -> dict[str, Any]:
    coverage = None if model.bank is None else latent_coverage(model.bank, answer.mu[None])
    return {
        "scan": plan.visit.name,
        "patient_id": plan.visit.patient_id,
        "time_years": plan.visit.time_years,
        "inputs": plan.inputs,
        "request": plan.request,
        "model": model.facts() | {"sha256": plan.request["sha256"]["network"]},
        "available": dict(zip(Pulse, cube.available.tolist(), strict=True)),
        "brain_in_cube": cube.brain_kept,
        "partition": model.partition.to_dict(),
        "mu": answer.mu,
        "sd": answer.sd,
        "predictions": {name: asdict(one) for name, one in answer.predictions.items()},
        "presence": answer.presence,
        "reconstruction": _errors(cube, answer),
        "coverage": coverage
        and {
            "inside_99_percent": bool(coverage["inside"]),
            "distance": coverage["median_distance"],
        },
    }


def _errors(cube: ScanCube, answer: Answer) -> dict[str, float]:
    """Mean squared error by pulse, in z-scores squared over the whole cube."""
    squared = np.square(cube.image.numpy() - answer.reconstruction).mean(axis=(1, 2, 3))
    there = cube.available.tolist()
    return {pulse: float(squared[at]) for at, pulse in enumerate(Pulse) if there[at]}


def _measured(measured: FeatureRecord | None) -> dict[str, Any] | None:
    if measured is None:
        return None
    return {
        "values": measured.values,
        "present": measured.present,
        "flags": sorted(measured.flags),
        "schema_version": measured.schema_version,
    }


def warnings_of(record: dict[str, Any], cube: ScanCube) -> list[str]:
    """What to be careful about, one sentence each.

    Args:
        record: All but the warnings.
        cube: What the network saw.
    """
    measured = record["measured"]
    absent = [pulse.value for pulse, there in record["available"].items() if not there]
    found = {
        f"Without {', '.join(absent)}: the latent is a guess from the other pulses.": bool(absent),
        f"{1 - cube.brain_kept:.0%} of the brain lies outside the network's cube.": (
            cube.brain_kept < _LEAST_BRAIN
        ),
        "The label map is empty: nothing was measured.": (
            measured is not None and Flag.EMPTY in measured["flags"]
        ),
    }
    return [*_unlike(record["coverage"]), *(text for text, holds in found.items() if holds)]


def _unlike(coverage: Mapping[str, Any] | None) -> list[str]:
    if coverage is None:
        return ["The weights know no training latents: whether the scan is like them cannot be told."]
    if coverage["inside_99_percent"]:
        return []
    far = f"{coverage['distance']:.1f} times their usual distance"
    return [f"The scan is unlike the training data ({far}): do not trust latent and predictions."]


def _save(plan: EncodePlan, cube: ScanCube, answer: Answer, record: dict[str, Any]) -> None:
    paths = plan.paths
    with all_or_nothing(paths.folder, paths.record.name, paths.existing()) as folder:
        picture = LatentPicture(
            cube.image.numpy(),
            answer.reconstruction,
            cube.available.tolist(),
            None if cube.tumour is None else cube.tumour.numpy(),
            answer.predictions,
            plan.visit.name,
            record["warnings"],
        )
        save_picture(picture, folder / paths.picture.name)
        record["n_bytes"] = {paths.picture.name: size_of(folder / paths.picture.name)}
        write_sidecar(folder / paths.record.name, record)
