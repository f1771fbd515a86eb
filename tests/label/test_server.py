"""The real server, driven by the real client: `make label-test`."""

import json
import re
import shutil
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import nibabel
import numpy as np
import pytest

pytest.importorskip("monailabel", reason="monailabel has an environment of its own: make label-test")

from monailabel.client import MONAILabelClient
from monailabel.client.client import MONAILabelClientException

import ct_studies
import tumours
from label.live_server import MAX_UPLOAD_MB, QUICK_EXPERTS, LiveServer, live_server
from revoxel.core.volumes import read_volume
from revoxel.label.ct import ct_bundles
from revoxel.label.models import models_with_weights

# The stock client leaves its connections to the garbage collector.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::ResourceWarning")]

SCANS = ["sub-01_T1w", "sub-02_T1w", "sub-03_T1w", "sub-04_T1w"]
MODEL = "sagnef_5mm_t1n"
WORST_FIRST = "worst_disagreement_first"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with live_server(tmp_path_factory.mktemp("label")) as running:
        yield running


@pytest.fixture
def client(server, tmp_path) -> MONAILabelClient:
    return MONAILabelClient(server.url, tmpdir=str(tmp_path))


@pytest.fixture(scope="module")
def inferred(server, tmp_path_factory) -> dict:
    """One scan by the server, the same file by the command line, and the same sent along; at once."""
    folder = tmp_path_factory.mktemp("inferred")
    scan = server.studies / "sub-03_T1w.nii.gz"
    before = names_in(server.studies)
    code = (
        QUICK_EXPERTS + f"from revoxel.cli.main import app; app(['superresolve', {str(scan)!r}, '-o', 'cli'])"
    )
    line = [sys.executable, "-c", code]
    with ThreadPoolExecutor(2) as pool:
        own = pool.submit(subprocess.run, line, check=True, capture_output=True, cwd=folder)
        sent = pool.submit(
            MONAILabelClient(server.url, str(folder / "sent")).infer, "sagnef", "", {}, None, str(scan)
        )
        served = MONAILabelClient(server.url, str(folder / "served")).infer("sagnef", "sub-03_T1w", {})
        own.result()
    return {
        "served": served,
        "sent": sent.result(),
        "command": folder / "cli" / "sub-03_T1w_sagnef.nii.gz",
        "written": names_in(server.studies) - before,
    }


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def refused(call, *args, **kwargs) -> str:
    """Text of a refusal that the client shows."""
    with pytest.raises(MONAILabelClientException) as error:
        call(*args, **kwargs)
    assert "Status: 4" in error.value.msg, error.value.msg
    return error.value.msg


def wait_for(condition, seconds: float = 300):
    end = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < end
        time.sleep(0.5)
    return result


def test_info_lists_models_trainers_and_strategies(client):
    info = client.info()
    assert set(info["models"]) == {"sagnef", *models_with_weights(), *ct_bundles()}
    assert set(info["trainers"]) == set(models_with_weights())
    assert set(info["strategies"]) == {"random", WORST_FIRST}
    assert info["name"] == "Revoxel"
    assert "not for diagnosis" in info["description"]


def test_stock_viewer_sends_choices_that_are_allowed(client):
    """3D Slicer sends the first value of each list; the result must not come back as a label map."""
    config = client.info()["models"]["sagnef"]["config"]
    lists = [value for value in config.values() if isinstance(value, list)]
    assert all(isinstance(word, str) for words in lists for word in words)  # its combo boxes hold words only
    assert {key: value[0] if isinstance(value, list) else value for key, value in config.items()} == {
        "deliver": "datastore",
        "weights": False,
        "trained": False,
        "device": "auto",
    }


def test_datastore_lists_scans_and_no_experts(client, server):
    assert (server.studies / "sub-01_T1w_SR-SMORE.nii.gz").is_file()
    assert sorted(client.datastore()["objects"]) == SCANS


def test_result_is_that_of_the_command_line(inferred):
    expected = nibabel.load(inferred["command"])
    for name in ("served", "sent"):
        image = nibabel.load(inferred[name][0])
        assert image.get_data_dtype() == np.float32
        np.testing.assert_array_equal(image.get_fdata(), expected.get_fdata())
        np.testing.assert_array_equal(image.affine, expected.affine)


def test_model_is_picked_and_named(inferred):
    record = inferred["served"][1]
    assert record["model"] == MODEL
    assert sum(record["mean_weight"].values()) == pytest.approx(1, abs=1e-3)
    assert "/" not in json.dumps({key: record[key] for key in ("warnings", "gate", "implementations")})


