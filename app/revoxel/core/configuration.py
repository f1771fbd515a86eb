"""One human-readable model configuration, spread over the graphs of a bundle by a table.

The configuration has sections (`train: {lr: 0.001}`); the table says which top-level value of which graph
each key sets (`train.lr: {train: learning_rate}`), so that there is one truth for users, bundles and tests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from pathlib import Path

CONFIGURATION = "model_configuration.yaml"
TABLE = "model_configuration_keys.yaml"


def graph_values(configuration: Path, table: Path, graph: str) -> dict[str, Any]:
    """Values that a model configuration sets in one graph, as overrides of a bundle.

    Args:
        configuration: YAML file with sections of keys.
        table: YAML file, key to `{graph: name of the value}`.
        graph: "train", "evaluate" or "inference".

    Returns:
        Value by its name in the graph.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If the configuration has a key that the table lacks, or is no mapping of sections.
    """
    names: dict[str, dict[str, str]] = read_mapping(table)
    values = flat_values(configuration)
    unknown = sorted(set(values) - set(names))
    if unknown:
        msg = f"{configuration}: keys must be among {sorted(names)}, got unknown {unknown}; correct them."
        raise ValueError(msg)
    return {names[key][graph]: value for key, value in values.items() if graph in names[key]}


def flat_values(path: Path) -> dict[str, Any]:
    """Read a model configuration.

    Args:
        path: YAML file with sections of keys.

    Returns:
        Value by `section.key`.

    Raises:
        FileNotFoundError: If the file is missing.
        ValueError: If it is no mapping of sections.
    """
    sections = read_mapping(path)
    wrong = [name for name, section in sections.items() if not isinstance(section, dict)]
    if wrong:
        msg = f"{path}: top level must hold sections, got plain {wrong}; move the keys into their sections."
        raise ValueError(msg)
    return {f"{name}.{key}": value for name, section in sections.items() for key, value in section.items()}


def read_mapping(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds a mapping.

    Args:
        path: the file.

    Returns:
        What it holds.

    Raises:
        FileNotFoundError: If the file is missing.
        ValueError: If it is no YAML, or no mapping.
    """
    if not path.is_file():
        msg = f"configuration must be an existing YAML file, got {str(path)!r}; check the path."
        raise FileNotFoundError(msg)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        msg = f"{path} must be YAML, got {' '.join(str(error).split())}; correct it."
        raise ValueError(msg) from error
    if not isinstance(content, dict):
        msg = f"{path} must hold a mapping, got {type(content).__name__}; correct it."
        raise ValueError(msg)  # noqa: TRY004 - a wrong file is a wrong value
    return content
