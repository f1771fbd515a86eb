"""The package as a stranger meets it: import, help, wheel, declared requirements."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import nibabel
import numpy as np
import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
MAX_IMPORT_S = 0.2
MAX_HELP_S = 1.0
NOT_SOURCE = shutil.ignore_patterns("__pycache__", "*.egg-info")
# Import name where it differs from the distribution's.
IMPORT_NAMES = {
    "dask-jobqueue": "dask_jobqueue",
    "pybids": "bids",
    "pytorch-ignite": "ignite",
    "pyyaml": "yaml",
    "scikit-image": "skimage",
    "scikit-learn": "sklearn",
}
# Needed without an import of ours: monai.bundle's command line, configs, export, schema check, handlers.
USED_BY_MONAI = {"fire", "onnx", "onnxscript", "jsonschema", "tensorboard", "tqdm", "ignite", "yaml"}


def python(code: str, executable: str | Path = sys.executable, cwd: Path | None = None) -> str:
    """Run a line in a fresh interpreter and return what it prints."""
    command = [str(executable), "-W", "ignore", "-c", code]
    answer = subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout.strip()


def fastest(code: str, repeats: int = 3) -> float:
    """Best of a few runs: the machine may be busy."""
    timed = f"import time; start = time.perf_counter(); {code}; print(time.perf_counter() - start)"
    return min(float(python(timed).splitlines()[-1]) for _ in range(repeats))


def test_import_is_cheap():
    assert fastest("import revoxel") < MAX_IMPORT_S


@pytest.mark.parametrize("package", ["experts", "sagnef", "core", "cli.main"])
def test_package_imports_without_torch(package):
    heavy = python(
        f"import sys, revoxel.{package}; print(sorted({{'torch', 'monai', 'matplotlib'}} & set(sys.modules)))"
    )
    assert heavy == "[]"


def test_main_job_does_not_wait_for_monai():
    assert python("import sys, revoxel.sagnef.pipeline; print('monai' in sys.modules)") == "False"


def test_help_is_fast():
    code = (
        "import sys; sys.argv = ['revoxel', '--help']\nfrom revoxel.cli.main import app\n"
        "import time; start = time.perf_counter()\n"
        "try:\n    app()\nexcept SystemExit:\n    print(time.perf_counter() - start, 'torch' in sys.modules)"
    )
    seconds, torch_loaded = python(code).splitlines()[-1].split()
    assert float(seconds) < MAX_HELP_S
    assert torch_loaded == "False"


def third_party_imports() -> set[str]:
    """Top-level names that the package imports, anywhere."""
    names = set()
    for path in (REPOSITORY / "app").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
                names.add(node.module.split(".")[0])
    return names - set(sys.stdlib_module_names) - {"revoxel"}


def declared_imports() -> set[str]:
    distributions = {re.split(r"[<>=\[ ]", line)[0].lower() for line in PROJECT["dependencies"]}
    return {IMPORT_NAMES.get(name, name) for name in distributions}


def optional_imports() -> set[str]:
    """What extras bring: imported inside functions only."""
    extras = PROJECT["optional-dependencies"]
    lines = extras["cohort"] + extras["growth"]
    return {IMPORT_NAMES.get(name, name) for name in (re.split(r"[<>=\[ ]", line)[0] for line in lines)}


def label_imports() -> set[str]:
    """What the environment of the Label server brings."""
    lines = (REPOSITORY / "requirements" / "monailabel.txt").read_text().splitlines()
    return {line.split("==")[0].replace("-", "_") for line in lines if not line.startswith("#")}


def test_every_import_is_declared():
    assert third_party_imports() <= declared_imports() | optional_imports() | label_imports()


def test_every_requirement_is_used():
    assert declared_imports() - third_party_imports() <= USED_BY_MONAI


def test_constraints_pin_every_requirement():
    pinned = {
        line.split("==")[0].lower()
        for line in (REPOSITORY / "constraints.txt").read_text().splitlines()
        if not line.startswith("#")
    }
    optional = [line for lines in PROJECT["optional-dependencies"].values() for line in lines]
    wanted = {re.split(r"[<>=\[ ]", line)[0].lower() for line in PROJECT["dependencies"] + optional}
    assert wanted - {PROJECT["name"]} <= pinned


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel, built from a copy: setuptools leaves files beside the sources."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for name in ("app", "bundles", "configs"):
        shutil.copytree(REPOSITORY / name, source / name, ignore=NOT_SOURCE)
    for name in ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, source / name)
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(source)]
    subprocess.run(build, capture_output=True, check=True)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def outside(wheel, tmp_path_factory) -> Path:
    """Interpreter of an environment outside the checkout that holds the wheel alone.

    Requirements are lent by a path file; path files behind it are not read: no editable install.
    """
    folder = tmp_path_factory.mktemp("outside")
    venv.create(folder / "venv", with_pip=True)
    interpreter = folder / "venv" / "bin" / "python"
    install = [str(interpreter), "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    site = Path(python("import sysconfig; print(sysconfig.get_path('purelib'))", interpreter))
    lender = python("import sysconfig; print(sysconfig.get_path('purelib'))")
    (site / "requirements.pth").write_text(lender + "\n")
    return interpreter


@pytest.mark.slow
def test_wheel_runs_outside_the_checkout(outside, tmp_path):
    code = "import revoxel, torch; print(revoxel.__file__)"
    location = Path(python(code, outside, cwd=tmp_path))
    assert REPOSITORY not in location.parents
    script = outside.parent / "revoxel"
    answer = subprocess.run([script, "--help"], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert "superresolve" in answer.stdout


@pytest.mark.slow
def test_wheel_carries_bundles_and_weights(outside, tmp_path):
    code = "from revoxel.core.bundles import bundles_root; print(bundles_root())"
    root = Path(python(code, outside, cwd=tmp_path))
    assert root.name == "_bundles"
    committed = sorted(
        path.parents[1].name for path in (REPOSITORY / "bundles").glob("*/configs/metadata.json")
    )
    assert committed
    assert sorted(path.parents[1].name for path in root.glob("*/configs/metadata.json")) == committed
    for weights in (REPOSITORY / "bundles").glob("*/models/*.pt"):
        assert (root / weights.relative_to(REPOSITORY / "bundles")).is_file()


@pytest.mark.slow
def test_wheel_packs_a_bundle(outside, tmp_path):
    command = [outside.parent / "revoxel", "bundles", "pack", "sagnef_7mm_t2w", "--without-weights"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert answer.returncode == 0, answer.stderr
    assert list(tmp_path.glob("sagnef_7mm_t2w_v*.zip"))


MAIN_JOB = """
from dataclasses import replace
import revoxel.experts.run as run
from revoxel.cli.main import app

run.RECIPES = {expert: replace(recipe, n_steps_warm=2) for expert, recipe in run.RECIPES.items()}
app(["superresolve", "scan.nii.gz", "--pulse", "t1n", "--profile", "rect:5", "-o", "out", "--threads", "1"])
"""


@pytest.mark.slow
def test_wheel_does_the_main_job(outside, tmp_path, brain, brain_affine):
    n_slices = brain.shape[2] // 5
    thick = brain[..., : 5 * n_slices].reshape(*brain.shape[:2], n_slices, 5).mean(axis=-1)
    affine = brain_affine @ np.diag([1.0, 1.0, 5.0, 1.0])
    affine[2, 3] += 2.0
    nibabel.save(nibabel.Nifti1Image(thick, affine), tmp_path / "scan.nii.gz")
    python(MAIN_JOB, outside, cwd=tmp_path)
    fused = nibabel.load(tmp_path / "out" / "scan_sagnef.nii.gz")
    assert fused.shape == (40, 44, 5 * n_slices)
    np.testing.assert_allclose(fused.affine, brain_affine)
    for ending in ("weights.nii.gz", "sagnef.png", "sagnef.json", "SR-SMORE.nii.gz"):
        assert (tmp_path / "out" / f"scan_{ending}").is_file()
