"""Doors: all that a request must pass before its route is asked, on either lane.

The express lane asks only what cannot change between two requests of a connection with the same
header lines (`bars`, `takes_host`), and leaves every other request to the general lane, which
checks the whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kvgossip.api.access.client import Client
from kvgossip.api.access.hosts import Hosts
from kvgossip.api.access.pages import refuse_foreign_page
from kvgossip.api.access.protection import Protection
from kvgossip.api.access.refusal import AccessError
from kvgossip.config import Config

UNGUARDED = ("/healthz", "/readyz")
"""Those who probe come by any name, from anywhere; and learn a status and a word."""
FORWARDED = (
    "Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP", "True-Client-IP",
    "CF-Connecting-IP", "Via",
)  # fmt: skip
"""A proxy that sends one of these speaks for somebody else."""


class Doors:
    """Those of one node."""

    def __init__(self, config: Config) -> None:
        protection, self._hosts = Protection(config), Hosts(config)
        self._protection = protection
        #: True for a client that is refused everything but UNGUARDED.
        self.bars = protection.bars
        #: True for a Host by which this node may be asked.
        self.takes_host = self._hosts.takes_bytes

    def check(
        self,
        client: Client,
        method: str,
        path: str,
        hosts: Sequence[str],
        headers: Mapping[str, str],
    ) -> None:
        """Raises AccessError. `hosts`: all values of Host, and the one in a target that is a whole
        URL."""
        if path in UNGUARDED:
            return
        self._protection.check(client)
        for host in hosts:
            self._hosts.check(host)
        refuse_foreign_page(method, headers)


def refuse_remote(client: Client, headers: Mapping[str, str]) -> None:
    """Raises AccessError(403) where this does not come from this machine, or a proxy on it sends it
    for somebody else."""
    if client.is_local and not any(name in headers for name in FORWARDED):
        return
    raise AccessError(
        403,
        "the keyring is shown and changed from the machine of its node alone",
        "run `kvgossip keyring` there, by the loopback address or a unix socket",
    )
