"""Requests that the server does not carry out: a status and a reason instead of a bare error."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus


class RefusedError(ValueError):
    """A request that is refused.

    Args:
        status: 4xx status of the answer.
        reason: What was wrong, and what to do instead.
    """

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def bad(reason: str) -> RefusedError:
    """The request cannot be understood (400)."""
    return RefusedError(HTTPStatus.BAD_REQUEST, reason)


def forbidden(reason: str) -> RefusedError:
    """The request asks for what no client may have (403)."""
    return RefusedError(HTTPStatus.FORBIDDEN, reason)


def unknown(what: str, name: str, known: Iterable[str]) -> RefusedError:
    """The request names what is not there (404).

    Args:
        what: Kind of thing, such as `model`.
        name: What was asked for.
        known: What there is.
    """
    choices = ", ".join(sorted(known)) or "none"
    return RefusedError(HTTPStatus.NOT_FOUND, f"{what} must be one of: {choices}; got {name!r}.")


def conflict(reason: str) -> RefusedError:
    """The request collides with what is there (409)."""
    return RefusedError(HTTPStatus.CONFLICT, reason)


def unusable(reason: str) -> RefusedError:
    """The request is well formed, but its data cannot be used (422)."""
    return RefusedError(HTTPStatus.UNPROCESSABLE_ENTITY, reason)
