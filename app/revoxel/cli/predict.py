"""`revoxel predict`: fuse expert volumes that exist already."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from revoxel.cli.options import (
    ConsistencyOption,
    DebugOption,
    DeviceOption,
    ExactOption,
    ExtrapolationOption,
    MemoryOption,
    OverwriteOption,
    ThreadsOption,
)
from revoxel.cli.progress import stage_bars
from revoxel.cli.results import show_result


def predict(
    experts: Annotated[
        str,
        typer.Option(
            help="Files, comma-separated: NAME=FILE each, or in the order BSPLINE,ECLARE,SMORE,UNIRES.",
            metavar="A,B,C,D",
        ),
    ],
    lr: Annotated[Path, typer.Option(help="The thick-slice scan that the experts were made from.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="The fused volume, .nii.gz; maps lie beside it.")],
    spacing: Annotated[Literal["3mm", "5mm", "7mm"], typer.Option(help="Spacing of the model.")],
    pulse: Annotated[
        Literal["t1c", "t1n", "t2f", "t2w"], typer.Option(help="Pulse of the scan and the model.")
    ],
    ckpt: Annotated[Path | None, typer.Option(help="Trained gate; the shipped bundle's by default.")] = None,
    cfg: Annotated[
        Path | None, typer.Option(help="Model configuration (YAML): order of the experts, tolerance.")
    ] = None,
    ref: Annotated[
        Path | None, typer.Option(help="Volume whose grid the result gets; the first expert's by default.")
    ] = None,
    exact: ExactOption = False,
    consistency: ConsistencyOption = True,
    allow_extrapolation: ExtrapolationOption = False,
    memory_gb: MemoryOption = 0.5,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    overwrite: OverwriteOption = False,
    debug: DebugOption = False,
) -> None:
    """Fuse expert volumes that exist already.

    Example: revoxel predict --spacing 5mm --pulse t1c --lr scan.nii.gz -o fused.nii.gz --experts
    scan_SR-BSPLINE.nii.gz,scan_SR-ECLARE.nii.gz,scan_SR-SMORE.nii.gz,scan_SR-UNIRES.nii.gz
    """
    from revoxel.core.compute import set_threads
    from revoxel.core.pulses import Pulse, Spacing
    from revoxel.sagnef.predict import PredictRequest, SourceConfiguration, parse_experts
    from revoxel.sagnef.predict import predict as fuse_files

    configuration = SourceConfiguration.read(cfg) if cfg else SourceConfiguration()
    request = PredictRequest(
        experts=parse_experts(experts, configuration.experts),
        low=lr,
        out=out,
        pulse=Pulse(pulse),
        spacing=Spacing(spacing),
        checkpoint=ckpt,
        reference=ref,
        max_tolerance_voxels=configuration.max_tolerance_voxels,
        exact=exact,
        consistency=consistency,
        allow_extrapolation=allow_extrapolation,
        memory_gb=memory_gb,
        device=device,
        overwrite=overwrite,
    )
    set_threads(threads)
    with stage_bars() as progress:
        result = fuse_files(request, progress)
    show_result(result)
