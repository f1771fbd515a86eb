"""Configurations of ASL networks: the shipped one, the source's, overlays; and what they set in a bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import yaml

from revoxel.asl.learning.source_config import Sections, from_source, is_source
from revoxel.core.bundles import bundle_folder, configs_root
from revoxel.core.configuration import CONFIGURATION, TABLE, graph_values, read_mapping
from revoxel.core.volumes import atomic_path

if TYPE_CHECKING:
    from pathlib import Path

BUNDLE = "asl_cbf_att"
PRODUCTION = "production_v2.yaml"
#: Section that the training does not read.
INFERENCE = "inference"


def asl_configs() -> Path:
    """Folder of the ASL configurations that are shipped."""
    return configs_root() / "asl"


def default_sections() -> Sections:
    """The shipped configuration."""
    return {**read_mapping(asl_configs() / CONFIGURATION), INFERENCE: {}}


def read_sections(path: Path) -> Sections:
    """Read a configuration, ours or the source's; what it leaves out is as in the shipped one.

    Args:
        path: YAML file.

    Returns:
        Sections of keys.

    Raises:
        FileNotFoundError: If the file is missing.
        ValueError: If it is no mapping of sections, or has unknown keys.
    """
    content = read_mapping(path)
    sections = from_source(content) if is_source(content) else content
    base = default_sections()
    # Arguments of one class mean nothing to another.
    if "arguments" in sections.get("network", {}):
        base["network"]["arguments"] = {}
    return overlaid(base, sections)


def overlaid(base: Mapping[str, Any], overlay: Mapping[str, Any]) -> Sections:
    """Lay values over a configuration, dictionaries key by key.

    Args:
        base: sections of keys.
        overlay: the same; a value of None removes a key.

    Returns:
        The result; neither argument is changed.
    """
    result: dict[str, Any] = dict(base)
    for key, value in overlay.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(result.get(key), Mapping):
            result[key] = overlaid(result[key], value)
        else:
            result[key] = value
    return result


def training_values(sections: Sections, folder: Path) -> dict[str, Any]:
    """Values of a bundle's `train.json`; the configuration is kept beside the run.

    Args:
        sections: the configuration.
        folder: of the run; made if it is not there.

    Returns:
        Value by its name in the graph.

    Raises:
        ValueError: If there is an unknown key.
    """
    kept = {name: section for name, section in sections.items() if name != INFERENCE}
    path = folder / "configuration.yaml"
    with atomic_path(path, overwrite=True) as temporary:
        temporary.write_text(yaml.safe_dump(kept, sort_keys=False), encoding="utf-8")
    return graph_values(path, asl_configs() / TABLE, "train")


def train_network(sections: Sections, folder: Path, **values: Any) -> Path:
    """Train one network through its bundle, or go on with it.

    Args:
        sections: the configuration.
        folder: of the run.
        **values: further values of the bundle's `train.json`.

    Returns:
        Its calibrated weights, `model.pt`.

    Raises:
        SystemExit: With one line, if the run cannot work.
        ValueError: If there is an unknown key.
    """
    from revoxel.asl.network.models import CALIBRATED
    from revoxel.core.bundle_checks import quiet_monai

    with quiet_monai():
        _workflow(sections, folder, values).run()
    return folder / CALIBRATED


def join_networks(sections: Sections, members: Sequence[Path], folder: Path, **values: Any) -> Path:
    """Make one ensemble of trained networks, calibrated on the first one's validation slices.

    Args:
        sections: the configuration of all.
        members: their folders.
        folder: where the ensemble goes.
        **values: the further values that they were trained with.

    Returns:
        Its weights, `model.pt`.

    Raises:
        FileNotFoundError: If a member is not trained.
        ValueError: If the members are of different forms, or there is an unknown key.
    """
    from revoxel.asl.learning.ensemble import save_ensemble
    from revoxel.asl.network.models import CALIBRATED
    from revoxel.core.bundle_checks import quiet_monai

    with quiet_monai():
        parser = _workflow(sections, members[0], values).parser
        bank = parser.get_parsed_content("validate#dataset")
    return save_ensemble(members, bank, folder / CALIBRATED)


def _workflow(sections: Sections, folder: Path, values: Mapping[str, Any]) -> Any:
    from monai.bundle import create_workflow

    bundle = bundle_folder(BUNDLE)
    run = {"out_root": str(folder.parent), "run_name": folder.name}
    settings = {**training_values(sections, folder), **values, **run}
    return create_workflow(
        config_file=str(bundle / "configs" / "train.json"),
        workflow_type="train",
        bundle_root=str(bundle),
        run_id="training",
        **settings,
    )
