"""Adapters to the original tools, tried on small programs that stand in for them."""

import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from revoxel.core.geometry import Grid, isotropic_grid
from revoxel.core.volumes import Volume
from revoxel.experts.external import run_external
from revoxel.experts.names import Expert
from revoxel.experts.profiles import SliceProfile

PROFILE = SliceProfile.gauss(4)

# Repeats every slice four times; writes where the real tool would, moved by SHIFT voxels along x.
BODY = """
import sys, nibabel, numpy as np
from pathlib import Path
arguments = sys.argv[1:]
source = Path({source})
image = nibabel.load(source)
data = np.repeat(image.get_fdata(), 4, axis=2).astype(np.float32)
affine = image.affine.copy()
affine[:3, 2] /= 4
affine[:3, 3] -= 1.5 * affine[:3, 2]
affine[:3, 3] += {shift} * affine[:3, 0]
target = Path({target})
target.parent.mkdir(parents=True, exist_ok=True)
nibabel.save(nibabel.Nifti1Image(data, affine), target)
(Path({log!r})).write_text("\\n".join(arguments))
"""
IN_OUT = ('arguments[arguments.index("--in-fpath") + 1]', 'arguments[arguments.index("--out-dir") + 1]')
LAYOUTS = {
    Expert.SMORE: (IN_OUT[0], f'{IN_OUT[1]} + "/low/low_smore4.nii.gz"'),
    Expert.ECLARE: (IN_OUT[0], f'{IN_OUT[1]} + "/low_eclare.nii.gz"'),
    Expert.UNIRES: ("arguments[-1]", 'arguments[arguments.index("--dir_out") + 1] + "/u_low.nii.gz"'),
}


@pytest.fixture
def low() -> Volume:
    data = np.random.default_rng(0).random((12, 11, 6), dtype=np.float32)
    return Volume(data, Grid(data.shape, np.diag([-1.0, 1.0, 4.0, 1.0])))


@pytest.fixture
def high_grid(low) -> Grid:
    return isotropic_grid(low.grid, 2, 1.0)


def program(folder: Path, body: str) -> Path:
    path = folder / "tool"
    path.write_text(f"#!{sys.executable}\n{textwrap.dedent(body)}")
    path.chmod(0o755)
    return path


def stand_in(folder: Path, expert: Expert, shift: float = 0.0) -> Path:
    source, target = LAYOUTS[expert]
    return program(folder, BODY.format(source=source, target=target, shift=shift, log=str(folder / "log")))


@pytest.mark.parametrize("expert", list(LAYOUTS))
def test_tool_is_called_and_its_volume_returned(expert: Expert, low, high_grid, tmp_path) -> None:
    result = run_external(expert, stand_in(tmp_path, expert), low, high_grid, PROFILE)
    np.testing.assert_allclose(result, np.repeat(low.data, 4, axis=2), atol=1e-6)


@pytest.mark.parametrize(
    ("expert", "option", "value"),
    [
        (Expert.SMORE, "--slice-thickness", "4"),
        (Expert.ECLARE, "--relative-slice-thickness", "4"),
        (Expert.UNIRES, "--vx", "1"),
    ],
)
def test_tool_learns_the_thickness(expert, option, value, low, high_grid, tmp_path) -> None:
    run_external(expert, stand_in(tmp_path, expert), low, high_grid, PROFILE)
    arguments = (tmp_path / "log").read_text().splitlines()
    assert arguments[arguments.index(option) + 1] == value


def test_result_that_is_a_little_off_is_resampled_by_affine(low, high_grid, tmp_path) -> None:
    result = run_external(Expert.SMORE, stand_in(tmp_path, Expert.SMORE, 1.0), low, high_grid, PROFILE)
    np.testing.assert_allclose(result[2:-2], np.repeat(low.data, 4, axis=2)[1:-3], atol=1e-3)


def test_result_of_another_field_of_view_is_refused(low, high_grid, tmp_path) -> None:
    with pytest.raises(ValueError, match="same field of view within 3 voxels"):
        run_external(Expert.SMORE, stand_in(tmp_path, Expert.SMORE, 4.0), low, high_grid, PROFILE)


def test_failure_is_reported_with_its_last_words(low, high_grid, tmp_path) -> None:
    tool = program(tmp_path, "import sys; sys.exit('no GPU found')")
    with pytest.raises(RuntimeError, match="no GPU found"):
        run_external(Expert.ECLARE, tool, low, high_grid, PROFILE)


def test_tool_that_hangs_is_stopped(low, high_grid, tmp_path) -> None:
    tool = program(tmp_path, "import time; time.sleep(60)")
    with pytest.raises(RuntimeError, match="must finish within"):
        run_external(Expert.ECLARE, tool, low, high_grid, PROFILE, timeout_s=0.5)


def test_tool_that_writes_nothing_is_named(low, high_grid, tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match="got nothing"):
        run_external(Expert.UNIRES, program(tmp_path, "pass"), low, high_grid, PROFILE)


def test_missing_executable_warns_of_the_namesake(low, high_grid, tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match="PyPI's package smore is not SMORE"):
        run_external(Expert.SMORE, tmp_path / "run-smore", low, high_grid, PROFILE)


def test_expert_without_a_tool_is_refused(low, high_grid, tmp_path) -> None:
    with pytest.raises(ValueError, match="external experts are"):
        run_external(Expert.BSPLINE, tmp_path / "tool", low, high_grid, PROFILE)
