"""One item of a checklist."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_MOST_NAMES = 3


@dataclass(frozen=True)
class Item:
    """What was looked at.

    Args:
        question: What should hold.
        passed: Whether it holds.
        found: What was found.
        remedy: What to do if it does not hold.
    """

    question: str
    passed: bool
    found: str
    remedy: str


def some(names: Sequence[str]) -> str:
    """A few names, and how many more.

    Args:
        names: Any.
    """
    more = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")
