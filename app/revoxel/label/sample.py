"""A sample study from packaged data: pieces of the template brain in 5 mm slices, some with their truth.

`python -m revoxel.label.sample FOLDER` writes it; what exists is left alone.
"""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from revoxel.core.volumes import Volume, write_volume
from revoxel.experts.profiles import SliceProfile
from revoxel.experts.simulate import simulate
from revoxel.sagnef.demo import SEPARATION_MM, SLICE_AXIS, crop, template_brain

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Piece:
    """One scan of the sample.

    Attributes:
        name: Its id.
        place: First voxel, as shares of the room that the piece leaves in the brain.
        with_truth: Whether its truth is saved, so that it can be trained on.
    """

    name: str
    place: tuple[float, float, float]
    with_truth: bool = False


PIECES = (
    Piece("sub-01_T1w", (0.5, 0.9, 0.6), with_truth=True),
    Piece("sub-02_T1w", (0.5, 0.1, 0.5), with_truth=True),
    Piece("sub-03_T1w", (0.1, 0.5, 0.6)),
    Piece("sub-04_T1w", (0.9, 0.5, 0.4)),
)


def write_sample(
    studies: Path, shape: tuple[int, int, int] = (120, 120, 100), *, template: Volume | None = None
) -> list[Path]:
    """Write the scans, and truths as labels `final`.

    Args:
        studies: Folder of the datastore.
        shape: Voxels of 1 mm per piece.
        template: Another brain than the packaged one.

    Returns:
        The scans.

    Raises:
        OSError: If a file cannot be written.
    """
    paths = {piece: studies / f"{piece.name}.nii.gz" for piece in PIECES}
    missing = {piece: path for piece, path in paths.items() if not path.exists()}
    if missing:
        brain = template or template_brain()
        for piece, path in missing.items():
            _write(piece, path, crop_at(brain, piece.place, shape))
    return list(paths.values())


def crop_at(brain: Volume, place: tuple[float, float, float], shape: tuple[int, int, int]) -> Volume:
    """A piece of a volume.

    Args:
        brain: The volume.
        place: First voxel, as shares of the room that the piece leaves.
        shape: Voxels of the piece.
    """
    room = np.array(brain.grid.shape) - np.array(shape)
    first = (room * np.array(place)).astype(int)
    return crop(brain, first, first + np.array(shape))


def _write(piece: Piece, path: Path, truth: Volume) -> None:
    low = simulate(
        truth, profile=SliceProfile.gauss(SEPARATION_MM), separation_mm=SEPARATION_MM, axis=SLICE_AXIS
    )
    if piece.with_truth:
        # The truth comes first: a scan that is there says that the pair is complete.
        label = path.parent / "labels" / "final" / path.name
        write_volume(label, truth.data, truth.grid, overwrite=True)
    write_volume(path, low.data, low.grid)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for scan in write_sample(Path(sys.argv[1])):
        logger.info("%s", scan)
