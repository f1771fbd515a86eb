"""One line instead of a traceback, for runs that MONAI's own command starts."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from revoxel.core.reasons import reason_of

if TYPE_CHECKING:
    from collections.abc import Iterator

_EXPECTED = (OSError, ValueError, FloatingPointError)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """End the process with one line where a user can do something about it; defects keep their traceback.

    Raises:
        SystemExit: Instead of what was raised, or what caused it.
    """
    try:
        yield
    except Exception as error:
        root: BaseException = error
        while root.__cause__ is not None and not isinstance(root, _EXPECTED):
            root = root.__cause__
        if not isinstance(root, _EXPECTED):
            raise
        raise SystemExit(f"error: {reason_of(root)}") from error
