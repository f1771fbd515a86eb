"""`SemanticHead`: from the mean of a part to the features that it must tell, and which regions there are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from torch import nn

if TYPE_CHECKING:
    from torch import Tensor

    from revoxel.semivae.network.partition import Part

HeadKind = Literal["linear", "grouped", "mlp"]
_KINDS = ("linear", "grouped", "mlp")


class SemanticHead(nn.Module):
    """Features and presence of one part.

    Args:
        part: With at least one feature.
        kind: `linear`; `grouped`, where every feature has latent numbers of its own; or `mlp`.

    Raises:
        ValueError: If the kind is unknown, or the numbers cannot be divided among the features.
    """

    def __init__(self, part: Part, kind: HeadKind = "linear") -> None:
        super().__init__()
        if kind not in _KINDS:
            msg = f"kind must be one of {', '.join(_KINDS)}, got {kind!r}; choose one."
            raise ValueError(msg)
        size, n_features = part.size, len(part.features)
        if kind == "grouped" and size % n_features:
            msg = (
                f"size of {part.name!r} must be a multiple of its {n_features} features for a grouped head, "
                f"got {size}; change it or use a linear head."
            )
            raise ValueError(msg)
        self.kind = kind
        self.values: nn.Module = {
            "linear": lambda: nn.Linear(size, n_features),
            "grouped": lambda: GroupedLinear(size, n_features),
            "mlp": lambda: nn.Sequential(
                nn.Linear(size, 2 * size), nn.ReLU(), nn.Dropout(0.1), nn.Linear(2 * size, n_features)
            ),
        }[kind]()
        self.regions = nn.Linear(size, len(part.presence)) if part.presence else None

    def forward(self, mu: Tensor) -> Tensor:
        """Predict features.

        Args:
            mu: `(B, size)`.

        Returns:
            `(B, feature)`, normalised.
        """
        values: Tensor = self.values(mu)
        return values

    def presence(self, mu: Tensor) -> Tensor:
        """Predict which regions there are.

        Args:
            mu: `(B, size)`.

        Returns:
            `(B, region)` logits; no column for a part that is asked for none.
        """
        if self.regions is None:
            return mu.new_zeros((len(mu), 0))
        logits: Tensor = self.regions(mu)
        return logits


class GroupedLinear(nn.Module):
    """A block-diagonal linear layer: every output reads inputs of its own.

    Args:
        size: Inputs.
        n_features: Outputs; divides `size`.
    """

    def __init__(self, size: int, n_features: int) -> None:
        super().__init__()
        like = nn.Linear(size // n_features, n_features)
        self.weight, self.bias = like.weight, like.bias

    def forward(self, mu: Tensor) -> Tensor:
        """Compute.

        Args:
            mu: `(B, size)`.

        Returns:
            `(B, n_features)`.
        """
        groups = mu.unflatten(1, self.weight.shape)
        return (groups * self.weight).sum(dim=2) + self.bias