def test_experts_are_kept_beside_the_study_and_never_in_it(inferred, server):
    kept = list((server.folder / "study.revoxel" / "experts").rglob("scan_SR-*.nii.gz"))
    assert len(kept) == 4
    assert inferred["written"] <= {"labels", "datastore_v2.json"}


def test_progress_of_the_experts_is_logged(inferred, server):
    assert re.search(r"sagnef on sub-03_T1w\.nii\.gz: UNIRES 50 %", server.log())


def test_named_model_uses_the_cache_and_gives_weights_on_request(client, inferred):
    file, record = client.infer(MODEL, "sub-03_T1w", {"weights": True})
    assert max(record["seconds"][expert] for expert in record["experts"]) == 0
    assert record["kept"] == {"weights": "sub-03_T1w"}
    fused, weights = nibabel.load(file), nibabel.load(client.download_label("sub-03_T1w", "weights"))
    assert weights.shape == (*fused.shape, 4)
    np.testing.assert_allclose(weights.get_fdata().sum(axis=-1), 1, atol=1e-4)
    np.testing.assert_array_equal(weights.affine, fused.affine)


def test_result_can_be_kept_in_the_datastore(client, inferred):
    file, answer = client.infer("sagnef", "sub-03_T1w", {"deliver": "datastore"})
    assert file is None
    assert answer.get("label_names") is None  # as 3D Slicer asks
    assert json.loads(answer["params"])["kept"] == {"sagnef": "sub-03_T1w"}
    kept = nibabel.load(client.download_label("sub-03_T1w", "sagnef"))
    np.testing.assert_array_equal(kept.get_fdata(), nibabel.load(inferred["command"]).get_fdata())


def test_experts_beside_the_scan_are_used(client, server):
    file, record = client.infer("sagnef", "sub-04_T1w", {})
    assert not record["seconds"]
    assert nibabel.load(file).shape == (64, 64, 60)
    assert "SMORE" in record["experts"]
    assert not (server.studies / "sub-04_T1w_weights.nii.gz").exists()


def test_uploaded_image_can_be_super_resolved(client, server, inferred):
    image = server.studies / "sub-03_T1w.nii.gz"
    assert client.upload_image(str(image), "sub-05_T1w") == {"image": "sub-05_T1w"}
    assert "sub-05_T1w" in client.datastore()["objects"]
    file, _ = client.infer("sagnef", "sub-05_T1w", {})
    np.testing.assert_array_equal(
        nibabel.load(file).get_fdata(), nibabel.load(inferred["command"]).get_fdata()
    )
    assert "exists already" in refused(client.upload_image, str(image), "sub-05_T1w")
    np.testing.assert_array_equal(
        read_volume(server.studies / "sub-05_T1w.nii.gz").data, read_volume(image).data
    )


def test_saved_truth_takes_a_scan_off_the_list(client, server, inferred):
    answer = client.save_label("sub-03_T1w", str(inferred["command"]), "final")
    assert answer["label"] == "sub-03_T1w"
    assert (server.studies / "labels" / "final" / "sub-03_T1w.nii.gz").is_file()
    assert client.next_sample("random", {})["id"] not in SCANS[:3]


def test_worst_disagreement_comes_first(client, inferred):
    sample = wait_for(lambda: (s := client.next_sample(WORST_FIRST, {}))["n_waiting"] == 0 and s)
    assert sample["disagreement"] > 0
    assert sample["id"] == "sub-05_T1w"  # the true experts differ more than the cheap ones of sub-04


def test_training_runs_reports_stops_and_goes_on(client):
    def stats() -> dict:
        return client.info()["train_stats"][MODEL]

    client.train_start(MODEL, {"max_epochs": 1000, "learning_rate": 1e-4})
    wait_for(lambda: stats().get("epoch", 0) >= 1)
    assert client.train_status(check_if_running=True)
    assert "already" in refused(client.train_start, MODEL, {}).lower()
    assert client.train_stop()["status"] == "STOPPED"
    assert not client.train_status(check_if_running=True)
    done = stats()
    assert done["total_epochs"] == 1000
    assert done["train_loss"] > 0
    assert next(iter(client.info()["train_stats"])) == MODEL

    client.train_start(MODEL, {"max_epochs": done["epoch"] + 1, "learning_rate": 1e-4})
    ended = wait_for(lambda: (s := client.train_status())["status"] not in {"SUBMITTED", "RUNNING"} and s)
    assert ended["status"] == "DONE", ended
    assert stats()["epoch"] == done["epoch"] + 1
    assert stats()["total_time"]
    file, record = client.infer(MODEL, "sub-04_T1w", {"trained": True})
    assert nibabel.load(file).shape == (64, 64, 60)
    assert record["fusion"] in {"gate", "simplex"}


