"""Turn what a user typed into values; shared by the verbs so that the same words work everywhere."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

Choice = TypeVar("Choice", bound=StrEnum)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from revoxel.core.pulses import Pulse
    from revoxel.experts.names import Expert
    from revoxel.experts.profiles import SliceProfile

_SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0}


def parse_profile(text: str) -> SliceProfile | None:
    """Read a slice profile.

    Args:
        text: `auto`, `gauss:FWHM`, `rect:WIDTH`, `slr:WIDTH` (mm) or a `.npy` file.

    Returns:
        The profile; `None` for `auto`.

    Raises:
        ValueError: If the text is none of these.
        FileNotFoundError: If the file does not exist.
    """
    from revoxel.experts.profiles import SliceProfile

    return None if text == "auto" else SliceProfile.parse(text)


def parse_voxel_mm(text: str) -> float | None:
    """Read a voxel size.

    Args:
        text: A size in mm, or `native`.

    Returns:
        The size; `None` for `native`.

    Raises:
        ValueError: If the text is no positive number.
    """
    if text == "native":
        return None
    try:
        size_mm = float(text)
    except ValueError:
        size_mm = 0.0
    if not 0 < size_mm < float("inf"):
        msg = f"voxel size must be a positive number of mm or native, got {text!r}; use --voxel-mm 1.0."
        raise ValueError(msg)
    return size_mm


def parse_choices(text: str, choices: type[Choice], option: str) -> tuple[Choice, ...]:
    """Read a list of known words.

    Args:
        text: Words separated by commas, in any case.
        choices: What they may be.
        option: Name of the option, for messages.

    Returns:
        The choices in their own order, each once; empty for an empty text.

    Raises:
        ValueError: If a word is none of them.
    """
    words = [word.strip() for word in text.split(",") if word.strip()]
    asked = {word.lower() for word in words}
    known = {choice.value.lower() for choice in choices}
    unknown = [word for word in words if word.lower() not in known]
    if unknown:
        msg = f"{option} must be some of {', '.join(choices)}, got {', '.join(unknown)}; correct it."
        raise ValueError(msg)
    return tuple(choice for choice in choices if choice.value.lower() in asked)


def parse_experts(text: str) -> tuple[Expert, ...]:
    """Read which experts.

    Args:
        text: Names separated by commas.

    Returns:
        The experts in their own order.

    Raises:
        ValueError: If a name is unknown, or there is none.
    """
    from revoxel.experts.names import Expert

    experts = parse_choices(text, Expert, "--experts")
    if not experts:
        msg = f"--experts must name some of {', '.join(Expert)}, got none; correct it."
        raise ValueError(msg)
    return experts


def parse_companions(texts: Sequence[str]) -> dict[Pulse, Path]:
    """Read further pulses of a patient.

    Args:
        texts: `PULSE=FILE` each.

    Returns:
        File by pulse.

    Raises:
        ValueError: If a text is no such pair or a pulse comes twice.
    """
    from revoxel.core.pulses import Pulse

    companions: dict[Pulse, Path] = {}
    for text in texts:
        name, _, file = text.partition("=")
        if name not in set(Pulse) or not file or name in companions:
            msg = f"--with must be PULSE=FILE, PULSE one of {', '.join(Pulse)} and each once, got {text!r}; "
            msg += "use --with t2w=scan.nii.gz."
            raise ValueError(msg)
        companions[Pulse(name)] = Path(file)
    return companions


def named_tools(eclare: Path | None, smore: Path | None, unires: Path | None) -> dict[Expert, Path]:
    """Collect the executables of the original tools that the user named.

    Args:
        eclare: `run-eclare`, if named.
        smore: `run-smore`, if named.
        unires: `unires`, if named.

    Returns:
        Executable by expert.
    """
    from revoxel.experts.names import Expert

    tools = {Expert.ECLARE: eclare, Expert.SMORE: smore, Expert.UNIRES: unires}
    return {expert: path for expert, path in tools.items() if path is not None}


def parse_values(texts: Sequence[str]) -> dict[str, Any]:
    """Read the words of `--set`.

    Args:
        texts: `KEY=VALUE` words.

    Returns:
        Value by key, as YAML reads it.

    Raises:
        ValueError: If a word has no `=`, or a value is no YAML, or an expression of a bundle.
    """
    import yaml

    values: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not (key and equals) or value.lstrip().startswith(("$", "@", "%")):
            msg = f"--set must be KEY=VALUE with a plain value, got {text!r}; use --set epochs=2."
            raise ValueError(msg)
        try:
            values[key] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            msg = f"--set {key} must be a plain value, got {value!r}; use --set patch_size=[32,32,32]."
            raise ValueError(msg) from error
    return values


def seconds_of(text: str) -> float:
    """Read a time such as `5min`.

    Args:
        text: a number with s, min or h.

    Returns:
        Seconds.

    Raises:
        ValueError: If it is none.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|min|h)", text.strip())
    if match is None or float(match[1]) <= 0:
        msg = f"--budget must be a time such as 30s, 5min or 1h, got {text!r}; add the unit."
        raise ValueError(msg)
    return float(match[1]) * _SECONDS[match[2]]
