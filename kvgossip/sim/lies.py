"""Lies: carries what a liar says to the nodes, and twists what a hostile member's process sends
(liar.py)."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from kvgossip.config import Address
from kvgossip.errors import RemoteError
from kvgossip.protocol.effect import Send
from kvgossip.protocol.model.peer import PoolKind
from kvgossip.protocol.wire.frame import Framing
from kvgossip.protocol.wire.message import Join, JoinReply
from kvgossip.protocol.wire.unit import encode
from kvgossip.sim.checks.ledger import Ledger
from kvgossip.sim.checks.oracle import Oracle
from kvgossip.sim.delivery import Delivery
from kvgossip.sim.host import EPOCH_MS, Host, Inputs, Life
from kvgossip.sim.liar import Liar, Unit
from kvgossip.sim.scenario import Scenario
from kvgossip.sim.timeline import Timeline

STRANGER = Address("192.0.2.2", 9)
"""The address of a liar that is no member."""


class Lies:
    """`framings`: of the LANs, by the number of the datacenter, then that of the WAN."""

    def __init__(
        self,
        scenario: Scenario,
        hosts: Sequence[Host],
        framings: Sequence[Framing],
        timeline: Timeline,
        delivery: Delivery,
        inputs: Inputs,
        ledger: Ledger,
        oracle: Oracle,
        rng: Random,
    ) -> None:
        self._hosts, self._framings, self._layout = hosts, framings, scenario.layout
        self._timeline, self._delivery, self._inputs = timeline, delivery, inputs
        self._ledger, self._oracle = ledger, oracle
        #: no fault may strike
        self.quiet = True
        #: the host whose process lies
        self.hostile = None if scenario.hostile is None else hosts[scenario.hostile]
        self._liar = Liar(self._believers, self._true_ms, self._forged, rng)

    def _believers(self) -> list[Life]:
        return [
            host.life for host in self._hosts if host is not self.hostile and host.life is not None
        ]

    def _true_ms(self) -> int:
        return EPOCH_MS + int(self._timeline.time_s * 1000)

    def _forged(self, key: str, record: bytes) -> None:
        self._ledger.forge(key, record)
        self._oracle.forged(key, record)

    def tell(self, target: Host, *, member: bool) -> None:
        """A lie to this host, of the hostile member, or of a stranger."""
        life, liar = target.life, None if self.hostile is None else self.hostile.life
        if life is None or target is self.hostile or (member and liar is None):
            return
        datacenter = self._layout.datacenter_of(target.number)
        if not member:
            units, reliable = self._liar.lie(life, sorted(life.witness.members))
            data = self._frame(datacenter, units, reliable)
            if reliable:
                self._inputs.frame(life, data, STRANGER, PoolKind.LAN)
            else:
                self._delivery.send_datagram(-1, STRANGER, target.address, data)
        elif liar is not None and datacenter == self._layout.datacenter_of(liar.host.number):
            self._believed()
            units, reliable = self._liar.lie(life, [liar.host.name])
            data = self._frame(datacenter, units, reliable)
            self._delivery.send(liar, Send(target.address, data, reliable))

    def slander(self, target: Host, victim: Life) -> None:
        """A stranger says to this host that the victim, in its present life, is suspect or gone."""
        word = self._liar.obituary(victim.replica.member, "nobody")
        data = self._frame(self._layout.datacenter_of(target.number), [word], reliable=False)
        self._delivery.send_datagram(-1, STRANGER, target.address, data)

    def _frame(self, datacenter: int, units: list[Unit], reliable: bool) -> bytes:
        return self._framings[datacenter].frame(map(encode, units), reliable=reliable)

    def _believed(self) -> None:
        """A member has lied: from now on its word may have done what a member's word may do."""
        self._ledger.lied(self._hosts[-1].name)
        self._oracle.lied = True

    def passed(self, life: Life, sent: Send) -> Send:
        """What goes out in the place of this packet of a process."""
        if life.host is not self.hostile or self.quiet or not self._liar.twists():
            return sent
        target = self._target(sent.to)
        if target is None or sent.pool is not PoolKind.LAN:
            return sent
        framing = self._framings[self._layout.datacenter_of(life.host.number)]
        try:
            opened = framing.open(sent.data, reliable=sent.reliable, replays=True, any_id=True)
        except RemoteError:
            return sent
        if opened.faults or any(isinstance(unit, (Join, JoinReply)) for unit in opened.messages):
            return sent
        units = [self._liar.twisted(target, unit) for unit in opened.messages]
        if units == opened.messages:
            return sent
        self._believed()
        return sent._replace(data=framing.frame(map(encode, units), reliable=sent.reliable))

    def _target(self, to: Address) -> Life | None:
        """The correct node at this address, or at the other end of that link."""
        owner = self._delivery.owner_of(to)
        if owner is not None:
            return None if self._hosts[owner] is self.hostile else self._hosts[owner].life
        link = self.hostile.life.links.get(to) if self.hostile and self.hostile.life else None
        return None if link is None else link.dialler
