"""The MONAI Label application."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monailabel.config import settings
from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.exception import MONAILabelException
from monailabel.interfaces.tasks.scoring import ScoringMethod
from monailabel.interfaces.tasks.strategy import Strategy
from monailabel.tasks.activelearning.random import Random
from monailabel.tasks.infer.basic_infer import BasicInferTask
from monailabel.utils.others.generic import device_list

from revoxel import __version__
from revoxel.core.volumes import RESEARCH_USE
from revoxel.label.cache import ExpertCache
from revoxel.label.ct import ct_bundles
from revoxel.label.disagreement import Scorer
from revoxel.label.guard import Guard, Policy
from revoxel.label.models import AUTOMATIC, models_with_weights
from revoxel.label.refusals import bad, unknown
from revoxel.label.store import ScanStore
from revoxel.label.tasks import MeasureTumours, RefineCt, SuperResolve, TrainGate, WorstDisagreementFirst
from revoxel.label.tumours import TUMOUR_FEATURES
from revoxel.label.wishes import FUSED_TAG, REFINED_TAG, WEIGHTS_TAG, InferWishes

logger = logging.getLogger(__name__)


class RevoxelApp(MONAILabelApp):
    """SAGNEF for the clients of MONAI Label.

    Args:
        app_dir: Folder of `main.py`.
        studies: Folder with thick-slice scans as NIfTI files.
        conf: `max_upload_mb`, and `work_dir`, the folder that is written to instead of `STUDIES.revoxel`.
    """

    def __init__(self, app_dir: str, studies: str, conf: Mapping[str, str]) -> None:
        if "://" in studies:
            msg = f"--studies must be a folder of NIfTI files, got {studies!r}; export the scans there."
            raise ValueError(msg)
        self.models = models_with_weights()
        self.ct_bundles = ct_bundles()
        folder = Path(studies).resolve()
        work = Path(conf.get("work_dir") or folder.with_name(f"{folder.name}.revoxel"))
        self.cache = ExpertCache(folder, work)
        self.policy = Policy(
            int(float(conf.get("max_upload_mb", 512)) * 1024**2),
            frozenset(str(origin).rstrip("/") for origin in settings.MONAI_LABEL_CORS_ORIGINS),
        )
        super().__init__(
            app_dir=app_dir,
            studies=str(folder),
            conf=dict(conf),
            name="Revoxel",
            description=f"Thick-slice MRI or coarse CT in, fine volume out; {RESEARCH_USE}",
            version=__version__,
            labels=[],
        )

    def init_datastore(self) -> ScanStore:
        """Scans of a folder."""
        return ScanStore(Path(self.studies), auto_reload=settings.MONAI_LABEL_DATASTORE_AUTO_RELOAD)

    def init_infers(self) -> dict[str, BasicInferTask]:
        """One task per bundle with weights, and the one that picks among those of MRI."""
        names = [AUTOMATIC, *self.models]
        devices = ["auto", *device_list()]
        tasks: dict[str, BasicInferTask] = {
            name: SuperResolve(name, self.models, self.cache, devices) for name in names
        }
        return tasks | {name: RefineCt(bundle, devices) for name, bundle in self.ct_bundles.items()}

    def init_trainers(self) -> dict[str, TrainGate]:
        """One task per bundle."""
        return {name: TrainGate(model, self.cache) for name, model in self.models.items()}

    def init_strategies(self) -> dict[str, Strategy]:
        """The stock one, and the experts' own."""
        return {"random": Random(), "worst_disagreement_first": WorstDisagreementFirst(Scorer(self.cache))}

    def init_scoring_methods(self) -> dict[str, ScoringMethod]:
        """Measures of tumours."""
        return {TUMOUR_FEATURES: MeasureTumours()}

    def async_scoring(self, method: str | None, params: Any = None) -> dict[str, Any]:  # noqa: ARG002
        """None by itself: labels are measured when they are saved, not in a process per request."""
        return {}

    def on_init_complete(self) -> None:
        """Stand before the stock server; it has begun to run, but has served nothing yet."""
        super().on_init_complete()
        from monailabel.app import app as server

        from revoxel.label.routes import failed, refused, router

        # The first route that matches answers: ours come before the stock ones of the same name.
        server.router.routes[:0] = router.routes
        for kind in (ValueError, MONAILabelException):
            server.add_exception_handler(kind, refused)
        server.add_exception_handler(OSError, failed)
        # The stack was built when the server began to start; it is built again, with the handlers above.
        server.middleware_stack = Guard(server.build_middleware_stack(), self.policy)

    def info(self) -> dict[str, Any]:
        """As the stock one; the newest training comes first, because viewers show only that."""
        info: dict[str, Any] = super().info()
        stats = sorted(
            info["train_stats"].items(), key=lambda item: item[1].get("start_ts", ""), reverse=True
        )
        return info | {"train_stats": dict(stats)}

    def check_model(self, name: str) -> None:
        """Refuse a model that is not there.

        Args:
            name: What a client asked for.

        Raises:
            RefusedError: With the models that are there.
        """
        if name not in self._infers:
            raise unknown("model", name, self._infers)

    def check_trainer(self, name: str) -> None:
        """Refuse to train what is not there.

        Args:
            name: What a client asked for.

        Raises:
            RefusedError: With the models that are there.
        """
        if name not in self._trainers:
            raise unknown("model", name, self._trainers)

    def check_scoring(self, name: str) -> None:
        """Refuse a scoring method that is not there.

        Args:
            name: What a client asked for.

        Raises:
            RefusedError: With the methods that are there.
        """
        if name not in self._scoring_methods:
            raise unknown("scoring method", name, self._scoring_methods)

    def infer(self, request: dict[str, Any], datastore: ScanStore | None = None) -> dict[str, Any]:
        """Super-resolve or refine one scan, and keep in the datastore what the client wants kept.

        Args:
            request: `model`, `image` (a path that the server chose), `image_id` (empty for what was sent
                along), `wishes` and `out`, a folder for the results.
            datastore: Where results are kept.

        Returns:
            `file`, unless it is kept, and `params`.

        Raises:
            RefusedError: If something is to be kept of a scan that is not of the datastore.
        """
        wishes: InferWishes = request["wishes"]
        image_id = request["image_id"]
        keeps = wishes.weights or wishes.deliver == "datastore"
        if keeps and not image_id:
            msg = "weights and deliver=datastore take an image of the datastore; upload the scan first."
            raise bad(msg)
        name = image_id or Path(request["image"]).name.partition(".")[0]
        result: dict[str, Any] = super().infer(request | {"image_id": name}, datastore)
        return result if not keeps else self._keep(result, request, wishes)

    def _keep(self, result: dict[str, Any], request: dict[str, Any], wishes: InferWishes) -> dict[str, Any]:
        image_id, record = request["image_id"], result["params"]
        info = {"params": {name: record[name] for name in ("model", "experts") if name in record}}
        tag = REFINED_TAG if request["model"] in self.ct_bundles else FUSED_TAG
        kept = {}
        if wishes.weights:
            weights = next(Path(request["out"]).glob("*_weights.nii.gz"))
            kept[WEIGHTS_TAG] = self._datastore.keep(image_id, weights, WEIGHTS_TAG, info)
        if wishes.deliver == "datastore":
            kept[tag] = self._datastore.keep(image_id, Path(result["file"]), tag, info)
            result = result | {"file": None, "label": None}
        return result | {"params": record | {"kept": kept}}
