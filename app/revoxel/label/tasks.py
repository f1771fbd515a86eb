"""The tasks that the server lists: super-resolution, CT refinement, training, which scan next, tumours."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from monai.data import MetaTensor
from monailabel.interfaces.tasks.infer_v2 import InferType
from monailabel.interfaces.tasks.scoring import ScoringMethod
from monailabel.interfaces.tasks.strategy import Strategy
from monailabel.interfaces.tasks.train import TrainTask
from monailabel.tasks.infer.basic_infer import BasicInferTask

from revoxel.core.bundles import BundleStatus
from revoxel.core.geometry import Grid
from revoxel.core.provenance import sha256_of
from revoxel.core.reasons import one_line
from revoxel.core.volumes import write_volume
from revoxel.ct.scans.results import write_hu
from revoxel.label.cache import ExpertCache
from revoxel.label.ct import CtJob, refine_ct, shown_ct_record
from revoxel.label.disagreement import Scorer
from revoxel.label.jobs import Job, shown_record, superresolve_scan
from revoxel.label.models import AUTOMATIC, Model
from revoxel.label.store import ScanStore
from revoxel.label.training import fitting_pairs, prepare_run, run_training, runs_of
from revoxel.label.tumours import TUMOUR_FEATURES, tumour_features
from revoxel.label.wishes import REFINED_TAG, TrainWishes


class SuperResolve(BasicInferTask):
    """Super-resolve with one bundle, or with the one that fits.

    Args:
        name: Name of a model, or `sagnef`.
        models: Bundles with weights.
        cache: Where experts are found and kept.
        devices: Choices of the clients, the preferred one first.
    """

    def __init__(
        self, name: str, models: Mapping[str, Model], cache: ExpertCache, devices: list[str]
    ) -> None:
        self.name = name
        self.models = models
        self.cache = cache
        description = models[name].description if name in models else "Picks the bundle that fits the scan"
        # The stock viewers send the first word of each list; what they get back they show as labels.
        choices = {
            "deliver": ["datastore", "file"],
            "weights": False,
            "trained": False,
            "device": devices,
        }
        super().__init__(
            path=[],
            network=None,
            # The stock viewers offer a button for no other type.
            type=InferType.SEGMENTATION,
            labels=[],
            dimension=3,
            description=description,
            config=choices,
        )

    def is_valid(self) -> bool:
        """Whether the weights are there."""
        return self.name == AUTOMATIC or self.models[self.name].weights.is_file()

    def pre_transforms(self, data: Any = None) -> tuple[()]:  # noqa: ARG002 - stock signature
        """None: the pipeline reads the scan and its experts itself."""
        return ()

    def post_transforms(self, data: Any = None) -> tuple[()]:  # noqa: ARG002 - stock signature
        """None: the result is in the units of the scan already."""
        return ()

    def run_inferer(self, data: dict[str, Any], convert_to_batch: bool = True, device: str = "") -> Any:  # noqa: ARG002
        """Make `pred`, a MetaTensor `(i, j, k)` with the affine of the result."""
        job = Job(Path(data["image"]), self.name, data["wishes"], Path(data["out"]))
        result = superresolve_scan(job, self.cache, self.models)
        affine = torch.from_numpy(result.stack.grid.affine)
        data["pred"] = MetaTensor(torch.from_numpy(result.fused.volume), affine=affine)
        data["result"] = shown_record(result) | {"model": result.record["gate"]}
        return data

    def writer(self, data: dict[str, Any], extension: Any = None, dtype: Any = None) -> tuple[str, Any]:  # noqa: ARG002
        """Write `pred` as float32 NIfTI, its affine kept."""
        pred = data["pred"]
        path = Path(data["out"]) / "delivered" / f"{data['image_id']}_sagnef.nii.gz"
        grid = Grid(tuple(pred.shape), pred.affine.numpy())
        write_volume(path, pred.array, grid)
        return str(path), dict(data["result"])


class RefineCt(BasicInferTask):
    """Refine a coarse CT with one bundle.

    Args:
        bundle: Name, description and weights.
        devices: Choices of the clients, the preferred one first.
    """

    def __init__(self, bundle: BundleStatus, devices: list[str]) -> None:
        self.bundle = bundle
        super().__init__(
            path=[],
            network=None,
            # The stock viewers offer a button for no other type.
            type=InferType.SEGMENTATION,
            labels=[],
            dimension=3,
            description=bundle.description,
            config={"deliver": ["datastore", "file"], "device": devices},
        )

    def is_valid(self) -> bool:
        """Whether the weights are there."""
        return self.bundle.weights is not None and self.bundle.weights.is_file()

    def pre_transforms(self, data: Any = None) -> tuple[()]:  # noqa: ARG002 - stock signature
        """None: the pipeline reads the scan itself."""
        return ()

    def post_transforms(self, data: Any = None) -> tuple[()]:  # noqa: ARG002 - stock signature
        """None: the result is in HU already."""
        return ()

    def run_inferer(self, data: dict[str, Any], convert_to_batch: bool = True, device: str = "") -> Any:  # noqa: ARG002
        """Make `pred`, a MetaTensor `(x, y, z)` in HU with the affine of the result."""
        refined = refine_ct(CtJob(Path(data["image"]), self.bundle.name, data["wishes"], Path(data["out"])))
        affine = torch.from_numpy(refined.grid.affine.copy())
        data["pred"] = MetaTensor(torch.from_numpy(refined.result.refined), affine=affine)
        data["result"] = shown_ct_record(refined, self.bundle.name)
        return data

    def writer(self, data: dict[str, Any], extension: Any = None, dtype: Any = None) -> tuple[str, Any]:  # noqa: ARG002
        """Write `pred` as int16 NIfTI, its affine kept."""
        pred = data["pred"]
        path = Path(data["out"]) / "delivered" / f"{data['image_id']}_{REFINED_TAG}.nii.gz"
        write_hu(path, pred.array, Grid(tuple(pred.shape), pred.affine.numpy()))
        return str(path), dict(data["result"])


class TrainGate(TrainTask):
    """Train one bundle on the scans of the datastore that have a truth.

    Args:
        model: The bundle.
        cache: Where experts are found and kept.
    """

    def __init__(self, model: Model, cache: ExpertCache) -> None:
        super().__init__(f"Trains {model.name} further on scans with a truth (label final)")
        self.model = model
        self.cache = cache

    def config(self) -> dict[str, Any]:
        """Values that a client may set."""
        return TrainWishes().model_dump(exclude={"client_id"})

    def stats(self) -> dict[str, Any]:
        """Progress of the newest run."""
        runs = runs_of(self.cache.work, self.model.spacing, self.model.pulse)
        return runs[0].stats() if runs else {}

    def __call__(self, request: Mapping[str, Any], datastore: ScanStore) -> dict[str, Any]:
        """Train; the server calls this in a process of its own, which it kills to stop."""
        wishes = TrainWishes.read({key: request[key] for key in TrainWishes.model_fields if key in request})
        pairs = fitting_pairs(datastore.pairs(), self.model)
        return run_training(prepare_run(pairs, self.model, wishes, self.cache), self.model, wishes)


class WorstDisagreementFirst(Strategy):
    """The scan that the experts disagree about most: there a truth teaches most.

    Args:
        scorer: What knows the disagreement.
    """

    def __init__(self, scorer: Scorer) -> None:
        super().__init__("Worst disagreement of the experts first")
        self.scorer = scorer

    def __call__(self, request: Mapping[str, Any], datastore: ScanStore) -> dict[str, Any] | None:  # noqa: ARG002
        """Id of the next scan; experts of scans that were never ranked are made meanwhile."""
        scans = datastore.scans(sorted(datastore.get_unlabeled_images()))
        ranking = self.scorer.rank(scans)
        if ranking.waiting:
            self.scorer.make_missing({name: scans[name] for name in ranking.waiting})
        best = next(iter(ranking.scores), next(iter(ranking.waiting), None))
        if best is None:
            return None
        score = ranking.scores.get(best)
        return {"id": best, "disagreement": score, "n_waiting": len(ranking.waiting)}


class MeasureTumours(ScoringMethod):
    """Volume, place and shape of every tumour that a label of the datastore shows."""

    def __init__(self) -> None:
        super().__init__("Measures label maps of tumours: necrotic core 1, oedema 2, enhancing tumour 3")

    def __call__(self, request: Mapping[str, Any], datastore: ScanStore) -> dict[str, Any]:  # noqa: ARG002
        """Measure what is new or changed; all measures are in the info of the labels too."""
        measured: dict[str, dict[str, Any]] = {}
        failed: dict[str, str] = {}
        for image_id, tag in datastore.clients_labels():
            try:
                features = self._features(datastore, image_id, tag)
            except (ValueError, OSError) as error:
                failed[f"{image_id} {tag}"] = one_line(error)
                continue
            if features is not None:
                measured.setdefault(image_id, {})[tag] = features
        return {"measured": measured, "failed": failed}

    def _features(self, datastore: ScanStore, image_id: str, tag: str) -> dict[str, Any] | None:
        path = Path(datastore.get_label_uri(image_id, tag))
        known: dict[str, Any] | None = datastore.get_label_info(image_id, tag).get(TUMOUR_FEATURES)
        if known is not None and known["sha256"] == sha256_of(path):
            return known
        features = tumour_features(path)
        if features is not None:
            datastore.update_label_info(image_id, tag, {TUMOUR_FEATURES: features})
        return features
