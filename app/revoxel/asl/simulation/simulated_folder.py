"""Simulated scans as a BIDS folder: control and label images, M0 and sidecars, and the truth beside them.

BIDS has no word for VSASL: those files are our extension and named in `.bidsignore`.
"""

from __future__ import annotations

import json
import shutil
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

import numpy as np

from revoxel import __version__
from revoxel.asl.scans.series import Labelling
from revoxel.asl.simulation.noise import AslNoise, control_and_label
from revoxel.asl.simulation.phantom import PhantomConfig, make_phantom
from revoxel.asl.simulation.physics_range import PhysicsRange
from revoxel.asl.simulation.shapes import Tissue, smooth_field
from revoxel.asl.simulation.simulated_scans import JOINT_PROTOCOL, clean_signal
from revoxel.core.geometry import Grid
from revoxel.core.provenance import write_sidecar
from revoxel.core.volumes import RESEARCH_USE, atomic_path, write_volume

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from revoxel.asl.protocol import AslProtocol
    from revoxel.asl.simulation.phantom import Phantom
    from revoxel.asl.simulation.physics_range import ScanPhysics

    Report = Callable[[str, float], None]

BIDS_VERSION = "1.10.0"
_VOXEL_MM = (3.5, 3.5, 5.0)
#: M0 of fully relaxed grey matter in units of the files, and that of each tissue relative to it.
_M0 = 1000.0
_M0_SHARE = {Tissue.BACKGROUND: 0.0, Tissue.GREY_MATTER: 1.0, Tissue.WHITE_MATTER: 0.85, Tissue.CSF: 1.2}
_COIL_VARIATION = 0.1
_M0_NOISE = 0.005
_M0_TR_S, _ASL_TR_S = 10.0, 6.0
_SCANNER = {
    "Manufacturer": "simulated",
    "MagneticFieldStrength": 3,
    "MRAcquisitionType": "3D",
    "PulseSequenceType": "simulated",
    "EchoTime": 0.013,
    "FlipAngle": 90,
}
_TRUTH = "derivatives/truth"


@dataclass(frozen=True)
class FolderRecipe:
    """What to simulate.

    Args:
        phantom: How slices are drawn.
        noise: Noise of a difference image after averaging the repeats.
        protocol: Delays; PASL is not written.
        physics: Ranges of the constants; every subject has its own. The sidecars state the usual ones.
        n_subjects: Scans.
        n_slices: Slices of each, every one a phantom of its own.
        n_repeats: Pairs per delay.
        seed: Decides everything.

    Raises:
        ValueError: If a count is below one, or the protocol has PASL.
    """

    phantom: PhantomConfig = field(default_factory=PhantomConfig)
    noise: AslNoise = field(default_factory=AslNoise)
    protocol: AslProtocol = JOINT_PROTOCOL
    physics: PhysicsRange = field(default_factory=PhysicsRange)
    n_subjects: int = 1
    n_slices: int = 8
    n_repeats: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.n_subjects, self.n_slices, self.n_repeats) < 1:
            counts = f"{self.n_subjects}, {self.n_slices} and {self.n_repeats}"
            msg = f"subjects, slices and repeats must be >= 1, got {counts}; correct them."
            raise ValueError(msg)
        if self.protocol.pasl_tis_ms:
            msg = "the protocol must have PCASL or VSASL delays only, got PASL; leave pasl_tis_ms out."
            raise ValueError(msg)


@dataclass(frozen=True, eq=False)
class _Subject:
    """One simulated head."""

    name: str
    phantoms: list[Phantom]
    scan: ScanPhysics
    m0: NDArray[np.float32]
    rng: np.random.Generator

    def volume(self, name: str) -> NDArray[Any]:
        """A map of the phantoms, `(i, j, k)`."""
        return np.stack([getattr(phantom, name) for phantom in self.phantoms], axis=-1)


def write_folder(recipe: FolderRecipe, out: Path, report: Report = lambda *_: None) -> list[Path]:
    """Simulate scans and write them.

    Args:
        recipe: What to simulate.
        out: New or empty folder.
        report: Called with a stage and the share of it that is done.

    Returns:
        The ASL files.

    Raises:
        FileExistsError: If the folder holds something.
        OSError: If it cannot be written.
    """
    refuse_filled(out)
    written: list[Path] = []
    with _whole_or_nothing(out) as staged:
        _write_descriptions(recipe, staged)
        for number in range(recipe.n_subjects):
            report("simulate", number / recipe.n_subjects)
            subject = _draw(recipe, number)
            folder = staged / subject.name / "perf"
            written += [_write_scan(recipe, subject, part, folder) for part in _parts(recipe)]
            _write_truth(recipe, subject, staged / _TRUTH / subject.name)
    report("simulate", 1.0)
    return [out / path.relative_to(staged) for path in written]


