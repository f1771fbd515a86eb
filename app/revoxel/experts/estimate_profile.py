"""Estimate the slice profile's width from the thick-slice volume alone: no training, no ground truth.

The volume is blurred and subsampled along an in-plane axis with a candidate profile, so that two axes are
thick. If the candidate is as wide as the true profile, fourth differences (straight, and mixed third and
first) have equal energy along both axes, up to what anatomy itself does to them; a candidate too wide leaves
more detail along the slice axis. White noise adds the same to both sides.

The whole head decides, its outline included, unless the tissue inside disagrees: where a field of view is cut
through skin and neck, or a brain was stripped on the thick grid, the outline tells nothing about the slices.
Inside there are fewer edges, so that estimate is drawn towards what scanners usually do.

The shape is not estimated: between a Gaussian and a rectangle of equal width the log energies differ by less
than 0.01, between two heads by 0.15.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import erf, exp, hypot, log, sqrt
from statistics import fmean

from revoxel.core.geometry import slice_axis
from revoxel.core.volumes import Volume
from revoxel.experts.profiles import FWHM_PER_STD, SliceProfile
from revoxel.experts.width_search import CANDIDATES, Crossing, Scan, equal_widths

WITHIN = 0.15
MIN_CONFIDENCE = 0.3
_MIN_SLICES = 8
# Log disagreement of the whole head and the tissue inside where trust begins to move, and has moved, inside.
_DISAGREEMENT = (0.35, 0.6)
# Slices as thick as their separation or a little less, rectangular to Gaussian: log of the relative width.
_USUAL_LOG_WIDTH, _USUAL_LOG_STD = log(0.33), 0.3
_SPREAD_SHARE = 0.2
_QUANTILE = 1.28  # of the normal distribution, two-sided 80 %
_AT_THE_END = 0.02
# Standard deviation over heads of the log energy ratio at the true width, mean of both in-plane axes, on
# simulated scans of five people; wider for the tissue inside, where fewer edges lie.
_WHOLE_LOG_STD, _INSIDE_LOG_STD = 0.11, 0.25
# Standard deviations by which experts are told less than the estimate: a profile that is too wide makes them
# over-sharpen, which costs several times what one too narrow costs.
_SAFE_SIDE = 0.5


@dataclass(frozen=True)
class ProfileEstimate:
    """An estimated slice profile.

    Args:
        profile: What to assume: a Gaussian on the narrow side of the estimate (too wide costs more than too
            narrow), or the prior where the estimate is not to be trusted.
        std_mm: Estimated standard deviation.
        interval_mm: Interval that holds the true standard deviation with about 80 % probability.
        confidence: Estimated probability, 0 to 1, that `std_mm` is within 15 % of the truth.
        reference_std_mm: Estimate by each in-plane axis.
        trusted: Whether `profile` follows the estimate.
        inside_share: Weight, 0 to 1, of the tissue inside against the whole head with its outline.
    """

    profile: SliceProfile
    std_mm: float
    interval_mm: tuple[float, float]
    confidence: float
    reference_std_mm: tuple[float, ...]
    trusted: bool
    inside_share: float = 0.0

    @property
    def fwhm_mm(self) -> float:
        """Full width at half maximum of the Gaussian of the estimated standard deviation, in mm."""
        return self.std_mm * FWHM_PER_STD

    def record(self) -> dict[str, object]:
        """Plain values for a JSON record."""
        return {
            "profile": self.profile.label,
            "std_mm": self.std_mm,
            "fwhm_mm": self.fwhm_mm,
            "interval_mm": self.interval_mm,
            "confidence": self.confidence,
            "reference_std_mm": self.reference_std_mm,
            "inside_share": self.inside_share,
            "trusted": self.trusted,
        }


def estimate_profile(volume: Volume, axis: int | None = None) -> ProfileEstimate:
    """Estimate the slice profile of a thick-slice volume.

    Args:
        volume: The thick-slice volume; nothing else is looked at.
        axis: Slice axis; `None` takes the coarsest.

    Returns:
        The estimate. Where it is not to be trusted, `profile` is a Gaussian whose FWHM is the header's slice
        thickness, or the separation if the header has none.

    Raises:
        ValueError: If the volume is isotropic and no axis is given, or constant.
    """
    scan = Scan.of(volume, slice_axis(volume.grid) if axis is None else axis)
    sizes = [scan.data.shape[scan.axis], *(scan.n_thick(reference) for reference in scan.references)]
    prior = SliceProfile.gauss(volume.thickness_mm or scan.separation_mm)
    if min(sizes) < _MIN_SLICES:
        return _untrusted(prior, scan.separation_mm)
    pairs = [equal_widths(scan, reference) for reference in scan.references]
    return _estimate([pair[0] for pair in pairs], [pair[1] for pair in pairs], prior, scan.separation_mm)


@dataclass(frozen=True)
class _Belief:
    """A normal distribution over the log of the relative width."""

    mean: float
    std: float


def _estimate(
    whole: list[Crossing], inside: list[Crossing], prior: SliceProfile, separation_mm: float
) -> ProfileEstimate:
    outline, tissue = _belief(whole, _WHOLE_LOG_STD), _belief(inside, _INSIDE_LOG_STD)
    start, end = _DISAGREEMENT
    share = min(max((abs(outline.mean - tissue.mean) - start) / (end - start), 0.0), 1.0)
    belief = _mixed(outline, _with_usual(tissue), share)
    confidence = _probability_within(belief, share)
    std_mm = separation_mm * exp(belief.mean)
    safe_std_mm = std_mm * exp(-_SAFE_SIDE * belief.std)
    return ProfileEstimate(
        profile=SliceProfile.gauss(FWHM_PER_STD * safe_std_mm) if confidence >= MIN_CONFIDENCE else prior,
        std_mm=std_mm,
        interval_mm=(std_mm * exp(-_QUANTILE * belief.std), std_mm * exp(_QUANTILE * belief.std)),
        confidence=confidence,
        reference_std_mm=tuple(separation_mm * exp(crossing.log_width) for crossing in whole),
        trusted=confidence >= MIN_CONFIDENCE,
        inside_share=share,
    )


def _belief(crossings: list[Crossing], anatomy_log_std: float) -> _Belief:
    log_widths = [crossing.log_width for crossing in crossings]
    slope = max(fmean(crossing.slope for crossing in crossings), 0.1)
    spread = _SPREAD_SHARE * (max(log_widths) - min(log_widths))
    return _Belief(fmean(log_widths), hypot(anatomy_log_std / slope, spread))


def _with_usual(belief: _Belief) -> _Belief:
    precision, usual = belief.std**-2, _USUAL_LOG_STD**-2
    mean = (precision * belief.mean + usual * _USUAL_LOG_WIDTH) / (precision + usual)
    return _Belief(mean, (precision + usual) ** -0.5)


def _mixed(outline: _Belief, tissue: _Belief, share: float) -> _Belief:
    mean = (1 - share) * outline.mean + share * tissue.mean
    within = hypot((1 - share) * outline.std, share * tissue.std)
    return _Belief(mean, hypot(within, sqrt(share * (1 - share)) * (outline.mean - tissue.mean) / 2))


def _probability_within(belief: _Belief, inside_share: float) -> float:
    at_the_end = min(belief.mean - log(CANDIDATES[0]), log(CANDIDATES[-1]) - belief.mean) < _AT_THE_END
    if at_the_end and inside_share == 0:
        return 0.1  # the truth may lie beyond the candidates
    return erf(log(1 + WITHIN) / (belief.std * sqrt(2.0)))


def _untrusted(prior: SliceProfile, separation_mm: float) -> ProfileEstimate:
    interval_mm = (CANDIDATES[0] * separation_mm, CANDIDATES[-1] * separation_mm)
    return ProfileEstimate(prior, prior.std_mm, interval_mm, 0.0, (), trusted=False)
