"""Bundles are generated: a base graph and a small overlay per variant become self-contained folders.

Sources of a family of models lie in one folder below `configs/`, such as `asl/` or `ct/upsampler/`:
`base_<graph>.yaml` (graph = train, evaluate, inference, metadata, multi_gpu_train),
`overlays/<bundle>.yaml` with the sections `configs` (values of every graph) and `metadata`, `card.md`,
`data_license.txt`, `logging.conf` and, where there is one, `model_configuration.yaml` with the defaults;
`figures/<bundle>.md` holds the table measured with a bundle's weights.
"""

from __future__ import annotations

import filecmp
import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from revoxel.core.configuration import CONFIGURATION, TABLE, graph_values

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

GRAPHS = ("train", "evaluate", "inference")
METADATA = Path("configs") / "metadata.json"
WEIGHTS = Path("models") / "model.pt"
_NO_FIGURES = (
    "No weights are shipped with this bundle yet: the main job falls back to global weights, and says so.\n"
)


def _package() -> Path:
    return Path(__file__).resolve().parents[1]


def repository_root() -> Path | None:
    """Folder of the checkout that this package runs from, None for an installed package."""
    root = _package().parents[1]
    return root if (root / "configs").is_dir() and (root / "pyproject.toml").is_file() else None


def bundles_root() -> Path:
    """Folder with the shipped bundles: of the checkout, else of the installed package.

    Raises:
        FileNotFoundError: If neither is there.
    """
    checkout = repository_root()
    candidates = [_package() / "_bundles", *([checkout / "bundles"] if checkout else [])]
    for candidate in reversed(candidates):
        if candidate.is_dir():
            return candidate
    msg = f"bundles must lie in {candidates[-1]}, got no such folder; run revoxel bundles build or reinstall."
    raise FileNotFoundError(msg)


def configs_root() -> Path:
    """Folder with the model configurations: of the checkout, else of the installed package."""
    checkout = repository_root()
    return checkout / "configs" if checkout else _package() / "_configs"


@dataclass(frozen=True)
class BundleSource:
    """Where one bundle is generated from.

    Attributes:
        name: name of the bundle.
        overlay: its overlay.
        system: folder of the base graphs.
    """

    name: str
    overlay: Path
    system: Path


def bundle_sources(configs: Path) -> list[BundleSource]:
    """All bundles that the sources describe, by name.

    Args:
        configs: the `configs` folder of a checkout.
    """
    overlays = sorted(configs.rglob("overlays/*.yaml"))
    return [BundleSource(path.stem, path, path.parents[1]) for path in overlays]


def build_bundle(source: BundleSource, target: Path, license_file: Path) -> Path:
    """Generate one bundle's folder; weights that are there stay.

    Args:
        source: what to generate from.
        target: folder of the bundle.
        license_file: copied as `LICENSE`.

    Returns:
        The folder.

    Raises:
        ValueError: If the overlay holds a key that the base lacks.
    """
    overlay = _load(source.overlay)
    _refuse_unknown(source.overlay, overlay, [{"configs", "metadata"}])
    shared = overlay.get("configs", {})
    graphs = {graph: _base(source, graph) for graph in GRAPHS}
    metadata = _base(source, "metadata")
    _refuse_unknown(source.overlay, shared, graphs.values())
    _refuse_unknown(source.overlay, overlay.get("metadata", {}), [metadata])
    metadata |= overlay.get("metadata", {})
    documents = {
        name: base | {key: shared[key] for key in shared if key in base} for name, base in graphs.items()
    }
    documents |= {"multi_gpu_train": _base(source, "multi_gpu_train"), "metadata": metadata}
    for folder in ("configs", "models", "docs"):
        (target / folder).mkdir(parents=True, exist_ok=True)
    for name, document in documents.items():
        _export(document, target / "configs" / f"{name}.json")
    shutil.copyfile(source.system / "logging.conf", target / "configs" / "logging.conf")
    shutil.copyfile(license_file, target / "LICENSE")
    shutil.copyfile(source.system / "data_license.txt", target / "docs" / "data_license.txt")
    (target / "docs" / "README.md").write_text(
        _card(source, metadata, documents["inference"]), encoding="utf-8"
    )
    return target


def check_bundle(source: BundleSource, committed: Path, license_file: Path) -> list[str]:
    """Compare a committed bundle with what its sources give now.

    Args:
        source: what it is generated from.
        committed: its folder.
        license_file: licence of the project.

    Returns:
        Relative paths that differ, are missing, or have no source; empty if all is well.
    """
    with tempfile.TemporaryDirectory() as folder:
        fresh = build_bundle(source, Path(folder) / source.name, license_file)
        return sorted(f"{source.name}/{name}" for name in _differences(fresh, committed))


def drifted_files(checkout: Path, names: Collection[str] | None = None) -> list[str]:
    """Compare the bundles of a checkout with what their sources give now.

    Args:
        checkout: the checkout.
        names: bundles to look at; all of them, and folders without a source, by default.

    Returns:
        What differs, is missing or has no source, such as `NAME/LICENSE`; empty if all is well.
    """
    sources = {source.name: source for source in bundle_sources(checkout / "configs")}
    bundles = checkout / "bundles"
    present = {path.name for path in bundles.iterdir() if path.is_dir()} if bundles.is_dir() else set()
    wanted = set(sources) | present if names is None else set(names)
    problems = [f"{name}: no source" for name in sorted(wanted - set(sources))]
    for name in sorted(wanted & set(sources)):
        problems += check_bundle(sources[name], bundles / name, checkout / "LICENSE")
    return problems


