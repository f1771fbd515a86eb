"""Copies of the shipped bundles that always have weights: their own, or random ones."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser

from revoxel.core.bundles import WEIGHTS, bundles_root
from revoxel.core.checkpoints import save_weights


def copy_bundle(name: str, parent: Path, **values: Any) -> Path:
    """Copy a bundle; values such as `wf=8` replace those of its graphs, and then its weights are random."""
    folder = parent / name
    shutil.copytree(bundles_root() / name, folder)
    if values:
        (folder / WEIGHTS).unlink(missing_ok=True)
        for graph in ("train", "evaluate", "inference"):
            replace_values(folder / "configs" / f"{graph}.json", **values)
    if not (folder / WEIGHTS).exists():
        give_random_weights(folder)
    return folder


def replace_values(path: Path, **values: Any) -> None:
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, **{key: values[key] for key in values if key in content}}))


def give_random_weights(folder: Path, **architecture: Any) -> None:
    """Save weights as `revoxel bundles adopt` does, of another architecture if one is given."""
    torch.manual_seed(0)
    parser = ConfigParser(ConfigParser.load_config_file(folder / "configs" / "train.json"))
    parser.update(architecture)
    network, protocol = (parser.get_parsed_content(name) for name in ("network_def", "protocol"))
    for parameter in network.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    save_weights(folder / WEIGHTS, network.state_dict(), protocol)
