"""HotList: the rumors that are being spread, and when they cool (Demers et al. 1987, section 1.4;
the variants are in policy.py).

Laws (of the default policy: push, feedback, counter)
- A rumor is hot until K contacts in a row found peers that already knew it; a contact to which it
  was news starts the count again.
- A newer version of a key replaces its rumor and starts again.
- A rumor that its author sends to every member itself is hot until each has confirmed it, or it was
  sent SENDS_MAX times: there is no chance in it, and no K.
- Nothing depends on a rumor alone: one that is lost, or cools too soon, is residue, and residue is
  the job of anti-entropy.

Deviations, with reasons
- A peer that is known to hold the version (it sent it to us, or answered so) is counted as an
  unnecessary contact without a packet: the answer is known beforehand. The law of K is untouched,
  and small clusters save most of their traffic.
- Feedback travels as a datagram and may be lost. A contact without an answer counts as nothing; so
  that silent peers cannot keep a rumor hot for ever, it also cools after `contacts_max` contacts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple

from kvgossip.protocol.model.newest import Newest
from kvgossip.protocol.rumors.policy import RumorPolicy
from kvgossip.protocol.wire.message import Pair

PENDING_MAX = 4096
SENDS_MAX = 6
# Drawn at random: a peer that did not get a packet cannot answer it, nor can an answer to an
# earlier life of this node be taken for one to this.
SEQUENCE_BITS = 32


@dataclass(slots=True, eq=False)
class HotRumor:
    """One rumor that is being spread."""

    key: str
    #: its encoded Rumor, Bundle or Notice
    unit: bytes
    #: written here
    own: bool
    is_notice: bool = False
    #: the version of its record, encoded; of a batch that of the first one, and all entries
    version: bytes = b""
    entries: tuple[Pair, ...] = ()
    #: contacts in a row that knew it already
    unnecessary: int = 0
    #: contacts that took a packet
    contacts: int = 0
    #: how often its author has sent it to all that had not confirmed it; None: K decides when it
    #: cools, as of all that is forwarded
    sends: int | None = None
    #: when it was sent so last, monotonic seconds
    sent_s: float = 0.0
    #: the peers to which it does not go any more: they sent it, knew it, or got it whole. A peer to
    #: which a notice was news has still to fetch the body, and hears it again.
    holders: set[str] = field(default_factory=set)


class Packet(NamedTuple):
    """Rumors on their way to a peer that has not answered yet; `hunts` is how many peers refused
    them before."""

    peer: str
    rumors: list[HotRumor]
    hunts: int


class HotList:
    """The infective list. Own writes come before forwarded rumors, each oldest first."""

    __slots__ = (
        "_pending",
        "_rng",
        "_rumors_max",
        "cooled",
        "forwarded",
        "fresh",
        "own",
        "policy",
    )

    def __init__(self, policy: RumorPolicy, rumors_max: int, rng: Random) -> None:
        self.policy, self._rumors_max, self._rng = policy, rumors_max, rng
        #: all that are hot, by key: those written here, and those that peers sent
        self.own: dict[str, HotRumor] = {}
        self.forwarded: dict[str, HotRumor] = {}
        #: by sequence number, packets that were not answered yet
        self._pending: Newest[int, Packet] = Newest(PENDING_MAX)
        #: the rumors that became hot since `take_fresh`, and go out at once
        self.fresh: list[HotRumor] = []
        #: how many rumors have cooled
        self.cooled = 0

    def __len__(self) -> int:
        return len(self.own) + len(self.forwarded)

    def heat(
        self,
        key: str,
        unit: bytes,
        heard_from: str | None,
        *,
        at_once: bool = True,
        is_notice: bool = False,
        version: bytes = b"",
        entries: tuple[Pair, ...] = (),
    ) -> None:
        """Spread this news. `heard_from` is the peer that sent it, None for a write of this
        node's own. `version`, `entries`: see HotRumor.

        `at_once`: not only from the next round on.
        """
        if not self.policy.k:
            return
        self.own.pop(key, None)
        self.forwarded.pop(key, None)
        rumor = HotRumor(key, unit, heard_from is None, is_notice, version, entries)
        if heard_from is not None:
            rumor.holders.add(heard_from)
        (self.own if rumor.own else self.forwarded)[key] = rumor
        if at_once:
            self.fresh.append(rumor)
        if len(self) > self._rumors_max:
            self._cool(next(iter((self.forwarded or self.own).values())))

    def hot(self) -> Iterator[HotRumor]:
        """Every hot rumor in the order of sending."""
        yield from self.own.values()
        yield from self.forwarded.values()

    def take_fresh(self) -> list[HotRumor]:
        """The rumors that became hot since the last call and are still: own first."""
        fresh, self.fresh = self.fresh, []
        return [
            rumor
            for rumors in (self.own, self.forwarded)
            for rumor in fresh
            if rumors.get(rumor.key) is rumor
        ]

    def cool(self, key: str) -> None:
        """The rumor of this key spreads no further."""
        rumor = self.own.get(key) or self.forwarded.get(key)
        if rumor is not None:
            self._cool(rumor)

    def cool_all(self) -> None:
        """No peer is left."""
        for rumor in list(self.hot()):
            self._cool(rumor)
        self.fresh.clear()

    def contact(self, peer: str, rumor: HotRumor, peers: int) -> bool:
        """Account for choosing `peer` as a contact; true if a packet is needed. `peers`: how many
        there are to choose from."""
        if peer in rumor.holders:
            self._judge(rumor, knew=True)
            return False
        rumor.contacts += 1
        if rumor.contacts > self.contacts_max(peers):
            self._cool(rumor)
            return False
        if not self.policy.feedback:
            self._judge(rumor, knew=False)
        return True

    def sent_to_all(self, rumors: Iterable[HotRumor], now_s: float) -> None:
        """Their author sends these to all that have not confirmed them, at this time, monotonic
        seconds. One that was sent SENDS_MAX times cools: who is silent for so long is about to be
        suspected, or is left to anti-entropy."""
        for rumor in rumors:
            rumor.sends, rumor.sent_s = 1 + (rumor.sends or 0), now_s
            if rumor.sends >= SENDS_MAX:
                self._cool(rumor)

    def confirmed(self, rumor: HotRumor) -> None:
        """Every peer holds it."""
        self._cool(rumor)

    def contacts_max(self, peers: int) -> int:
        """Far above what rumors need where feedback arrives: a site makes about K + 2 contacts, the
        first ones some more."""
        return 8 * (self.policy.k + math.ceil(math.log2(peers + 1)))

    def sent(self, peer: str, rumors: list[HotRumor], hunts: int = 0) -> int:
        """The sequence number under which `peer` will answer for these rumors. `hunts`: how many
        peers refused them before."""
        sequence = self._rng.getrandbits(SEQUENCE_BITS)
        self._pending[sequence] = Packet(peer, rumors, hunts)
        return sequence

    def feedback(self, sequence: int, known: bytes) -> Packet | None:
        """The answer to a packet, which is returned: bit i says whether its i-th rumor was known.
        Strange or late answers are ignored."""
        packet = self._pending.pop(sequence, None)
        if packet is None or len(known) * 8 < len(packet.rumors):
            return None
        peer, rumors, _ = packet
        judges = self.policy.feedback
        bits = int.from_bytes(known[: -(-len(rumors) // 8)], "little")
        for rumor in rumors:
            knew, bits = bool(bits & 1), bits >> 1
            if knew or not rumor.is_notice:
                rumor.holders.add(peer)
            if judges and rumor.sends is None:
                self._judge(rumor, knew)
        return packet

    def refused(self, sequence: int) -> Packet | None:
        """The packet that its peer was too busy to take; None for a strange answer."""
        return self._pending.pop(sequence, None)

    def _judge(self, rumor: HotRumor, knew: bool) -> None:
        count = self.policy.after(rumor.unnecessary, knew, self._rng)
        if count is None:
            self._cool(rumor)
        else:
            rumor.unnecessary = count

    def _is_hot(self, rumor: HotRumor) -> bool:
        return (self.own if rumor.own else self.forwarded).get(rumor.key) is rumor

    def _cool(self, rumor: HotRumor) -> None:
        if self._is_hot(rumor):
            del (self.own if rumor.own else self.forwarded)[rumor.key]
            self.cooled += 1


def bit_of(bits: bytes, place: int) -> bool:
    return place >> 3 < len(bits) and bool(bits[place >> 3] >> (place & 7) & 1)


def bitmap(known: list[bool]) -> bytes:
    """Bits, least significant first, as Feedback carries them."""
    bits = bytearray((len(known) + 7) // 8)
    for place, bit in enumerate(known):
        bits[place >> 3] |= bit << (place & 7)
    return bytes(bits)
