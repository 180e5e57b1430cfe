"""OwnHost: where this node is reached, as far as its configuration does not say so.

Laws
- A host that the configuration gives stays.
- Otherwise the first one by which a peer reaches this node is taken, of each IP family one: a peer
  that has one family only must find it. A host of this machine alone gives way to another one.
- A peer is believed about it where its link ends at that very host, so that it is one of this
  machine; or where two peers on different machines say the same, as behind a router that translates
  addresses. One stranger sets nobody's address.
- A learned host gives way to what peers see, once it is wrong: somebody has accused this node, no
  ping has reached it since, and SEEN_MIN of its own probes in a row were answered with one and the
  same other host, at which a link has ended, or which two peers see. Acks that name another host
  are not enough: behind some routers each peer sees another one, and all of them are right (lesson
  30).
"""

from __future__ import annotations

from ipaddress import IPv6Address

from msgspec.structs import replace

from kvgossip.protocol.model.member import Member
from kvgossip.protocol.model.newest import Newest
from kvgossip.protocol.model.ordered_set import OrderedSet

SEEN_MIN = 3
AGREE_MIN = 2
SAYING_MAX = 16
ENDS_MAX = 8


class OwnHost:
    """The methods take the own record, and return it as it should be."""

    def __init__(self) -> None:
        #: the record came without a host, so the configuration has none
        self._is_learned = False
        self._is_accused = False
        #: the other host that was seen last, how often in a row, and by whom
        self._seen, self._count = "", 0
        self._seers: OrderedSet[str] = OrderedSet()
        #: by the place of a peer, where it last said that it reaches this node
        self._said: Newest[str, str] = Newest(SAYING_MAX)
        #: the hosts at which links have ended here
        self._ends: Newest[str, None] = Newest(ENDS_MAX)

    def ended(self, here: str) -> None:
        """A link ends at this host of ours."""
        if here not in self._ends:
            self._ends[here] = None

    def observed(self, me: Member, host: str, peer: str, here: str) -> Member:
        """The peer at the host `peer` says, over a link that ends `here`, that it reaches this node
        at `host`."""
        self._is_learned = self._is_learned or not me.host
        if not (host and self._is_learned and self._is_believed(host, peer, here)):
            return me
        if not me.host or (is_loopback(me.host) and not is_loopback(host)):
            beside = "" if is_loopback(me.other_host) else me.other_host
            return replace(me, host=host, other_host=beside)
        tells = is_loopback(host) == is_loopback(me.host) and is_numeric(host)
        if not me.other_host and tells and family(host) != family(me.host):
            return replace(me, other_host=host)
        return me

    def has_said(self, peer: str) -> bool:
        """True if somebody at this host has said where it reaches this node."""
        return place_of(peer) in self._said

    def _is_believed(self, host: str, peer: str, here: str) -> bool:
        self._said.pop(place_of(peer), None)
        self._said[place_of(peer)] = host
        is_own = bool(here) and host.partition("%")[0] == here.partition("%")[0]
        return is_own or sum(said == host for said in self._said.values()) >= AGREE_MIN

    def accused(self) -> None:
        """Somebody takes this node for dead, or suspects it."""
        if not self._is_accused:
            self._is_accused, self._count = True, 0

    def reached(self) -> None:
        """A ping has come: peers know the right address."""
        self._is_accused, self._count = False, 0

    def seen(self, me: Member, host: str, peer: str) -> Member:
        """A member at the host `peer`, which this node has probed, saw it at that host; empty:
        where its record says."""
        if not host or not self._is_learned or family(host) != family(me.host):
            self._count = 0
            return me
        if host != self._seen or not self._count:
            self._count = 0
            self._seers.clear()
        self._count += 1
        self._seen = host
        self._seers.add(place_of(peer))
        is_sure = host in self._ends or len(self._seers) >= AGREE_MIN
        if not (self._is_accused and self._count >= SEEN_MIN and is_sure):
            return me
        self.reached()
        return replace(me, host=host)


def place_of(host: str) -> str:
    """The machine, as far as a host tells: this one has many for itself, and whoever has an IPv6
    address has a whole network of them."""
    if is_loopback(host):
        return "loopback"
    try:
        return IPv6Address(host.partition("%")[0]).exploded[:19] if ":" in host else host
    except ValueError:
        return host


def family(host: str) -> int:
    """The IP version of a numeric host."""
    return 6 if ":" in host else 4


def is_numeric(host: str) -> bool:
    """True of an IP address that means the same on every machine: no name, and no interface."""
    return not host.strip("0123456789.") or (":" in host and "%" not in host)


def is_loopback(host: str) -> bool:
    return host.startswith("127.") or host == "::1"


def at_reach(member: Member, me: Member, kept: str) -> Member:
    """The record of a member with that host first by which this node reaches it.

    `kept`: the host by which it took this node in, empty where it did not. The other one is not
    lost: it goes along in the record.
    """
    if not is_numeric(member.host):
        return member
    if (
        kept
        and is_numeric(kept)
        and family(kept) != family(member.host)
        and member.other_host in ("", kept)
    ):
        return replace(member, host=kept, other_host=member.host)
    alone = me.host and is_numeric(me.host) and not me.other_host
    if alone and member.other_host and family(member.host) != family(me.host):
        return replace(member, host=member.other_host, other_host=member.host)
    return member
