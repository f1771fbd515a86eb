"""Other libraries' errors, reduced to what a user can read."""

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
