"""CT on the server, without a server: the task's own calls."""

import json
from pathlib import Path
from shutil import copytree

import nibabel
import numpy as np
import pytest

import ct_studies
from revoxel.core.bundles import METADATA, WEIGHTS
from revoxel.label import ct
from revoxel.label.refusals import RefusedError
from revoxel.label.wishes import InferWishes


@pytest.fixture(scope="module")
def bundles(tmp_path_factory) -> Path:
    """Folder with the CT bundle, its weights the smallest there are."""
    root = tmp_path_factory.mktemp("bundles")
    folder = root / ct.DEFAULT_BUNDLE
    ct_studies.write_upsampler(folder / WEIGHTS)
    (folder / METADATA).parent.mkdir()
    (folder / METADATA).write_text(json.dumps({"version": "0.1.0", "description": "Refines CT"}))
    copytree(folder, root / "other")
    return root


@pytest.fixture
def refined(bundles, tmp_path, monkeypatch):
    """A chest refined as the server does it."""
    monkeypatch.setattr("revoxel.ct.refinement.methods.bundles_root", lambda: bundles)
    _, coarse = ct_studies.write_pair(tmp_path, "chest")
    return ct.refine_ct(ct.CtJob(coarse, ct.DEFAULT_BUNDLE, InferWishes(device="cpu"), tmp_path / "out"))


def test_only_the_upsampler_with_weights_is_offered(bundles, tmp_path):
    assert set(ct.ct_bundles(bundles)) == {ct.DEFAULT_BUNDLE}
    assert ct.ct_bundles(tmp_path) == {}


def test_result_is_that_of_the_command_line(refined):
    written = nibabel.load(refined.paths.refined)
    np.testing.assert_array_equal(np.asarray(written.dataobj), refined.result.refined)
    assert refined.record["method"] == ct.DEFAULT_BUNDLE
    assert refined.record["consistency"]["max_hu"] <= 0.5


def test_a_client_learns_no_place_on_the_server(refined, tmp_path):
    shown = ct.shown_ct_record(refined, ct.DEFAULT_BUNDLE)
    assert shown["model"] == ct.DEFAULT_BUNDLE
    assert str(tmp_path) not in json.dumps(shown, default=str)


@pytest.mark.parametrize("wish", [{"weights": True}, {"trained": True}, {"pulse": "t1c"}])
def test_wishes_of_a_fusion_are_refused(tmp_path, wish):
    with pytest.raises(RefusedError, match="fusion of MRI"):
        ct.refine_ct(ct.CtJob(tmp_path / "scan.nii.gz", ct.DEFAULT_BUNDLE, InferWishes(**wish), tmp_path))
