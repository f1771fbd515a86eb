"""Full precision: what is nested is widened, what is precise stays, autocast is off inside."""

from __future__ import annotations

import torch

from revoxel.semivae.objective.precision import full_precision


@full_precision
def _seen(tensor: torch.Tensor, *, nested: dict) -> tuple:
    product = nested["parts"][0] @ nested["parts"][0]
    return tensor.dtype, nested["parts"][0].dtype, product.dtype, nested["name"]


def test_half_tensors_are_widened_wherever_they_lie():
    nested = {"parts": [torch.ones(2, 2, dtype=torch.float16)], "name": "vol"}
    assert _seen(torch.ones(1, dtype=torch.bfloat16), nested=nested) == (*[torch.float32] * 3, "vol")


def test_matrix_products_are_not_rounded_under_autocast():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert _seen(torch.ones(1), nested={"parts": [torch.ones(2, 2)], "name": ""})[2] == torch.float32


def test_double_stays_double():
    double = torch.ones(2, 2, dtype=torch.float64)
    assert _seen(double, nested={"parts": [double], "name": ""})[:3] == (torch.float64,) * 3
