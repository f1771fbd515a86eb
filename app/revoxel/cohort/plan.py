"""Before anything is run: one task per subject, spacing and pulse, and which of them are done."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from revoxel import __version__
from revoxel.cohort.places import Layout, Places, bids_places, is_bids, plain_places
from revoxel.cohort.workspace import STATE_FOLDER
from revoxel.core.bundles import WEIGHTS, bundles_root
from revoxel.core.manifest import Case, Manifest, load_manifest
from revoxel.core.paths import absolute
from revoxel.core.provenance import read_sidecar, sha256_of
from revoxel.sagnef.gates import bundle_name
from revoxel.sagnef.planning import FusionKind

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from revoxel.core.pulses import Pulse, Spacing

_HASHING_THREADS = 4


class Verb(StrEnum):
    """What is done with every scan."""

    SUPERRESOLVE = "superresolve"
    EXPERTS = "experts"
    PREDICT = "predict"
    EVALUATE = "evaluate"


#: What a result depends on, by verb: changed values mean another result. Scores have their own account.
CHOICES: Mapping[Verb, tuple[str, ...]] = {
    Verb.SUPERRESOLVE: (
        "fusion",
        "voxel_mm",
        "allow_extrapolation",
        "exact",
        "consistency",
        "keep_experts",
        "cold",
        "seed",
    ),
    Verb.EXPERTS: ("voxel_mm", "cold", "seed"),
    Verb.PREDICT: ("checkpoint", "allow_extrapolation", "exact", "consistency"),
    Verb.EVALUATE: ("checkpoint", "fold", "model_data", "labels", "allow_seen", "exact", "seed"),
}


@dataclass(frozen=True, kw_only=True)
class VerbSettings:
    """What is done with every scan, and how; small enough to be sent with every task.

    Args:
        verb: What to do.
        out: Root of the results.
        threads: Processor threads of a task; `None` leaves a worker's own number.
        fusion: How experts are combined.
        voxel_mm: Voxel size of the results; `auto` is the verb's own default, `None` the in-plane size.
        allow_extrapolation: Accept slice separations outside the models' range.
        exact: Reference path of the gate.
        consistency: Pull the result onto the measured slices.
        keep_experts: Keep the experts' volumes.
        cold: Tune the learned experts from nothing.
        checkpoint: Gate instead of the shipped one.
        memory_gb: Bound for the gate's activations.
        device: `auto`, `cpu` or `cuda:N`, as the worker sees it.
        seed: Seed of everything random.
    """

    verb: Verb
    out: Path
    threads: int | None = None
    fusion: FusionKind = FusionKind.GATE
    voxel_mm: float | Literal["auto"] | None = "auto"
    allow_extrapolation: bool = False
    exact: bool = False
    consistency: bool = True
    keep_experts: bool = True
    cold: bool = False
    checkpoint: Path | None = None
    memory_gb: float = 0.5
    device: str = "auto"
    seed: int = 0

    def choices(self) -> dict[str, Any]:
        """What the results depend on, as plain values."""
        used = {name: value for name, value in asdict(self).items() if name in CHOICES[self.verb]}
        return json.loads(json.dumps(used, default=str))


@dataclass(frozen=True, kw_only=True)
class Task:
    """One scan and what is to be done with it; sent to a worker.

    Args:
        row: Row of the manifest, its paths absolute.
        experts: Experts of the manifest.
        places: Names of the results.
        identity: What the results depend on: `inputs`, `settings`, `revoxel`.
        why: Why it has to be done; empty if it is done already.
        problem: Why it cannot be done; empty if it can.
    """

    row: Case
    experts: tuple[str, ...]
    places: Places
    identity: Mapping[str, Any]
    why: str = ""
    problem: str = ""

    @property
    def name(self) -> str:
        """Subject, spacing and pulse: unique in a manifest."""
        return f"{self.row.subject}_{self.row.spacing}_{self.row.pulse}"

    @property
    def record(self) -> Path:
        """The record of a fusion, relative to the root of the results."""
        return self.places.path("sagnef", ".json")


@dataclass(frozen=True, eq=False)
class CohortPlan:
    """All tasks.

    Args:
        manifest: The study.
        path: Its file.
        settings: What is done with every scan.
        layout: How results are laid out.
        tasks: One per row, in the order of the manifest.
    """

    manifest: Manifest
    path: Path
    settings: VerbSettings
    layout: Layout
    tasks: tuple[Task, ...]


def plan_cohort(
    path: Path,
    settings: VerbSettings,
    *,
    layout: Literal["auto", "plain", "bids"] = "auto",
    overwrite: bool = False,
    progress: Callable[[float], None] = lambda _: None,
) -> CohortPlan:
    """List the tasks and find those that are done: made from the same files, with the same settings.

    Args:
        path: The manifest.
        settings: What to do.
        layout: How to lay out results; `auto` is `bids` for scans of a BIDS dataset.
        overwrite: Do everything again.
        progress: Called with the share of the inputs that were read.

    Returns:
        The plan; nothing is written.

    Raises:
        FileNotFoundError: If there is no manifest, or no gate where one is named.
        ValueError: If the manifest is malformed, or two tasks would write the same file.
    """
    manifest = load_manifest(path)
    if settings.checkpoint is not None and not settings.checkpoint.is_file():
        msg = f"{settings.checkpoint} must be an existing gate; check --ckpt."
        raise FileNotFoundError(msg)
    rows = [_absolute(manifest, case) for case in manifest.cases]
    bids = all(is_bids(row.lr) for row in rows) if layout == "auto" else layout == Layout.BIDS
    chosen = Layout.BIDS if bids else Layout.PLAIN
    gate_of = cache(lambda pulse, spacing: _gate_sha256(settings, pulse, spacing))
    tasks = []
    with ThreadPoolExecutor(_HASHING_THREADS) as pool:
        drafts = [_draft(manifest, row, chosen) for row in rows]
        _refuse_shared(drafts)
        identities = pool.map(lambda task: _with_identity(task, settings, gate_of), drafts)
        for task in identities:
            tasks.append(_with_reason(task, settings.out, overwrite=overwrite))
            progress(len(tasks) / len(rows))
    return CohortPlan(manifest, path, settings, chosen, tuple(tasks))


def _absolute(manifest: Manifest, case: Case) -> Case:
    """Not `resolve`: a scan may be a link into a store where it has another name."""
    root = manifest.folder / manifest.root
    experts = {name: absolute(root / path) for name, path in case.experts.items()}
    truth = case.hr and absolute(root / case.hr)
    return case.model_copy(update={"lr": absolute(root / case.lr), "hr": truth, "experts": experts})


def _draft(manifest: Manifest, row: Case, layout: Layout) -> Task:
    name = f"{row.subject}_{row.spacing}_{row.pulse}"
    places = bids_places(row.lr) if layout is Layout.BIDS else plain_places(row.lr, name)
    return Task(row=row, experts=tuple(manifest.experts), places=places, identity={})


def _refuse_shared(tasks: list[Task]) -> None:
    owners: dict[Path, Task] = {}
    for task in tasks:
        first = owners.setdefault(task.record, task)
        if first is not task:
            msg = f"{task.name} and {first.name} must not write the same files, got {task.record} for both; "
            raise ValueError(msg + "use --layout plain.")


def _gate_sha256(settings: VerbSettings, pulse: Pulse, spacing: Spacing) -> str | None:
    """Fingerprint of the gate; None where none is used."""
    if settings.verb is Verb.EXPERTS or settings.fusion is not FusionKind.GATE:
        return None
    shipped = bundles_root() / bundle_name(pulse, spacing) / WEIGHTS
    path = settings.checkpoint or shipped
    return sha256_of(path) if path.is_file() else None


def _with_identity(
    task: Task, settings: VerbSettings, gate_of: Callable[[Pulse, Spacing], str | None]
) -> Task:
    files = {"lr": task.row.lr}
    if settings.verb is Verb.PREDICT:
        files |= task.row.experts
        missing = [name for name in task.experts if name not in files]
        if missing:
            return replace(task, problem=f"the manifest has no volume of {', '.join(missing)}; make it first")
    try:
        inputs = {name: sha256_of(path) for name, path in files.items()}
    except OSError as error:
        return replace(task, problem=f"{error.filename} cannot be read: {error.strerror}")
    inputs |= {"gate": gate} if (gate := gate_of(task.row.pulse, task.row.spacing)) else {}
    profile = task.row.profile.model_dump(mode="json")
    choices = {**settings.choices(), "verb": settings.verb.value, "profile": profile}
    return replace(task, identity={"inputs": inputs, "settings": choices, "revoxel": __version__})


def _with_reason(task: Task, out: Path, *, overwrite: bool) -> Task:
    return (
        task if task.problem else replace(task, why="--overwrite" if overwrite else why_not_done(task, out))
    )


def done_record(task: Task, out: Path) -> Path:
    """Where the account of a finished task lies.

    Args:
        task: The task.
        out: Root of the results.
    """
    return out / STATE_FOLDER / f"{task.name}.json"


def why_not_done(task: Task, out: Path) -> str:
    """Compare a task with what was made before.

    Args:
        task: The task.
        out: Root of the results.

    Returns:
        Why it has to be done; empty if its results are there and whole.
    """
    try:
        made = read_sidecar(done_record(task, out))
        known: Mapping[str, Any] = made["identity"]
        for part, word in (("inputs", "input"), ("settings", "settings")):
            now = task.identity[part]
            changed = sorted(key for key in {*known[part], *now} if known[part].get(key) != now.get(key))
            if changed:
                return f"{word} changed: {', '.join(changed)}"
        if known["revoxel"] != task.identity["revoxel"]:
            return f"was made by version {known['revoxel']}"
        lost = [name for name, n_bytes in made["outputs"].items() if _n_bytes(out / name) != n_bytes]
    except FileNotFoundError:
        return "new"
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return "its account is damaged"
    return f"missing or changed: {', '.join(lost)}" if lost else ""


def _n_bytes(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None
