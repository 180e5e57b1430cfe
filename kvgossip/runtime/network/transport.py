"""Bytes to and from peers: datagrams over UDP and frames over TCP links, both on one port. It knows
addresses and sizes, no messages.

    Transport --+-- Datagrams -- DnsCache      (datagrams.py, dns.py)
                +-- LinkTable -- Link, Listener (link_table.py, tcp_link.py, listener.py)
                +-- Sockets                 (sockets.py)

Laws
- `send` never blocks, never raises and never calls back: its findings are reported in a later turn
  of the event loop.
- A fault of the network is a counter in `statistics` or a call of `unreachable`; never an
  exception.
"""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Callable

from kvgossip.config import Address
from kvgossip.errors import ConfigError
from kvgossip.runtime.network import sockets
from kvgossip.runtime.network.datagrams import Datagrams
from kvgossip.runtime.network.dns import look_up
from kvgossip.runtime.network.link_table import LinkLimits, LinkTable, ReceivedFrame
from kvgossip.runtime.network.sockets import ANY_HOSTS, Sockets, is_numeric

Received = Callable[[bytes, Address], None]


class Transport:
    """The sockets of one node: `bind`, then `serve`; `close` in any case. All on the thread of one
    event loop."""

    def __init__(self, limits: LinkLimits) -> None:
        self._counts: Counter[str] = Counter()
        self._limits = limits
        self._sockets: Sockets | None = None
        self._datagrams: Datagrams | None = None
        self._links: LinkTable | None = None

    async def bind(self, address: Address) -> Address:
        """Take UDP and TCP on this address, a DNS name and port 0 allowed; returns it with a
        numeric host and the port taken.

        Raises ConfigError, and has nothing open, when that is not possible.
        """
        host = address.host or "0.0.0.0"
        if not is_numeric(host):
            host = await _own_host(host)
        self._sockets = sockets.bind(Address(host, address.port))
        return self._sockets.address

    async def serve(
        self,
        received: Received,
        received_reliable: ReceivedFrame,
        unreachable: Callable[[Address], None],
        opener: Callable[[], bytes],
    ) -> None:
        """Start to receive: `received(data, source)` gets each datagram, `received_reliable(data,
        source, here)` each frame of a link, with the link's remote address and the host of our
        end: it says whether the frame could be opened. `unreachable(address)` is called when a
        reliable send could not be delivered or a link broke. `opener()`: a short frame that says
        nothing, see link_table.py.
        """
        assert self._sockets is not None, "bind comes first"
        self._datagrams = Datagrams(received, self._counts, self._sockets)
        self._links = LinkTable(received_reliable, unreachable, opener, self._counts, self._limits)
        await self._datagrams.serve()
        host = self._sockets.address.host
        self._links.serve(self._sockets.tcp, None if host in ANY_HOSTS else host)

    def send(self, to: Address, data: bytes, reliable: bool = False, fresh: bool = False) -> None:
        """One datagram, best effort; or, when `reliable`, one frame over the link with that
        address, or else `unreachable(to)`; `fresh`: see Send."""
        if reliable and self._links is not None:
            self._links.send(to, data, fresh)
        elif not reliable and self._datagrams is not None:
            self._datagrams.send(to, data)

    async def look_up(self, host: str, port: int) -> list[Address]:
        """Every address under a DNS name or IP address that this node's sockets can reach, once
        each; empty when there is none."""
        assert self._sockets is not None, "bind comes first"
        return await look_up(host, port, self._sockets.lookup_family)

    @property
    def waiting_bytes(self) -> int:
        """How many bytes wait on all links for peers to take them."""
        return self._links.waiting_bytes if self._links is not None else 0

    def statistics(self) -> dict[str, int]:
        """Counters since the start, and how many links and waiting bytes there are now."""
        return {
            **dict(sorted(self._counts.items())),
            **(self._links.statistics() if self._links is not None else {}),
        }

    async def close(self) -> None:
        """Close everything; frames that wait on links get a moment to leave. Harmless when
        repeated, complete even when cancelled."""
        try:
            if self._datagrams is not None:
                await self._datagrams.close()
        finally:
            try:
                if self._links is not None:
                    await self._links.close()
            finally:
                if self._sockets is not None:
                    self._sockets.close()


async def _own_host(name: str) -> str:
    found = await look_up(name, 0, socket.AF_UNSPEC)
    if not found:
        raise ConfigError(
            f"the gossip host {name!r} is not known",
            "listen on an IP address of this machine, such as 0.0.0.0",
        )
    return found[0].host
