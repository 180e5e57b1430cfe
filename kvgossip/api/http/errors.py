"""From errors to statuses: each failure has one status, one sentence and one hint, and none shows a
traceback."""

from __future__ import annotations

from collections.abc import Iterable

from kvgossip.api.access.refusal import AccessError
from kvgossip.errors import (
    BadBatchError,
    BadContextError,
    BadKeyError,
    BadPartError,
    BadReleaseError,
    CannotMeetError,
    ConfigError,
    DiskFullError,
    DiskHangsError,
    JoinRefusedError,
    KeyringError,
    KVGossipError,
    LocalError,
    NoAnswerError,
    NotFoundError,
    NotSettledError,
    OtherTypeError,
    OverloadedError,
    ReleaseConflictError,
    SiblingsError,
    StaleError,
    StillAliveError,
    StorageError,
    StoreFullError,
    TypesUnknownError,
    ValueTooLargeError,
)
from kvgossip.extras import MissingPackageError

TLS_HANDSHAKE = 0x16
"""The first byte of a client that speaks TLS."""
RETRY_AFTER = "Retry-After: 1\r\n"


class RequestError(LocalError):
    """A request that this API refuses: `status`, and `head`, header lines that belong to the answer
    (each ends in CR LF)."""

    def __init__(self, status: int, message: str, hint: str = "", head: str = "") -> None:
        super().__init__(message, hint)
        self.status = status
        self.head = head


# The first class that fits decides.
_STATUSES: tuple[tuple[type[KVGossipError], int], ...] = (
    (BadBatchError, 400),
    (BadKeyError, 400),
    (BadPartError, 400),
    (BadContextError, 400),
    (OtherTypeError, 409),
    (TypesUnknownError, 409),
    (SiblingsError, 409),
    (BadReleaseError, 400),
    (ReleaseConflictError, 409),
    (ValueTooLargeError, 413),
    (NotSettledError, 503),
    (CannotMeetError, 409),
    (StaleError, 504),
    (NoAnswerError, 504),
    (NotFoundError, 404),
    (StillAliveError, 409),
    (JoinRefusedError, 409),
    (KeyringError, 409),
    (MissingPackageError, 501),
    (ConfigError, 400),
    (DiskFullError, 507),
    (StoreFullError, 507),
    (DiskHangsError, 503),
    (StorageError, 500),
    # The last of the caller's faults is to ask a node that is leaving.
    (LocalError, 503),
)


def status_of(error: KVGossipError) -> int:
    """The HTTP status, by which a client knows whose fault the error is."""
    if isinstance(error, (RequestError, AccessError)):
        return error.status
    return next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)


def head_of(error: KVGossipError) -> str:
    """The header lines that belong to the answer."""
    if isinstance(error, (RequestError, AccessError)):
        return error.head
    if isinstance(error, StaleError):
        return f"KV-Version: {error.version}\r\n" if error.version else ""
    later = (NotSettledError, OverloadedError, DiskHangsError)
    return RETRY_AFTER if isinstance(error, later) else ""


def hint_of(error: KVGossipError) -> str:
    if error.hint or not isinstance(error, NotSettledError):
        return error.hint
    return (
        "the node is catching up with its cluster: try again, ask another node, or accept what "
        "it has with `kvgossip settle`"
    )


def wrong_method(method: str, methods: Iterable[str]) -> RequestError:
    """`methods`: those that the path has."""
    allowed = ", ".join(methods)
    return RequestError(
        405, f"{method} does not fit this path", f"use {allowed}", f"Allow: {allowed}\r\n"
    )


def not_http(reason: str) -> RequestError:
    """`reason`: the words of a parser."""
    reason = reason.strip().partition("\n")[0].rstrip(":. ")
    return RequestError(
        400,
        f"this is not a request of HTTP/1.1: {reason}",
        "the connection is closed: where the next request starts is not known",
    )


def tls_expected() -> RequestError:
    return RequestError(
        400, "this port speaks TLS, and the request came in plain HTTP", "use https:// in the URL"
    )


def no_method(first: int) -> RequestError:
    """Of a client whose first byte begins no request."""
    if first == TLS_HANDSHAKE:
        return RequestError(
            400,
            "this port speaks plain HTTP, and the client TLS",
            "use http:// in the URL, or start the node with --tls-cert",
        )
    return not_http("it starts with no method")


def too_many_connections() -> RequestError:
    return RequestError(
        503,
        "this node has too many connections",
        "close some, or try again in a moment",
        RETRY_AFTER,
    )


def late_head() -> RequestError:
    return RequestError(408, "the head of the request did not arrive in time", "send it at once")


def head_too_long(bytes_max: int) -> RequestError:
    return RequestError(
        431,
        "the head of the request is too long",
        f"it may have {bytes_max} bytes, which is http_head_bytes_max",
    )
