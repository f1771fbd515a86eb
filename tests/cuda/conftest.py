"""The GPU that these tests run on: `python -m pytest -m cuda`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(scope="session")
def device() -> torch.device:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device, torch finds none here")
    return torch.device("cuda", 0)


@pytest.fixture
def no_tensor_float() -> Iterator[None]:
    """Convolutions of a GPU in true float32: by default they round their input to 10 bits."""
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield
