"""Endpoints that replace stock ones: those where a client's parameters would be taken unseen."""

from __future__ import annotations

import json
import shutil
import tempfile
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, BackgroundTasks, Body, File, Form, Request, UploadFile
from fastapi.responses import JSONResponse, Response
from monailabel.endpoints.activelearning import sample
from monailabel.endpoints.infer import send_response
from monailabel.endpoints.train import run_model
from monailabel.interfaces.exception import ImageNotFoundException, LabelNotFoundException
from monailabel.interfaces.utils.app import app_instance
from requests_toolbelt import MultipartEncoder

from revoxel.core.reasons import one_line
from revoxel.label.ids import check_id, split_name
from revoxel.label.refusals import RefusedError, bad, unknown
from revoxel.label.training import fitting_pairs
from revoxel.label.uploads import check_volume
from revoxel.label.wishes import InferWishes, TrainWishes

router = APIRouter()


class Output(StrEnum):
    """What an answer holds."""

    image = "image"
    json = "json"
    all = "all"


@router.post("/infer/{model}")
def infer(  # noqa: PLR0913, PLR0917 - the parameters of the stock endpoint
    background_tasks: BackgroundTasks,
    model: str,
    image: str = "",
    session_id: str = "",
    params: Annotated[str, Form()] = "{}",
    file: Annotated[UploadFile | None, File()] = None,
    output: Output | None = None,
) -> Any:
    """Super-resolve an image of the datastore, of a session, or sent along; not in the event loop."""
    app = app_instance()
    app.check_model(model)
    wishes = InferWishes.read(params)
    folder = Path(tempfile.mkdtemp(prefix="revoxel-"))
    background_tasks.add_task(shutil.rmtree, folder, ignore_errors=True)
    try:
        scan = _scan(app, image, session_id, _received(file, folder) if file else None)
        request = {
            "model": model,
            "image": str(scan),
            "image_id": image,
            "wishes": wishes,
            "out": str(folder),
        }
        result = app.infer(request)
        if result["file"] is None and output is not Output.json:
            return _record_alone(result["params"])
        return send_response(app.datastore(), result, output, background_tasks)
    except BaseException:
        # Background tasks run only after an answer.
        shutil.rmtree(folder, ignore_errors=True)
        raise


@router.post("/train/{model}")
def train(model: str, params: Annotated[dict[str, Any] | None, Body()] = None) -> Any:
    """Start a training, if there is something to learn from."""
    app = app_instance()
    app.check_trainer(model)
    wishes = TrainWishes.read(params)
    fitting_pairs(app.datastore().pairs(), app.models[model])
    return run_model(model, wishes.model_dump())


@router.post("/scoring/{method}")
def scoring(method: str) -> Any:
    """Score the labels of the datastore at once: one costs less than a process would."""
    app = app_instance()
    app.check_scoring(method)
    return app.scoring({"method": method})


@router.post("/activelearning/{strategy}")
def next_sample(strategy: str, params: Annotated[dict[str, Any] | None, Body()] = None) -> Any:
    """Name the scan that is worth a truth next."""
    known = app_instance().info()["strategies"]
    if strategy not in known:
        raise unknown("strategy", strategy, known)
    client = (params or {}).get("client_id")
    return sample(strategy, {"client_id": client if isinstance(client, str) else None})


def _record_alone(record: dict[str, Any]) -> Response:
    """A multipart answer without an image: the stock viewers stumble over plain JSON."""
    encoder = MultipartEncoder(fields={"params": (None, json.dumps(record), "application/json")})
    return Response(encoder.to_string(), media_type=encoder.content_type)


def _scan(app: Any, image: str, session_id: str, uploaded: Path | None) -> Path:
    if [bool(image), bool(session_id), uploaded is not None].count(True) != 1:
        raise bad("one of image, session_id and file must be given; name an image of the datastore.")
    if uploaded is not None:
        return uploaded
    if image:
        return Path(app.datastore().get_image_uri(image))
    session = app.sessions().get_session(session_id)
    if session is None:
        raise unknown("session", session_id, ())
    path = Path(session.image)
    split_name(path.name)
    check_volume(path)
    return path


def _received(file: UploadFile, folder: Path) -> Path:
    stem, suffix = split_name(file.filename or "")
    path = folder / "received" / f"{check_id(stem)}{suffix}"
    path.parent.mkdir()
    with path.open("wb") as target:
        shutil.copyfileobj(file.file, target)
    check_volume(path)
    return path


def refused(_request: Request, error: Exception) -> JSONResponse:
    """A refusal, or data that cannot be used, as 4xx with its reason.

    Args:
        error: What was raised.
    """
    if isinstance(error, ImageNotFoundException | LabelNotFoundException):
        return JSONResponse({"detail": error.msg}, status_code=404)
    status = error.status if isinstance(error, RefusedError) else 422
    return JSONResponse({"detail": one_line(error)}, status_code=int(status))


def failed(_request: Request, error: Exception) -> JSONResponse:
    """A failure of the server, such as a full disk, with its reason.

    Args:
        error: What was raised.
    """
    return JSONResponse({"detail": one_line(error)}, status_code=500)