@pytest.mark.parametrize("place", [0, 1], ids=["Slicer's console", "Python"])
def test_examples_of_the_documentation_run(server, inferred, tmp_path, monkeypatch, repository, place):
    """With the client library of the Slicer extension, and a stand-in for Slicer itself."""
    extension = Path(sys.prefix) / "monailabel" / "plugins" / "slicer" / "MONAILabel"
    assert (extension / "MONAILabelLib" / "client.py").is_file()
    monkeypatch.syspath_prepend(str(extension))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    shutil.copy(server.studies / "sub-03_T1w.nii.gz", "scan_t1c.nii.gz")
    loaded = []
    slicer = SimpleNamespace(
        app=SimpleNamespace(temporaryPath=str(tmp_path)), util=SimpleNamespace(loadVolume=loaded.append)
    )
    page = (repository / "docs" / "slicer.md").read_text()
    code = re.findall(r"```py\n(.*?)```", page, flags=re.DOTALL)[place]
    names = {"slicer": slicer}
    exec(code.replace("http://127.0.0.1:8000", server.url), names)
    assert nibabel.load(names["path"]).shape == (64, 64, 60)
    assert loaded in ([], [names["path"]])


def test_saved_tumour_is_measured_and_found_again_by_the_scoring_method(client, server, tmp_path):
    label, affine = tumours.nested_tumour(10.0)
    path = tumours.write_label(tmp_path / "seg.nii.gz", label, affine)
    volume_mm3 = np.count_nonzero(label) * 1.5**3
    forged = {"tumour_features": {"values": {"wt.volume_mm3": 1.0}, "sha256": "0"}}
    client.save_label("sub-02_T1w", str(path), "tumour", forged)
    status, text = server.ask("GET", "/datastore/label/info?label=sub-02_T1w&tag=tumour")
    assert status == 200
    saved = json.loads(text)["tumour_features"]
    assert saved["values"]["wt.volume_mm3"] == pytest.approx(volume_mm3)
    changed = server.studies / "labels" / "tumour" / "sub-02_T1w.nii.gz"
    tumours.write_label(changed, np.where(label == 2, 0, label), affine)
    status, text = server.ask("POST", "/scoring/tumour_features")
    assert status == 200
    scored = json.loads(text)["measured"]["sub-02_T1w"]["tumour"]
    assert scored["values"]["wt.volume_mm3"] < volume_mm3
    assert scored["present"]["ed"] is False
    assert server.ask("DELETE", "/datastore/label?id=sub-02_T1w&tag=tumour")[0] == 200
    assert client.info()["scoring"]["tumour_features"]["description"]
    assert server.ask("POST", "/scoring/nope")[0] == 404


# What a hostile client may try.


def test_unknown_names_are_answered_with_the_known_ones(client):
    assert MODEL in refused(client.infer, "nope", "sub-03_T1w", {})
    assert "sub-03_T1w" in refused(client.infer, "sagnef", "nope", {})
    assert WORST_FIRST in refused(client.next_sample, "nope", {})
    assert MODEL in refused(client.train_start, "nope", {})


@pytest.mark.parametrize("image", ["../study/sub-03_T1w", "/etc/passwd", "..", "labels/final/sub-01_T1w"])
def test_images_are_ids_and_no_paths(client, server, image):
    assert "id must be" in refused(client.infer, "sagnef", image, {})
    assert "id must be" in refused(client.upload_image, str(server.studies / "sub-03_T1w.nii.gz"), image)
    for path in ("/datastore/image?image=", "/datastore/image/info?image="):
        assert server.ask("GET", path + image)[0] == 400


@pytest.mark.parametrize("text", ["%2e%2e%2fstudy", "%252e%252e%252f", "..%5cx", "a%00b", "%2fetc%2fpasswd"])
def test_escaped_paths_are_refused(server: LiveServer, text):
    for method, path in (
        ("GET", f"/datastore/image?image={text}"),
        ("GET", f"/datastore/label?label={text}&tag=final"),
        ("GET", f"/datastore/label?label=sub-01_T1w&tag={text}"),
        ("DELETE", f"/datastore/label?id=sub-01_T1w&tag={text}"),
        ("GET", f"/session/{text}"),
        ("DELETE", f"/session/{text}"),
        ("GET", f"/static/{text}"),
    ):
        status, reason = server.ask(method, path)
        assert status in {400, 403, 404}, (path, status, reason)
        assert json.loads(reason)["detail"]