@contextmanager
def _whole_or_nothing(out: Path) -> Iterator[Path]:
    """A folder beside `out` that takes its place when the block succeeds and vanishes when it fails."""
    staged = out.resolve().with_name(f".{uuid4().hex[:8]}.partial.{out.name}")
    try:
        staged.mkdir(parents=True)
        yield staged
        if out.exists():
            out.rmdir()
        staged.replace(out)
    except OSError as error:
        reason = error.strerror or str(error)
        msg = f"{out} must be writable, got '{reason}'; free space or choose another output folder."
        raise OSError(msg) from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def refuse_filled(out: Path) -> None:
    """Stop before a data set is mixed with what is there.

    Args:
        out: Folder to be written.

    Raises:
        FileExistsError: If it holds something, or is a file.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        msg = f"{out} must be a new or empty folder, got something in it; choose another with -o."
        raise FileExistsError(msg)


def _draw(recipe: FolderRecipe, number: int) -> _Subject:
    rng = np.random.default_rng((recipe.seed, number, 1))
    phantoms = [make_phantom(recipe.phantom, rng) for _ in range(recipe.n_slices)]
    size = recipe.phantom.size
    shares = np.array([_M0_SHARE[kind] for kind in Tissue])
    tissue = np.stack([phantom.tissue for phantom in phantoms], axis=-1)
    coil = 1 + _COIL_VARIATION * smooth_field(size, size / 4, rng)[..., None].clip(-2, 2)
    m0 = (_M0 * coil * shares[tissue]).astype(np.float32)
    return _Subject(f"sub-{number + 1:02d}", phantoms, recipe.physics.draw(rng), m0, rng)


class _Part(NamedTuple):
    """What one file holds."""

    kind: Labelling
    channels: slice
    plds_ms: tuple[float, ...]
    durations_ms: tuple[float, ...]
    alpha: float
    n_pulses: int


def _parts(recipe: FolderRecipe) -> Iterator[_Part]:
    """The files of a scan; efficiencies are those that its sidecars state."""
    protocol, usual = recipe.protocol, recipe.physics.base
    n_pcasl = len(protocol.pcasl_plds_ms)
    suppression = (usual.alpha_bs**usual.n_bs_pcasl, usual.alpha_bs**usual.n_bs_vsasl)
    if n_pcasl:
        alpha = float(usual.alpha_pcasl * suppression[0])
        plds_ms, durations_ms = protocol.pcasl_plds_ms, protocol.durations_ms
        yield _Part(Labelling.PCASL, slice(0, n_pcasl), plds_ms, durations_ms, alpha, usual.n_bs_pcasl)
    if protocol.vsasl_plds_ms:
        alpha = float(usual.alpha_vsasl * suppression[1])
        channels = slice(n_pcasl, None)
        yield _Part(Labelling.VSASL, channels, protocol.vsasl_plds_ms, (), alpha, usual.n_bs_vsasl)


def _write_scan(recipe: FolderRecipe, subject: _Subject, part: _Part, folder: Path) -> Path:
    stem = f"{subject.name}_acq-{part.kind.lower()}"
    images = _acquire(recipe, subject, part.channels)
    noise = subject.rng.standard_normal(subject.m0.shape, dtype=np.float32)
    m0scan = subject.m0 + np.float32(_M0 * _M0_NOISE) * noise
    path = folder / f"{stem}_asl.nii.gz"
    _write_image(path, images)
    _write_image(folder / f"{stem}_m0scan.nii.gz", m0scan)
    _write_json(folder / f"{stem}_asl.json", _asl_fields(part, recipe.n_repeats))
    intended = f"bids::{subject.name}/perf/{path.name}"
    m0_fields = {"RepetitionTimePreparation": _M0_TR_S, "IntendedFor": intended, **_SCANNER}
    _write_json(folder / f"{stem}_m0scan.json", m0_fields)
    context = "volume_type\n" + "control\nlabel\n" * (len(part.plds_ms) * recipe.n_repeats)
    _write_text(folder / f"{stem}_aslcontext.tsv", context)
    return path


def _asl_fields(part: _Part, n_repeats: int) -> dict[str, Any]:
    def per_volume(times_ms: tuple[float, ...]) -> list[float]:
        # Every delay comes twice: for the control and for the label image.
        return [time / 1000 for _ in range(n_repeats) for time in times_ms for _ in range(2)]

    fields = {
        "ArterialSpinLabelingType": part.kind.value,
        "PostLabelingDelay": per_volume(part.plds_ms),
        "LabelingDuration": per_volume(part.durations_ms),
        "TotalAcquiredPairs": len(part.plds_ms) * n_repeats,
        "M0Type": "Separate",
        "RepetitionTimePreparation": _ASL_TR_S,
        "BackgroundSuppression": True,
        "BackgroundSuppressionNumberPulses": part.n_pulses,
        "LabelingEfficiency": part.alpha,
        **_SCANNER,
    }
    return {name: value for name, value in fields.items() if value != []}


def _acquire(recipe: FolderRecipe, subject: _Subject, channels: slice) -> NDArray[np.float32]:
    """Control and label images in turn, `(i, j, k, volume)`, in units of the files."""
    # Slices are read out together: one shift of physiology and drift for the whole volume.
    clean = np.stack(
        [
            clean_signal(p.cbf, p.att, p.mask, recipe.protocol, subject.scan)[channels]
            for p in subject.phantoms
        ],
        axis=-1,
    )
    repeated = np.tile(clean, (recipe.n_repeats, 1, 1, 1))
    noise = replace(recipe.noise, snr=recipe.noise.snr / np.sqrt(recipe.n_repeats))
    static = recipe.noise.static_fraction * subject.volume("mask")
    control, label = control_and_label(repeated, noise, subject.rng, static)
    volumes = np.stack([control, label], axis=1).reshape(-1, *clean.shape[1:])
    # Signal and noise are shares of the tissue's own M0, so that SNR60 holds in every voxel.
    own = np.where(subject.m0 > 0, subject.m0, _M0)
    return np.moveaxis(volumes * own, 0, -1)


def _write_truth(recipe: FolderRecipe, subject: _Subject, folder: Path) -> None:
    maps = {"cbf": "cbf", "att": "att", "mask": "desc-brain_mask", "lesion": "desc-lesion_dseg"}
    for name, ending in maps.items():
        _write_image(folder / "perf" / f"{subject.name}_{ending}.nii.gz", subject.volume(name))
    for label, kind in (("GM", Tissue.GREY_MATTER), ("WM", Tissue.WHITE_MATTER), ("CSF", Tissue.CSF)):
        share = subject.volume("tissue") == kind
        _write_image(folder / "anat" / f"{subject.name}_label-{label}_probseg.nii.gz", share)
    facts = {
        "units": {"cbf": "ml/100g/min", "att": "ms"},
        "constants": subject.scan.values,
        "stated_constants": recipe.physics.base.as_dict(),
        "sigma_over_m0": recipe.noise.sigma,
        "snr60": recipe.noise.snr,
    }
    write_sidecar(folder / "perf" / f"{subject.name}_truth.json", facts)


def _write_descriptions(recipe: FolderRecipe, out: Path) -> None:
    made_by = [{"Name": "Revoxel", "Version": __version__}]
    raw = {"Name": "Simulated ASL", "BIDSVersion": BIDS_VERSION, "License": "CC0", "GeneratedBy": made_by}
    _write_json(out / "dataset_description.json", {**raw, "DatasetType": "raw"})
    truth = {**raw, "Name": "Truth of simulated ASL", "DatasetType": "derivative"}
    _write_json(out / _TRUTH / "dataset_description.json", truth)
    noise = f"{recipe.noise.kind} noise at SNR60 {recipe.noise.snr:g}"
    text = (
        f"Simulated ASL: {recipe.n_subjects} scans of {recipe.phantom.kind} phantoms, {noise}, seed "
        f"{recipe.seed}.\nNo person was scanned. The true maps lie in {_TRUTH}.\n"
    )
    _write_text(out / "README", text)
    _write_text(out / ".bidsignore", "*_acq-vsasl_*\n")


def _write_image(path: Path, data: NDArray[Any]) -> None:
    affine = np.diag([*_VOXEL_MM, 1.0])
    affine[:3, 3] = [-side * (size - 1) / 2 for side, size in zip(_VOXEL_MM, data.shape, strict=False)]
    write_volume(path, data, Grid(data.shape[:3], affine), description=f"simulated; {RESEARCH_USE}")


def _write_json(path: Path, fields: Mapping[str, Any]) -> None:
    _write_text(path, json.dumps(fields, indent=2) + "\n")


def _write_text(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
