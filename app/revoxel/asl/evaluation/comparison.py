"""The evaluation: methods on held-out scans at several noise levels, with right and with wrong constants."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np

from revoxel.asl.evaluation.agreement import auroc, linearity, reduced_chi_square
from revoxel.asl.evaluation.baselines import BLURRED_FIT, FIT, BlurredFit, best_blurred_fit, fitted
from revoxel.asl.evaluation.held_out import HeldOutScans, ScanRecipe, make_scans
from revoxel.asl.evaluation.pairing import check_pairing, pairing_table
from revoxel.asl.evaluation.regions import Region, Target
from revoxel.asl.evaluation.scores import Scores, score
from revoxel.asl.physics import AslPhysics
from revoxel.asl.simulation.noise import AslNoise
from revoxel.asl.simulation.phantom import PhantomConfig, PhantomKind
from revoxel.asl.simulation.physics_range import PhysicsRange

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from revoxel.asl.evaluation.regions import Stack
    from revoxel.asl.quantification.estimation import MapEstimator, PerfusionMaps

    Report = Callable[[str, float], None]

_LINEARITY_SNR = 30.0
_LEVELS_ML_100G_MIN = tuple(range(10, 151, 10))
_FACTORS = (0.5, 0.75, 1.0, 1.5, 2.0)


class Scenario(StrEnum):
    """True constants of scans whose methods assume the standard ones."""

    MATCHED = "matched"
    LONG_T1 = "T1 of blood 1850 ms"
    SHORT_T1 = "T1 of blood 1500 ms"
    WEAK_VSASL = "VSASL efficiency 0.45"
    SUPPRESSION = "suppression pulses 0.93"
    DRAWN = "all drawn anew per scan"


def true_physics(scenario: Scenario, assumed: AslPhysics) -> AslPhysics | PhysicsRange:
    """Constants with which the scans of a scenario are made.

    Args:
        scenario: Which.
        assumed: What the methods are told.

    Returns:
        The constants, or the ranges they are drawn from.
    """
    changes: dict[Scenario, dict[str, float]] = {
        Scenario.MATCHED: {},
        Scenario.LONG_T1: {"t1_blood_ms": 1850.0},
        Scenario.SHORT_T1: {"t1_blood_ms": 1500.0},
        Scenario.WEAK_VSASL: {"alpha_vsasl": 0.45},
        Scenario.SUPPRESSION: {"alpha_bs": 0.93},
    }
    if scenario == Scenario.DRAWN:
        return PhysicsRange.named("default", assumed)
    drawn: dict[str, Any] = dict(changes[scenario])
    return replace(assumed, **drawn)


@dataclass(frozen=True)
class EvaluationPlan:
    """What to compare on which scans.

    Args:
        recipe: Scans; their noise level is replaced by each of `snrs`.
        snrs: Noise levels, SNR60.
        mismatch_snr: Noise level of the scans with other constants; none of these if not given.
        n_tuning: Scans on which the width of the blurred fit is chosen.

    Raises:
        ValueError: If there is no noise level, or one is there twice.
    """

    recipe: ScanRecipe = field(default_factory=ScanRecipe)
    snrs: tuple[float, ...] = (5.0, 10.0, 30.0)
    mismatch_snr: float | None = 10.0
    n_tuning: int = 8

    def __post_init__(self) -> None:
        if not self.snrs or len(set(self.snrs)) < len(self.snrs):
            msg = f"snrs must be different numbers, got {self.snrs}; give one or more."
            raise ValueError(msg)

    def at(self, snr: float, scenario: Scenario = Scenario.MATCHED) -> ScanRecipe:
        """The scans of one comparison.

        Args:
            snr: Noise level, SNR60.
            scenario: True constants.
        """
        physics = true_physics(scenario, self.recipe.assumed)
        return replace(self.recipe, noise=replace(self.recipe.noise, snr=snr), physics=physics)


@dataclass(frozen=True, eq=False)
class Comparison:
    """All methods on one set of scans.

    Attributes:
        snr: Noise level, SNR60.
        scenario: True constants.
        scans: The scans.
        estimates: Maps by method.
        scores: Their scores.
        pairing: Errors of the fit under right and wrong pairings, by map.
    """

    snr: float
    scenario: Scenario
    scans: HeldOutScans
    estimates: Mapping[str, PerfusionMaps]
    scores: Scores
    pairing: Mapping[Target, Mapping[str, Mapping[str, float]]]

    def oddness(self, method: str) -> dict[str, Stack]:
        """Maps that should be high where a voxel is unlike what a method knows, `(phantom, row, column)`.

        Args:
            method: Name.

        Returns:
            `chi2`: how badly its maps explain the data; `cbf_sd` and `att_sd`, if it states them.
        """
        maps, recipe = self.estimates[method], self.scans.recipe
        att = maps.cbf * np.nan if maps.att is None else maps.att
        chi2 = reduced_chi_square(
            self.scans.dm, (maps.cbf, att), self.scans.sigma, recipe.protocol, recipe.assumed
        )
        stated = {"cbf_sd": maps.cbf_sd, "att_sd": maps.att_sd}
        return {"chi2": chi2} | {name: values for name, values in stated.items() if values is not None}

    def lesions_told(self, method: str) -> dict[str, float]:
        """How well the oddness of a voxel tells lesions from the rest of the brain.

        Args:
            method: Name.

        Returns:
            Area under the ROC curve by the name of the map, 0.5 being chance; nothing without lesions.
        """
        inside = self.scans.truth.mask
        lesion = self.scans.truth.lesion[inside] > 0
        if not lesion.any() or lesion.all():
            return {}
        return {name: auroc(values[inside], lesion) for name, values in self.oddness(method).items()}


def compare(
    plan: EvaluationPlan, snr: float, scenario: Scenario, methods: Mapping[str, MapEstimator]
) -> Comparison:
    """Estimate and score the fit, the blurred fit and all methods on the same scans.

    Args:
        plan: What to compare.
        snr: Noise level, SNR60.
        scenario: True constants.
        methods: The blurred fit and others, by name.

    Returns:
        The comparison.

    Raises:
        ValueError: If the fit does not explain scans whose constants it was told: the pairing is wrong then.
    """
    scans = make_scans(plan.at(snr, scenario))
    estimates = scans.estimate({FIT: fitted, **methods})
    pairing = {
        target: pairing_table(getattr(estimates[FIT], target), getattr(scans.truth, target), region)
        for target, region in _paired_regions(scans)
    }
    if scenario == Scenario.MATCHED:
        check_pairing(pairing[Target.CBF], FIT)
    references = [name for name in (FIT, BLURRED_FIT) if name in estimates]
    scores = score(estimates, scans.truth, references, seed=plan.recipe.seed)
    return Comparison(snr, scenario, scans, estimates, scores, pairing)


def run_plan(
    plan: EvaluationPlan, methods: Mapping[str, MapEstimator], report: Report = lambda *_: None
) -> list[Comparison]:
    """Compare at every noise level with right constants, then with wrong ones.

    Args:
        plan: What to compare.
        methods: Methods beside the fit and the best blurred fit, by name.
        report: Called with a stage and the share of it that is done.

    Returns:
        The comparisons; those with wrong constants follow a matched one of their noise level.

    Raises:
        ValueError: If a method has the name of a baseline.
    """
    taken = {FIT, BLURRED_FIT} & set(methods)
    if taken:
        msg = f"methods must have names of their own, got {sorted(taken)}; rename them."
        raise ValueError(msg)
    cases, blurs, done = list(_cases(plan)), _Blurs(plan), []
    for number, (snr, scenario) in enumerate(cases):
        report("scans", number / len(cases))
        done.append(compare(plan, snr, scenario, {BLURRED_FIT: blurs[snr], **methods}))
    report("scans", 1.0)
    return done


class _Blurs(dict[float, BlurredFit]):
    """The best blurred fit of each noise level, found when it is first asked for."""

    def __init__(self, plan: EvaluationPlan) -> None:
        super().__init__()
        self.plan = plan

    def __missing__(self, snr: float) -> BlurredFit:
        self[snr] = best_blurred_fit(make_scans(self.plan.at(snr).for_tuning(self.plan.n_tuning)))
        return self[snr]


def _cases(plan: EvaluationPlan) -> Iterator[tuple[float, Scenario]]:
    yield from ((snr, Scenario.MATCHED) for snr in plan.snrs)
    if plan.mismatch_snr is not None:
        known = (Scenario.MATCHED,) if plan.mismatch_snr in plan.snrs else ()
        yield from ((plan.mismatch_snr, scenario) for scenario in Scenario if scenario not in known)


def _paired_regions(scans: HeldOutScans) -> Iterator[tuple[Target, Any]]:
    regions = scans.truth.regions()
    yield Target.CBF, regions[Region.BRAIN]
    # Where there is hardly any flow nothing tells ATT: right pairs would not show there either.
    yield Target.ATT, regions[Region.PERFUSED]


def separation(unusual: Comparison, usual: Comparison, method: str) -> dict[str, float]:
    """How well the mean oddness of a scan tells scans with wrong constants from right ones.

    Args:
        unusual: Scans with wrong constants.
        usual: Scans with right ones.
        method: Name.

    Returns:
        Area under the ROC curve by the name of the map, 0.5 being chance.
    """
    means = [_mean_by_scan(item.oddness(method), item.scans.truth.mask) for item in (usual, unusual)]
    kinds = np.repeat([False, True], [len(values["chi2"]) for values in means])
    return {name: auroc(np.concatenate([values[name] for values in means]), kinds) for name in means[0]}


def _mean_by_scan(maps: Mapping[str, Stack], mask: Stack) -> dict[str, Stack]:
    return {
        name: np.array([plane[inside].mean() for plane, inside in zip(values, mask, strict=True)])
        for name, values in maps.items()
    }


def amplitude_linearity(method: MapEstimator, recipe: ScanRecipe) -> dict[str, dict[str, float]]:
    """Whether twice the flow is seen as twice the flow.

    Args:
        method: The method.
        recipe: Protocol, constants, phantoms and seed; SNR60 is 30.

    Returns:
        `levels`: uniform phantoms of CBF 10 to 150 ml/100g/min and ATT 1400 ms; `scaled inputs`: the same
        scans with images and noise times 0.5 to 2. Each with `slope` and `max_deviation`.
    """
    recipe = replace(recipe, noise=AslNoise(snr=_LINEARITY_SNR), physics=recipe.assumed)
    scans = make_scans(recipe)
    inside, true = scans.truth.mask, scans.truth.cbf[scans.truth.mask].mean()
    scaled = [
        _cbf(replace(scans, dm=scans.dm * np.float32(factor), sigma=scans.sigma * factor), method)[inside]
        for factor in _FACTORS
    ]
    uniform = [_uniform(recipe, float(level)) for level in _LEVELS_ML_100G_MIN]
    return {
        "levels": linearity(
            np.array(_LEVELS_ML_100G_MIN, float), np.array([_cbf(scan, method).mean() for scan in uniform])
        ),
        "scaled inputs": linearity(true * np.array(_FACTORS), np.array([cbf.mean() for cbf in scaled])),
    }


def _uniform(recipe: ScanRecipe, cbf: float) -> HeldOutScans:
    phantom = PhantomConfig(PhantomKind.UNIFORM, 32, 1.0, cbf, 1400.0)
    return make_scans(replace(recipe, phantom=phantom, n_phantoms=1))


def _cbf(scans: HeldOutScans, method: MapEstimator) -> Any:
    return scans.estimate({"method": method})["method"].cbf
