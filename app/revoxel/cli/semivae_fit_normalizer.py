"""`revoxel semivae fit-normalizer`: centre and scale of the features, from the training patients alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from revoxel.cli.options import DebugOption, OverwriteOption

_FEATURES = (
    "wt.log_volume,ncr.log_volume,ed.log_volume,et.log_volume,wt.centroid_r_mm,wt.centroid_a_mm,"
    "wt.centroid_s_mm,wt.sphericity,wt.solidity,wt.elongation,wt.flatness"
)


def fit_normalizer(
    table: Annotated[Path, typer.Argument(help="Table of `revoxel semivae features`.")],
    manifest: Annotated[Path, typer.Option(help="Study file with the folds.")],
    fold: Annotated[str, typer.Option(help="Its training patients are learnt from.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="JSON file.")] = Path("normalizer.json"),
    features: Annotated[
        str, typer.Option(help="Features separated by commas.", metavar="A,B,..")
    ] = _FEATURES,
    method: Annotated[
        Literal["zscore", "robust"], typer.Option(help="Mean and SD, or median and quartiles.")
    ] = "zscore",
    residualize: Annotated[
        list[str] | None,
        typer.Option(help="Take what a covariate tells out of a feature.", metavar="FEATURE=COVARIATE"),
    ] = None,
    min_count: Annotated[int, typer.Option(min=2, help="Training scans that must have a feature.")] = 20,
    overwrite: OverwriteOption = False,
    debug: DebugOption = False,
) -> None:
    """Fit the normaliser of the features on one fold's training patients.

    Patients of validation and test are never looked at, and are refused later if they are used as training
    patients. A feature that is constant, or defined in too few scans, is an error.

    Example: revoxel semivae fit-normalizer table.parquet --manifest study.json --fold fold0 -o scale.json

    Example: revoxel semivae fit-normalizer table.parquet --manifest study.json --fold fold0
    --features wt.log_volume,wt.log_surface --residualize wt.log_surface=wt.log_volume
    """
    from rich.console import Console

    from revoxel.core.report import number_table
    from revoxel.semivae.features.normalizer import FeatureNormalizer
    from revoxel.semivae.features.table import read_table
    from revoxel.semivae.study import read_study

    names = [name.strip() for name in features.split(",") if name.strip()]
    pairs = dict(_pair(text) for text in residualize or [])
    split = read_study(manifest).fold(fold)
    normalizer = FeatureNormalizer(names, method, pairs, min_count)
    normalizer.fit(read_table(table), split.train, eval_ids=[*split.val, *split.test])
    normalizer.to_json(out, overwrite=overwrite)
    fitted = normalizer.fitted
    rows: dict[str, dict[str, float | str]] = {
        name: {"centre": centre, "scale": scale}
        for name, centre, scale in zip(fitted.features, fitted.centre, fitted.scale, strict=True)
    }
    console = Console()
    title = f"{fold}: {len(fitted.train_ids)} training patients, {fitted.method}"
    console.print(number_table(title, rows, first_column="feature"))
    console.print(f"normalizer {out}", soft_wrap=True)


def _pair(text: str) -> tuple[str, str]:
    feature, equals, covariate = text.partition("=")
    if not (feature and equals and covariate):
        msg = f"--residualize must be FEATURE=COVARIATE, got {text!r}; use wt.log_surface=wt.log_volume."
        raise ValueError(msg)
    return feature, covariate