@pytest.mark.parametrize(
    "params",
    [
        {"image": "/etc/passwd"},
        {"experts": ["/etc/passwd"]},
        {"image_path": "x"},
        {"label": "x"},
        {"config": "$__import__('os')"},
        {"bundle_root": "/tmp"},
        {"out": "/tmp"},
        {"save_label": True},
    ],
)
def test_params_cannot_name_files_or_configurations(client, params):
    assert "cannot be named" in refused(client.infer, "sagnef", "sub-03_T1w", params)
    assert "cannot be named" in refused(client.train_start, MODEL, params)


def test_expressions_never_reach_a_training(client, tmp_path):
    for value in (f"$open('{tmp_path}/owned', 'w')", "@manifest", "%x.yaml::y"):
        assert "max_epochs" in refused(client.train_start, MODEL, {"max_epochs": value})
    assert not client.train_status(check_if_running=True)
    assert not (tmp_path / "owned").exists()


def test_training_without_truths_says_what_is_missing(client):
    assert "a truth saved as label final, got 0" in refused(client.train_start, "sagnef_7mm_t2w", {})


def test_link_out_of_the_study_is_refused_and_not_listed(client, server):
    secret = server.folder / "secret.nii.gz"
    shutil.copy(server.studies / "sub-03_T1w.nii.gz", secret)
    (server.studies / "link_T1w.nii.gz").symlink_to(secret)
    assert "link that leaves it" in refused(client.infer, "sagnef", "link_T1w", {})
    assert server.ask("GET", "/datastore/image?image=link_T1w")[0] == 403
    assert "is a link" in refused(client.upload_image, str(secret), "link_T1w")
    assert "link_T1w" not in client.datastore()["objects"]


def test_label_that_is_a_link_out_of_the_study_is_refused(client, server):
    secret = server.folder / "label.nii.gz"
    shutil.copy(server.studies / "sub-04_T1w.nii.gz", secret)
    content = secret.read_bytes()
    (server.studies / "labels" / "review").mkdir()
    (server.studies / "labels" / "review" / "sub-04_T1w.nii.gz").symlink_to(secret)
    file = str(server.studies / "sub-03_T1w.nii.gz")
    assert "link that leaves it" in refused(client.save_label, "sub-04_T1w", file, "review")
    assert secret.read_bytes() == content


def test_labels_of_the_server_cannot_be_forged(client, server):
    file = str(server.studies / "sub-03_T1w.nii.gz")
    assert "server's own" in refused(client.save_label, "sub-04_T1w", file, "sagnef")
    assert "tag must be" in refused(client.save_label, "sub-04_T1w", file, "../../x")
    assert "image must be" in refused(client.save_label, "nope", file, "final")


def test_ct_is_refined_by_a_model_of_its_own(client, tmp_path):
    if not ct_bundles():
        pytest.skip("the CT bundle has no weights here")
    (model,) = ct_bundles()
    _, coarse = ct_studies.write_pair(tmp_path, "chest")
    file, record = client.infer(model, "", {}, None, str(coarse))
    assert nibabel.load(file).shape == (64, 64, 64)
    assert record["consistency"]["max_hu"] <= 0.5
    assert "must hold air" in refused(client.infer, model, "sub-03_T1w", {})


@pytest.mark.parametrize("name", ["scan.sh", "scan.json", "datastore_v2.json", "scan.pt"])
def test_uploads_are_images(client, server, tmp_path, name):
    path = tmp_path / name
    path.write_text("{}")
    refused(client.upload_image, str(path), "sub-06_T1w")
    refused(client.infer, "sagnef", "", {}, None, str(path))
    assert "sub-06_T1w" not in client.datastore()["objects"]


def test_upload_that_is_no_image_is_refused_with_a_reason(client, tmp_path):
    path = tmp_path / "scan_T1w.nii.gz"
    path.write_text("no image")
    assert "NIfTI" in refused(client.upload_image, str(path), "sub-06_T1w")
    assert "NIfTI" in refused(client.infer, "sagnef", "", {}, None, str(path))
    assert "NIfTI" in refused(client.save_label, "sub-04_T1w", str(path), "final")


