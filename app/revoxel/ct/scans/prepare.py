"""A study from scans: each brought onto one grid, made coarse, written with its record, and listed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, Literal
from zlib import crc32

import numpy as np
import torch
from monai.transforms import Lambdad

from revoxel.core.meta_images import grid_of
from revoxel.core.provenance import read_sidecar, sha256_of, write_sidecar
from revoxel.core.volumes import volume_sidecar
from revoxel.ct.scans.coarse import CoarseMode, MakeCoarsed
from revoxel.ct.scans.picture import save_study_picture
from revoxel.ct.scans.results import write_hu
from revoxel.ct.scans.sources import check_apart
from revoxel.ct.scans.study import STUDY_FILE, CtRow, CtStudy, load_study, patient_folds, save_study
from revoxel.ct.scans.transforms import CheckCTd, LoadCTd, ToGridd

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence
    from pathlib import Path

    from monai.data.meta_tensor import MetaTensor
    from monai.transforms import MapTransform

    from revoxel.ct.scans.sources import CtSource

    Progress = Callable[[str, float], None]

FINE: Final = "fine"
COARSE: Final = "coarse"
PICTURE_FILE = "study.png"


@dataclass(frozen=True)
class PrepareRecipe:
    """How scans are brought onto a grid and made coarse.

    Args:
        spacing_mm: Voxel size of the fine volumes.
        size: Their sides in voxels, around the middle; `None` keeps all of a scan.
        factor: Coarse spacing over fine spacing, 2 or 4.
        mode: How the coarse volumes are made.
        allow_no_air: Accept scans without air.
        seed: Of the error of `corrupt`, and of folds drawn at random.
    """

    spacing_mm: float = 1.5
    size: int | None = None
    factor: Literal[2, 4] = 4
    mode: CoarseMode | str = CoarseMode.AREA
    allow_no_air: bool = False
    seed: int = 0

    def run(self, path: Path, name: str) -> dict[Hashable, Any]:
        """Read a scan and make `fine`, `coarse` and `fov` of it.

        Args:
            path: File or folder.
            name: Of the scan; with the seed it decides the error of `corrupt`.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If the recipe is impossible or the scan unusable.
        """
        item: dict[Hashable, Any] = {FINE: path}
        # Not MONAI's Compose: it would draw another seed, and hide what is wrong behind a RuntimeError.
        for step in self.steps(name):
            item = step(item)
        return item

    def steps(self, name: str) -> tuple[MapTransform, ...]:
        """Transforms from a file to `fine` and `coarse`.

        Args:
            name: Of the scan.

        Raises:
            ValueError: If the recipe is impossible.
        """
        coarse = MakeCoarsed(FINE, coarse_key=COARSE, factor=self.factor, mode=self.mode)
        return (
            LoadCTd(FINE),
            CheckCTd(FINE, allow_no_air=self.allow_no_air),
            ToGridd(FINE, spacing_mm=self.spacing_mm, size=self.size, factor=self.factor),
            # Files hold whole HU, and coarse voxels are to be block means of what is in the file.
            Lambdad(FINE, torch.round),
            coarse.set_random_state(seed=crc32(f"{self.seed} {name}".encode())),
        )


def prepare_study(
    sources: Sequence[CtSource],
    recipe: PrepareRecipe,
    out: Path,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> CtStudy:
    """Prepare scans and list them; a study that exists is extended, scans that are done are kept.

    Args:
        sources: The scans.
        recipe: What to do with them.
        out: Folder of the study.
        overwrite: Prepare scans again that are done.
        progress: Called with the name of a scan and the share done.

    Returns:
        The study as written to `out/study.json`, with `out/study.png` beside it.

    Raises:
        FileExistsError: If files of the same name, made otherwise, exist and `overwrite` is false.
        OSError: If a file cannot be read or written.
        ValueError: If a scan is unusable, or the study was made with another recipe.
    """
    study = check_recipe(sources, recipe, out)
    rows = {row.name: row for row in study.rows} if study else {}
    for source in sources:
        if progress:
            progress(source.name, 0.0)
        done = None if overwrite else _done(source, recipe, out)
        rows[source.name] = done or _prepare(source, recipe, out, overwrite=overwrite)
        # After every scan: what a killed run leaves is a study of the scans that it finished.
        save_study(_study_of(list(rows.values()), recipe), out / STUDY_FILE)
        if progress:
            progress(source.name, 1.0)
    study = load_study(out)
    save_study_picture(study, out / PICTURE_FILE)
    return study


def check_recipe(sources: Sequence[CtSource], recipe: PrepareRecipe, out: Path) -> CtStudy | None:
    """Refuse early what cannot be prepared.

    Args:
        sources: The scans.
        recipe: What to do with them.
        out: Folder of the study.

    Returns:
        The study that lies there already, if any.

    Raises:
        ValueError: If there is no scan, the recipe is impossible or not the study's, or a scan may be of
            a patient that the study knows under another name.
    """
    if not sources:
        msg = f"scans must be at least one, got none for {out}; give files or a folder."
        raise ValueError(msg)
    recipe.steps("")
    if not (out / STUDY_FILE).is_file():
        return None
    study = load_study(out)
    asked, made = ((s.spacing_mm, s.factor, str(s.mode)) for s in (recipe, study))
    if asked != made:
        msg = (
            f"{out} must be of one recipe, got spacing, factor and mode {asked} where its study has {made}; "
            "choose another output folder."
        )
        raise ValueError(msg)
    names = {source.name for source in sources}
    check_apart(sources, [row for row in study.rows if row.name not in names])
    return study


def _study_of(rows: list[CtRow], recipe: PrepareRecipe) -> CtStudy:
    return CtStudy(
        spacing_mm=recipe.spacing_mm,
        factor=recipe.factor,
        mode=CoarseMode(recipe.mode),
        seed=recipe.seed,
        rows=rows,
        folds=patient_folds([row.patient_id for row in rows], seed=recipe.seed),
    )


def _row(source: CtSource, recipe: PrepareRecipe, out: Path) -> CtRow:
    files = {key: _file(out, key, source) for key in (FINE, COARSE)}
    return CtRow(
        name=source.name,
        patient_id=source.patient_id,
        fine=files[FINE].relative_to(out),
        coarse=files[COARSE].relative_to(out),
        spacing_mm=recipe.spacing_mm,
        licence=source.licence,
        weights_may_ship=source.weights_may_ship,
        source_sha256=source.sha256,
        source_origin_mm=source.origin_mm,
        source_spacing_mm=source.spacing_mm,
        sha256={FINE: sha256_of(files[FINE]), COARSE: sha256_of(files[COARSE])},
    )


def _file(out: Path, key: str, source: CtSource) -> Path:
    return out / key / f"{source.name}.nii.gz"


def _done(source: CtSource, recipe: PrepareRecipe, out: Path) -> CtRow | None:
    """Row of a scan whose files are there and were made of the same bytes in the same way."""
    wanted = {"input_sha256": source.sha256, "recipe": {**asdict(recipe), "mode": str(recipe.mode)}}
    for key in (FINE, COARSE):
        file = _file(out, key, source)
        record = volume_sidecar(file)
        if not (file.is_file() and record.is_file()):
            return None
        known = read_sidecar(record)
        if any(known.get(field) != value for field, value in wanted.items()):
            return None
        if known.get("sha256") != sha256_of(file):
            return None
    return _row(source, recipe, out)


def _prepare(source: CtSource, recipe: PrepareRecipe, out: Path, *, overwrite: bool) -> CtRow:
    item = recipe.run(source.path, source.name)
    for key in (FINE, COARSE):
        image, file = item[key], _file(out, key, source)
        # A file without its record is what a killed run left: nothing that anyone would miss.
        replace = overwrite or not volume_sidecar(file).exists()
        write_hu(file, np.asarray(image)[0], grid_of(image), overwrite=replace)
        write_sidecar(volume_sidecar(file), _record(source, recipe, item, file), overwrite=replace)
    return _row(source, recipe, out)


def _record(source: CtSource, recipe: PrepareRecipe, item: dict[Any, Any], file: Path) -> dict[str, Any]:
    fine: MetaTensor = item[FINE]
    meta = {
        key: fine.meta.get(key)
        for key in ("spacing_mm", "thickness_mm", "outside_share", "below_padding_share", "notes")
    }
    return {
        "input": source.path.name,
        "input_sha256": source.sha256,
        "licence": source.licence,
        "recipe": asdict(recipe),
        "sha256": sha256_of(file),
        "scan": meta,
        "outside_share": 1.0 - float(item["fov"].float().mean()),
        "units": "HU",
        "orientation": "RAS",
    }
