"""From errors to statuses: each failure has one status, one sentence and one hint, and none shows a traceback."""

from __future__ import annotations

from kvgossip.errors import (
    BadKeyError,
    ConfigError,
    DiskFullError,
    JoinRefusedError,
    KeyringError,
    KVGossipError,
    LocalError,
    NotFoundError,
    NotSettledError,
    StillAliveError,
    StorageError,
    ValueTooLargeError,
)

RETRY_AFTER_S = 1


class RequestError(LocalError):
    """A request that this API refuses: `status`, and `head`, header lines that belong to the answer (each ends in CR LF)."""

    def __init__(self, status: int, message: str, hint: str = "", head: str = "") -> None:
        super().__init__(message, hint)
        self.status = status
        self.head = head


# The first class that fits decides.
_STATUSES: tuple[tuple[type[KVGossipError], int], ...] = (
    (BadKeyError, 400),
    (ValueTooLargeError, 413),
    (NotSettledError, 503),
    (NotFoundError, 404),
    (StillAliveError, 409),
    (JoinRefusedError, 409),
    (KeyringError, 409),
    (ConfigError, 400),
    (DiskFullError, 507),
    (StorageError, 500),
    # What is left of the caller's faults is to ask a node that is leaving.
    (LocalError, 503),
)


def status_of(error: KVGossipError) -> int:
    """The HTTP status that tells a client whose fault the error is."""
    if isinstance(error, RequestError):
        return error.status
    return next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)


def head_of(error: KVGossipError) -> str:
    """The header lines that belong to the answer."""
    if isinstance(error, RequestError):
        return error.head
    return f"Retry-After: {RETRY_AFTER_S}\r\n" if isinstance(error, NotSettledError) else ""


def hint_of(error: KVGossipError) -> str:
    if error.hint or not isinstance(error, NotSettledError):
        return error.hint
    return "the node is catching up with its cluster: try again, ask another node, or accept what it has with `kvgossip settle`"