def _differences(fresh: Path, committed: Path) -> set[str]:
    wanted, found = set(generated_files(fresh)), set(generated_files(committed))
    common = wanted & found
    _, mismatched, errors = filecmp.cmpfiles(fresh, committed, sorted(common), shallow=False)
    return (wanted ^ found) | set(mismatched) | set(errors)


def generated_files(folder: Path) -> list[str]:
    """Files of a bundle other than its weights.

    Args:
        folder: the bundle.

    Returns:
        Relative paths with forward slashes, sorted.
    """
    files = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
    return sorted(path.as_posix() for path in files if path.parts[0] != "models")


def _load(path: Path) -> dict[str, Any]:
    from monai.bundle import ConfigParser

    loaded: dict[str, Any] = ConfigParser.load_config_files([str(path)])
    return loaded


def _export(document: dict[str, Any], path: Path) -> None:
    from monai.bundle import ConfigParser

    ConfigParser.export_config_file(document, path, indent=2)
    with path.open("a", encoding="utf-8") as file:
        file.write("\n")


def _base(source: BundleSource, graph: str) -> dict[str, Any]:
    path = source.system / f"base_{graph}.yaml"
    base = _load(path)
    configuration = source.system / CONFIGURATION
    if graph not in GRAPHS or not configuration.is_file():
        return base
    values = graph_values(configuration, source.system / TABLE, graph)
    _refuse_unknown(configuration, values, [base])
    return base | values


def _refuse_unknown(overlay: Path, keys: Iterable[str], bases: Iterable[Collection[str]]) -> None:
    known = set().union(*bases)
    unknown = sorted(set(keys) - known)
    if unknown:
        msg = (
            f"{overlay}: keys must exist in the base, got unknown {unknown}; correct them or extend the base."
        )
        raise ValueError(msg)


def _card(source: BundleSource, metadata: Mapping[str, Any], graph: Mapping[str, Any]) -> str:
    figures = source.system / "figures" / f"{source.name}.md"
    values = {key: _in_words(value) for key, value in {**graph, **metadata}.items()}
    for side, tensors in metadata.get("network_data_format", {}).items():
        for name, tensor in tensors.items():
            values[f"{side}_{name}"] = "; ".join(tensor["channel_def"].values())
            values[f"{side}_{name}_channels"] = str(tensor["num_channels"])
    measured = figures.read_text(encoding="utf-8") if figures.is_file() else _NO_FIGURES
    card = (source.system / "card.md").read_text(encoding="utf-8")
    return Template(card).substitute(values, bundle=source.name, figures=measured)


def _in_words(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def bundle_folder(name: str, root: Path | None = None) -> Path:
    """Folder of a bundle.

    Args:
        name: its name.
        root: folder with bundles; the shipped ones by default.

    Raises:
        FileNotFoundError: If there is no such bundle.
    """
    folder = (root or bundles_root()) / name
    if name in {"", ".", ".."} or not (folder / METADATA).is_file():
        msg = f"bundle must be one of those in {folder.parent}, got {name!r}; see revoxel bundles list."
        raise FileNotFoundError(msg)
    return folder


def read_metadata(folder: Path) -> dict[str, Any]:
    """Metadata of a bundle.

    Args:
        folder: the bundle.

    Raises:
        FileNotFoundError: If the file is missing.
        ValueError: If it is no JSON object.
    """
    path = folder / METADATA
    if not path.is_file():
        msg = f"{folder} must be a bundle, got no {METADATA.as_posix()}; run revoxel bundles build."
        raise FileNotFoundError(msg)
    try:
        metadata = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        msg = f"{path} must be JSON, got {error}; run revoxel bundles build."
        raise ValueError(msg) from error
    if not isinstance(metadata, dict):
        msg = f"{path} must hold an object, got {type(metadata).__name__}; run revoxel bundles build."
        raise ValueError(msg)  # noqa: TRY004 - a wrong file is a wrong value
    return metadata


@dataclass(frozen=True)
class BundleStatus:
    """One line of the list of bundles.

    Attributes:
        name: name of the bundle.
        version: version of the bundle.
        description: what it is for.
        weights: its weights, None if there are none.
    """

    name: str
    version: str
    description: str
    weights: Path | None


def list_bundles(root: Path | None = None) -> list[BundleStatus]:
    """Bundles at hand.

    Args:
        root: folder with bundles; the shipped ones by default.
    """
    return [_status(path.parents[1]) for path in sorted((root or bundles_root()).glob(f"*/{METADATA}"))]


def _status(folder: Path) -> BundleStatus:
    metadata = read_metadata(folder)
    version, description = (str(metadata.get(key, "?")) for key in ("version", "description"))
    weights = folder / WEIGHTS
    return BundleStatus(folder.name, version, description, weights if weights.is_file() else None)
