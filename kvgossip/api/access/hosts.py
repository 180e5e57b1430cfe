"""Hosts: the names by which this node may be asked.

A web page may give its own name the address of this node (DNS rebinding), and then its scripts are
of one origin with the node, and read and write what they like. A browser still sends the page's
name as Host, so a request is taken only for a name that no stranger can own: an IP address, a name
of this network, or one that stands in the configuration.
"""

from __future__ import annotations

import ipaddress
import re

from kvgossip.api.access.refusal import AccessError
from kvgossip.config import Config, parse_address
from kvgossip.errors import ConfigError

OWN_SUFFIXES = (".localhost", ".local", ".internal", ".svc", ".cluster.local")
"""Names under these are nobody's in the public DNS."""
_PORT = re.compile(r":[0-9]*$")


class Hosts:
    """Those of one node. A name of `http_hosts` that begins with a dot stands for all under it."""

    def __init__(self, config: Config) -> None:
        addresses = (config.http, config.advertise, config.advertise_wan)
        given = [name.lower() for name in config.http_hosts]
        self._names = frozenset(
            [each.host.lower() for each in addresses if each is not None]
            + [_host_in(text) for text in (*config.http_also, *config.join, *config.join_wan)]
            + [name for name in given if not name.startswith(".")]
        )
        self._suffixes = (*OWN_SUFFIXES, *(name for name in given if name.startswith(".")))

    def takes(self, host: str) -> bool:
        """`host`: as the header has it, with a port or without. An empty one names nobody, and no
        browser sends it."""
        name = _PORT.sub("", host.strip()).removesuffix(".").lower()
        if "." not in name and ":" not in name:
            return True
        return name in self._names or name.endswith(self._suffixes) or _is_ip(name)

    def takes_bytes(self, host: bytes) -> bool:
        return self.takes(host.decode("latin-1"))

    def check(self, host: str) -> None:
        """Raises AccessError(421)."""
        if not self.takes(host):
            raise AccessError(
                421,
                f"this node is not asked by the name {host[:100]!r}",
                "ask by its IP address, or start it with --http-hosts NAME for each name that "
                "people or a proxy use",
            )


def _host_in(text: str) -> str:
    try:
        return parse_address(text, 0).host.lower()
    except ConfigError:
        # the path of a unix socket has none
        return ""


def _is_ip(name: str) -> bool:
    bare = name[1:-1] if name.startswith("[") and name.endswith("]") else name
    try:
        ipaddress.ip_address(bare)
    except ValueError:
        return False
    return True
