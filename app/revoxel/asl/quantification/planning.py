"""Before a scan is quantified: its files, whether their metadata can be used, and what was made before."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from revoxel.asl.fitting.fit import FitSettings
from revoxel.asl.fitting.levenberg import LmSettings
from revoxel.asl.quantification.estimation import AnyFitSettings
from revoxel.asl.quantification.methods import Method, MethodChoice
from revoxel.asl.quantification.outputs import AslPaths
from revoxel.asl.scans.bids import ScanGroup, find_asl_files, find_m0, find_tissue, group_scans
from revoxel.asl.scans.images import image_shape
from revoxel.asl.scans.metadata import describe
from revoxel.asl.scans.series import AslSeries, Labelling, M0Type
from revoxel.asl.scans.stated import Stated
from revoxel.core.done_before import as_plain, refuse_other_results, why_not_done
from revoxel.core.provenance import sha256_of

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True)
class QuantifySettings:
    """How to quantify.

    Args:
        stated: What the user knows better than the sidecars.
        mask: Brain mask file; found on M0 if not given.
        grey: Probability map of grey matter, aligned with the scan.
        white: Probability map of white matter.
        realign: Whether to correct motion.
        fit: Of the fit; `LmSettings` for its arterial term.
        method: The fit, or a network.
        overwrite: Replace results that exist.

    Raises:
        ValueError: If the arterial term is asked of a network.
    """

    stated: Stated = field(default_factory=Stated)
    mask: Path | None = None
    grey: Path | None = None
    white: Path | None = None
    realign: bool = False
    fit: AnyFitSettings = field(default_factory=FitSettings)
    method: MethodChoice = field(default_factory=MethodChoice)
    overwrite: bool = False

    def __post_init__(self) -> None:
        """Refuse what no network was trained for."""
        if isinstance(self.fit, LmSettings) and self.method.method is not Method.FIT:
            msg = f"--arterial must go with --method fit, got {self.method.method}; no network has it."
            raise ValueError(msg)


@dataclass(frozen=True)
class ScanPlan:
    """A scan whose metadata were found to be usable.

    Args:
        group: Its files.
        series: What they are, in the order of `group`.
        inputs: Every file that will be read, by role.
        paths: Where results go.
        request: What is asked for, as it is compared with an earlier record.
        why: Why the scan has to be quantified; empty if these very results exist already.
    """

    group: ScanGroup
    series: tuple[AslSeries, ...]
    inputs: dict[str, Path]
    paths: AslPaths
    request: dict[str, Any]
    why: str


def find_groups(inputs: Iterable[Path], stated: Stated | None = None) -> list[ScanGroup]:
    """Scans below BIDS folders, or files, joined where they belong together.

    Args:
        inputs: Folders and files.
        stated: What the user states about them.

    Returns:
        Groups to be quantified one by one.

    Raises:
        FileNotFoundError: If an input does not exist.
        ValueError: If a folder holds no scan, names clash, or facts about one scan are stated for several.
    """
    files: list[Path] = []
    for path in inputs:
        if not path.exists():
            msg = f"{path} must be an existing BIDS folder or ASL file, got nothing there; check the path."
            raise FileNotFoundError(msg)
        files += find_asl_files(path) if path.is_dir() else [path]
    known = stated or Stated()
    if known.describes_one_scan and len(files) > 1:
        msg = (
            f"delays, durations and labelling can be stated for one scan, got {len(files)}; write them into "
            "the sidecars, quantify the scans one by one, or pass the VSASL scan of a pair by --vsasl."
        )
        raise ValueError(msg)
    groups = group_scans(dict.fromkeys(files), known.labelling)
    return groups if known.vsasl is None else [_with_vsasl(groups, known.vsasl)]


def _with_vsasl(groups: list[ScanGroup], vsasl: Path) -> ScanGroup:
    """The one scan of a user and the VSASL scan that is to be fitted with it."""
    kinds = [kind for group in groups for kind in group.files]
    if len(kinds) != 1 or kinds[0] is Labelling.VSASL:
        msg = f"--vsasl must go with one PCASL, CASL or PASL scan, got {', '.join(kinds)}; give that one."
        raise ValueError(msg)
    return replace(groups[0], files={**groups[0].files, Labelling.VSASL: vsasl})


def plan_scan(group: ScanGroup, out: Path, settings: QuantifySettings) -> ScanPlan:
    """Check everything about a scan that can be known before its images are read.

    Args:
        group: Files of the scan.
        out: Output folder.
        settings: How to quantify.

    Returns:
        The plan.

    Raises:
        FileNotFoundError: If a file is missing.
        FileExistsError: If other results exist, and `settings` do not allow to replace them.
        ValueError: If metadata are wrong; the message names the field and what to do.
    """
    stated = settings.stated
    series = tuple(
        describe(path, image_shape(path, stated.echo), stated.about(kind))
        for kind, path in group.files.items()
    )
    inputs = _inputs(group, series, settings)
    paths = AslPaths(out, group.stem)
    if any(out.resolve() == file.resolve().parent for file in group.files.values()):
        msg = f"the output folder must not be that of the scan, got {out}; choose another with -o."
        raise ValueError(msg)
    request = as_plain(
        {
            "stated": asdict(stated),
            "realign": settings.realign,
            "fit": asdict(settings.fit),
            "method": settings.method.method,
            "sha256": {role: sha256_of(path) for role, path in inputs.items()},
        }
    )
    existing = paths.existing()
    why = why_not_done(paths.record, existing, request)
    refuse_other_results(paths.record, existing, why, overwrite=settings.overwrite)
    return ScanPlan(group, series, inputs, paths, request, why)


def _inputs(group: ScanGroup, series: tuple[AslSeries, ...], settings: QuantifySettings) -> dict[str, Path]:
    inputs = {kind.value: path for kind, path in group.files.items()}
    for (kind, path), one in zip(group.files.items(), series, strict=True):
        if one.m0_type is M0Type.SEPARATE:
            inputs[f"M0 of {kind}"] = find_m0(path)
    first = next(iter(group.files.values()))
    optional = {
        "M0": settings.stated.m0 if isinstance(settings.stated.m0, Path) else None,
        "mask": settings.mask,
        "GM": settings.grey or find_tissue(first, "GM"),
        "WM": settings.white or find_tissue(first, "WM"),
    }
    inputs |= {role: path for role, path in optional.items() if path is not None}
    for role, path in inputs.items():
        if not path.is_file():
            msg = f"{path} ({role}) must be an existing file, got nothing there; check the path."
            raise FileNotFoundError(msg)
    weights = [path for files in settings.method.candidates() for path in files]
    networks = enumerate(weights, start=1)
    return inputs | {f"network {number}": path for number, path in networks}
