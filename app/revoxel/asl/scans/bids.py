"""Find ASL scans, their metadata and their companions in a BIDS folder, by names and inheritance."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from revoxel.asl.scans.series import Labelling, VolumeType
from revoxel.core.paths import absolute, dataset_root, entities
from revoxel.core.volumes import NIFTI_SUFFIXES, volume_stem

if TYPE_CHECKING:
    from collections.abc import Iterable


def suffix_of(stem: str) -> str:
    """Last word of a BIDS name, `asl` of `sub-01_asl`.

    Args:
        stem: File name without its ending.
    """
    return stem.rpartition("_")[2]


def find_asl_files(path: Path) -> list[Path]:
    """ASL scans of a BIDS folder.

    Args:
        path: Data set, subject or session folder.

    Returns:
        Every `perf/*_asl.nii[.gz]` that is no derivative, sorted.

    Raises:
        ValueError: If there is none.
    """
    found = sorted(file for suffix in NIFTI_SUFFIXES for file in path.glob(f"**/perf/*_asl{suffix}"))
    raw = [file for file in found if "derivatives" not in file.relative_to(path).parts]
    if path.name == "perf":
        raw += sorted(file for suffix in NIFTI_SUFFIXES for file in path.glob(f"*_asl{suffix}"))
    if not raw:
        msg = f"{path} must hold perf/*_asl.nii.gz, got none; give a BIDS folder, or the ASL file itself."
        raise ValueError(msg)
    return raw


def inherited(path: Path, suffix: str, ending: str) -> list[Path]:
    """Companions that apply to a file by the inheritance principle of BIDS, the most general first.

    A name without `sub-` is outside BIDS: then only files of its own name apply.

    Args:
        path: Image, such as `root/sub-01/perf/sub-01_asl.nii.gz`.
        suffix: Word before the ending, such as `asl`.
        ending: `.json` or `.tsv`.
    """
    wanted = entities(volume_stem(path)).items()
    if "sub" not in dict(wanted):
        names = (f"{_without_suffix(path)}_{suffix}{ending}", f"{volume_stem(path)}{ending}")
        return [file for name in dict.fromkeys(names) if (file := path.with_name(name)).is_file()]
    whole, found = absolute(path), []
    root = dataset_root(path) or whole.parent
    for folder in reversed(whole.parents[: len(whole.relative_to(root).parts)]):
        candidates = [file for file in sorted(folder.glob(f"*{ending}")) if suffix_of(file.stem) == suffix]
        applying = [file for file in candidates if entities(file.stem).items() <= wanted]
        found += sorted(applying, key=lambda file: len(entities(file.stem)))
    return found


def read_fields(files: Iterable[Path]) -> dict[str, Any]:
    """Fields of sidecars, later files over earlier ones.

    Args:
        files: JSON files.

    Returns:
        The fields.

    Raises:
        ValueError: If a file is not a whole JSON object.
    """
    fields: dict[str, Any] = {}
    for file in files:
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            msg = f"{file} must be valid JSON, got '{error}'; repair it or copy it again."
            raise ValueError(msg) from error
        if not isinstance(content, dict):
            msg = f"{file} must hold a JSON object, got {type(content).__name__}; repair it."
            raise ValueError(msg)  # noqa: TRY004 - the file is at fault, not an argument's type
        fields |= content
    return fields


def asl_fields(path: Path) -> dict[str, Any]:
    """Fields of the sidecars of an ASL scan; empty if it has none.

    Args:
        path: The scan.
    """
    return read_fields(inherited(path, "asl", ".json"))


def read_context(path: Path) -> tuple[VolumeType, ...] | None:
    """Which volume is what, as the `aslcontext.tsv` of a scan says.

    Args:
        path: The scan.

    Returns:
        One type per volume; None without such a file.

    Raises:
        ValueError: If the file is wrong.
    """
    files = inherited(path, "aslcontext", ".tsv")
    if not files:
        return None
    with files[-1].open(encoding="utf-8-sig", newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    if not rows or "volume_type" not in rows[0]:
        columns = list(rows[0]) if rows else "no rows"
        msg = f"{files[-1]} must have a column volume_type, got {columns}; give one word per volume."
        raise ValueError(msg)
    words = [(row["volume_type"] or "").strip() for row in rows]
    unknown = sorted(set(words) - set(VolumeType))
    if unknown:
        known = ", ".join(VolumeType)
        msg = f"{files[-1]}: volume_type must be one of {known}, got {', '.join(unknown)}; correct it."
        raise ValueError(msg)
    return tuple(map(VolumeType, words))


def find_m0(path: Path) -> Path:
    """The M0 scan of an ASL scan: the one intended for it, else the one whose name fits best.

    Args:
        path: The scan.

    Returns:
        Image file.

    Raises:
        ValueError: If there is none, or several fit alike.
    """
    scans = sorted(file for suffix in NIFTI_SUFFIXES for file in path.parent.glob(f"*_m0scan{suffix}"))
    intended = [scan for scan in scans if path.name in _intended_for(scan)]
    wanted = entities(volume_stem(path)).items()
    shared = [len(wanted & entities(volume_stem(scan)).items()) for scan in scans]
    closest = [scan for scan, n in zip(scans, shared, strict=True) if n == max(shared)]
    chosen = intended or [scan for scan in closest if not _intended_for(scan)]
    if len(chosen) != 1:
        names = ", ".join(scan.name for scan in chosen) or "none"
        msg = (
            f"M0Type of {path.name} is Separate, so one *_m0scan.nii.gz beside it must fit, got {names}; "
            "name it in IntendedFor of the M0 scan's JSON, or pass --m0 FILE."
        )
        raise ValueError(msg)
    return chosen[0]


def _intended_for(scan: Path) -> list[str]:
    stated = read_fields(inherited(scan, "m0scan", ".json")).get("IntendedFor", [])
    return [str(name).rpartition("/")[2] for name in ([stated] if isinstance(stated, str) else stated)]


def find_tissue(path: Path, label: str) -> Path | None:
    """Probability map of a tissue of the same person in `derivatives`, in scanner space.

    Args:
        path: ASL scan.
        label: `GM` or `WM`.

    Returns:
        The first such map; None without.
    """
    root, names = dataset_root(path) or absolute(path).parent, entities(volume_stem(path))
    subject = f"sub-{names.get('sub', '')}"
    maps = sorted(root.glob(f"derivatives/*/{subject}/**/anat/*_label-{label}_probseg.nii*"))
    return next((file for file in maps if _same_visit(entities(volume_stem(file)), names)), None)


def _same_visit(found: dict[str, str], names: dict[str, str]) -> bool:
    return "space" not in found and found.get("ses", names.get("ses")) == names.get("ses")


@dataclass(frozen=True)
class ScanGroup:
    """Scans that are quantified together.

    Args:
        stem: Name of the results.
        files: Scan by kind of labelling.
    """

    stem: str
    files: dict[Labelling, Path]


def group_scans(files: Iterable[Path], labelling: Labelling | None = None) -> list[ScanGroup]:
    """Join PCASL (or CASL, PASL) with VSASL of one session whose names are equal but for `acq-`.

    Args:
        files: ASL scans.
        labelling: Kind of all of them, if a user stated it.

    Returns:
        Groups of two kinds where exactly two belong together, of one file elsewhere.

    Raises:
        ValueError: If two groups would have one name.
    """
    groups = []
    for (_, stem), members in groupby(sorted(files, key=_session), key=_session):
        listed = list(members)
        kinds = {file: labelling or _kind(file) for file in listed}
        if len(listed) == 2 and len(set(kinds.values())) == 2 and Labelling.VSASL in kinds.values():
            ordered = sorted(listed, key=lambda file: kinds[file] is Labelling.VSASL)
            groups.append(ScanGroup(stem, {kinds[file]: file for file in ordered}))
        else:
            groups += [ScanGroup(_without_suffix(file), {kinds[file]: file}) for file in listed]
    stems = [group.stem for group in groups]
    twice = sorted({stem for stem in stems if stems.count(stem) > 1})
    if twice:
        msg = f"results must have distinct names, got {', '.join(twice)} more than once; quantify them apart."
        raise ValueError(msg)
    return groups


def _kind(file: Path) -> Labelling:
    """Kind that the sidecar states; what is wrong with it is said when the scan is planned."""
    try:
        stated = str(asl_fields(file).get("ArterialSpinLabelingType", "")).upper()
    except (ValueError, OSError):
        return Labelling.PCASL
    return Labelling(stated) if stated in set(Labelling) else Labelling.PCASL


def _session(file: Path) -> tuple[str, str]:
    words = [word for word in _without_suffix(file).split("_") if not word.startswith("acq-")]
    return str(absolute(file).parent), "_".join(words)


def _without_suffix(file: Path) -> str:
    return volume_stem(file).removesuffix("_asl")
