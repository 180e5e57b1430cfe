"""The URL of a node, as a client has it: `http://HOST:PORT`, `https://HOST:PORT`, or `unix:PATH`
for a unix socket."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import urlsplit

from kvgossip.errors import ConfigError

UNIX = "unix:"
_PORTS = {"http": 80, "https": 443}


class NodeURL(NamedTuple):
    """`text`: without a slash at its end. `path`: that of the unix socket; empty: by TCP."""

    text: str
    host: str = "localhost"
    port: int = 80
    is_tls: bool = False
    base: str = ""
    """What comes before the path of each request, where a proxy wants that."""
    path: str = ""


def parse(text: str) -> NodeURL:
    """`HOST:PORT` is taken too. Raises ConfigError for what is no URL of a node."""
    if text.startswith(UNIX):
        # with it comes all of the configuration
        from kvgossip.config.unix_socket import unix_path

        return NodeURL(text, path=unix_path(text))
    url = (text if "://" in text else f"http://{text}").rstrip("/")
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        raise _no_url(text) from None
    if port is None or not parts.hostname or parts.query or parts.username is not None:
        raise _no_url(text)
    if not (parts.path.isascii() and parts.path.isprintable()) or " " in parts.path:
        raise _no_url(text)
    return NodeURL(url, parts.hostname, port, parts.scheme == "https", parts.path)


def _no_url(text: str) -> ConfigError:
    return ConfigError(
        f"{text!r} is not the URL of a node",
        "write http://HOST:PORT, for example http://127.0.0.1:7480, https://HOST:PORT or unix:PATH",
    )
