"""Digitally reconstructed radiographs of a CT, written so that they can be read back."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np
import torch
from monai.transforms import Compose

from revoxel.core.geometry import Grid
from revoxel.core.meta_images import grid_of
from revoxel.core.provenance import sha256_of, write_sidecar
from revoxel.core.staging import all_or_nothing
from revoxel.core.volumes import volume_stem, write_volume
from revoxel.ct.scans.transforms import CheckCTd, LoadCTd
from revoxel.ct.xray.geometry import View, XrayGeometry
from revoxel.ct.xray.geometry_file import GeometryRecord, write_geometry
from revoxel.ct.xray.projector import project_views
from revoxel.ct.xray.view_files import VIEW_ENDINGS

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_GREY_LEVELS = 255


class ViewFormat(StrEnum):
    """File format of views in nepers."""

    TIFF = "tiff"
    NIFTI = "nii.gz"


@dataclass(frozen=True)
class DrrPlan:
    """What is to be made of one CT.

    Attributes:
        ct: File or DICOM folder.
        out: Folder of the results.
        geometry: Of source and detector.
        format: Of the views in nepers.
        allow_no_air: Accept a CT without air.
        overwrite: Replace results that exist.
    """

    ct: Path
    out: Path
    geometry: XrayGeometry = field(default_factory=lambda: XrayGeometry("cone"))
    format: ViewFormat = ViewFormat.TIFF
    allow_no_air: bool = False
    overwrite: bool = False

    @property
    def stem(self) -> str:
        """Start of every result's name."""
        return volume_stem(self.ct)

    @property
    def record(self) -> Path:
        """The JSON record, which comes last."""
        return self.out / f"{self.stem}_drr.json"

    @property
    def results(self) -> tuple[Path, ...]:
        """Every file that is written."""
        views = [
            f"{self.stem}{ending}.{kind}" for ending in VIEW_ENDINGS for kind in (self.format.value, "png")
        ]
        names = [*views, f"{self.stem}_drr_geometry.json", self.record.name]
        return tuple(self.out / name for name in names)


@dataclass(frozen=True, eq=False)
class Drr:
    """Both views of one CT.

    Attributes:
        views: `(2, row, column)` in nepers, frontal first.
        geometry: With the pixel's side.
        spacing_mm: Of the CT.
        outside_share: Share of voxels that hold no measurement and absorb nothing.
    """

    views: NDArray[np.float32]
    geometry: XrayGeometry
    spacing_mm: tuple[float, float, float]
    outside_share: float


def check_plan(plan: DrrPlan) -> None:
    """Refuse a plan before anything is computed.

    Args:
        plan: What is to be made.

    Raises:
        FileExistsError: If a result exists and may not be replaced.
        FileNotFoundError: If there is no CT.
    """
    if not plan.ct.exists():
        msg = f"{plan.ct} must be a CT's file or DICOM folder, got nothing there; check the path."
        raise FileNotFoundError(msg)
    existing = [path for path in plan.results if path.exists()]
    if existing and not plan.overwrite:
        msg = f"{existing[0]} must not exist yet; pass --overwrite to replace it, or choose another output."
        raise FileExistsError(msg)


def make_drr(plan: DrrPlan, device: torch.device | str = "cpu") -> Drr:
    """X-ray a CT as it lies, without resampling.

    Args:
        plan: What is to be made.
        device: Where it is computed.

    Returns:
        The views.

    Raises:
        FileNotFoundError: If there is no CT.
        ValueError: If it is none, or does not fit the geometry.
    """
    load = Compose([LoadCTd("image"), CheckCTd("image", allow_no_air=plan.allow_no_air)])
    image = load({"image": plan.ct})["image"]
    grid = grid_of(image)
    geometry = plan.geometry.on(grid.shape, grid.spacing_mm)
    hu = torch.from_numpy(np.asarray(image, dtype=np.float32))[None].to(device)
    with torch.no_grad():
        views = project_views(hu, grid.spacing_mm, geometry)[0, :, 0]
    return Drr(views.cpu().numpy(), geometry, grid.spacing_mm, float(image.meta["outside_share"]))


def write_drr(plan: DrrPlan, drr: Drr) -> tuple[Path, ...]:
    """Write views in nepers, display copies, geometry and record: all of them or none.

    Args:
        plan: What was to be made.
        drr: What was made.

    Returns:
        The files.

    Raises:
        FileExistsError: If a result exists and may not be replaced.
        OSError: If they cannot be written.
    """
    check_plan(plan)
    brightest = {view: float(image.max()) for view, image in zip(View, drr.views, strict=True)}
    with all_or_nothing(plan.out, plan.record.name) as folder:
        for ending, image in zip(VIEW_ENDINGS, drr.views, strict=True):
            stem = f"{plan.stem}{ending}"
            _write_nepers(folder / f"{stem}.{plan.format.value}", image, drr.geometry)
            _write_png(folder / f"{stem}.png", image)
        record = GeometryRecord.of(drr.geometry, {view: max(top, 1e-6) for view, top in brightest.items()})
        write_geometry(folder / f"{plan.stem}_drr_geometry.json", record)
        write_sidecar(folder / plan.record.name, _record(plan, drr, brightest))
    return plan.results


def _record(plan: DrrPlan, drr: Drr, brightest: dict[View, float]) -> dict[str, object]:
    return {
        "inputs": {"ct": plan.ct, "sha256": sha256_of(plan.ct)},
        "outputs": [path.name for path in plan.results],
        "parameters": {"geometry": drr.geometry, "spacing_mm": drr.spacing_mm},
        "units": "nepers: attenuation 0.02 per mm of water times (1 + HU / 1000), integrated along the rays",
        "max_nepers": brightest,
        "outside_share": drr.outside_share,
    }


def _write_nepers(path: Path, image: NDArray[np.float32], geometry: XrayGeometry) -> None:
    if path.name.endswith(ViewFormat.NIFTI.value):
        pixel_mm = geometry.pixel_mm or 1.0
        grid = Grid((*image.T.shape, 1), np.diag([pixel_mm, pixel_mm, pixel_mm, 1.0]))
        write_volume(path, image.T[..., None], grid)
        return
    _write_image(path, image)


def _write_png(path: Path, image: NDArray[np.float32]) -> None:
    """Bones white: 0 nepers are black, the most absorbing ray is white."""
    levels = np.rint(np.clip(image / max(float(image.max()), 1e-6), 0, 1) * _GREY_LEVELS)
    _write_image(path, levels.astype(np.uint8))


def _write_image(path: Path, pixels: NDArray[np.float32] | NDArray[np.uint8]) -> None:
    import itk

    try:
        itk.imwrite(itk.image_from_array(np.ascontiguousarray(pixels)), str(path))
    except RuntimeError as error:
        msg = f"{path.name} must be writable, got '{str(error).splitlines()[-1]}'; free space and try again."
        raise OSError(msg) from error
