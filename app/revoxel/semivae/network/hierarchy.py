r"""Parts that depend on others: $q(z_k|x, z_{<k})$ and a learned prior $p(z_k|z_{<k}) = N(m_k, s_k^2)$.

A hierarchy states that parts depend on each other; a loss that makes them independent states the opposite,
and refuses pairs that are linked here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from revoxel.semivae.network.partition import LatentPartition

#: All parts that lie before are parents.
CHAIN = "chain"
_HIGHEST_PRIOR_LOGVAR = 4.0
_WIDTH = 64


def parents_of(
    hierarchy: Mapping[str, Sequence[str]] | str | None, partition: LatentPartition
) -> dict[str, tuple[str, ...]]:
    """Parents of each part that has any.

    Args:
        hierarchy: Parents by part, `chain` for all parts before, or None.
        partition: Parts; parents lie before their children.

    Raises:
        ValueError: If a part is unknown, or does not lie after its parents.
    """
    names = partition.names
    if hierarchy is None:
        return {}
    if hierarchy == CHAIN:
        return {name: names[:at] for at, name in enumerate(names) if at}
    if not isinstance(hierarchy, Mapping):
        msg = f"hierarchy must be {CHAIN!r}, parents by part or null, got {hierarchy!r}; correct it."
        raise ValueError(msg)  # noqa: TRY004 - a wrong word, not a wrong type
    for child, parents in hierarchy.items():
        before = names[: names.index(partition[child].name)]
        if not parents or not set(parents) <= set(before):
            msg = (
                f"parents of {child!r} must be among the parts before it, {list(before)}, got "
                f"{list(parents)}; correct them."
            )
            raise ValueError(msg)
    return {child: tuple(parents) for child, parents in hierarchy.items()}


class ConditionalPriors(nn.Module):
    """Shift of the posteriors and the priors of parts, given their parents; starts as no hierarchy at all.

    Args:
        parents: By part.
        partition: Parts.
    """

    def __init__(self, parents: Mapping[str, Sequence[str]], partition: LatentPartition) -> None:
        super().__init__()
        self.parents = {child: tuple(names) for child, names in parents.items()}
        widths = {child: sum(partition[name].size for name in names) for child, names in parents.items()}
        self.shifts = nn.ModuleDict(
            {child: _zeroed(nn.Linear(n, 2 * partition[child].size)) for child, n in widths.items()}
        )
        self.priors = nn.ModuleDict({child: _prior(n, partition[child].size) for child, n in widths.items()})

    def shift(self, child: str, z: Mapping[str, Tensor]) -> Tensor | float:
        """What the parents add to a posterior's mean and raw log variance.

        Args:
            child: The part.
            z: `(B, size)` of the parts before it.

        Returns:
            `(B, 2 size)`, or 0 for a part without parents.
        """
        if child not in self.parents:
            return 0.0
        shift: Tensor = self.shifts[child](self._given(child, z))
        return shift

    def prior(self, z: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Priors of all parts.

        Args:
            z: `(B, size)` of every part, in order.

        Returns:
            `mu` and `logvar`, each `(B, z_dim)`; 0 for parts without parents.
        """
        both = [
            self.priors[name](self._given(name, z)).chunk(2, dim=1)
            if name in self.parents
            else (torch.zeros_like(own), torch.zeros_like(own))
            for name, own in z.items()
        ]
        means, logvars = zip(*both, strict=True)
        # Unbounded, a prior could follow one image's posterior to any width.
        bound = _HIGHEST_PRIOR_LOGVAR
        return {
            "mu": torch.cat(means, dim=1),
            "logvar": bound * torch.tanh(torch.cat(logvars, dim=1) / bound),
        }

    def _given(self, child: str, z: Mapping[str, Tensor]) -> Tensor:
        return torch.cat([z[name] for name in self.parents[child]], dim=1)


def _prior(n_in: int, size: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(n_in, _WIDTH), nn.ReLU(), _zeroed(nn.Linear(_WIDTH, 2 * size)))


def _zeroed(linear: nn.Linear) -> nn.Linear:
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear
