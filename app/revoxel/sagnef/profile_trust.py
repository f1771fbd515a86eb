"""How far the slice profile in use is trusted, and what of it the gate and the record are told."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from revoxel.experts.names import Expert
from revoxel.sagnef.stack import ProfileWidths

if TYPE_CHECKING:
    from collections.abc import Mapping

    from revoxel.experts.estimate_profile import ProfileEstimate
    from revoxel.experts.profiles import SliceProfile

#: A stated profile this far from a trusted estimate is reported, and trusted less.
WIDTH_TOLERANCE = 0.2
#: An estimate at least this sure overrules a stated profile that lies far from it.
OVERRULING_CONFIDENCE = 0.6
#: Excess sharpness from which ECLARE is not believed: where the scan, too, suggests thinner slices, and where
#: it does not; between the values seen at right and at wrong widths.
OVER_SHARPENED = 0.22
OVER_SHARPENED_ALONE = 0.35
#: Excess sharpness below which the experts speak for a stated profile that the estimate contradicts, and how
#: far it is then trusted.
NOT_SHARPENED = 0.15
_DEFENDED_CONFIDENCE = 0.85
#: An estimate below this share of the assumed width suggests thinner slices.
_SUPPORTING = 0.9
#: What a gate is then told: true over assumed width, and how sure that is; typical of such cases in training.
_TRUE_OVER_ASSUMED = 0.65
_TYPICAL_CONFIDENCE = 0.7


@dataclass(frozen=True)
class ProfileTrust:
    """What is believed about the slice profile.

    Args:
        profile: The profile that the slices most likely have; data consistency uses it.
        confidence: In that profile, from 0 to 1; 1 = known.
        contradicted: The scan suggests thinner slices than the user stated.
        misled: The experts were told a wider one.
        over_sharpened: The experts themselves show that they were told too wide a profile.
        defended: The experts themselves show that the stated profile is not too wide, against the estimate.
        warnings: What speaks against it.
    """

    profile: SliceProfile
    confidence: float
    contradicted: bool = False
    misled: bool = False
    over_sharpened: bool = False
    defended: bool = False
    warnings: tuple[str, ...] = ()


def judge_profile(stated: SliceProfile | None, estimate: ProfileEstimate) -> ProfileTrust:
    """Compare the user's profile, if any, with what the scan itself suggests.

    Args:
        stated: The user's profile.
        estimate: From the scan.

    Returns:
        What to believe. A sure estimate overrules a stated profile that lies far from it.
    """
    if stated is None and estimate.trusted:
        return ProfileTrust(estimate.profile, estimate.confidence)
    if stated is None:
        doubt = (
            "the slice profile could not be estimated and was assumed; state it (--profile) if you know it"
        )
        return ProfileTrust(estimate.profile, 0.0, warnings=(doubt,))
    disagreement = abs(stated.std_mm / estimate.std_mm - 1.0)
    if not estimate.trusted or disagreement < WIDTH_TOLERANCE:
        return ProfileTrust(stated, 1.0)
    doubt = (
        f"the stated profile {stated.label} (std {stated.std_mm:.2f} mm) disagrees with the scan, which "
        f"suggests {estimate.std_mm:.2f} mm: leave out --profile unless you know better"
    )
    # Experts that were told too little restore too little; only too much makes them invent detail.
    too_wide = stated.std_mm > estimate.std_mm
    if estimate.confidence < OVERRULING_CONFIDENCE:
        return ProfileTrust(stated, max(0.0, 1.0 - disagreement), contradicted=too_wide, warnings=(doubt,))
    doubt += "; the experts that believed it were trusted less" if too_wide else ""
    return ProfileTrust(
        estimate.profile, estimate.confidence, contradicted=too_wide, misled=too_wide, warnings=(doubt,)
    )


def judge_sharpness(
    trust: ProfileTrust, excess: Mapping[Expert, float], estimate: ProfileEstimate, assumed: SliceProfile
) -> ProfileTrust:
    """Second vote, from the experts themselves: were they told a profile that is too wide?

    Args:
        trust: From `judge_profile`.
        excess: Excess sharpness of the learned experts (`revoxel.experts.sharpness`).
        estimate: From the scan.
        assumed: What the experts assumed.

    Returns:
        The same; or no trust in the profile if ECLARE, the expert that suffers most, is over-sharpened; or
        trust in a stated profile that the estimate contradicts, if ECLARE is not.
    """
    if trust.contradicted and excess.get(Expert.ECLARE, NOT_SHARPENED) < NOT_SHARPENED:
        return _defended(trust, assumed)
    supported = not estimate.trusted or estimate.std_mm < _SUPPORTING * assumed.std_mm
    limit = OVER_SHARPENED if supported else OVER_SHARPENED_ALONE
    if trust.misled or excess.get(Expert.ECLARE, 0.0) < limit:
        return trust
    doubt = (
        f"the learned experts look over-sharpened: the slices are probably thinner than {trust.profile.label}"
        ", and those experts were trusted less; state a narrower --profile if you know it"
    )
    return replace(trust, confidence=0.0, misled=True, over_sharpened=True, warnings=(*trust.warnings, doubt))


def _defended(trust: ProfileTrust, stated: SliceProfile) -> ProfileTrust:
    doubt = (
        f"the scan suggests thinner slices than the stated profile {stated.label}, but the experts that "
        "believed it are not over-sharpened: it was kept"
    )
    return replace(
        trust, profile=stated, confidence=_DEFENDED_CONFIDENCE, misled=False, defended=True, warnings=(doubt,)
    )


def profile_widths(
    estimate: ProfileEstimate, assumed: SliceProfile, separation_mm: float, trust: ProfileTrust
) -> ProfileWidths:
    """The numbers that the gate reads.

    Args:
        estimate: From the scan.
        assumed: What the experts assumed.
        separation_mm: Distance between slice centres.
        trust: In the profile in use.
    """
    believed = estimate.trusted and not trust.defended
    estimated_mm = estimate.std_mm if believed else assumed.std_mm
    confidence = trust.confidence
    if trust.over_sharpened:
        estimated_mm = min(estimated_mm, _TRUE_OVER_ASSUMED * assumed.std_mm)
        confidence = _TYPICAL_CONFIDENCE
    return ProfileWidths(estimated_mm / separation_mm, assumed.std_mm / separation_mm, confidence)


def profile_record(
    assumed: SliceProfile, estimate: ProfileEstimate, trust: ProfileTrust, *, stated: bool
) -> dict[str, Any]:
    """What the JSON says about the profile.

    Args:
        assumed: What the experts assumed.
        estimate: From the scan.
        trust: In the profile in use.
        stated: Whether the user stated it.
    """
    return {
        "label": assumed.label,
        "source": "stated" if stated else "estimated" if estimate.trusted else "assumed",
        "std_mm": round(assumed.std_mm, 4),
        "fwhm_mm": round(assumed.fwhm_mm, 4),
        "estimated_std_mm": round(estimate.std_mm, 4),
        "interval_mm": [round(bound, 4) for bound in estimate.interval_mm],
        "confidence": round(trust.confidence, 4),
    }
