"""What the report reads: the record of one fusion, and the list of tasks of a cohort."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from revoxel.core.provenance import read_sidecar
from revoxel.core.report import OKABE_ITO

if TYPE_CHECKING:
    from typing import Self

Share = Annotated[float, Field(ge=0, le=1)]
COHORT_FILE = "cohort.json"
RECORD_PATTERN = "*_sagnef.json"
DONE = "done"
#: Verbs of a cohort that leave records of fusions.
FUSING_VERBS = ("superresolve", "predict")


class _Read(BaseModel):
    """Written by a command of ours, but perhaps an older or a newer one: what is not needed is ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a JSON file.

        Args:
            path: The file.

        Raises:
            FileNotFoundError: If there is none.
            ValueError: If it is damaged or lacks what the report needs.
        """
        try:
            return cls.model_validate(read_sidecar(path))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            msg = f"{path} must hold {where}, got '{first['msg']}'; remove it and run the step again."
            raise ValueError(msg) from error


class InputFile(_Read):
    """A file that a result was made from."""

    path: Path
    sha256: str


class OutputNames(_Read):
    """Names of the files beside the record."""

    fused: str
    weights: str | None = None
    experts: dict[str, str] = Field(default_factory=dict)


class ProfileFacts(_Read):
    """The slice profile that the experts assumed, and what the scan said of it."""

    label: str = ""
    source: str = ""
    fwhm_mm: float
    estimated_std_mm: float | None = None
    interval_mm: tuple[float, float] | None = None
    confidence: float | None = None


class FusionRecord(_Read):
    """The JSON record of one fusion: see `revoxel.sagnef.outputs`."""

    inputs: dict[str, InputFile]
    outputs: OutputNames
    pulse: str
    slice_axis: int = Field(ge=0, le=2)
    separation_mm: float = Field(gt=0)
    fusion: str
    gate: str | None = None
    experts: list[str] = Field(min_length=1, max_length=len(OKABE_ITO))
    mean_weight: dict[str, Share]
    dominant_share: dict[str, Share]
    warnings: list[str] = Field(default_factory=list)
    profile: ProfileFacts | None = None
    consistency_mu: float | None = None
    shape: list[int]
    spacing_mm: list[float]
    seconds: dict[str, float] = Field(default_factory=dict)
    time_utc: str = ""
    revoxel: str = ""


class CohortTask(_Read):
    """One task of a cohort: see `cohort.json`."""

    subject: str
    spacing: str = ""
    pulse: str = ""
    folder: str
    state: str
    reason: str | None = None
    record: str | None = None

    @property
    def name(self) -> str:
        """What tells it from the other tasks."""
        facts = (fact for fact in (self.spacing, self.pulse) if fact not in self.subject)
        return " ".join((self.subject, *facts))


class CohortRecord(_Read):
    """The list that `revoxel cohort run` leaves behind."""

    manifest: Path | None = None
    verb: str = ""
    tasks: list[CohortTask]
