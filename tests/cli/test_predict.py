"""`revoxel predict` takes the source's flags."""

from __future__ import annotations

from typer.testing import CliRunner

from quick_experts import write_expert_files, write_gate, write_thick_scan
from revoxel.cli.main import app
from revoxel.core.volumes import read_volume


def test_source_flags_fuse_four_files(brain, brain_affine, tmp_path) -> None:
    scan = write_thick_scan(tmp_path / "LR.nii.gz", brain, brain_affine)
    experts = write_expert_files(read_volume(scan), tmp_path / "subject")
    configuration = tmp_path / "model_configuration.yaml"
    configuration.write_text("data: {experts: [BSPLINE, ECLARE, SMORE, UNIRES]}\n")
    arguments = {
        "--cfg": configuration,
        "--ckpt": write_gate(tmp_path / "model_epoch050_val0.123456.pt", spacing="3mm"),
        "--spacing": "3mm",
        "--pulse": "t1c",
        "--experts": ",".join(map(str, experts.values())),
        "--lr": scan,
        "--ref": experts["SMORE"],
        "--out": tmp_path / "out" / "BraTS-MEN-00004-000-t1c.nii.gz",
        "--device": "cpu",
    }
    flat = [str(part) for pair in arguments.items() for part in pair]
    result = CliRunner().invoke(app, ["predict", *flat], env={"COLUMNS": "160"})
    assert result.exit_code == 0, result.output
    assert arguments["--out"].is_file()
    assert "gate (sagnef_3mm_t1c)" in result.output
    again = CliRunner().invoke(app, ["predict", *flat])
    assert again.exit_code == 2
    assert "--overwrite" in again.stderr
