r"""Signals of many ATTs, normalised, and the best of them for each voxel (variable projection).

With noise-weighted data $y$ and unit signal $d(ATT)$ the best CBF of an ATT is the projection
$y \cdot d / |d|^2$, clipped to its range, so only ATT is searched: one matrix product finds how much of
$|y|^2$ each ATT explains. Between kinks the signal is smooth and a parabola finds the maximum between atoms.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from revoxel.asl.physics import AslPhysics, unit_signal

if TYPE_CHECKING:
    from revoxel.asl.protocol import AslProtocol

#: An ATT whose signal is weaker than this share of the strongest one shows nothing that could be fitted.
_FAINT = 1e-3
#: Signals that differ by less than this share of the strongest one are alike.
_ALIKE = 1e-9
#: Times closer than this are the same, ms.
_SAME_MS = 1e-3


@dataclass(frozen=True, eq=False)
class Optimum:
    """Best fit of each voxel.

    Args:
        cbf: `(voxel,)`, ml/100g/min.
        att: `(voxel,)`, ms.
        explained: `(voxel,)`, fall of the sum of squared weighted residuals below that of CBF 0.
    """

    cbf: Tensor
    att: Tensor
    explained: Tensor

    def part(self, rows: Tensor) -> Optimum:
        """The fit of some voxels."""
        return Optimum(self.cbf[rows], self.att[rows], self.explained[rows])

    def put(self, rows: Tensor, other: Optimum) -> None:
        """Replace the fit of some voxels."""
        self.cbf[rows], self.att[rows], self.explained[rows] = other.cbf, other.att, other.explained

    def better(self, other: Optimum) -> Optimum:
        """The one of two fits that explains more, voxel by voxel; this one where they tie."""
        wins = other.explained > self.explained
        return Optimum(
            torch.where(wins, other.cbf, self.cbf),
            torch.where(wins, other.att, self.att),
            torch.where(wins, other.explained, self.explained),
        )


@dataclass(frozen=True, eq=False)
class Dictionary:
    """Weighted unit signals of a grid of ATTs; `build` makes it.

    Args:
        protocol: Delays of the channels.
        physics: Constants.
        weights: `(channel,)`, one over the noise of each channel, or ones.
        cbf_max: Largest CBF, ml/100g/min.
        att: `(atom,)`, ms, ascending.
        at_kink: `(atom,)`, whether the signal bends there.
        norms: `(atom,)`, length of the weighted unit signal, per ml/100g/min.
        atoms: `(atom, channel)`, weighted unit signals of length 1.
    """

    protocol: AslProtocol
    physics: AslPhysics
    weights: Tensor
    cbf_max: float
    att: Tensor
    at_kink: Tensor
    norms: Tensor
    atoms: Tensor

    @classmethod
    def build(
        cls,
        grid: tuple[Tensor, Tensor],
        protocol: AslProtocol,
        physics: AslPhysics,
        weights: Tensor,
        cbf_max: float,
    ) -> Dictionary:
        """Compute the atoms of a grid.

        Args:
            grid: ATTs and whether the signal bends there, see `att_grid`.
            protocol: Delays of the channels.
            physics: Constants, each one number.
            weights: `(channel,)`, float64, on the device of the data.
            cbf_max: Largest CBF, ml/100g/min.

        Returns:
            The dictionary, without ATTs at which nothing arrives in time.

        Raises:
            ValueError: If no ATT of the grid gives a signal.
        """
        att, at_kink = (part.to(weights.device) for part in grid)
        signals = unit_signal(att, protocol, physics) * weights
        norms = signals.norm(dim=1)
        seen = norms > _FAINT * norms.max()
        if int(seen.sum()) < 3:
            msg = f"att_range_ms must hold ATTs that give a signal, got {att[0]:g} to {att[-1]:g}; widen it."
            raise ValueError(msg)
        atoms = signals[seen] / norms[seen, None]
        return cls(protocol, physics, weights, cbf_max, att[seen], at_kink[seen], norms[seen], atoms)

    @cached_property
    def told(self) -> tuple[int, int]:
        """First and last atom that differ from those before and after: beyond, data cannot tell ATT."""
        steps = (self.atoms * self.norms[:, None]).diff(dim=0).abs().amax(1)
        alike = (steps <= _ALIKE * self.norms.max()).long()
        n_first, n_last = int(alike.cumprod(0).sum()), int(alike.flip(0).cumprod(0).sum())
        return n_first, max(len(self.att) - 1 - n_last, n_first)

    @cached_property
    def _middles(self) -> tuple[Tensor, Tensor]:
        """Middle atoms of two parabolas to try from each atom: of its piece, and beyond the next kink."""
        number = torch.arange(len(self.att), device=self.att.device)
        kink = torch.nn.functional.pad(self.at_kink.long(), (1, 1))
        before, here, after = kink[:-2], kink[1:-1], kink[2:]
        beyond = torch.where(here > 0, 1, torch.where(after > 0, 2, -2 * before))
        last = len(self.att) - 2
        return (number - here).clamp(1, last), (number + beyond).clamp(1, last)

    def project(self, curves: Tensor) -> Tensor:
        """Projections of weighted curves on every atom.

        Args:
            curves: `(voxel, channel)`, weighted.

        Returns:
            `(voxel, atom)`, float32.
        """
        return curves.float() @ self.atoms.T.float()

    def search(self, projections: Tensor) -> Tensor:
        """The atom that explains most of each voxel with a CBF in range.

        Args:
            projections: `(voxel, atom)`.

        Returns:
            `(voxel,)`, number of the atom.
        """
        # NumPy's argmax along rows is vectorised, that of torch on a CPU ten times slower.
        on_cpu = projections.device.type == "cpu"
        best = torch.from_numpy(projections.numpy().argmax(1)) if on_cpu else projections.argmax(1)
        # Clipping only ever lowers what an atom explains: a winner that needs no clipping stays the winner.
        height = projections.gather(1, best[:, None]).squeeze(1)
        limits = (self.cbf_max * self.norms).float()
        clipped = (height > limits[best]).nonzero().squeeze(1)
        if len(clipped):
            best[clipped] = self._explained(projections[clipped], limits).argmax(1)
        return best.clamp(*self.told)

    def refine(self, curves: Tensor, best: Tensor) -> Optimum:
        """Move from the best atom to the maximum beside it.

        Args:
            curves: `(voxel, channel)`, float64, weighted.
            best: `(voxel,)`, from `search`.

        Returns:
            The optimum; never worse than the atom.
        """
        own, beyond = self._middles
        optimum = self._atom(curves, best).better(self._beside(curves, own[best]))
        near_kink = (own != beyond)[best].nonzero().squeeze(1)
        if len(near_kink):
            # Two maxima within one step, on either side of a kink: the grid cannot rank them.
            other = self._beside(curves[near_kink], beyond[best[near_kink]])
            optimum.put(near_kink, optimum.part(near_kink).better(other))
        return optimum

    def at(self, curves: Tensor, att: Tensor) -> Optimum:
        """Best CBF in range at a given ATT of each voxel.

        Args:
            curves: `(voxel, channel)`, float64, weighted.
            att: `(voxel,)`, ms.

        Returns:
            The fit.
        """
        unit = unit_signal(att, self.protocol, self.physics) * self.weights
        square, product = (unit * unit).sum(1), (unit * curves).sum(1)
        cbf = (product / square).clamp(0.0, self.cbf_max)
        return Optimum(cbf, att, cbf * (2 * product - cbf * square))

    def _atom(self, curves: Tensor, best: Tensor) -> Optimum:
        height = (self.atoms[best] * curves).sum(1)
        cbf = (height / self.norms[best]).clamp(0.0, self.cbf_max)
        return Optimum(cbf, self.att[best], self._explained(height, self.cbf_max * self.norms[best]))

    def _beside(self, curves: Tensor, middle: Tensor) -> Optimum:
        """Top of the parabola through three atoms of one smooth piece; worse than any where it has none."""
        three = middle[:, None] + torch.arange(-1, 2, device=middle.device)
        projections = (self.atoms[three] * curves[:, None]).sum(-1)
        explained = self._explained(projections, self.cbf_max * self.norms[three])
        top = _parabola_top(self.att[three], explained)
        usable = torch.isfinite(top) & ~self.at_kink[middle]
        found = self.at(curves, torch.where(usable, top, self.att[middle]))
        return replace(found, explained=found.explained.where(usable, -1.0))

    @staticmethod
    def _explained(projections: Tensor, limits: Tensor) -> Tensor:
        clipped = projections.clamp_min(0.0).minimum(limits)
        return clipped * (2 * projections - clipped)


def att_grid(
    att_range_ms: tuple[float, float], step_ms: float, kinks_ms: tuple[float, ...]
) -> tuple[Tensor, Tensor]:
    """The ATTs to try: equal steps and every kink in between.

    Args:
        att_range_ms: First and last ATT, ms.
        step_ms: Step, ms.
        kinks_ms: ATTs at which the signal bends, ms.

    Returns:
        `(atom,)` ATTs in float64, ascending, and `(atom,)` whether the signal bends there.
    """
    first, last = att_range_ms
    kinks = np.array([kink for kink in kinks_ms if first <= kink <= last])
    steps = np.append(np.arange(first, last, step_ms), last)
    if len(kinks):
        steps = steps[np.abs(steps[:, None] - kinks).min(1) > _SAME_MS]
    grid = np.concatenate([steps, kinks])
    order = np.argsort(grid)
    bent = np.concatenate([np.zeros(len(steps), bool), np.ones(len(kinks), bool)])
    return torch.from_numpy(grid[order]), torch.from_numpy(bent[order])


def _parabola_top(att: Tensor, explained: Tensor) -> Tensor:
    """Top of the parabola through three points `(voxel, 3)`, inside them; NaN where it has none."""
    slopes = explained.diff(dim=1) / att.diff(dim=1)
    middles = (att[:, 1:] + att[:, :-1]) / 2
    bend = slopes[:, 0] - slopes[:, 1]
    top = middles[:, 0] + slopes[:, 0] / bend * middles.diff(dim=1).squeeze(1)
    return torch.where(bend > 0, top.maximum(att[:, 0]).minimum(att[:, 2]), torch.nan)
