"""Losses are sums over many small terms, so they are computed in full precision whatever the network used."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import torch
from torch.utils._pytree import tree_map

if TYPE_CHECKING:
    from collections.abc import Callable

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")
_HALF = (torch.bfloat16, torch.float16)


def full_precision(function: Callable[_Parameters, _Result]) -> Callable[_Parameters, _Result]:
    """Compute in float32 under any autocast, from tensors of any format; float64 stays float64.

    Args:
        function: Its tensors may lie in mappings and sequences.
    """

    @functools.wraps(function)
    def computed(*args: _Parameters.args, **kwargs: _Parameters.kwargs) -> _Result:
        args, kwargs = tree_map(_widened, (args, kwargs))
        with torch.autocast("cuda", enabled=False), torch.autocast("cpu", enabled=False):
            return function(*args, **kwargs)

    return computed


def _widened(value: Any) -> Any:
    return value.float() if isinstance(value, torch.Tensor) and value.dtype in _HALF else value
