"""Files of an evaluation: metrics.json, which vouches for the picture beside it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from revoxel.core.done_before import size_of
from revoxel.core.provenance import write_sidecar
from revoxel.core.staging import all_or_nothing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from revoxel.semivae.diagnosis.evaluation.figures import Evaluation
    from revoxel.semivae.network.models import SemiVaeModel
    from revoxel.semivae.study import TumourScan

METRICS, PICTURE = "metrics.json", "evaluation.png"


@dataclass(frozen=True)
class EvaluationPaths:
    """Where the results of an evaluation lie.

    Args:
        folder: Output folder.
    """

    folder: Path

    @property
    def metrics(self) -> Path:
        """All figures, gates and what they were made from."""
        return self.folder / METRICS

    @property
    def picture(self) -> Path:
        """Reconstructions beside inputs, and the two matrices."""
        return self.folder / PICTURE

    @property
    def work(self) -> Path:
        """Tables and cubes of an evaluation that is not finished."""
        return self.folder / ".unfinished"

    def existing(self) -> list[Path]:
        """Results that lie there already."""
        return [path for path in (self.metrics, self.picture) if path.exists()]


def save_evaluation(paths: EvaluationPaths, record: Mapping[str, Any], draw: Callable[[Path], None]) -> None:
    """Write every result, or none.

    Args:
        paths: Where to; results that lie there are replaced.
        record: Content of metrics.json.
        draw: Writes the picture to a path.

    Raises:
        OSError: If a file cannot be written; nothing is left behind.
    """
    with all_or_nothing(paths.folder, METRICS, paths.existing()) as folder:
        draw(folder / PICTURE)
        sizes = {PICTURE: size_of(folder / PICTURE)}
        write_sidecar(folder / METRICS, {**record, "n_bytes": sizes})


def evaluation_record(found: Evaluation, model: SemiVaeModel, scans: list[TumourScan]) -> dict[str, Any]:
    """What metrics.json says of the figures.

    Args:
        found: All figures.
        model: The network.
        scans: Evaluated, in the order of the latents.
    """
    features = model.partition.features
    return {
        "model": model.facts(),
        "n_scans": len(scans),
        "n_patients": len(set(found.latents.patients)),
        "metrics": found.metrics,
        "gates": [asdict(gate) for gate in found.gates],
        "passed": all(gate.passed for gate in found.gates),
        "r2_95_interval_over_patients": found.intervals,
        "squared_correlation_ceiling": found.ceilings,
        "matrices": {name: matrix.as_dict() for name, matrix in found.matrices.items()},
        "scans": {
            scan.scan_id: {"patient_id": scan.patient_id, **figures, "features": _features(found, model, row)}
            for row, (scan, figures) in enumerate(zip(scans, found.scans, strict=True))
        },
        "definitions": {
            "region": "all voxels of the network's cube in z-scores, unless the name says tumour or brain",
            "psnr": "peak: 99.9th percentile of the z-scores in the brain of the scan",
            "features": list(features),
        },
    }


def _features(found: Evaluation, model: SemiVaeModel, row: int) -> dict[str, dict[str, float]]:
    """Predicted and measured features of one scan, in their units."""
    latents, normalizer = found.latents, model.normalizer
    predicted = normalizer.inverse_transform(latents.predicted[row])
    measured = normalizer.inverse_transform(latents.targets[row], latents.known[row])
    return {name: {"predicted": predicted[name], "measured": measured[name]} for name in predicted}
