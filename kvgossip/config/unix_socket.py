"""The text of a unix socket among the addresses of HTTP: `unix:` and the path of its file."""

from __future__ import annotations

import os

from kvgossip.errors import ConfigError

PREFIX = "unix:"
PATH_BYTES_MAX = 107
"""Linux takes no longer path for a socket."""


def is_unix(text: str) -> bool:
    return text.startswith(PREFIX)


def unix_path(text: str) -> str:
    """The path in this text. Raises ConfigError for one that no socket can have."""
    path = text.removeprefix(PREFIX)
    if not path or "\0" in path or path.endswith("/"):
        raise ConfigError(
            f"{text!r} names no unix socket",
            "write unix: and the path of a file, for example unix:/run/kvgossip/http.sock",
        )
    if len(os.fsencode(path)) > PATH_BYTES_MAX:
        raise ConfigError(
            f"the path of the unix socket {path[:40]}... is longer than {PATH_BYTES_MAX} bytes",
            "choose a shorter one: the kernel takes no longer path for a socket",
        )
    return path
