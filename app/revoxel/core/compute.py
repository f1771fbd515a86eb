"""Device, threads, seeds, and the number format that the processor is fast in."""

from __future__ import annotations

import ctypes
import os
import random
import re

import numpy as np
import torch

#: The layout that half precision and vector units are fast in, by the rank of a tensor.
CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}
# Options of glibc's mallopt: M_MMAP_MAX (no block has pages of its own), M_TRIM_THRESHOLD (the heap stays).
_KEEP_MEMORY = ((-4, 0), (-1, 2**31 - 1))
_NATIVE_BF16 = ("avx512_bf16", "amx_bf16", "bf16")


def resolve_device(name: str = "auto") -> torch.device:
    """Turn a user's word into a device that exists.

    Args:
        name: `auto` (a CUDA device if there is one), `cpu`, `cuda` or `cuda:N`.

    Returns:
        The device.

    Raises:
        ValueError: If the word is another one, or that CUDA device is absent.
    """
    n_cuda = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return torch.device("cuda:0" if n_cuda else "cpu")
    if name == "cpu":
        return torch.device("cpu")
    match = re.fullmatch(r"cuda(?::(\d+))?", name)
    if match is None:
        msg = f"device must be auto, cpu or cuda:N, got {name!r}; use --device auto."
        raise ValueError(msg)
    index = int(match.group(1) or 0)
    if index >= n_cuda:
        msg = f"device must exist, got {name!r} with {n_cuda} CUDA devices here; use --device cpu."
        raise ValueError(msg)
    return torch.device("cuda", index)


def set_threads(n_threads: int | None = None) -> int:
    """Limit the processor threads of this process.

    Args:
        n_threads: Wanted number; `None` takes the cores that this process may use.

    Returns:
        Threads in use.

    Raises:
        ValueError: If `n_threads` is below one.
    """
    if n_threads is not None and n_threads < 1:
        msg = f"threads must be at least 1, got {n_threads}; leave --threads out to use every core."
        raise ValueError(msg)
    if n_threads is None and "OMP_NUM_THREADS" not in os.environ:
        n_threads = n_cores()
    if n_threads is not None:
        torch.set_num_threads(n_threads)
    return torch.get_num_threads()


def n_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def keep_memory() -> bool:
    """Let this process keep the memory that it frees instead of handing it back.

    Large tensors otherwise get new pages in every step, which the system has to clear one by one; on a
    virtual machine that takes longer than many a layer. For processes that do the same again and again.

    Returns:
        Whether the C library can be told so: glibc can.
    """
    try:
        tune = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return all(tune(option, value) == 1 for option, value in _KEEP_MEMORY)


def set_seed(seed: int) -> None:
    """Seed Python, NumPy and torch, every device included.

    Args:
        seed: 0 to 2**32 - 1.

    Raises:
        ValueError: If the seed is out of range.
    """
    if not 0 <= seed < 2**32:
        msg = f"seed must be 0 to 2**32 - 1, got {seed}; choose a smaller number."
        raise ValueError(msg)
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - other libraries draw from the global generator
    torch.manual_seed(seed)


def fast_dtype(device: torch.device | str = "cpu") -> torch.dtype:
    """Choose the number format for convolutions.

    Args:
        device: Where they run.

    Returns:
        bfloat16 where the hardware multiplies it natively, float32 elsewhere: emulated bfloat16 is slower.
    """
    native = _cuda_has_bf16() if torch.device(device).type == "cuda" else _cpu_has_bf16()
    return torch.bfloat16 if native else torch.float32


def autocast(device: torch.device | str = "cpu") -> torch.autocast:
    """Give a context in which convolutions and matrix products run in the fast number format.

    Args:
        device: Where they run.

    Returns:
        Context manager; it changes nothing where float32 is the fast format.
    """
    dtype = fast_dtype(device)
    return torch.autocast(torch.device(device).type, dtype=torch.bfloat16, enabled=dtype is torch.bfloat16)


def _cuda_has_bf16() -> bool:
    return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)


def _cpu_has_bf16() -> bool:
    # Older torch cannot tell: then float32 is the safe answer.
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(capabilities.get(name, False) for name in _NATIVE_BF16)
