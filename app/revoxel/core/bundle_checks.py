"""What must hold of a bundle before it is run or given away: its metadata, its weights, its network."""

from __future__ import annotations

import json
import logging
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from revoxel.core.bundles import METADATA, WEIGHTS, configs_root, read_metadata

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def quiet_monai() -> Iterator[None]:
    """Keep MONAI's summaries and its warning about configs of strangers from the screen: these are ours."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def check_metadata(folder: Path) -> dict[str, Any]:
    """Compare a bundle's metadata with the schema.

    Args:
        folder: the bundle.

    Returns:
        The metadata.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it does not fit, or its version is not in its changelog.
    """
    from jsonschema import Draft7Validator
    from jsonschema.exceptions import best_match

    metadata = read_metadata(folder)
    schema = json.loads((configs_root() / "metadata_schema.json").read_text(encoding="utf-8"))
    error = best_match(Draft7Validator(schema).iter_errors(metadata))
    if error is not None:
        place = ".".join(str(part) for part in error.absolute_path) or "top level"
        msg = f"{folder / METADATA} must fit its schema, got at {place}: {error.message}; correct it."
        raise ValueError(msg)
    if metadata["version"] not in metadata["changelog"]:
        msg = f"{folder}: version {metadata['version']} must be in the changelog, got none; add what changed."
        raise ValueError(msg)
    return metadata


def check_fit(folder: Path, *, need_weights: bool = True) -> None:
    """Check that a bundle's network fits its metadata and, where there are any, its weights fit the network.

    Args:
        folder: the bundle.
        need_weights: refuse a bundle without weights.

    Raises:
        FileNotFoundError: If the weights are missing.
        ValueError: If something does not fit.
    """
    check_network(folder)
    if (folder / WEIGHTS).exists():
        check_weights(folder)
    elif need_weights:
        msg = (
            f"{folder / WEIGHTS} must be the bundle's weights, got no file; "
            f"train and do revoxel bundles adopt {folder.name} CHECKPOINT."
        )
        raise FileNotFoundError(msg)


def check_weights(folder: Path) -> None:
    """Load a bundle's weights into its network, as its inference does.

    Args:
        folder: the bundle.

    Raises:
        FileNotFoundError: If it has no weights.
        ValueError: If they are damaged, for another bundle or architecture, or no plain state dict.
    """
    from revoxel.core.checkpoints import fill_network, load_checkpoint

    checkpoint = load_checkpoint(folder / WEIGHTS, wanted_protocol(folder))
    if not checkpoint.is_plain:
        msg = (
            f"{checkpoint.path} must be a plain state dict, got a training checkpoint; "
            f"do revoxel bundles adopt {folder.name} CHECKPOINT."
        )
        raise ValueError(msg)
    fill_network(bundle_network(folder), checkpoint)


def wanted_protocol(folder: Path) -> dict[str, Any]:
    """What a bundle's weights must have been trained for, as its inference asks.

    Args:
        folder: the bundle.
    """
    protocol: dict[str, Any] = _inference_part(folder, "protocol")
    return protocol


def bundle_network(folder: Path) -> Any:
    """A bundle's network as its inference has it, with weights of chance.

    Args:
        folder: the bundle.
    """
    return _inference_part(folder, "network_def")


def _inference_part(folder: Path, name: str) -> Any:
    from monai.bundle import ConfigParser

    config = ConfigParser.load_config_file(folder / "configs" / "inference.json")
    return ConfigParser(config).get_parsed_content(name)


def check_network(folder: Path) -> None:
    """Run a bundle's network on an input as its metadata describes it.

    Args:
        folder: the bundle.

    Raises:
        ValueError: If the output is not what the metadata describes.
    """
    from monai.bundle import verify_net_in_out

    configs = folder / "configs"
    files = {"meta_file": str(configs / "metadata.json"), "config_file": str(configs / "inference.json")}
    try:
        with quiet_monai():
            verify_net_in_out(net_id="network_def", device="cpu", **files)
    except (ValueError, RuntimeError) as error:
        msg = f"{folder}: network_data_format must describe network_def, got: {error}; correct the metadata."
        raise ValueError(msg) from error
