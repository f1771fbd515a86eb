"""Train and score every gate behind the published figures, and write the figures of the model cards.

    python benchmarks/gates.py SET/kfolds_manifest.json -o OUT [--adopt] [--figures configs/sagnef/figures]

`SET` is what training_set.py makes of rows.txt. One gate per spacing and fold learns from all four pulses of
the fold's training patients (so few patients do not carry four gates) and serves each of them. Fold `all`
gives the shipped weights and is scored on patients in no training; the others leave one patient out.
Resumable: what is trained or scored stays. About five minutes to train and ten to score per gate on one core.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gate_training import GateRun
from rich import box
from rich.console import Console
from rich.table import Table

from revoxel.core.manifest import load_manifest
from revoxel.core.pulses import Pulse, Spacing
from revoxel.sagnef.gates import adopt_checkpoint, bundle_name

SHIPPED = "all"
# Optimiser steps, patches per volume and epoch, epochs between validations; 5 mm has twice as many rows.
_LENGTH = {Spacing.mm3: (500, 5, 5), Spacing.mm5: (800, 4, 3), Spacing.mm7: (500, 5, 5)}
_RECIPE: dict[str, object] = {
    "batch_size": 2,
    "learning_rate": 0.002,
    "w_ssim": 0.0,
    "w_tv": 0.0,
    "w_entropy": 0.0,
}
_REGION = "brain"
_CONDITIONS = ("right", "estimated", "narrow", "broad", "wide")


@dataclass(frozen=True)
class Score:
    """What one case gives: PSNR and SSIM by method."""

    fold: str
    subject: str
    patient: str
    pulse: str
    spacing: str
    condition: str
    rows: dict[str, dict[str, float]]

    @property
    def column(self) -> str:
        """Patient, slice axis where it is not the usual one, and condition."""
        axis = self.subject.split("_")[1].removeprefix("axis")
        return f"{self.patient}{'' if axis == '2' else f' (axis {axis})'} {self.condition}"


def gate_run(manifest: Path, out: Path, spacing: Spacing, fold: str) -> GateRun:
    """The training of one gate."""
    n_steps, n_patches, interval = _LENGTH[spacing]
    recipe = {**_RECIPE, "patches_per_volume": n_patches, "val_interval": interval}
    return GateRun(
        manifest, out / "gates", spacing, Pulse.t1c, fold, tuple(Pulse), (Pulse.t2f,), n_steps, recipe
    )


def evaluate(manifest: Path, out: Path, spacing: Spacing, fold: str, checkpoint: Path) -> list[Score]:
    """Score a gate on its fold's test patients by `revoxel evaluate`."""
    target = out / "evaluation" / spacing / fold
    options = ["--fold", fold, "--spacings", spacing, "--ckpt", str(checkpoint), "-o", str(target)]
    revoxel = Path(sys.executable).with_name("revoxel")
    command = [str(revoxel), "evaluate", str(manifest), *options, "--threads", "1"]
    subprocess.run(command, check=True)
    record = json.loads((target / "evaluation.json").read_text(encoding="utf-8"))
    return [_score(case) for case in record["cases"]]


def _score(case: dict[str, Any]) -> Score:
    names = ("fold", "subject", "patient", "pulse", "spacing", "condition")
    return Score(**{name: case[name] for name in names}, rows=case["regions"][_REGION]["rows"])


def markdown(scores: Sequence[Score]) -> str:
    """Methods by cases, PSNR in dB / SSIM."""
    lines = [["method", *(score.column for score in scores)], ["---"] * (len(scores) + 1)]
    for method in scores[0].rows:
        cells = [score.rows.get(method) for score in scores]
        lines.append([method, *(f"{c['psnr_db']:.2f} / {c['ssim']:.3f}" if c else "-" for c in cells)])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def figures(name: str, shipped: GateRun, scores: Iterable[Score]) -> str:
    """The figures section of a model card."""
    study = load_manifest(shipped.manifest)
    fold = study.fold(SHIPPED)
    n_cases = len(study.select(fold.train, shipped.spacing, shipped.train_pulses))
    recipe = " ".join(f"--{key} {value}" for key, value in shipped.overrides.items())
    text = [_INTRODUCTION.format(
        train=", ".join(fold.train), val=", ".join(fold.val), n_cases=n_cases, epochs=shipped.epochs,
        spacing=shipped.spacing, recipe=recipe,
    )]  # fmt: skip
    own = [score for score in scores if bundle_name(Pulse(score.pulse), Spacing(score.spacing)) == name]
    for fold_name in dict.fromkeys(score.fold for score in own):
        cases = sorted(
            (s for s in own if s.fold == fold_name),
            key=lambda s: (s.patient, _CONDITIONS.index(s.condition), s.subject),
        )
        who = (
            "in no training (the shipped gate)" if fold_name == SHIPPED else f"left out (fold `{fold_name}`)"
        )
        patients = ", ".join(dict.fromkeys(case.patient for case in cases))
        text.append(f"{patients}, {who}:\n\n{markdown(cases)}")
    if not own:
        text.append("No public volume of this pulse was left out of the training at this spacing.\n")
    return "\n".join([*text, _LEGEND])


