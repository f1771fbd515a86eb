"""Make the expert volumes that a manifest's rows lack; resumable, and processes may share the rows."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from filelock import FileLock, Timeout

from revoxel.core.geometry import check_same_grid, isotropic_grid
from revoxel.core.manifest import Case, Manifest, load_manifest, save_manifest
from revoxel.core.paths import absolute
from revoxel.core.provenance import sha256_of
from revoxel.core.reasons import reason_of
from revoxel.core.volumes import read_volume, volume_stem
from revoxel.experts.names import Expert
from revoxel.experts.run import ExpertRequest, ExpertRun, Progress, run_experts
from revoxel.sagnef.study.checks import profile_for_experts
from revoxel.sagnef.study.paths import below
from revoxel.sagnef.study.table import enter_experts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from revoxel.core.volumes import Volume


@dataclass(frozen=True, kw_only=True)
class FillSettings:
    """How missing expert volumes are made.

    Args:
        experts: Which experts, of those that the manifest lists.
        voxel_mm: Voxel size of the results; `auto`: the truth's along the slice axis, 1 mm without a truth;
            `None`: the scan's in-plane size.
        out_dir: Folder for the results; `None`: beside each scan.
        cold: Tune the learned experts from nothing.
        external: Executable of the original tool, per expert.
        device: `auto`, `cpu` or `cuda:N`.
        seed: Seed of the learned experts.
        overwrite: Make them all anew.
    """

    experts: tuple[Expert, ...] = tuple(Expert)
    voxel_mm: float | Literal["auto"] | None = "auto"
    out_dir: Path | None = None
    cold: bool = False
    external: Mapping[Expert, Path] = field(default_factory=dict)
    device: str = "auto"
    seed: int = 0
    overwrite: bool = False


@dataclass(frozen=True)
class Filled:
    """What became of the rows.

    Args:
        made: Expert volumes per row that are there now, by the row's name.
        failed: Why a row has no experts, by its name.
        elsewhere: Rows that another process is working on.
    """

    made: dict[str, int] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    elsewhere: list[str] = field(default_factory=list)


def row_name(case: Case) -> str:
    """Name of a row in messages.

    Args:
        case: The row.
    """
    return f"{case.subject}-{case.pulse} {case.spacing}"


def missing_experts(manifest: Manifest, settings: FillSettings) -> dict[int, tuple[Expert, ...]]:
    """Experts to run, by number of the row.

    Args:
        manifest: Its rows are looked at.
        settings: Which experts are wanted, and whether those that exist count.
    """
    wanted = [expert for expert in settings.experts if expert.value in manifest.experts]
    missing = {
        row: tuple(expert for expert in wanted if settings.overwrite or not _exists(manifest, case, expert))
        for row, case in enumerate(manifest.cases)
    }
    return {row: experts for row, experts in missing.items() if experts}


def _exists(manifest: Manifest, case: Case, expert: Expert) -> bool:
    path = case.experts.get(expert.value)
    return path is not None and manifest.resolve(path).is_file()


def fill_experts(path: Path, settings: FillSettings, progress: Progress) -> Filled:
    """Make what is missing, row by row; the manifest is updated after each.

    A row that fails is noted and the next one begins. Processes that are started on the same manifest share
    the rows among them.

    Args:
        path: The manifest.
        settings: How to make them.
        progress: Called with a stage and its share done; stage `rows` counts the rows.

    Returns:
        What became of the rows.

    Raises:
        FileNotFoundError: If there is no manifest.
        ValueError: If the manifest is malformed.
    """
    manifest = load_manifest(path)
    todo = missing_experts(manifest, settings)
    filled = Filled()
    for n_done, (row, experts) in enumerate(todo.items()):
        progress("rows", n_done / len(todo))
        case = manifest.cases[row]
        try:
            with _claimed(_stem(manifest, case, settings)) as free:
                if not free:
                    filled.elsewhere.append(row_name(case))
                    continue
                run = run_row(manifest, case, experts, settings, progress)
                _keep(path, manifest, case, run)
                filled.made[row_name(case)] = len(run.paths)
        except (ValueError, OSError, RuntimeError, MemoryError) as error:
            filled.failed[row_name(case)] = reason_of(error)
    progress("rows", 1.0)
    return filled


def _stem(manifest: Manifest, case: Case, settings: FillSettings) -> Path:
    """Start of the result files' paths. Not `resolve`: a scan may be a link into a store that is not ours."""
    if settings.out_dir is not None:
        return settings.out_dir / case.spacing.value / f"{case.subject}-{case.pulse}"
    scan = absolute(manifest.folder / manifest.root / case.lr)
    return scan.with_name(volume_stem(scan))


