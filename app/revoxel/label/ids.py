"""Ids instead of paths: what a client may name, and where on the server that lies."""

from __future__ import annotations

import re
from pathlib import Path

from revoxel.core.volumes import NIFTI_SUFFIXES
from revoxel.experts.names import Expert
from revoxel.label.refusals import bad, forbidden, unknown

#: File endings of images and labels in the datastore; the client's own module writes `.nii.gz`.
SUFFIXES = NIFTI_SUFFIXES
# Letters of any script; no separators, no percent sign, no leading dot or dash.
_ID = re.compile(r"\w[\w .+=@(),-]{0,199}")
_TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_SESSION = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_EXPERT_FILE = re.compile(rf".*_SR-(?:{'|'.join(Expert)})\.nii(?:\.gz)?", re.IGNORECASE)


def check_id(text: str) -> str:
    """Refuse whatever could be more than the name of one image.

    Args:
        text: What a client sent, percent signs decoded.

    Returns:
        The same text.

    Raises:
        RefusedError: If it holds a path separator, a percent sign, a control character, or begins with a dot.
    """
    if _ID.fullmatch(text) is None or ".." in text:
        msg = f"id must be the name of an image, got {text!r}; ask GET /datastore/?output=all for the names."
        raise bad(msg)
    return text


def check_tag(text: str) -> str:
    """Refuse whatever could be more than the name of a kind of label.

    Args:
        text: What a client sent, such as `final`.

    Returns:
        The same text.

    Raises:
        RefusedError: If it holds more than letters, digits, dash and underscore.
    """
    if _TAG.fullmatch(text) is None:
        msg = f"tag must be a word such as final, got {text!r}; use letters, digits, - and _."
        raise bad(msg)
    return text


def check_session(text: str) -> str:
    """Refuse whatever is no session that this server began.

    Args:
        text: What a client sent.

    Returns:
        The same text.

    Raises:
        RefusedError: If it is no UUID.
    """
    if _SESSION.fullmatch(text) is None:
        msg = f"session must be an id that PUT /session/ gave, got {text!r}; begin a session first."
        raise bad(msg)
    return text


def split_name(name: str) -> tuple[str, str]:
    """Id and suffix that the name of an uploaded file states.

    Args:
        name: What a client sent; folders in it are ignored.

    Returns:
        Id and suffix.

    Raises:
        RefusedError: If it is not the name of a NIfTI file.
    """
    bare = name.replace("\\", "/").rpartition("/")[2]
    for suffix in SUFFIXES:
        if bare.endswith(suffix):
            return check_id(bare[: -len(suffix)]), suffix
    msg = f"file must be NIfTI ({', '.join(SUFFIXES)}), got {bare!r}; convert it first."
    raise bad(msg)


def inside(root: Path, path: Path) -> Path:
    """Resolve links and refuse what lies elsewhere.

    Args:
        root: Folder that must hold the file.
        path: The file.

    Returns:
        The resolved path.

    Raises:
        RefusedError: If a link leads out of the folder.
    """
    resolved = path.resolve()
    if not resolved.is_relative_to(root.resolve()):
        msg = f"{path.name} must lie in the studies folder, got a link that leaves it; copy the file there."
        raise forbidden(msg)
    return resolved


def image_path(studies: Path, image_id: str) -> Path:
    """File of an image.

    Args:
        studies: Folder of the datastore.
        image_id: Id that a client sent.

    Returns:
        The file, links resolved.

    Raises:
        RefusedError: If the id is no id, there is no such image, or it is a link out of the folder.
    """
    check_id(image_id)
    for suffix in SUFFIXES:
        path = studies / f"{image_id}{suffix}"
        if is_image(path):
            return inside(studies, path)
    raise unknown("image", image_id, image_ids(studies))


def image_ids(studies: Path) -> list[str]:
    """Ids of all images that a client may ask for.

    Args:
        studies: Folder of the datastore.
    """
    return sorted({split_name(path.name)[0] for path in studies.iterdir() if is_servable(studies, path)})


def is_image(path: Path) -> bool:
    """Whether a file is an image of the datastore: experts that lie beside a scan are not.

    Args:
        path: File at the top of the studies folder.
    """
    name = path.name
    return name.endswith(SUFFIXES) and _EXPERT_FILE.fullmatch(name) is None and path.is_file()


def is_servable(studies: Path, path: Path) -> bool:
    """Whether a file is an image, has a name that is an id, and lies where it seems to.

    Args:
        studies: Folder of the datastore.
        path: File at its top.
    """
    named = next((path.name[: -len(suffix)] for suffix in SUFFIXES if path.name.endswith(suffix)), "")
    fits = _ID.fullmatch(named) is not None and ".." not in named
    return fits and is_image(path) and path.resolve().is_relative_to(studies.resolve())
