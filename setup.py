"""Build step that carries the MONAI bundles inside the wheel; all else is in pyproject.toml."""

from pathlib import Path
from shutil import copyfile, copytree, ignore_patterns

from setuptools import setup
from setuptools.command.build_py import build_py

BUNDLES = Path(__file__).parent / "bundles"
CONFIGS = Path(__file__).parent / "configs"
NOT_SHIPPED = ignore_patterns("__pycache__", "eval", "runs", "*.ts", "*.onnx")


class BuildWithBundles(build_py):
    """Copy bundles and model configurations to where an installed package looks for them."""

    def run(self) -> None:
        """Build the package, then add the bundles; an editable install reads them in place."""
        super().run()
        if not self.editable_mode and BUNDLES.is_dir():
            package = Path(self.build_lib) / "revoxel"
            copytree(BUNDLES, package / "_bundles", dirs_exist_ok=True, ignore=NOT_SHIPPED)
            for source in CONFIGS.glob("*/model_configuration*.yaml"):
                target = package / "_configs" / source.relative_to(CONFIGS)
                target.parent.mkdir(parents=True, exist_ok=True)
                copyfile(source, target)


setup(cmdclass={"build_py": BuildWithBundles})
