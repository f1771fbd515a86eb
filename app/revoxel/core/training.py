"""What the training graphs of all bundles call by name, and how a verb starts a bundle's training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch
import yaml

from revoxel.core.bundle_checks import quiet_monai
from revoxel.core.bundles import METADATA, bundle_folder, bundle_sources, configs_root
from revoxel.core.checkpoints import best_checkpoint, fill_network, load_checkpoint
from revoxel.core.compute import CHANNELS_LAST, keep_memory
from revoxel.core.configuration import CONFIGURATION, TABLE, graph_values, read_mapping
from revoxel.core.one_line import one_line_errors
from revoxel.core.volumes import atomic_path

if TYPE_CHECKING:
    from ignite.engine import Engine
    from torch import nn

    from revoxel.core.iterations import Precision

Sections = dict[str, Any]
#: The configuration of a run, kept beside its checkpoints.
KEPT_CONFIGURATION = "configuration.yaml"


def overlaid(base: Mapping[str, Any], overlay: Mapping[str, Any]) -> Sections:
    """Lay values over a configuration, dictionaries key by key.

    Args:
        base: sections of keys.
        overlay: the same; a value of None removes a key.

    Returns:
        The result; neither argument is changed.
    """
    result: Sections = dict(base)
    for key, value in overlay.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(result.get(key), Mapping):
            result[key] = overlaid(result[key], value)
        else:
            result[key] = value
    return result


def source_folder(bundle: str) -> Path:
    """Folder that a bundle is generated from.

    Args:
        bundle: name of the bundle.

    Raises:
        ValueError: If no sources describe it.
    """
    sources = {source.name: source.system for source in bundle_sources(configs_root())}
    if bundle not in sources:
        msg = f"bundle must be one of {', '.join(sorted(sources))}, got {bundle!r}; choose one."
        raise ValueError(msg)
    return sources[bundle]


def default_sections(bundle: str) -> Sections:
    """The shipped configuration of a bundle.

    Args:
        bundle: name of the bundle.
    """
    return read_mapping(source_folder(bundle) / CONFIGURATION)


def read_sections(path: Path, bundle: str) -> Sections:
    """Read a configuration; what it leaves out is as in the shipped one.

    Args:
        path: YAML file with sections of keys.
        bundle: name of the bundle.

    Raises:
        FileNotFoundError: If the file is missing.
        ValueError: If it is no mapping.
    """
    return overlaid(default_sections(bundle), read_mapping(path))


def training_workflow(bundle: Path, source: Path, sections: Sections, folder: Path, **values: Any) -> Any:
    """A training through its bundle, ready to run; the configuration is kept beside the run.

    Args:
        bundle: folder of the bundle.
        source: folder with `model_configuration_keys.yaml`.
        sections: the configuration.
        folder: of the run; made if it is not there.
        **values: further values of the bundle's `train.json`.

    Returns:
        MONAI's workflow.

    Raises:
        ValueError: If there is an unknown key.
    """
    from monai.bundle import create_workflow

    kept = folder / KEPT_CONFIGURATION
    with atomic_path(kept, overwrite=True) as temporary:
        temporary.write_text(yaml.safe_dump(sections, sort_keys=False), encoding="utf-8")
    settings = graph_values(kept, source / TABLE, "train") | values
    settings |= {"out_root": str(folder.parent), "run_name": folder.name}
    with quiet_monai():
        return create_workflow(
            config_file=str(bundle / "configs" / "train.json"),
            workflow_type="train",
            bundle_root=str(bundle),
            run_id="training",
            **settings,
        )


def run_training(bundle: Path, source: Path, sections: Sections, folder: Path, **values: Any) -> Path:
    """Train one network through its bundle, or go on with it.

    Args:
        bundle: folder of the bundle.
        source: folder with `model_configuration_keys.yaml`.
        sections: the configuration.
        folder: of the run; made if it is not there.
        **values: further values of the bundle's `train.json`.

    Returns:
        The folder of the run.

    Raises:
        SystemExit: With one line, if the run cannot work.
        ValueError: If there is an unknown key.
    """
    with quiet_monai():
        training_workflow(bundle, source, sections, folder, **values).run()
    return folder


def train_network(bundle: str, sections: Sections, folder: Path, **values: Any) -> Path:
    """Train the network of a shipped bundle, or go on with it.

    Args:
        bundle: name of the bundle.
        sections: the configuration.
        folder: of the run.
        **values: further values of the bundle's `train.json`, such as `study` and `fold`.

    Returns:
        The folder of the run; `revoxel.core.checkpoints.best_checkpoint` finds its best weights.

    Raises:
        SystemExit: With one line, if the run cannot work.
        ValueError: If there is an unknown key.
    """
    return run_training(bundle_folder(bundle), source_folder(bundle), sections, folder, **values)


def planned_network(bundle: str, source: Path, sections: Sections) -> nn.Module:
    """The network that a configuration would train, with weights of chance.

    Args:
        bundle: name of the bundle.
        source: folder with `model_configuration_keys.yaml`.
        sections: the configuration.

    Raises:
        ValueError: If there is an unknown key, or the network cannot be built.
    """
    from monai.bundle import ConfigParser

    with TemporaryDirectory() as folder:
        path = Path(folder) / KEPT_CONFIGURATION
        path.write_text(yaml.safe_dump(sections), encoding="utf-8")
        values = graph_values(path, source / TABLE, "train")
    graph = ConfigParser.load_config_file(bundle_folder(bundle) / "configs" / "train.json")
    with quiet_monai():
        network: nn.Module = ConfigParser(graph | values).get_parsed_content("network_def")
    return network


def discard_run(folder: Path) -> None:
    """Remove what a run wrote, and nothing else.

    Args:
        folder: of the run.
    """
    from revoxel.core.handlers import LAST

    for pattern in ("model*.pt", LAST, "training_log.csv", KEPT_CONFIGURATION):
        for path in folder.glob(pattern):
            path.unlink()


def check_bundle_start(bundle_root: str | Path, out_root: str | Path | None = None) -> None:
    """Stop with one line before anything is built if the run cannot work.

    Args:
        bundle_root: folder of the bundle.
        out_root: root of the outputs; made if it is not there.

    Raises:
        SystemExit: With one line that says what is wrong and what to do.
    """
    with one_line_errors():
        if not (Path(bundle_root) / METADATA).is_file():
            msg = (
                f"bundle_root must be a bundle's folder, got {str(bundle_root)!r} "
                f"({Path(bundle_root).resolve()}); give --bundle_root bundles/NAME."
            )
            raise ValueError(msg)
        if out_root is not None:
            Path(out_root).mkdir(parents=True, exist_ok=True)


def place(network: nn.Module, device: torch.device, precision: Precision) -> nn.Module:
    """Move a network to its device, in the layout that its precision runs fastest in.

    Args:
        network: any network of 2D or 3D convolutions, or of both.
        device: where it computes.
        precision: number format and layout.
    """
    placed = network.to(device)
    if precision.channels_last:
        # Asked as a whole, a network that holds convolutions of both kinds refuses either layout.
        for weights in placed.parameters():
            if weights.ndim in CHANNELS_LAST:
                weights.data = weights.data.contiguous(memory_format=CHANNELS_LAST[weights.ndim])
    return placed


def load_weights(network: nn.Module, path: str | Path | None, protocol: Mapping[str, Any]) -> None:
    """Load weights into a network of a bundle.

    Args:
        network: where they go.
        path: checkpoint, the run's folder for its best one, or a bundle's weights; None does nothing.
        protocol: protocol entries that must be equal.

    Raises:
        SystemExit: With one line, if the file is missing or made for something else.
    """
    if path is None:
        return
    with one_line_errors():
        fill_network(network, load_checkpoint(checkpoint_of(path), protocol))


def checkpoint_of(path: str | Path) -> Path:
    """A checkpoint itself, or the best one of a run's folder.

    Args:
        path: file or folder.

    Raises:
        FileNotFoundError: If the folder holds none.
    """
    return best_checkpoint(Path(path)) if Path(path).is_dir() else Path(path)


def run_engine(engine: Engine) -> None:
    """Run a trainer or an evaluator.

    Args:
        engine: the engine.

    Raises:
        SystemExit: With one line after a full disk, a loss that is not finite, or a case that cannot be used.
    """
    from monai.engines import Trainer

    if isinstance(engine, Trainer):
        keep_memory()
    with one_line_errors():
        engine.run()
