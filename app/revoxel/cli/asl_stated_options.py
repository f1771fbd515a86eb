"""Options that say what a scan's sidecar would; used by `revoxel asl quantify`."""

from pathlib import Path
from typing import Annotated

import typer

from revoxel.asl.scans.series import Labelling

STATED = "Facts about the scan (instead of its sidecar)"

M0Option = Annotated[
    str | None, typer.Option(help="M0: a file, or M0 of tissue as a number.", rich_help_panel=STATED)
]
M0TrMsOption = Annotated[
    float | None, typer.Option(min=1, help="Repetition time of M0.", rich_help_panel=STATED)
]
LabellingOption = Annotated[
    Labelling | None,
    typer.Option(case_sensitive=False, help="Kind; PCASL where nothing says.", rich_help_panel=STATED),
]
PldsMsOption = Annotated[
    str, typer.Option(help="Delays: one, one per pair, or one per volume.", rich_help_panel=STATED)
]
LabellingDurationsMsOption = Annotated[
    str, typer.Option(help="Labelling durations, likewise.", rich_help_panel=STATED)
]
VsaslOption = Annotated[
    Path | None, typer.Option(help="VSASL scan of the same head, fitted together.", rich_help_panel=STATED)
]
VsaslPldsMsOption = Annotated[
    str, typer.Option(help="Delays of that scan, as --plds-ms.", rich_help_panel=STATED)
]
BolusMsOption = Annotated[
    float | None, typer.Option(min=1, help="Bolus duration TI1 of PASL.", rich_help_panel=STATED)
]
AlreadySubtractedOption = Annotated[
    bool,
    typer.Option("--already-subtracted", help="Volumes are control - label.", rich_help_panel=STATED),
]
LabelFirstOption = Annotated[
    bool,
    typer.Option(
        "--label-first", help="Pairs are label, control (without aslcontext.tsv).", rich_help_panel=STATED
    ),
]
EchoOption = Annotated[
    int | None, typer.Option(min=0, help="Which image of the fifth axis.", rich_help_panel=STATED)
]
T1BloodMsOption = Annotated[
    float | None, typer.Option(min=1, help="T1 of blood; by field strength.", rich_help_panel=STATED)
]
AlphaOption = Annotated[
    float | None, typer.Option(help="Efficiency of PCASL, CASL or PASL.", rich_help_panel=STATED)
]
AlphaVsaslOption = Annotated[float | None, typer.Option(help="Efficiency of VSASL.", rich_help_panel=STATED)]
AlphaBsOption = Annotated[
    float | None, typer.Option(help="Efficiency of one suppression pulse.", rich_help_panel=STATED)
]
