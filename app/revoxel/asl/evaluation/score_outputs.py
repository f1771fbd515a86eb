"""Files of an evaluation: metrics, every statistic, the record of what was run, and a picture."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from revoxel.asl.evaluation.regions import Target
from revoxel.asl.evaluation.score_tables import metrics, write_table
from revoxel.core.provenance import write_sidecar
from revoxel.core.volumes import RESEARCH_USE, atomic_path

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from matplotlib.figure import Figure

    from revoxel.asl.evaluation.comparison import Comparison, EvaluationPlan

#: Map, its unit, the largest value shown and the largest error shown.
_SHOWN = ((Target.CBF, "ml/100g/min", 100.0, 10.0), (Target.ATT, "ms", 3000.0, 300.0))


@dataclass(frozen=True)
class EvaluationPaths:
    """Where the files go.

    Args:
        folder: Output folder.
    """

    folder: Path

    @property
    def files(self) -> dict[str, Path]:
        """File by what it holds."""
        names = {"metrics": "metrics.json", "scores": "scores.csv", "record": "evaluation.json"}
        return {kind: self.folder / name for kind, name in (names | {"picture": "evaluation.png"}).items()}

    def refuse_existing(self) -> None:
        """Stop before anything is computed that could not be written.

        Raises:
            FileExistsError: If a file is there.
        """
        existing = [str(path) for path in self.files.values() if path.exists()]
        if existing:
            msg = (
                f"{existing[0]} must not exist yet; pass --overwrite to replace it, or choose another --out."
            )
            raise FileExistsError(msg)


def save_evaluation(
    paths: EvaluationPaths,
    plan: EvaluationPlan,
    comparisons: Sequence[Comparison],
    facts: Mapping[str, Any],
    *,
    overwrite: bool = False,
) -> dict[str, Path]:
    """Write all files, each whole or not at all.

    Args:
        paths: Where.
        plan: What was compared.
        comparisons: The comparisons.
        facts: Further entries of the record, such as the command and the models.
        overwrite: Replace files that exist.

    Returns:
        File by what it holds.

    Raises:
        FileExistsError: If a file exists and may not be replaced.
        OSError: If one cannot be written.
    """
    files = paths.files
    with atomic_path(files["metrics"], overwrite=overwrite) as temporary:
        text = json.dumps(_without_nan(metrics(comparisons)), indent=2, allow_nan=False)
        temporary.write_text(text + "\n", encoding="utf-8")
    write_table(files["scores"], comparisons, overwrite=overwrite)
    with atomic_path(files["picture"], overwrite=overwrite) as temporary:
        draw_phantom(comparisons[len(plan.snrs) // 2]).savefig(temporary, dpi=110, format="png")
    record = {**facts, "plan": asdict(plan), "comparisons": [_facts(item) for item in comparisons]}
    write_sidecar(files["record"], record, overwrite=overwrite)
    return files


def _facts(item: Comparison) -> dict[str, Any]:
    return {
        "snr60": item.snr,
        "constants": item.scenario,
        "scans_sha256": item.scans.fingerprint,
        "sigma_m0": item.scans.sigma,
        "pairing_of_the_fit": item.pairing,
    }


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nan(item) for name, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def draw_phantom(item: Comparison) -> Figure:
    """Draw the maps and errors of all methods on one phantom.

    Args:
        item: The comparison.

    Returns:
        The figure: truth in the first row, then a row per method.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    truth, methods = item.scans.truth, item.estimates
    # The phantom with the largest lesions shows most.
    shown = int(np.argmax((truth.lesion > 0).sum(axis=(1, 2))))
    mask = truth.mask[shown]
    figure = Figure(figsize=(10, 2.4 * (1 + len(methods)) + 0.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1 + len(methods), 4, squeeze=False)
    for row, (name, maps) in enumerate([("truth", truth), *methods.items()]):
        for column, (target, unit, top, worst) in enumerate(_SHOWN):
            values, true = getattr(maps, target)[shown], getattr(truth, target)[shown]
            colours = "magma" if target is Target.CBF else "viridis"
            pair = axes[row, 2 * column : 2 * column + 2]
            _show(pair[0], np.where(mask, values, np.nan), (colours, 0, top), f"{target.upper()}, {unit}")
            error = f"error {np.abs(values - true)[mask].mean():.3g} {unit}"
            if maps is not truth:
                _show(pair[1], np.where(mask, values - true, np.nan), ("RdBu_r", -worst, worst), error)
        axes[row, 0].text(-0.08, 0.5, name, rotation=90, va="center", transform=axes[row, 0].transAxes)
    for axis in axes.flat:
        axis.set_axis_off()
    figure.suptitle(f"Phantom {shown}, SNR60 {item.snr:g}, constants {item.scenario}", fontsize=11)
    figure.supxlabel(f"simulated; {RESEARCH_USE}", fontsize=7)
    return figure


def _show(axis: Any, values: Any, scale: tuple[str, float, float], title: str) -> None:
    image = axis.imshow(values, cmap=scale[0], vmin=scale[1], vmax=scale[2], interpolation="nearest")
    axis.set_title(title, fontsize=8)
    axis.figure.colorbar(image, ax=axis, shrink=0.8).ax.tick_params(labelsize=6)