_INTRODUCTION = """\
Trained on the patients {train} of the public volumes (`data_manifests/`; GLI: BraTS-GLI-00001, CC BY 4.0,
BraTS 2021; p07: open_ms, CC BY, Lesjak et al. 2017), stopped on {val} (open_ms FLAIR); {n_cases} simulated
acquisitions of all four pulses in one pool, so the four gates of this spacing hold the same weights.
Experts started from warm weights that had not seen the patient. Two patients are far too few for strong
claims.

`python benchmarks/gates.py SET/kfolds_manifest.json -o OUT` trains and scores; its line for the shipped
weights has all pulses as `--train_pulses` and
`--fold all --epochs {epochs} --schedule cosine {recipe}`; the epoch with the lowest validation loss is kept.

PSNR in dB / SSIM (3D Gaussian window 7, sigma 1.5) inside the brain dilated by {spacing}; range = 99.9
percentile of the truth there. Every column is one volume and one seed.
"""

_LEGEND = """\
- *right*: Gaussian slices, experts told so. *estimated*: rectangular slices, experts use the estimated
  width. *narrow*, *broad*: SLR-like slices, experts told 13 % too little or 15 % too much. *wide*:
  rectangular slices, experts told a Gaussian of that FWHM (47 % too wide). "superresolve" is the whole
  method with its safety; the other rows of SAGNEF have none.
- "simplex", "best expert", "tiles" and "cautious" were fitted on the training patients alone. Oracles see
  the truth.
"""


def console_table(scores: Sequence[Score]) -> Table:
    """PSNR of the best expert, and what the method gives over it, case by case."""
    heads = (
        "best expert (train)",
        "best here",
        "SAGNEF",
        "superresolve",
        "superresolve - best here",
        "9-cube",
    )
    table = Table("case", *heads, box=box.MARKDOWN)
    for score in scores:
        decibels = {row: value["psnr_db"] for row, value in score.rows.items()}
        best, best_here = decibels["best expert"], decibels["oracle: volume"]
        gains = [decibels[row] - best for row in ("SAGNEF residual", "superresolve")]
        over_best_here = [decibels[row] - best_here for row in ("superresolve", "oracle: 9-cube")]
        table.add_row(
            score.subject,
            f"{best:.2f}",
            f"{best_here:.2f}",
            *(f"{gain:+.2f}" for gain in (*gains, *over_best_here)),
        )
    return table


def main() -> None:
    """Train, score, write figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--spacings", nargs="+", type=Spacing, default=list(Spacing))
    parser.add_argument("--figures", type=Path, help="folder of the cards' figures; written if given")
    parser.add_argument(
        "--adopt", action="store_true", help="make the gates of fold `all` the bundles' weights"
    )
    parser.add_argument("-o", "--out", type=Path, required=True)
    options = parser.parse_args()
    manifest, out = options.manifest.resolve(), options.out.resolve()
    for spacing in options.spacings:
        scores: list[Score] = []
        for fold in load_manifest(manifest).folds:
            checkpoint = gate_run(manifest, out, spacing, fold.name).train()
            scores += evaluate(manifest, out, spacing, fold.name, checkpoint)
            if fold.name == SHIPPED and options.adopt:
                for pulse in Pulse:
                    adopt_checkpoint(bundle_name(pulse, spacing), checkpoint, overwrite=True)
        Console(width=160).print(console_table(scores))
        for pulse in Pulse if options.figures else ():
            name = bundle_name(pulse, spacing)
            text = figures(name, gate_run(manifest, out, spacing, SHIPPED), scores)
            (options.figures / f"{name}.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
