"""Loaded by every worker process on this machine, see `preload` in dask's documentation."""

from __future__ import annotations

import signal
from typing import Any


def dask_setup(worker: Any) -> None:
    """Leave Ctrl-C to the process that started the workers: it ends them in order.

    Args:
        worker: What dask starts.
    """
    del worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)
