"""A connection to a node: over TCP, over TLS, or over a unix socket."""

from __future__ import annotations

import http.client
import socket
import ssl

from kvgossip.client.node_url import NodeURL


def connect(
    url: NodeURL, tls: ssl.SSLContext | None, connect_s: float, answer_s: float
) -> http.client.HTTPConnection:
    """One that is open. `tls`: None is what holds for everybody on this machine; `answer_s`: how
    long each piece of an answer may take. Raises OSError."""
    if url.path:
        connection: http.client.HTTPConnection = _UnixConnection(url.path, connect_s)
    elif url.is_tls:
        connection = http.client.HTTPSConnection(
            url.host, url.port, timeout=connect_s, context=tls or ssl.create_default_context()
        )
    else:
        connection = http.client.HTTPConnection(url.host, url.port, timeout=connect_s)
    try:
        connection.connect()
    except UnicodeError:
        # what no name of a host can be, which the standard library does not count among its errors
        raise socket.gaierror(socket.EAI_NONAME, "no name of a host") from None
    connection.sock.settimeout(answer_s)
    return connection


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path, self._timeout_s = path, timeout_s

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self.sock.settimeout(self._timeout_s)
            self.sock.connect(self._path)
        except BaseException:
            self.sock.close()
            raise
