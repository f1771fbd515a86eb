"""What a client may name, and that nothing else can be reached by it."""

import os

import pytest

from revoxel.label.ids import (
    check_id,
    check_session,
    check_tag,
    image_ids,
    image_path,
    inside,
    is_image,
    split_name,
)
from revoxel.label.refusals import RefusedError


@pytest.fixture
def studies(tmp_path):
    folder = tmp_path / "study"
    folder.mkdir()
    (folder / "sub-01_T1w.nii.gz").touch()
    return folder


@pytest.mark.parametrize("text", ["sub-01_T1w", "BraTS-GLI-00001-000-t1c", "Müller 2 (a).v1", "0"])
def test_names_of_images_are_ids(text):
    assert check_id(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "..",
        "../x",
        "a/b",
        "/etc/passwd",
        "a\\b",
        "%2e%2e",
        "a%00",
        "a\x00",
        ".hidden",
        "-rf",
        "a..b",
        "a\n",
    ],
)
def test_anything_else_is_no_id(text):
    with pytest.raises(RefusedError, match="id must be"):
        check_id(text)


@pytest.mark.parametrize("text", ["", "..", "final/../..", "a b", "%2e", "-x"])
def test_tags_are_words(text):
    assert check_tag("final") == "final"
    with pytest.raises(RefusedError, match="tag must be"):
        check_tag(text)


@pytest.mark.parametrize("text", ["", "..", "6f1c", "6F1C0000-0000-0000-0000-000000000000"])
def test_sessions_are_uuids(text):
    known = "6f1c0000-0000-0000-0000-000000000000"
    assert check_session(known) == known
    with pytest.raises(RefusedError, match="session must be"):
        check_session(text)


def test_uploaded_name_gives_id_and_suffix_without_folders():
    assert split_name("C:\\scans\\a.b_t1c.nii.gz") == ("a.b_t1c", ".nii.gz")
    assert split_name("/home/me/a.nii") == ("a", ".nii")


@pytest.mark.parametrize("name", ["", "a", "a.json", "a.nii.gz.sh", ".nii.gz", "a.seg.nrrd"])
def test_uploads_other_than_nifti_are_refused(name):
    with pytest.raises(RefusedError):
        split_name(name)


def test_image_lies_below_the_studies(studies):
    assert image_path(studies, "sub-01_T1w") == (studies / "sub-01_T1w.nii.gz").resolve()


def test_unknown_image_is_told_the_known_ones(studies):
    with pytest.raises(RefusedError, match=r"sub-01_T1w; got 'sub-09_T1w'") as error:
        image_path(studies, "sub-09_T1w")
    assert error.value.status == 404


def test_link_out_of_the_studies_is_neither_served_nor_listed(studies, tmp_path):
    (tmp_path / "secret.nii.gz").touch()
    (studies / "link.nii.gz").symlink_to(tmp_path / "secret.nii.gz")
    with pytest.raises(RefusedError, match="link that leaves it") as error:
        image_path(studies, "link")
    assert error.value.status == 403
    assert image_ids(studies) == ["sub-01_T1w"]


def test_link_within_the_studies_is_served(studies):
    (studies / "again.nii.gz").symlink_to(studies / "sub-01_T1w.nii.gz")
    assert image_path(studies, "again") == image_path(studies, "sub-01_T1w")


def test_linked_studies_folder_is_no_link_out(studies, tmp_path):
    linked = tmp_path / "linked"
    linked.symlink_to(studies)
    assert inside(linked, linked / "sub-01_T1w.nii.gz") == image_path(studies, "sub-01_T1w")


def test_experts_beside_a_scan_are_no_images(studies):
    for name in ("sub-01_T1w_SR-SMORE.nii.gz", "sub-01_T1w_SR-ECLARE.nii"):
        (studies / name).touch()
        assert not is_image(studies / name)
    os.mkfifo(studies / "pipe.nii.gz")
    (studies / "note.txt").touch()
    assert image_ids(studies) == ["sub-01_T1w"]
