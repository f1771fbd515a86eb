"""Which models a campaign makes, how far each is, and what stands in the way; nothing is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from revoxel.core.bundles import bundles_root
from revoxel.core.checkpoints import Checkpoint, best_checkpoint, load_checkpoint
from revoxel.core.configuration import flat_values, graph_values
from revoxel.core.folds import Split
from revoxel.core.handlers import LAST, check_recipe
from revoxel.core.manifest import Case, Manifest, load_manifest
from revoxel.core.pulses import Pulse, Spacing
from revoxel.sagnef.gates import bundle_name

REPORT = "test_report.json"
SPLITS: tuple[Split, ...] = ("train", "val", "test")


@dataclass(frozen=True, kw_only=True)
class CampaignSettings:
    """What to train.

    Args:
        manifest: manifest with folds.
        configuration: model configuration.
        table: which value of which graph each of its keys sets.
        spacings: spacings; None takes those of the configuration that the manifest has cases of.
        pulses: pulses, likewise.
        folds: names of folds; None takes all of the manifest.
        values: values of the graphs that differ from the configuration, such as `{"epochs": 2}`.
        overwrite: begin anew where there is a run, which is removed first.
    """

    manifest: Path
    configuration: Path
    table: Path
    spacings: tuple[Spacing, ...] | None = None
    pulses: tuple[Pulse, ...] | None = None
    folds: tuple[str, ...] | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    overwrite: bool = False


@dataclass(frozen=True, kw_only=True)
class PlannedModel:
    """One model of a campaign and how far it is.

    Attributes:
        spacing: spacing of its cases.
        pulse: pulse of its cases.
        fold: fold that splits them.
        folder: where checkpoints, log and report go.
        n_cases: rows of the manifest by split.
        missing: files that those rows name and that are not there.
        values: values by graph that are handed to its bundle.
        problem: why it cannot be trained, empty if it can.
        epochs: length of the training.
        n_done: epochs that are done.
        trained: whether the training is over, by length or by patience.
    """

    spacing: Spacing
    pulse: Pulse
    fold: str
    folder: Path
    n_cases: Mapping[Split, int]
    missing: tuple[str, ...]
    values: Mapping[str, Mapping[str, Any]]
    problem: str
    epochs: int
    n_done: int
    trained: bool

    @property
    def name(self) -> str:
        """Spacing, pulse and fold."""
        return f"{self.spacing} {self.pulse} {self.fold}"

    @property
    def evaluated(self) -> bool:
        """Whether the report is there and younger than the best checkpoint."""
        report = self.folder / REPORT
        if not self.trained or not report.is_file():
            return False
        return report.stat().st_mtime >= best_checkpoint(self.folder).stat().st_mtime

    def steps(self) -> str:
        """What remains to be done, in words."""
        if self.problem:
            return "cannot run"
        steps = []
        if not self.trained:
            steps.append(f"epochs {self.n_done + 1} to {self.epochs}")
        if self.n_cases["test"] and not self.evaluated:
            steps.append("evaluate")
        return ", ".join(steps) or "finished"


def plan_campaign(settings: CampaignSettings) -> list[PlannedModel]:
    """List the models of a campaign and how far each is; nothing is written.

    Args:
        settings: what to train.

    Returns:
        The models by spacing, pulse, fold.

    Raises:
        FileNotFoundError: If manifest or configuration is missing.
        ValueError: If one of them is wrong, a value is unknown, or there is nothing to train.
    """
    study = load_manifest(settings.manifest)
    if "dataset_dir" in settings.values:
        study = study.model_copy(update={"root": Path(settings.values["dataset_dir"])})
    folds = settings.folds or tuple(fold.name for fold in study.folds)
    models = [
        _plan_model(settings, study, spacing, pulse, fold)
        for (spacing, pulse), fold in product(_wanted(settings, study), folds)
    ]
    if not models:
        msg = (
            f"{settings.manifest} must hold folds, and cases of the spacings and pulses of "
            f"{settings.configuration}, got none; write folds or choose --spacings and --pulses."
        )
        raise ValueError(msg)
    return models


def _wanted(settings: CampaignSettings, study: Manifest) -> list[tuple[Spacing, Pulse]]:
    """Spacings and pulses: what an option names must work, what the configuration lists may be absent."""
    listed = flat_values(settings.configuration)
    spacings = settings.spacings or tuple(map(Spacing, listed.get("data.spacings", Spacing)))
    pulses = settings.pulses or tuple(map(Pulse, listed.get("data.pulses", Pulse)))
    present = {(case.spacing, case.pulse) for case in study.cases}
    strict = settings.spacings is not None and settings.pulses is not None
    return [pair for pair in product(spacings, pulses) if strict or pair in present]


def _plan_model(
    settings: CampaignSettings, study: Manifest, spacing: Spacing, pulse: Pulse, fold: str
) -> PlannedModel:
    values = {graph: _graph_values(settings, graph, spacing, pulse, fold) for graph in ("train", "evaluate")}
    parser = _parsed(spacing, pulse, "train", values["train"])
    folder = Path(parser.get_parsed_content("ckpt_dir"))
    cases = _cases(study, fold, spacing, parser)
    missing = study.missing_files([case for rows in cases.values() for case in rows])
    problem = _problem(cases, missing, skip=bool(parser.get_parsed_content("skip_bad_cases")))
    n_done, trained = 0, False
    if not problem and not settings.overwrite:
        problem, n_done, trained = _progress(folder, parser)
    return PlannedModel(
        spacing=spacing,
        pulse=pulse,
        fold=fold,
        folder=folder,
        n_cases={split: len(rows) for split, rows in cases.items()},
        missing=tuple(missing),
        values=values,
        problem=problem,
        epochs=int(parser.get_parsed_content("epochs")),
        n_done=n_done,
        trained=trained,
    )


def _graph_values(
    settings: CampaignSettings, graph: str, spacing: Spacing, pulse: Pulse, fold: str
) -> dict[str, Any]:
    folder = bundles_root() / bundle_name(pulse, spacing)
    known = {name: set(_config(folder, name)) for name in ("train", "evaluate")}
    unknown = sorted(set(settings.values) - known["train"] - known["evaluate"])
    if unknown:
        msg = f"--set must name values of train.json or evaluate.json, got {unknown}; correct them."
        raise ValueError(msg)
    return {
        **graph_values(settings.configuration, settings.table, graph),
        **{key: value for key, value in settings.values.items() if key in known[graph]},
        "manifest": str(settings.manifest),
        "fold": fold,
        "bundle_root": str(folder),
    }


def _config(folder: Path, graph: str) -> dict[str, Any]:
    return ConfigParser.load_config_file(folder / "configs" / f"{graph}.json")


def _parsed(spacing: Spacing, pulse: Pulse, graph: str, values: Mapping[str, Any]) -> ConfigParser:
    parser = ConfigParser(_config(bundles_root() / bundle_name(pulse, spacing), graph))
    parser.update(dict(values))
    return parser


def _cases(study: Manifest, fold: str, spacing: Spacing, parser: ConfigParser) -> dict[Split, list[Case]]:
    """Rows that a model reads, by split."""
    pulses: dict[Split, Any] = {
        "train": parser.get_parsed_content("train_pulses"),
        "val": parser.get_parsed_content("validation_pulses"),
        "test": [parser.get_parsed_content("pulse")],
    }
    return {
        split: study.select(getattr(study.fold(fold), split), spacing, names)
        for split, names in pulses.items()
    }


def _problem(cases: Mapping[Split, list[Case]], missing: Sequence[str], *, skip: bool) -> str:
    """Why a model cannot be trained, as far as the manifest tells; empty if nothing is missing."""
    empty = [split for split in SPLITS[:2] if not cases[split]]
    if empty:
        return f"no {empty[0]} cases in the manifest"
    more = f" (and {len(missing) - 1} more files)" if len(missing) > 1 else ""
    return f"{missing[0]}{more}" if missing and not skip else ""


def _progress(folder: Path, parser: ConfigParser) -> tuple[str, int, bool]:
    """Why a run that is there cannot go on (empty if it can), its epochs, and whether it is over."""
    if not (folder / LAST).is_file():
        return "", 0, False
    try:
        last = load_checkpoint(folder / LAST, parser.get_parsed_content("protocol"))
        check_recipe(last, parser.get_parsed_content("recipe"))
    except ValueError as error:
        return str(error), 0, False
    n_done = int(last.states["epoch"])
    return "", n_done, n_done >= parser.get_parsed_content("epochs") or _out_of_patience(last, parser)


def _out_of_patience(last: Checkpoint, parser: ConfigParser) -> bool:
    patience = int(parser.get_parsed_content("patience"))
    return 0 < patience <= int(last.states["early_stopping"]["n_waited"])
