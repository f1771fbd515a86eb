"""Is a configuration sound? Sizes of the parts, order of the schedules, floors and weights in their range."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from revoxel.semivae.diagnosis.checklist.items import Item
from revoxel.semivae.learning.objective import ObjectiveSettings
from revoxel.semivae.network.partition import RESIDUAL, as_partition

if TYPE_CHECKING:
    from collections.abc import Mapping

    from revoxel.semivae.network.partition import LatentPartition
    from revoxel.semivae.objective.schedules import Schedule

_LARGEST_FLOOR_NATS = 0.25
_LARGEST_TOTAL_CORRELATION = 5.0
#: Parts that pull latents apart; they must wait until the heads have given the parts a meaning.
_LATER = ("independence", "total_correlation")


def check_configuration(sections: Mapping[str, Any]) -> list[Item]:
    """Go through the list for one configuration.

    Args:
        sections: `network`, `loss`, ... as model_configuration.yaml has them, nothing left out.

    Returns:
        The items.

    Raises:
        ValueError: If a section or key is missing.
    """
    try:
        given, loss = sections["network"]["partition"], dict(sections["loss"])
        floors = dict(loss["free_bits"] or {})
        schedules = {name: loss[name] for name in ("beta", "semantic", *_LATER)}
    except KeyError as error:
        msg = f"configuration must have every key of the shipped one, got none of {error}; add it."
        raise ValueError(msg) from error
    partition, sizes = _sizes(given)
    return [sizes, *_order(schedules), _floors(floors, partition), _weight(schedules["total_correlation"])]


def _sizes(given: Any) -> tuple[LatentPartition | None, Item]:
    """Parts that sum up to the latent; the partition itself refuses others."""
    question = "the parts fill the latent, features in one part each"
    try:
        partition = as_partition(given)
    except ValueError as error:
        return None, Item(question, passed=False, found=str(error), remedy="correct network.partition")
    found = " + ".join(str(part.size) for part in partition.parts) + f" = {partition.z_dim}"
    return partition, Item(question, passed=True, found=found, remedy="")


def _order(given: Mapping[str, Mapping[str, Any]]) -> list[Item]:
    question = "schedules end within the training"
    try:
        schedules = ObjectiveSettings(schedules=given).risen()
    except (TypeError, ValueError) as error:
        return [Item(question, passed=False, found=str(error), remedy="correct the schedules of loss")]
    used = {name: one for name, one in schedules.items() if one.target > 0}
    late = [f"{name} at {_end(one):g}" for name, one in used.items() if _end(one) > 1]
    items = [
        Item(
            question, not late, ", ".join(late) or "all by 1", "start earlier: the unit is the whole training"
        )
    ]
    risen = _end(used["semantic"]) if "semantic" in used else 0.0
    early = [
        f"{name} at {used[name].start:g}" for name in _LATER if name in used and used[name].start < risen
    ]
    items.append(
        Item(
            "independence starts when the heads are trained",
            not early,
            ", ".join(early) or f"not before {risen:g}",
            f"start it at {risen:g} or later, when semantic has risen",
        )
    )
    return items


def _end(schedule: Schedule) -> float:
    return schedule.start + schedule.length


def _floors(floors: Mapping[str, float], partition: LatentPartition | None) -> Item:
    unknown = sorted(set(floors) - set(partition.slices)) if partition else []
    wide = [f"{name} {nats:g}" for name, nats in floors.items() if not 0 <= nats <= _LARGEST_FLOOR_NATS]
    bits = ", ".join(f"{name} {nats:g}" for name, nats in floors.items()) or "off"
    return Item(
        f"free bits are of known parts, 0 to {_LARGEST_FLOOR_NATS:g} nats per latent",
        not (unknown or wide),
        f"unknown {unknown}" if unknown else bits,
        f"lower them; gates ask for those of {RESIDUAL} to be off",
    )


def _weight(schedule: Mapping[str, Any]) -> Item:
    target = float(schedule.get("target", 0.0))
    return Item(
        f"total correlation is off or weighs at most {_LARGEST_TOTAL_CORRELATION:g}",
        0 <= target <= _LARGEST_TOTAL_CORRELATION,
        f"{target:g}" if target else "off",
        "lower loss.total_correlation.target; independence by dcor is the better choice",
    )
