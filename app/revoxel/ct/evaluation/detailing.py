"""Rows of a detail network's table: base, unsharp masking, and the network with right, no and wrong views.

A scan is cut into cubes of the network's size, each with X-rays of its own: the base sees a cube as it would
see a patient. Scores of a scan are means over its cubes.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from revoxel.core.geometry import Grid
from revoxel.ct.detail.evaluation import tiles
from revoxel.ct.detail.inference import refine_detail
from revoxel.ct.evaluation.baselines import constant, unsharp
from revoxel.ct.evaluation.cases import CtCase, read_case
from revoxel.ct.evaluation.scores import LOW_PASS_FACTOR, whole_blocks
from revoxel.ct.hounsfield import PADDING_HU
from revoxel.ct.refinement.steps import as_tensor, as_volume
from revoxel.ct.xray.projector import project_views

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray
    from torch import Tensor

    from revoxel.ct.detail.bases import FrozenBase
    from revoxel.ct.detail.models import Refiner
    from revoxel.ct.evaluation.baselines import Unsharp
    from revoxel.ct.scans.study import CtStudy

    Volume = NDArray[np.float32]
    Rows = Iterator[tuple[str, Volume]]

CONSTANT, BASE, UNSHARP = "constant", "base", "unsharp"
NO_VIEWS, WRONG_VIEWS, REFINED = "refined, no views", "refined, another's views", "refined"
BASELINES = (CONSTANT, BASE, UNSHARP)
_LEAST_MEASURED = 0.9
_MOST_CUBES = 4
_SPACING_TOLERANCE = 0.01


@dataclass(frozen=True, eq=False)
class DetailTable:
    """A base and a detail network behind it.

    Args:
        study: Whose patients lend each other their X-rays.
        refiner: The network.
        base: What makes the coarse volumes.
        size: Side of a cube in voxels.
    """

    study: CtStudy
    refiner: Refiner
    base: FrozenBase
    size: int
    baselines: tuple[str, ...] = BASELINES
    _foreign: dict[str, Tensor | None] = field(default_factory=dict)

    def blurred(self, part: CtCase) -> Volume:
        """What unsharp masking sharpens: the base's volume.

        Args:
            part: A cube.
        """
        return part.coarse_hu

    def parts(self, case: CtCase) -> list[CtCase]:
        """Cut a scan into cubes and make each coarse.

        Args:
            case: Of a study.

        Returns:
            Up to four cubes inside the field of view, evenly through the scan.

        Raises:
            ValueError: If the scan has none.
        """
        _check_spacing(case, self.refiner)
        truth = case.truth_hu
        found = [place for place in tiles(truth.shape, self.size) if _measured(truth[place])]
        if not found:
            msg = f"{case.row.name} must hold a cube of {self.size} voxels in its field of view, got none; "
            msg += "prepare it with a smaller spacing."
            raise ValueError(msg)
        chosen = np.unique(np.linspace(0, len(found) - 1, _MOST_CUBES).round().astype(int))
        return [self._cube(case, found[index]) for index in chosen]

    def views(self, truth_hu: Volume) -> Tensor:
        """X-rays of a cube, `(1, 2, 1, row, column)` in nepers.

        Args:
            truth_hu: `(x, y, z)` in HU.
        """
        scene = self.refiner.scene
        return project_views(as_tensor(truth_hu), scene.spacing_mm, scene.geometry)

    def rows(self, part: CtCase, sharpening: Unsharp, progress: Callable[[float], None]) -> Rows:
        """Volumes of one cube by row.

        Args:
            part: A cube.
            sharpening: Of unsharp masking, fixed on other patients.
            progress: Called with the share done.

        Yields:
            Name and `(x, y, z)` in HU.
        """
        coarse, foreign = part.coarse_hu, self._views_of_another(part)
        yield CONSTANT, constant(coarse, coarse.shape)
        yield BASE, coarse
        yield UNSHARP, unsharp(coarse, sharpening)
        yield NO_VIEWS, self._refined(coarse, None)
        progress(0.3)
        if foreign is not None:
            yield WRONG_VIEWS, self._refined(coarse, foreign)
        progress(0.6)
        yield REFINED, self._refined(coarse, self.views(part.truth_hu))

    def _views_of_another(self, case: CtCase) -> Tensor | None:
        patient = case.row.patient_id
        if patient not in self._foreign:
            others = [row for row in self.study.rows if row.patient_id != patient]
            cube = self.parts(read_case(self.study, others[0]))[0] if others else None
            self._foreign[patient] = None if cube is None else self.views(cube.truth_hu)
        return self._foreign[patient]

    def _cube(self, case: CtCase, place: tuple[slice, ...]) -> CtCase:
        window, truth = self.refiner.scene.window, case.truth_hu[place]
        affine = case.grid.affine.copy()
        affine[:3, 3] = case.grid.world([side.start for side in place])
        grid = Grid(truth.shape, affine)
        coarse = self.base.coarse(self.views(truth), window.normalise(as_tensor(truth)))
        mask = whole_blocks(truth > PADDING_HU, LOW_PASS_FACTOR)
        return replace(
            case,
            truth_hu=truth,
            coarse_hu=as_volume(window.restore(coarse)),
            mask=mask,
            grid=grid,
            coarse_grid=grid,
            factor=1,
        )

    def _refined(self, coarse: Volume, views: Tensor | None) -> Volume:
        return as_volume(refine_detail(self.refiner.network, as_tensor(coarse), views).volume_hu)


def _check_spacing(case: CtCase, refiner: Refiner) -> None:
    wanted_mm = refiner.scene.spacing_mm
    if any(abs(step / case.row.spacing_mm - 1) > _SPACING_TOLERANCE for step in wanted_mm):
        msg = (
            f"{case.row.name} must have voxels of {wanted_mm[0]:g} mm, as the network was trained on, got "
            f"{case.row.spacing_mm:g} mm; prepare the study with --spacing-mm {wanted_mm[0]:g}."
        )
        raise ValueError(msg)


def _measured(truth: Volume) -> bool:
    return float((truth > PADDING_HU).mean()) >= _LEAST_MEASURED
