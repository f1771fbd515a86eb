"""The list of experiments: what each changes in which configuration."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from revoxel.asl.learning.configuration import (
    PRODUCTION,
    asl_configs,
    default_sections,
    read_sections,
)
from revoxel.core.configuration import read_mapping
from revoxel.core.training import overlaid

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from revoxel.asl.learning.source_config import Sections

#: What every experiment is compared with.
DEFAULT, LOCKED = "default", "exp_09"
_KEYS = {"title", "base", "sections", "variants", "finetune"}
_RANGE = re.compile(r"(\d+)-(\d+)")


@dataclass(frozen=True)
class Experiment:
    """One configuration to train and score.

    Attributes:
        name: such as `exp_12_dwa`.
        title: what it tries.
        sections: the whole configuration.
        finetune: tuning after the training: `subjects`, `slices` of each, `share` of the budget, and the
            constants of the subjects that differ.
    """

    name: str
    title: str
    sections: Sections
    finetune: dict[str, Any] = field(default_factory=dict)

    @property
    def members(self) -> int:
        """Networks that are averaged."""
        return int(self.sections["inference"].get("members", 1))

    @property
    def dropout_samples(self) -> int:
        """Runs with dropout on."""
        return int(self.sections["inference"].get("dropout_samples", 0))


def find_experiments(selection: str, folder: Path | None = None) -> list[Experiment]:
    """Experiments by number or name, with all their variants, and the two that all are compared with.

    Args:
        selection: such as `00-20`, `09,12` or `plain,residual`; `all` for every file.
        folder: with the experiments; the shipped ones by default.

    Returns:
        The experiments, the references first.

    Raises:
        ValueError: If there is no such experiment, or a file has unknown keys.
    """
    folder = folder or asl_configs() / "experiments"
    known = {path.stem: path for path in sorted(folder.glob("*.yaml"))}
    names = list(known) if selection == "all" else _names(selection)
    unknown = [name for name in names if name not in known]
    if unknown:
        msg = f"experiments must be among {', '.join(known)}, got {', '.join(unknown)}; use 00-20."
        raise ValueError(msg)
    wanted = dict.fromkeys([DEFAULT, LOCKED, *names])
    return [experiment for name in wanted for experiment in _variants(known[name])]


def _names(selection: str) -> list[str]:
    names: list[str] = []
    for word in (part.strip() for part in selection.split(",")):
        match = _RANGE.fullmatch(word)
        numbers = range(int(match[1]), int(match[2]) + 1) if match else [int(word)] if word.isdigit() else []
        names += [f"exp_{number:02d}" for number in numbers] or [word]
    return names


def _variants(path: Path) -> list[Experiment]:
    content = read_mapping(path)
    unknown = sorted(set(content) - _KEYS)
    if unknown:
        msg = f"{path}: keys must be among {sorted(_KEYS)}, got unknown {unknown}; correct them."
        raise ValueError(msg)
    sections = overlaid(_base(content["base"]), content["sections"])
    variants: Mapping[str, Any] = content.get("variants") or {"": {}}
    return [
        Experiment(
            name="_".join(filter(None, [path.stem, name])),
            title=": ".join(filter(None, [content["title"], name.replace("_", " ")])),
            sections=overlaid(sections, changes),
            finetune=content.get("finetune", {}),
        )
        for name, changes in variants.items()
    ]


def _base(name: str) -> Sections:
    bases = {"default": default_sections, "production": _production}
    if name not in bases:
        msg = f"base must be one of {', '.join(bases)}, got {name!r}; correct the experiment."
        raise ValueError(msg)
    return bases[name]()


def _production() -> Sections:
    """The source's locked configuration with one network: members have an experiment of their own."""
    return overlaid(read_sections(asl_configs() / PRODUCTION), {"inference": {"members": 1}})
