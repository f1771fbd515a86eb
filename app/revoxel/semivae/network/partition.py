"""Which numbers of the latent stand for what: named parts, side by side, some of them tied to features.

A part with features is supervised; `residual`, the one part that may have none, takes what they leave.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

#: The one part that no feature is asked of.
RESIDUAL = "residual"

_VOLUMES = ("wt.log_volume", "ncr.log_volume", "ed.log_volume", "et.log_volume")
_PLACES = ("wt.centroid_r_mm", "wt.centroid_a_mm", "wt.centroid_s_mm")
# Scale-free: log surface area is log volume once more (r = 0.99).
_SHAPES = tuple(
    f"{region}.{name}"
    for region in ("wt", "tc")
    for name in ("sphericity", "solidity", "elongation", "flatness")
)
_PRESENCE = ("ncr", "ed", "et")


@dataclass(frozen=True)
class Part:
    """A run of latent numbers.

    Args:
        name: Such as `vol`.
        size: How many numbers.
        features: What they must tell, such as `wt.log_volume`; none for `residual` alone.
        presence: Regions whose presence they must tell, such as `ncr`.

    Raises:
        ValueError: If it has no name or no number, or is supervised and has no feature.
    """

    name: str
    size: int
    features: tuple[str, ...] = ()
    presence: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a part that means nothing."""
        object.__setattr__(self, "features", tuple(self.features))
        object.__setattr__(self, "presence", tuple(self.presence))
        if not self.name or self.size < 1:
            msg = (
                f"part must have a name and a size of at least 1, got {self.name!r}, {self.size}; correct it."
            )
            raise ValueError(msg)
        if (self.name == RESIDUAL) != (not self.features) or (self.presence and not self.features):
            msg = (
                f"part {self.name!r} must have features unless it is {RESIDUAL!r}, got "
                f"{list(self.features)}; name what it must tell."
            )
            raise ValueError(msg)


