"""How well a volume explains its X-rays, and whether the views are the right way round."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import torch

from revoxel.ct.xray.geometry import View, XrayGeometry
from revoxel.ct.xray.projector import project_views

if TYPE_CHECKING:
    from torch import Tensor

    from revoxel.ct.xray.projector import Spacing

#: Another arrangement must fit better by more than this before the given one is refused.
MARGIN = 0.1
_TIE = 0.02


def reprojection_error(
    volume_hu: Tensor, views: Tensor, spacing_mm: Spacing, geometry: XrayGeometry
) -> dict[str, float]:
    """Compare X-rays of a volume with the X-rays that were given.

    Args:
        volume_hu: `(batch, 1, x, y, z)` in HU, RAS.
        views: `(batch, 2, 1, row, column)` in nepers, frontal first.
        spacing_mm: Voxel size along x, y, z.
        geometry: Of source and detector.

    Returns:
        `rmse_nepers`, `relative` (RMSE over the root mean square of the views) and `correlation`, each per
        view (`frontal_rmse_nepers`, ...) and, for the first two, over both.

    Raises:
        ValueError: If the shapes do not belong together.
    """
    with torch.no_grad():
        again = project_views(volume_hu.float(), spacing_mm, geometry)
    check_views(views, again.shape)
    errors = {"rmse_nepers": _rmse(again, views), "relative": _rmse(again, views) / _rms(views)}
    for index, view in enumerate(View):
        own, given = again[:, index], views[:, index]
        errors[f"{view}_rmse_nepers"] = _rmse(own, given)
        errors[f"{view}_relative"] = _rmse(own, given) / _rms(given)
        errors[f"{view}_correlation"] = correlation(own, given)
    return errors


def check_views(views: Tensor, wanted: torch.Size | tuple[int, ...]) -> None:
    """Refuse views of another number or size.

    Args:
        views: What was given.
        wanted: `(batch, 2, 1, row, column)`.

    Raises:
        ValueError: If the shapes differ.
    """
    if tuple(views.shape) != tuple(wanted):
        msg = (
            f"views must be (batch, 2, 1, row, column) = {tuple(wanted)}, got {tuple(views.shape)}; give one "
            "frontal and one lateral view per volume, as large as the geometry says."
        )
        raise ValueError(msg)


def correlation(first: Tensor, second: Tensor) -> float:
    """Pearson's correlation of two images, whatever their scale and offset.

    Args:
        first: Any shape.
        second: The same shape.

    Returns:
        -1 to 1; 0 if one of them is constant.
    """
    a, b = (image.double().flatten() - image.double().mean() for image in (first, second))
    norm = float(a.norm() * b.norm())
    return float(a @ b) / norm if norm > 0 else 0.0


@dataclass(frozen=True)
class Arrangement:
    """What would have to be done to two views so that they fit.

    Attributes:
        swapped: Exchange frontal and lateral.
        flipped: Views to turn upside down.
        mirrored: Views to mirror left to right.
        correlations: Of both views after that.
    """

    swapped: bool
    flipped: tuple[View, ...]
    mirrored: tuple[View, ...]
    correlations: tuple[float, float]

    @property
    def correlation(self) -> float:
        """Mean of both views."""
        return sum(self.correlations) / 2

    @property
    def n_changes(self) -> int:
        """How many things would have to be changed."""
        return self.swapped + len(self.flipped) + len(self.mirrored)

    @property
    def remedy(self) -> str:
        """What to change on the command line, in words."""
        steps = ["exchange --frontal and --lateral"] if self.swapped else []
        steps += [f"--flip-{view}" for view in self.flipped]
        steps += [f"--mirror-{view}" for view in self.mirrored]
        return " and ".join(steps)


def arrangements(views: Tensor, expected: Tensor) -> list[Arrangement]:
    """Try every arrangement of two views against those expected.

    Args:
        views: `(2, 1, row, column)` as given, any monotone unit.
        expected: `(2, 1, row, column)` X-rays of a volume that belongs to them.

    Returns:
        All of them, best first.
    """
    found = []
    for swapped in (False, True):
        given = views.flip(0) if swapped else views
        turns = [_best_turn(given[index, 0], expected[index, 0]) for index in range(2)]
        for chosen in product(*turns):
            flipped = tuple(view for view, turn in zip(View, chosen, strict=True) if turn[0])
            mirrored = tuple(view for view, turn in zip(View, chosen, strict=True) if turn[1])
            found.append(Arrangement(swapped, flipped, mirrored, (chosen[0][2], chosen[1][2])))
    return sorted(found, key=lambda item: -item.correlation)


def refuse_other_arrangement(views: Tensor, expected: Tensor) -> float:
    """Refuse views that are swapped, upside down, mirrored or inverted.

    Args:
        views: `(2, 1, row, column)` as given.
        expected: `(2, 1, row, column)` X-rays of the coarse volume.

    Returns:
        Mean correlation of the views as given.

    Raises:
        ValueError: If a view would fit better by more than 0.1 in correlation otherwise, or dark for bright.
    """
    tried = arrangements(views, expected)
    given = next(item for item in tried if item.n_changes == 0)
    best, inverted = tried[0], -tried[-1].correlation
    if inverted > max(best.correlation, given.correlation) + MARGIN:
        msg = (
            f"views must be bright where much is absorbed, got correlation {given.correlation:.2f}; they "
            "look inverted: pass --views-unit transmission, or invert the images."
        )
        raise ValueError(msg)
    gains = [new - old for new, old in zip(best.correlations, given.correlations, strict=True)]
    if max(gains) > MARGIN:
        # A nearly symmetric body fits mirrored as well: ask for no change that gains next to nothing.
        simplest = min(
            (item for item in tried if item.correlation > best.correlation - _TIE), key=_simplicity
        )
        msg = (
            f"views must fit the volume, got correlations {_words(given)} (frontal, lateral) as given and "
            f"{_words(simplest)} otherwise; {simplest.remedy}."
        )
        raise ValueError(msg)
    return given.correlation


def _simplicity(arrangement: Arrangement) -> tuple[int, float]:
    return arrangement.n_changes, -arrangement.correlation


def _words(arrangement: Arrangement) -> str:
    return " and ".join(f"{value:.2f}" for value in arrangement.correlations)


def _best_turn(image: Tensor, expected: Tensor) -> list[tuple[bool, bool, float]]:
    """`(flipped, mirrored, correlation)` of the four ways to lay an image."""
    turns = []
    for flipped, mirrored in product((False, True), repeat=2):
        dims = [axis for axis, wanted in enumerate((flipped, mirrored)) if wanted]
        turns.append((flipped, mirrored, correlation(image.flip(dims), expected)))
    return turns


def _rmse(first: Tensor, second: Tensor) -> float:
    return _rms(first - second)


def _rms(values: Tensor) -> float:
    return float(values.double().square().mean().sqrt())
