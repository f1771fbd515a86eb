"""What a network must beat: the fit itself, and the fit of images blurred as much as pays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import gaussian_filter

from revoxel.asl.evaluation.regions import Target
from revoxel.asl.fitting.fit import fit_dictionary
from revoxel.asl.quantification.estimation import PerfusionMaps

if TYPE_CHECKING:
    from revoxel.asl.evaluation.held_out import HeldOutScans
    from revoxel.asl.evaluation.regions import Stack
    from revoxel.asl.fitting.fit import AslFit
    from revoxel.asl.quantification.estimation import MapProblem

FIT, BLURRED_FIT = "fit", "blurred fit"
_WIDTHS = (0.3, 0.4, 0.5, 0.65, 0.8, 1.0, 1.4)


def fitted(problem: MapProblem, fit: AslFit) -> PerfusionMaps:
    """The fit as a method.

    Args:
        problem: Unused: the fit was made from it.
        fit: Its answer.

    Returns:
        Its maps.
    """
    del problem
    return PerfusionMaps(fit.cbf, fit.att, fit.cbf_sd, fit.att_sd)


@dataclass(frozen=True)
class BlurredFit:
    """The fit of images blurred within the mask, with a width of its own for each map.

    Args:
        cbf_width: Standard deviation of the blur for CBF, voxels.
        att_width: The same for ATT.
    """

    cbf_width: float
    att_width: float

    def __call__(self, problem: MapProblem, fit: AslFit) -> PerfusionMaps:
        """Estimate maps.

        Args:
            problem: The scan.
            fit: Unused: of the images as they are.

        Returns:
            The maps, without standard deviations.
        """
        del fit
        cbf = _fit_blurred(problem, self.cbf_width)
        att = cbf if self.att_width == self.cbf_width else _fit_blurred(problem, self.att_width)
        return PerfusionMaps(cbf.cbf, att.att)


def best_blurred_fit(scans: HeldOutScans) -> BlurredFit:
    """Find the widths with the smallest mean absolute errors.

    Args:
        scans: Scans that are scored nowhere else.

    Returns:
        The method.
    """
    problem, mask = scans.problem(), np.moveaxis(scans.truth.mask, 0, 2)
    fits = {width: _fit_blurred(problem, width) for width in _WIDTHS}
    best = {}
    for target in Target:
        truth = np.moveaxis(getattr(scans.truth, target), 0, 2)
        errors = {width: np.abs(getattr(fit, target) - truth)[mask].mean() for width, fit in fits.items()}
        best[target] = min(errors, key=errors.__getitem__)
    return BlurredFit(best[Target.CBF], best[Target.ATT])


def _fit_blurred(problem: MapProblem, width: float) -> AslFit:
    blurred = blurred_in_mask(problem.dm, problem.mask, width)
    return fit_dictionary(blurred, problem.protocol, problem.physics, mask=problem.mask)


def blurred_in_mask(dm: Stack, mask: Stack, width: float) -> Stack:
    """Blur images within their slices; what lies outside the mask takes no part.

    Args:
        dm: `(i, j, slice, channel)`.
        mask: `(i, j, slice)`.
        width: Standard deviation, voxels.

    Returns:
        Like `dm`; 0 outside the mask.
    """
    weights = gaussian_filter(mask.astype(np.float32), (width, width, 0))[..., None]
    inside = mask[..., None]
    total = gaussian_filter(np.where(inside, dm, 0), (width, width, 0, 0))
    return np.where(inside, total / np.where(weights > 0, weights, 1), 0).astype(np.float32)
