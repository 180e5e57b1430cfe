"""The URL of a node, as a client has it: `http://HOST:PORT`, or `unix:PATH` for a unix socket."""

from __future__ import annotations

from urllib.parse import urlsplit

import aiohttp

from kvgossip.config.unix_socket import PREFIX, is_unix, unix_path
from kvgossip.errors import ConfigError


def checked_url(text: str) -> str:
    """The base URL without a slash at its end, or `unix:PATH`; `HOST:PORT` is taken too. Raises
    ConfigError when it is neither."""
    if is_unix(text):
        return PREFIX + unix_path(text)
    url = (text if "://" in text else f"http://{text}").rstrip("/")
    try:
        parts = urlsplit(url)
        usable = (
            parts.scheme in ("http", "https")
            and bool(parts.hostname)
            and (parts.port or 1) > 0
            and not parts.query
        )
    except ValueError:
        usable = False
    if not usable:
        raise ConfigError(
            f"{text!r} is not the URL of a node",
            "write --url http://HOST:PORT, for example http://127.0.0.1:7480, or unix:PATH",
        )
    return url


def base_of(url: str) -> str:
    """The beginning of the URLs of requests to a node at this checked URL."""
    return "http://localhost" if is_unix(url) else url


def connector_of(url: str) -> aiohttp.BaseConnector | None:
    """How to reach a node at this checked URL; None: by TCP."""
    return aiohttp.UnixConnector(unix_path(url)) if is_unix(url) else None