@contextmanager
def _claimed(stem: Path) -> Iterator[bool]:
    """Whether this process has the row for itself; the claim ends with the process, however it ends."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(stem.with_name(f".{stem.name}.lock"))
    try:
        lock.acquire(blocking=False)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def run_row(
    manifest: Manifest,
    case: Case,
    experts: tuple[Expert, ...],
    settings: FillSettings,
    progress: Progress | None = None,
) -> ExpertRun:
    """Make experts of one row, with the row's slice profile; the manifest stays as it is.

    Args:
        manifest: Where the files are.
        case: The row.
        experts: Which experts.
        settings: How to make them.
        progress: Called with a stage and its share done.

    Returns:
        The volumes and their files.

    Raises:
        ValueError: If the scan cannot be used, or is not the one that was listed.
        OSError: If a file cannot be read or written.
    """
    low = _scan(manifest, case)
    stem = _stem(manifest, case, settings)
    request = ExpertRequest(
        volume=low,
        experts=experts,
        profile=profile_for_experts(case),
        voxel_mm=_voxel_mm(manifest, case, settings),
        out_dir=stem.parent,
        stem=stem.name,
        cold=settings.cold,
        external={expert: tool for expert, tool in settings.external.items() if expert in experts},
        device=settings.device,
        seed=settings.seed,
        overwrite=settings.overwrite,
    )
    _check_neighbours(manifest, case, request)
    return run_experts(request, progress)


def _scan(manifest: Manifest, case: Case) -> Volume:
    low = read_volume(manifest.resolve(case.lr))
    if "lr" in case.sha256 and sha256_of(manifest.resolve(case.lr)) != case.sha256["lr"]:
        msg = f"{low.path} must be the file that was listed, got another; run revoxel manifest again."
        raise ValueError(msg)
    return low


def _voxel_mm(manifest: Manifest, case: Case, settings: FillSettings) -> float | None:
    if settings.voxel_mm != "auto":
        return settings.voxel_mm
    if case.hr is None:
        return 1.0
    return read_volume(manifest.resolve(case.hr)).grid.spacing_mm[case.axis]


def _check_neighbours(manifest: Manifest, case: Case, request: ExpertRequest) -> None:
    """Refuse, before anything is computed, volumes that could not be stacked with those that exist."""
    others = [
        expert for expert in Expert if expert not in request.experts and _exists(manifest, case, expert)
    ]
    goal = isotropic_grid(request.volume.grid, case.axis, request.voxel_mm)
    for expert in others:
        path = manifest.resolve(case.experts[expert.value])
        check_same_grid({"the volumes to be made": goal, str(path): read_volume(path).grid})


def _keep(path: Path, manifest: Manifest, case: Case, run: ExpertRun) -> None:
    """Enter the row's new volumes; read again under a lock, because others may have entered theirs."""
    root = absolute(manifest.folder / manifest.root)
    made = {expert.value: below(file, root) for expert, file in run.paths.items()}
    sums = {f"experts.{expert.value}": sha256_of(file) for expert, file in run.paths.items()}
    with FileLock(path.with_name(f".{path.name}.lock")):
        current = load_manifest(path)
        cases = [_entered(other, made, sums) if other.key == case.key else other for other in current.cases]
        save_manifest(current.model_copy(update={"cases": cases}), path)
        enter_experts(path.with_suffix(".csv"), _entered(case, made, sums), made, run.high_grid)


def _entered(case: Case, made: Mapping[str, Path], sums: Mapping[str, str]) -> Case:
    return case.model_copy(update={"experts": {**case.experts, **made}, "sha256": {**case.sha256, **sums}})
