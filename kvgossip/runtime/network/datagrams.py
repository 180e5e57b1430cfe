"""The UDP side of a node: datagrams in and out, best effort. A report of the network about one is a
counter, never an error."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import cast

from kvgossip.config import Address
from kvgossip.runtime.network.dns import DnsCache
from kvgossip.runtime.network.sockets import SocketAddress, Sockets, is_numeric, plain

TARGETS_MAX = 16_384


class Datagrams(asyncio.DatagramProtocol):
    """`received(data, source)` gets each datagram. `serve` starts it."""

    def __init__(
        self, received: Callable[[bytes, Address], None], counts: Counter[str], sockets: Sockets
    ) -> None:
        self._received, self._counts, self._sockets = received, counts, sockets
        self._names = DnsCache(sockets.lookup_family)
        self._targets: dict[Address, SocketAddress] = {}
        self._transport: asyncio.DatagramTransport | None = None
        self._full = False
        self._lost = asyncio.Event()

    async def serve(self) -> None:
        await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: self, sock=self._sockets.udp
        )

    def send(self, to: Address, data: bytes) -> None:
        """Send one datagram; to a DNS name as soon as that is known. Lost without a word when it
        cannot be sent."""
        target = self._targets.get(to)
        if target is not None:
            self._put(target, data)
        elif is_numeric(to.host):
            self._seek(to, data)
        elif to.host:
            self._names.find(to.host, partial(self._found, to.port, data))

    async def close(self) -> None:
        """Harmless when repeated."""
        if self._transport is not None:
            # datagrams that still wait would wait for a network that takes nothing
            self._transport.abort()
            await self._lost.wait()
        await self._names.close()

    # -- called by the event loop -----------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # a cast, for uvloop's class is no asyncio.DatagramTransport
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, name: SocketAddress | None) -> None:
        if name is not None:
            self._counts["datagrams_received"] += 1
            self._counts["datagram_bytes_received"] += len(data)
            self._received(data, plain(name))

    def error_received(self, error: Exception) -> None:
        # "port unreachable" of a peer that is down, "network unreachable", "message too long": the
        # failure detector draws the conclusion
        self._counts["datagram_errors"] += 1

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False

    def connection_lost(self, error: Exception | None) -> None:
        self._lost.set()

    # -- where to ---------------------------------------------------------------------------------

    def _put(self, target: SocketAddress, data: bytes) -> None:
        if self._full or self._transport is None or self._transport.is_closing():
            self._counts["datagrams_dropped"] += 1
            return
        self._counts["datagrams_sent"] += 1
        self._counts["datagram_bytes_sent"] += len(data)
        self._transport.sendto(data, target)

    def _seek(self, to: Address, data: bytes) -> None:
        target = self._sockets.reach(to)
        if target is None:
            self._counts["datagrams_unreachable"] += 1
            return
        if len(self._targets) >= TARGETS_MAX:
            self._targets.clear()
        self._targets[to] = target
        self._put(target, data)

    def _found(self, port: int, data: bytes, host: str | None) -> None:
        if host is None:
            self._counts["datagrams_unresolved"] += 1
        else:
            self.send(Address(host, port), data)
