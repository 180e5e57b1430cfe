"""What can go wrong between a client and a node: no answer, or one that is no. Each is one line,
and a hint that says what to do."""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl

from kvgossip.client.trust import failure
from kvgossip.errors import KVGossipError

NO_NODE = "is this the HTTP address of a kvgossip node?"
_CLOSED = (http.client.HTTPException, ConnectionResetError, BrokenPipeError)
"""What comes of a peer that speaks another protocol."""


class UnreachableError(KVGossipError):
    """No node answered at the URL."""


class RefusedError(KVGossipError):
    """The node answered, and the answer is no. `status` is HTTP's."""

    def __init__(self, status: int, message: str, hint: str) -> None:
        super().__init__(message, hint)
        self.status = status


def refused(url: str, status: int, body: bytes) -> KVGossipError:
    """What an answer says that is no."""
    try:
        document = json.loads(body)
        return RefusedError(status, str(document["error"]), str(document["hint"]))
    except (ValueError, KeyError, TypeError):
        return UnreachableError(f"{url} answers with status {status} and no reason", NO_NODE)


def unreachable(url: str, error: Exception, *, is_connected: bool) -> UnreachableError:
    """Why there is no answer. `is_connected`: somebody listens there."""
    if isinstance(error, TimeoutError):
        return UnreachableError(
            f"{url} does not answer in time",
            "is the node overloaded, or is something else listening there?",
        )
    if isinstance(error, ssl.SSLError):
        return UnreachableError(*failure(url, error))
    if isinstance(error, http.client.IncompleteRead):
        return broken_off("ask again")
    if is_connected and isinstance(error, _CLOSED):
        return UnreachableError(
            f"what listens at {url} does not answer as HTTP does: {_reason(error)}",
            "is it the gossip port of a node? Its HTTP port is another, 7480 by default; or write "
            "https:// where the node has --tls-cert",
        )
    return UnreachableError(
        f"no node answers at {url}: {_reason(error)}",
        "start one with `kvgossip agent`, or name another with --url or KVGOSSIP_URL",
    )


def broken_off(hint: str) -> UnreachableError:
    """The answer had begun."""
    return UnreachableError("the answer broke off", hint)


def _reason(error: Exception) -> str:
    """The system's own words where there are any."""
    if isinstance(error, socket.gaierror):
        return "the name cannot be resolved"
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    if isinstance(error, http.client.RemoteDisconnected):
        return "it closes the connection"
    return str(error) or type(error).__name__
