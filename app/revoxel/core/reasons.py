"""Errors, reduced to one line that a user can read."""

from __future__ import annotations

import re


def reason_of(error: BaseException) -> str:
    """Reduce another library's message to one line.

    Args:
        error: What the library raised.

    Returns:
        Its last words, without line breaks, source positions and ITK's `Reason:` of some earlier system call.
    """
    words = re.sub(r"\nReason: .*", "", str(error))
    words = re.sub(r"(?s)^.*(?:ITK ERROR: \w+\(0x[0-9a-f]+\): |\[nrrd\] )", "", words)
    return " ".join(words.split()) or type(error).__name__


def one_line(error: BaseException) -> str:
    """Render an exception as a single line that a user can act on.

    Args:
        error: What went wrong.

    Returns:
        The message without line breaks; an `OSError` names its file and the system's reason.
    """
    if isinstance(error, OSError) and error.strerror:
        parts = [str(part) for part in (error.filename, error.strerror) if part]
        return ": ".join(parts)
    return " ".join(str(error).split()) or type(error).__name__
