"""What a network must reach before anybody builds on it, judged from figures by name."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class Rule(StrEnum):
    """On which side of the limit is good."""

    ABOVE = ">"
    BELOW = "<"
    AT_MOST = "<="
    AT_LEAST = ">="


@dataclass(frozen=True)
class Requirement:
    """One figure, its limit and what to do about it.

    Args:
        metric: Name of the figure.
        rule: Side of the limit.
        limit: Of the figure.
        remedy: What to try if it fails.
    """

    metric: str
    rule: Rule
    limit: float
    remedy: str


@dataclass(frozen=True)
class Gate:
    """A requirement that was judged.

    Args:
        metric: Name of the figure.
        rule: Side of the limit.
        limit: Of the figure.
        value: Measured; NaN if it could not be.
        passed: Whether the value is on the good side; never if it is NaN.
        remedy: What to try if it fails.
    """

    metric: str
    rule: Rule
    limit: float
    value: float
    passed: bool
    remedy: str


_MORE = "train longer, or at a finer grid"
_ALIVE = "turn free bits off and use the calibrated likelihood; lower beta"
_APART = "raise the weight of the independence loss or of the intervention consistency"

#: The latent tells volume and place, its residual lives, its parts stay apart, and nothing has leaked.
REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement("sem/wt.log_volume_r2", Rule.ABOVE, 0.8, _MORE),
    Requirement("sem/wt.centroid_r_mm_r2", Rule.ABOVE, 0.8, _MORE),
    Requirement("sem/wt.centroid_a_mm_r2", Rule.ABOVE, 0.8, _MORE),
    Requirement("sem/wt.centroid_s_mm_r2", Rule.ABOVE, 0.8, _MORE),
    Requirement("diag/free_bits_residual", Rule.AT_MOST, 0.0, "train with free_bits of the residual at 0"),
    Requirement("diag/kl_residual", Rule.ABOVE, 20.0, _ALIVE),
    Requirement("diag/residual_gain", Rule.AT_LEAST, 0.05, _ALIVE),
    Requirement("diag/au_count_residual", Rule.ABOVE, 0.0, _ALIVE),
    Requirement("diag/gain_over_mean_image", Rule.ABOVE, 0.0, _MORE),
    Requirement("diag/gain_over_z0", Rule.ABOVE, 0.0, _MORE),
    Requirement("intervention/diagonal_min", Rule.ABOVE, 0.5, _APART),
    Requirement("intervention/off_diagonal_max", Rule.BELOW, 0.2, _APART),
    Requirement(
        "leakage/permutation_r2", Rule.AT_MOST, 0.05, "look for a patient on both sides of the split"
    ),
    Requirement("leakage/blanking_drop", Rule.ABOVE, 0.5, "the volume is read elsewhere than in the tumour"),
)


def judge_gates(
    metrics: Mapping[str, float], requirements: tuple[Requirement, ...] = REQUIREMENTS
) -> list[Gate]:
    """Judge figures.

    A requirement on a figure that is absent is left out: a partition without a location has none. One that is
    there but NaN fails.

    Args:
        metrics: Figure by name.
        requirements: What is asked.

    Returns:
        In the order of the requirements.
    """
    return [_judged(one, float(metrics[one.metric])) for one in requirements if one.metric in metrics]


def _judged(wanted: Requirement, value: float) -> Gate:
    good = {
        Rule.ABOVE: value > wanted.limit,
        Rule.BELOW: value < wanted.limit,
        Rule.AT_MOST: value <= wanted.limit,
        Rule.AT_LEAST: value >= wanted.limit,
    }[wanted.rule]
    passed = good and not math.isnan(value)
    return Gate(wanted.metric, wanted.rule, wanted.limit, value, passed, wanted.remedy)
