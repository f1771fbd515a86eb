"""Build step that carries the MONAI bundles inside the wheel; all else is in pyproject.toml."""

from pathlib import Path
from shutil import copytree, ignore_patterns

from setuptools import setup
from setuptools.command.build_py import build_py

BUNDLES = Path(__file__).parent / "bundles"
NOT_SHIPPED = ignore_patterns("__pycache__", "eval", "runs", "*.ts", "*.onnx")


class BuildWithBundles(build_py):
    """Copy `bundles/` to `revoxel/_bundles`, where an installed package looks for them."""

    def run(self) -> None:
        """Build the package, then add the bundles; an editable install reads them in place."""
        super().run()
        if not self.editable_mode and BUNDLES.is_dir():
            target = Path(self.build_lib) / "revoxel" / "_bundles"
            copytree(BUNDLES, target, dirs_exist_ok=True, ignore=NOT_SHIPPED)


setup(cmdclass={"build_py": BuildWithBundles})
