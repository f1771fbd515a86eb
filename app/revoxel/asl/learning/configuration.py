"""Configurations of ASL networks: the shipped one, the source's, overlays; and what they set in a bundle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from revoxel.asl.learning.source_config import Sections, from_source, is_source
from revoxel.core.bundles import bundle_folder, configs_root
from revoxel.core.configuration import CONFIGURATION, read_mapping
from revoxel.core.training import overlaid, run_training, training_workflow

if TYPE_CHECKING:
    from collections.abc import Sequence
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

    return run_training(*_bundle_and_source(), trained_sections(sections), folder, **values) / CALIBRATED


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

    workflow = training_workflow(*_bundle_and_source(), trained_sections(sections), members[0], **values)
    with quiet_monai():
        bank = workflow.parser.get_parsed_content("validate#dataset")
    return save_ensemble(members, bank, folder / CALIBRATED)


def _bundle_and_source() -> tuple[Path, Path]:
    return bundle_folder(BUNDLE), asl_configs()


def trained_sections(sections: Sections) -> Sections:
    """The sections that a training reads.

    Args:
        sections: the configuration.
    """
    return {name: section for name, section in sections.items() if name != INFERENCE}
