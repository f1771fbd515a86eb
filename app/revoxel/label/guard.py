"""What stands before the stock server: who may ask, what may be asked, and how much may be sent.

A plain ASGI application, so that a request is refused before any code of the server has read it.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from revoxel.label.ids import check_id, check_session, check_tag
from revoxel.label.refusals import RefusedError, bad, forbidden

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

MAX_JSON_BYTES = 64 * 1024
_UPLOADS = re.compile(r"/(?:infer/[^/]+|datastore/(?:image|label)?|session/)")
# What the stock server offers beyond this would hand out or replace files, or needs what is not here.
_ROUTES = {
    "GET": r"/|/favicon\.ico|/static/.*|/docs|/openapi\.json|/auth/|/info/|/logs/|/train/"
    r"|/session/[^/]+|/datastore/(?:|image|label|image/info|label/info)",
    "HEAD": r"/datastore/(?:image|label)",
    "POST": r"/infer/[^/]+|/activelearning/[^/]+|/train/[^/]+|/scoring/[^/]+",
    "PUT": r"/datastore/(?:|image|label)|/session/",
    "DELETE": r"/train/|/datastore/label|/session/[^/]+",
}
_REASONS = {
    r"/model/.*": "models are shipped with the server; a client can neither read nor replace them",
    r"/batch/.*": "many scans are work for a cohort; run revoxel cohort run on the server",
    r"/(?:proxy|ohif)/.*": "this server reads a folder of NIfTI files and has no DICOM server behind it",
    r"/datastore/(?:image)?": "images are removed on the server, not by a client",
}
_CHECKS = {
    "image": check_id,
    "label": check_id,
    "id": check_id,
    "tag": check_tag,
    "session_id": check_session,
}
_TRUE = frozenset({"1", "true", "yes", "on", "t", "y"})


@dataclass(frozen=True)
class Policy:
    """What is let through.

    Attributes:
        max_upload_bytes: Largest body of an upload.
        origins: Web pages, other than the server's own, that may ask; as `https://host:port`.
    """

    max_upload_bytes: int = 512 * 1024**2
    origins: frozenset[str] = frozenset()

    def limit(self, path: str) -> int:
        """Largest body in bytes that a path takes.

        Args:
            path: Decoded path of the request.
        """
        return self.max_upload_bytes if _UPLOADS.fullmatch(path) else MAX_JSON_BYTES


class Guard:
    """Refuse with a reason what no client of this server needs; pass on everything else.

    Args:
        app: The server.
        policy: What is let through.
    """

    def __init__(self, app: Application, policy: Policy) -> None:
        self.app = app
        self.policy = policy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            # Start and stop; the stock server has no other kind of connection, and closes it.
            await self.app(scope, receive, send)
            return
        try:
            check_request(scope, self.policy)
        except RefusedError as refusal:
            await answer(send, refusal.status, str(refusal))
            return
        body = _Body(receive, send, self.policy.limit(scope["path"]))
        await self.app(scope, body.receive, body.send)


def check_request(scope: Mapping[str, Any], policy: Policy) -> None:
    """Judge a request by what its head says.

    Args:
        scope: ASGI scope.
        policy: What is let through.

    Raises:
        RefusedError: With the reason.
    """
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
    _check_asker(headers, scope.get("server"), policy.origins)
    _check_route(scope["method"], scope["path"])
    _check_query(scope["query_string"])
    _check_length(headers.get("content-length", "0"), policy.limit(scope["path"]))


def _check_asker(headers: Mapping[str, str], server: object, origins: Iterable[str]) -> None:
    """Any web page can make a browser ask a server on the same machine: it must not get patients' scans."""
    host = headers.get("host", "")
    if _is_loopback(_address(server)) and not _is_loopback(urlsplit(f"//{host}").hostname or ""):
        raise forbidden(f"Host must be this machine, got {host!r}; use http://127.0.0.1.")
    origin = headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != host and origin.rstrip("/") not in origins:
        raise forbidden(f"Origin must be this server, got {origin!r}; set MONAI_LABEL_CORS_ORIGINS for it.")


def _address(server: object) -> str:
    return str(server[0]) if isinstance(server, tuple | list) and server else ""


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _check_route(method: str, path: str) -> None:
    if re.search(r"\.\.|[\\%\x00-\x1f]", path):
        raise bad(f"path must name no parent folder and no escaped character, got {path!r}; use plain ids.")
    if re.fullmatch(_ROUTES.get(method, "(?!)"), path):
        return
    reason = next((text for pattern, text in _REASONS.items() if re.fullmatch(pattern, path)), None)
    raise forbidden(f"{method} {path} is not served: {reason or 'no client of this app needs it'}.")


def _check_query(query: bytes) -> None:
    for name, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True):
        if name in _CHECKS and value:
            _CHECKS[name](value)
        if name == "uncompress" and value.lower() in _TRUE:
            raise forbidden("uncompress must be off: archives are not unpacked here; send one NIfTI file.")


def _check_length(text: str, limit: int) -> None:
    if not text.isdecimal():
        raise bad(f"Content-Length must be a number, got {text!r}.")
    if int(text) > limit:
        raise too_large(limit)


def too_large(limit: int) -> RefusedError:
    """The body is larger than the server takes (413).

    Args:
        limit: In bytes.
    """
    msg = f"body must be at most {limit} bytes; crop or compress the image, or raise --conf max_upload_mb."
    return RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, msg)


async def answer(send: Send, status: int, reason: str) -> None:
    """Send a reason as JSON, under the name that the clients show.

    Args:
        send: Of the connection.
        status: HTTP status.
        reason: Text.
    """
    body = json.dumps({"detail": reason}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    # What was not read of the request must not be taken for the next one.
    headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": int(status), "headers": headers})
    await send({"type": "http.response.body", "body": body})


class _Body:
    """Counts what really arrives: a body in chunks states no length."""

    def __init__(self, receive: Receive, send: Send, limit: int) -> None:
        self._receive = receive
        self._send = send
        self._limit = limit
        self._n_bytes = 0
        self._refused = False

    async def receive(self) -> Message:
        message = await self._receive()
        self._n_bytes += len(message.get("body", b""))
        if self._n_bytes > self._limit and not self._refused:
            self._refused = True
            refusal = too_large(self._limit)
            await answer(self._send, refusal.status, str(refusal))
        return {"type": "http.disconnect"} if self._refused else message

    async def send(self, message: Message) -> None:
        # The server answers the cut-off request in its own way; the client has its answer already.
        if not self._refused:
            await self._send(message)