@dataclass(frozen=True)
class LatentPartition:
    """Parts that fill the latent from its first number to its last.

    Args:
        parts: In the order in which they lie.

    Raises:
        ValueError: If there is none, or a name, feature or region's presence comes twice.
    """

    parts: tuple[Part, ...]

    def __post_init__(self) -> None:
        """Refuse parts that cannot be told apart."""
        object.__setattr__(self, "parts", tuple(self.parts))
        if not self.parts:
            msg = "partition must have a part, got none; name at least one."
            raise ValueError(msg)
        presence = tuple(name for part in self.parts for name in part.presence)
        for what, names in (("part", self.names), ("feature", self.features), ("presence", presence)):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                msg = f"each {what} must be in the partition once, got {twice} more often; remove the others."
                raise ValueError(msg)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parts."""
        return tuple(part.name for part in self.parts)

    @property
    def z_dim(self) -> int:
        """Numbers of the whole latent."""
        return sum(part.size for part in self.parts)

    @property
    def slices(self) -> dict[str, slice]:
        """Where each part lies."""
        return _slices({part.name: part.size for part in self.parts})

    @property
    def supervised(self) -> tuple[Part, ...]:
        """Parts with features."""
        return tuple(part for part in self.parts if part.features)

    @property
    def features(self) -> tuple[str, ...]:
        """All features, which is the order of the targets."""
        return tuple(name for part in self.parts for name in part.features)

    @property
    def feature_slices(self) -> dict[str, slice]:
        """Where the features of each supervised part lie among the targets."""
        return _slices({part.name: len(part.features) for part in self.supervised})

    @property
    def presence(self) -> tuple[str, ...]:
        """All regions whose presence is asked for, in the order of their targets."""
        return tuple(name for part in self.parts for name in part.presence)

    @property
    def presence_slices(self) -> dict[str, slice]:
        """Where the regions of each part with any lie among the presence targets."""
        return _slices({part.name: len(part.presence) for part in self.parts if part.presence})

    def __getitem__(self, name: str) -> Part:
        """A part by name.

        Raises:
            ValueError: If there is no such part.
        """
        for part in self.parts:
            if part.name == name:
                return part
        msg = f"part must be one of {', '.join(self.names)}, got {name!r}; choose one of them."
        raise ValueError(msg)

    def split(self, z: Tensor) -> dict[str, Tensor]:
        """Cut latents into parts.

        Args:
            z: `(..., z_dim)`.

        Returns:
            `(..., size)` by part.

        Raises:
            ValueError: If `z` has another length.
        """
        if z.shape[-1] != self.z_dim:
            msg = f"z must have {self.z_dim} numbers, got {z.shape[-1]}; use the partition it was made with."
            raise ValueError(msg)
        return {name: z[..., where] for name, where in self.slices.items()}

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as configurations and checkpoints hold them."""
        return {
            "z_dim": self.z_dim,
            "parts": [
                {
                    "name": part.name,
                    "start": self.slices[part.name].start,
                    "size": part.size,
                    "features": list(part.features),
                    "presence": list(part.presence),
                }
                for part in self.parts
            ],
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> LatentPartition:
        """Read plain values.

        Args:
            values: `parts`, each with `name`, `size` and perhaps `start`, `features`, `presence`; perhaps
                `z_dim`.

        Raises:
            ValueError: If a key is unknown, parts overlap or leave a gap, or their sizes do not sum up.
        """
        try:
            entries = [dict(entry) for entry in values["parts"]]
            starts = [entry.pop("start", None) for entry in entries]
            partition = cls(tuple(Part(**entry) for entry in entries))
        except (KeyError, TypeError) as error:
            msg = f"partition must hold parts with name, size, features and presence, got {values}: {error}."
            raise ValueError(msg) from error
        _check_starts(partition, starts)
        if values.get("z_dim", partition.z_dim) != partition.z_dim:
            sizes = " + ".join(str(part.size) for part in partition.parts)
            msg = (
                f"parts must sum to z_dim {values['z_dim']}, got {sizes} = {partition.z_dim}; correct a size."
            )
            raise ValueError(msg)
        return partition


def _slices(sizes: Mapping[str, int]) -> dict[str, slice]:
    ends = accumulate(sizes.values(), initial=0)
    return {name: slice(*both) for name, both in zip(sizes, pairwise(ends), strict=True)}


def _check_starts(partition: LatentPartition, starts: Sequence[int | None]) -> None:
    for (name, where), start in zip(partition.slices.items(), starts, strict=True):
        if start is not None and start != where.start:
            what = "overlap" if start < where.start else "leave a gap"
            msg = f"part {name!r} must start at {where.start}, got {start}: parts {what}; correct its start."
            raise ValueError(msg)


def _preset(volume: int, place: int, shape: int, residual: int) -> LatentPartition:
    return LatentPartition(
        (
            Part("vol", volume, _VOLUMES, _PRESENCE),
            Part("loc", place, _PLACES),
            Part("shape", shape, _SHAPES),
            Part(RESIDUAL, residual),
        )
    )


#: Of the project this one follows: its first run, its sixth, and its revision for tumours that stay in place.
PARTITIONS: Mapping[str, LatentPartition] = {
    "seed": _preset(16, 12, 24, 76),
    "run6": _preset(24, 8, 12, 84),
    "r1": LatentPartition((Part("vol", 32, ("wt.log_volume",)), Part(RESIDUAL, 96))),
}


def preset_partition(name: str) -> LatentPartition:
    """A partition by name.

    Args:
        name: `seed` (16 volume, 12 location, 24 shape, 76 residual), `run6` (24, 8, 12, 84) or `r1` (32
            whole-tumour volume, 96 residual; for tumours that do not move, such as meningiomas).

    Raises:
        ValueError: If there is none of this name.
    """
    if name not in PARTITIONS:
        msg = f"partition must be one of {', '.join(PARTITIONS)}, got {name!r}; choose one or list its parts."
        raise ValueError(msg)
    return PARTITIONS[name]


def as_partition(given: LatentPartition | Mapping[str, Any] | str) -> LatentPartition:
    """A partition from a configuration.

    Args:
        given: A preset's name, plain values, or a partition itself.

    Raises:
        ValueError: If it is none.
    """
    if isinstance(given, LatentPartition):
        return given
    return preset_partition(given) if isinstance(given, str) else LatentPartition.from_dict(given)