def test_isotropic_scan_is_refused_with_a_reason(client, inferred, tmp_path):
    path = tmp_path / "fine_T1w.nii.gz"
    shutil.copy(inferred["command"], path)
    assert "422" in refused(client.infer, "sagnef", "", {}, None, str(path))


def test_something_to_keep_needs_an_image_of_the_datastore(client, server):
    file = str(server.studies / "sub-03_T1w.nii.gz")
    assert "upload the scan first" in refused(client.infer, "sagnef", "", {"weights": True}, None, file)
    assert "one of image" in refused(client.infer, "sagnef", "", {})


def test_session_holds_one_image(client, server, tmp_path):
    session = client.create_session(str(server.studies / "sub-04_T1w.nii.gz"))["session_id"]
    assert client.get_session(session)
    reason = refused(client.infer, "sagnef", "", {"weights": True}, session_id=session)
    assert "upload the scan first" in reason
    text = tmp_path / "scan.txt"
    text.write_text("no image")
    other = client.create_session(str(text))["session_id"]
    assert "file must be NIfTI" in refused(client.infer, "sagnef", "", {}, session_id=other)
    unknown = "6f1c0000-0000-0000-0000-000000000000"
    assert "session must be" in refused(client.infer, "sagnef", "", {}, session_id=unknown)
    assert client.remove_session(session)


def test_stated_size_is_limited(server):
    status, reason = server.ask("PUT", "/datastore/", headers={"Content-Length": str(10**12)})
    assert status == 413
    assert "at most" in reason


def test_size_in_chunks_is_limited(server):
    """Without a length, only counting stops it."""
    head = f"PUT /datastore/?image=big HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
    head += "Content-Type: multipart/form-data; boundary=b\r\nTransfer-Encoding: chunked\r\n\r\n"
    first = b'--b\r\nContent-Disposition: form-data; name="file"; filename="big.nii.gz"\r\n\r\n'
    block, answer = bytes(2**16), b""
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as raw:
        raw.sendall(head.encode())
        try:
            for part in [first, *[block] * (16 * MAX_UPLOAD_MB + 64)]:
                raw.sendall(f"{len(part):x}\r\n".encode() + part + b"\r\n")
        except OSError:
            pass  # the server has hung up
        try:
            answer = raw.recv(2**16)
        except ConnectionResetError:
            answer = b""
    assert not answer or b" 413 " in answer.splitlines()[0]
    assert not (server.studies / "big.nii.gz").exists()
    assert server.ask("GET", "/info/")[0] == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", f"/model/{MODEL}"),
        ("GET", f"/model/{MODEL}"),
        ("DELETE", f"/model/{MODEL}"),
        ("POST", f"/batch/infer/{MODEL}"),
        ("POST", f"/infer/wsi/{MODEL}"),
        ("GET", "/proxy/dicom/wado/studies"),
        ("GET", "/ohif/x"),
        ("DELETE", "/datastore/?id=sub-01_T1w"),
        ("DELETE", "/datastore/image?id=sub-01_T1w"),
        ("PUT", "/datastore/image/info?image=sub-01_T1w"),
        ("GET", "/datastore/dataset"),
        ("GET", "/file/etc/passwd"),
        ("POST", "/reload"),
        ("PUT", "/session/?uncompress=true"),
    ],
)
def test_what_no_client_needs_is_closed(server, method, path):
    status, reason = server.ask(method, path)
    assert status == 403
    assert json.loads(reason)["detail"]


def test_other_web_pages_may_not_ask(server):
    assert server.ask("GET", "/info/", headers={"Origin": "http://evil.example"})[0] == 403
    assert server.ask("GET", "/info/", headers={"Host": "rebound.example"})[0] == 403


def test_logs_tell_what_happened_and_name_no_other_file(server):
    assert server.ask("GET", "/logs/?lines=50&html=false")[0] == 200
    assert server.ask("GET", "/logs/../main.py")[0] == 400


def test_studies_are_a_folder(server, tmp_path):
    shutil.copytree(server.folder / "app", tmp_path / "app")
    line = [sys.executable, "-m", "monailabel.main", "start_server", "--app", tmp_path / "app"]
    line += ["--studies", "http://127.0.0.1:1/dicomweb", "--port", "0", "--host", "127.0.0.1"]
    answer = subprocess.run([str(w) for w in line], capture_output=True, text=True, check=False, timeout=300)
    assert answer.returncode != 0
    assert "--studies must be a folder" in answer.stdout + answer.stderr
