"""Delivery: datagrams and links between the lives of hosts, over the network's fate and the
timeline.

A link begins when a frame goes to an address that its sender has no link with. The dialler knows it
by the address dialled, the acceptor by the dialler's ephemeral address; an answer goes back over
it. It breaks

- when its way is cut in either direction and somebody sends: the sender hears `unreachable` after a
  timeout, the other end hears nothing until it sends itself. With only the acknowledgements cut
  off, the frame may have arrived all the same;
- when the process at one end ends: the other end hears `unreachable` at once, or when it sends next
  if the way is cut;
- when nobody listens at the dialled address: `unreachable` at once.

Frames in flight on a broken link are lost. Nobody can be dialled at an ephemeral address:
`unreachable` at once, as in the real driver.
"""

from __future__ import annotations

from collections.abc import Sequence

from kvgossip.config import Address
from kvgossip.protocol.effect import Send
from kvgossip.protocol.model.peer import PoolKind
from kvgossip.sim.host import Host, Inputs, Life, Link
from kvgossip.sim.network import Network
from kvgossip.sim.timeline import Timeline
from kvgossip.sim.tracing import Event, Trace

EPHEMERAL_PORT = 32_768
BACKLOG_MAX = 512
"""Datagrams that wait for a paused host: as many small ones as a socket buffer of 200 kB holds."""


class Delivery:
    """It carries packets from one life to the inputs of another."""

    def __init__(
        self,
        timeline: Timeline,
        network: Network,
        hosts: Sequence[Host],
        inputs: Inputs,
        trace: Trace,
    ) -> None:
        self._timeline, self._network, self._hosts, self._inputs, self._trace = (
            timeline,
            network,
            hosts,
            inputs,
            trace,
        )
        #: The number of the host that has or had an address.
        self._owners: dict[Address, int] = {}
        self._next_port = EPHEMERAL_PORT
        #: Packets and bytes sent, whether they arrive or not; and links reported as broken.
        self.datagrams = self.frames = self.bytes = 0
        self.unreachable = 0

    def listen(self, host: Host) -> None:
        """From now on this host has its addresses; it keeps the older ones, where nobody answers
        any more."""
        self._owners[host.address] = self._owners[host.wan_address] = host.number

    def owner_of(self, address: Address) -> int | None:
        """The number of the host that has or had this address; None for the ends of links and for
        strangers."""
        return self._owners.get(address)

    def send(self, life: Life, effect: Send) -> None:
        self.bytes += len(effect.data)
        if effect.reliable:
            self.frames += 1
            self._trace.note(self._timeline.time_s, life.host.number, Event.SEND_FRAME, effect.data)
            self._send_frame(life, effect.to, effect.data, effect.pool)
        else:
            self.datagrams += 1
            self._trace.note(self._timeline.time_s, life.host.number, Event.SEND, effect.data)
            source = life.host.address if effect.pool is PoolKind.LAN else life.host.wan_address
            self.send_datagram(life.host.number, source, effect.to, effect.data)

    def send_datagram(self, source: int, source_address: Address, to: Address, data: bytes) -> None:
        target = self._owners.get(to)
        if target is None:
            return
        for delay_s in self._network.datagram(source, target):
            self._timeline.after(delay_s, self._datagram_arrives, to, source_address, data)

    def _datagram_arrives(self, to: Address, source: Address, data: bytes) -> None:
        life, pool = self._listening(to)
        if life is not None and (not life.host.paused or len(life.host.backlog) < BACKLOG_MAX):
            self._inputs.datagram(life, data, source, pool)

    def _listening(self, address: Address) -> tuple[Life | None, PoolKind]:
        """The life that listens at an address of a host, and for which pool."""
        host = self._hosts[self._owners[address]]
        if host.address == address:
            return host.life, PoolKind.LAN
        is_gateway = (
            host.wan_address == address
            and host.life is not None
            and host.life.replica.pools.wan is not None
        )
        return host.life if is_gateway else None, PoolKind.WAN

    # -- links ------------------------------------------------------------------------------------

    def _send_frame(self, life: Life, to: Address, data: bytes, pool: PoolKind) -> None:
        link = life.links.get(to)
        if link is None and to in self._owners:
            link = self._dial(life, to, pool)
        if link is None:
            # A link that its dialler has closed, or an address that never was: nobody is dialled.
            self._report_lost(life, to, 0.0, pool)
        elif link.broken:
            del life.links[to]
            self._report_lost(life, to, self._frame_s(life, link), pool)
        else:
            arrival_s = link.in_order(life, self._timeline.time_s + self._frame_s(life, link))
            self._timeline.at(arrival_s, self._frame_arrives, life, link, data)

    def _dial(self, life: Life, to: Address, pool: PoolKind) -> Link:
        self._next_port += 1
        link = Link(life, to, Address(life.host.address.host, self._next_port), pool)
        link.in_order(
            life, self._timeline.time_s + self._frame_s(life, link) + self._frame_s(life, link)
        )
        life.links[to] = link
        return link

    def _frame_s(self, sender: Life, link: Link) -> float:
        return self._network.frame_s(sender.host.number, self._other_end(sender, link))

    def _other_end(self, life: Life, link: Link) -> int:
        return self._owners[link.dialled] if life is link.dialler else link.dialler.host.number

    def _frame_arrives(self, sender: Life, link: Link, data: bytes) -> None:
        if link.broken:
            return
        receiver = link.other(sender)
        here, there = sender.host.number, self._other_end(sender, link)
        if self._network.is_cut(here, there):
            self._break(link, sender, self._network.timeout_s())
            return
        if self._network.is_cut(there, here):
            self._break(link, sender, self._network.timeout_s())
            if receiver is None or self._network.heads():
                return
        receiver = receiver or self._accept(link)
        if receiver is None:
            self._break(link, sender, self._network.delay_s())
        else:
            self._inputs.frame(receiver, data, link.key_of(receiver), link.pool_of(receiver))

    def _accept(self, link: Link) -> Life | None:
        life, pool = self._listening(link.dialled)
        if life is not None:
            link.acceptor, link.accepting = life, pool
            life.links[link.ephemeral] = link
        return life

    def _break(self, link: Link, noticed_by: Life, after_s: float) -> None:
        """One end notices at once, the other one when it sends."""
        link.broken = True
        noticed_by.links.pop(link.key_of(noticed_by), None)
        self._report_lost(noticed_by, link.key_of(noticed_by), after_s, link.pool_of(noticed_by))

    def close(self, life: Life) -> None:
        """The process has ended: its kernel tells the other ends, where it can."""
        for link in list(life.links.values()):
            other = link.other(life)
            if link.broken or other is None or other is life:
                continue
            link.broken = True
            if not self._network.is_cut(life.host.number, other.host.number):
                self._break(link, other, self._frame_s(life, link))
        life.links.clear()

    def _report_lost(self, life: Life, address: Address, after_s: float, pool: PoolKind) -> None:
        self.unreachable += 1
        self._timeline.after(after_s, self._inputs.unreachable, life, address, pool)
