"""Turn what a user typed for the verbs of `revoxel asl` into values."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def parse_numbers(text: str, option: str) -> tuple[float, ...]:
    """Read numbers.

    Args:
        text: Numbers separated by commas; may be empty.
        option: Name of the option, for the message.

    Returns:
        The numbers.

    Raises:
        ValueError: If a word is no number.
    """
    try:
        return tuple(float(word) for word in text.split(",") if word.strip())
    except ValueError as error:
        msg = f"{option} must be numbers separated by commas, got {text!r}; write 500,1000,1500."
        raise ValueError(msg) from error


def parse_named_paths(texts: Sequence[str], option: str) -> dict[str, list[Path]]:
    """Read files with names.

    Args:
        texts: `NAME=FILE` each; a name may come several times.
        option: Name of the option, for the message.

    Returns:
        Files by name.

    Raises:
        ValueError: If a text is no such pair.
    """
    named: dict[str, list[Path]] = {}
    for text in texts:
        name, _, file = text.partition("=")
        if not name or not file:
            msg = f"{option} must be NAME=FILE, got {text!r}; write {option} mine={name or 'model.pt'}."
            raise ValueError(msg)
        named.setdefault(name, []).append(Path(file))
    return named
