"""The datastore: the stock one of local files, with ids that cannot leave its folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from monailabel.datastore.local import LocalDatastore

from revoxel.label.ids import SUFFIXES, check_id, check_tag, image_path, inside, is_servable, split_name
from revoxel.label.refusals import conflict, forbidden, unknown
from revoxel.label.training import Pair
from revoxel.label.tumours import TUMOUR_FEATURES, tumour_features
from revoxel.label.uploads import check_volume
from revoxel.label.wishes import OWN_TAGS

TRUTH_TAG = "final"


class ScanStore(LocalDatastore):
    """Scans at the top of a folder, truths and results as labels below `labels/`.

    Args:
        studies: The folder.
        auto_reload: Watch it for new files.
    """

    def __init__(self, studies: Path, *, auto_reload: bool) -> None:
        self.studies = studies
        patterns = [f"*{suffix}" for suffix in SUFFIXES]
        super().__init__(str(studies), extensions=patterns, auto_reload=auto_reload)

    def _list_files(self, path: str, patterns: Sequence[str]) -> dict[str, str]:
        """What the folder holds; expert volumes, odd names and links out of it are no images."""
        files: dict[str, str] = super()._list_files(path, patterns)
        return {name: file for name, file in files.items() if is_servable(Path(path), Path(path) / file)}

    def get_image_uri(self, image_id: str) -> str:
        """Path of an image; refused if it is not below the studies folder."""
        return str(image_path(self.studies, image_id))

    def get_label_uri(self, label_id: str, label_tag: str) -> str:
        """Path of a label; refused if it is not below the studies folder."""
        uri = super().get_label_uri(check_id(label_id), check_tag(label_tag))
        if not uri:
            raise unknown(f"label of {label_id}", label_tag, self.get_labels_by_image_id(label_id))
        return str(inside(self.studies, Path(uri)))

    def add_image(self, image_id: str, image_filename: str, image_info: dict[str, Any]) -> str:
        """Take in an image that a client sent; what is there is never replaced."""
        if any((self.studies / f"{check_id(image_id)}{suffix}").is_symlink() for suffix in SUFFIXES):
            raise forbidden(f"image {image_id} is a link on the server; choose another id.")
        if image_id in self.list_images():
            raise conflict(f"image {image_id} exists already; choose another id.")
        check_volume(Path(image_filename))
        try:
            return str(super().add_image(image_id, image_filename, image_info))
        except OSError:
            # A full disk must not leave half an image behind.
            (self.studies / f"{image_id}{split_name(image_filename)[1]}").unlink(missing_ok=True)
            raise

    def save_label(
        self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any]
    ) -> str:
        """Take in a label that a client sent, such as the truth of a scan; that of a tumour is measured."""
        if check_tag(label_tag) in OWN_TAGS:
            raise forbidden(f"labels {label_tag} are the server's own; save yours under another tag.")
        check_volume(Path(label_filename))
        # What is measured stands in the info: a client must not state it.
        said = {name: value for name, value in label_info.items() if name != TUMOUR_FEATURES}
        features = tumour_features(Path(label_filename))
        measured = {} if features is None else {TUMOUR_FEATURES: features}
        return self.keep(image_id, Path(label_filename), label_tag, said | measured)

    def keep(self, image_id: str, path: Path, tag: str, info: dict[str, Any]) -> str:
        """Keep a volume as a label of an image.

        Args:
            image_id: The image, which must exist.
            path: The volume; it is copied.
            tag: Kind of label.
            info: What the datastore tells about it.

        Returns:
            Id of the label.

        Raises:
            RefusedError: If there is no such image, or a link leads out of the studies folder.
        """
        self.get_image_uri(image_id)
        suffix = next(suffix for suffix in SUFFIXES if path.name.endswith(suffix))
        inside(self.studies, Path(self._datastore.label_path(tag)) / f"{image_id}{suffix}")
        return str(super().save_label(image_id, str(path), tag, info))

    def scans(self, ids: Sequence[str]) -> dict[str, Path]:
        """Files of images.

        Args:
            ids: Ids of this datastore.
        """
        return {image_id: Path(self.get_image_uri(image_id)) for image_id in ids}

    def clients_labels(self) -> Iterator[tuple[str, str]]:
        """Image and tag of every label that is not the server's own."""
        for image_id in sorted(self.list_images()):
            tags = sorted(self.get_labels_by_image_id(image_id))
            yield from ((image_id, tag) for tag in tags if tag not in OWN_TAGS)

    def pairs(self) -> list[Pair]:
        """Scans with the truths that clients saved."""
        scans = self.scans(sorted(self.get_labeled_images()))
        return [Pair(path, Path(self.get_label_uri(name, TRUTH_TAG))) for name, path in scans.items()]
