"""Blocklist: the peers that this node ignores because its operator said so, by name or by network:
what people do with a packet filter.

Laws
- Nothing that a blocked peer sends is taken, and nothing is sent to it. A frame is known as its own
  by the address from which it comes, or by the name under which it speaks: from then on its source
  is blocked too, be it the port of a link.
- A blocked member is neither probed nor suspected nor chosen here. A block by one node is no news
  for the others: were it suspected, everybody else would see it flap between an accusation and its
  refutation.
- News of it from others is taken only if it is gone: dead, left, or pruned.
- Blocks last as long as this life of the node: after a restart the operator has to say so again.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from kvgossip.config import NAME_PATTERN, Address
from kvgossip.errors import ConfigError, NotFoundError
from kvgossip.protocol.model.member import Member
from kvgossip.protocol.model.newest import Newest
from kvgossip.protocol.model.ordered_set import OrderedSet
from kvgossip.protocol.wire.message import Ack, Join, Message

TARGETS_MAX = 1024
SOURCES_MAX = 4096
HOSTS_MAX = 4096


class Blocklist:
    """The names and networks that are blocked. True while there are any: callers that ask often ask
    that first."""

    __slots__ = ("_hosts", "_names", "_networks", "_sources")

    def __init__(self) -> None:
        self._names: OrderedSet[str] = OrderedSet()
        #: by how they are listed
        self._networks: dict[str, IPv4Network | IPv6Network] = {}
        #: the addresses from which a blocked name has spoken
        self._sources: Newest[Address, str] = Newest(SOURCES_MAX)
        #: true of a host in a blocked network, as far as that was asked
        self._hosts: dict[str, bool] = {}

    def __bool__(self) -> bool:
        return bool(self._names or self._networks)

    def targets(self) -> list[str]:
        return sorted([*self._names, *self._networks])

    # -- the orders of the operator ---------------------------------------------------------------

    def add(self, target: str) -> str:
        """Block a name, an IP address or a network in CIDR notation; returns how it is listed.
        Raises ConfigError for anything else."""
        if len(self._names) + len(self._networks) >= TARGETS_MAX:
            raise ConfigError(
                f"{TARGETS_MAX} names and networks are blocked already",
                "block a network instead of its addresses",
            )
        network = _network(target)
        if network is not None:
            self._networks[str(network)] = network
        else:
            self._names.add(target)
        self._hosts.clear()
        return target if network is None else str(network)

    def remove(self, target: str) -> str:
        """Take a block back. Raises NotFoundError if there is none, ConfigError as `add` does."""
        network = _network(target)
        listed = target if network is None else str(network)
        if listed not in self._names and listed not in self._networks:
            raise NotFoundError(
                f"{listed} is not blocked on this node", "`kvgossip status` lists what is"
            )
        self._names.discard(listed)
        self._networks.pop(listed, None)
        for source in [source for source, name in self._sources.items() if name == listed]:
            del self._sources[source]
        self._hosts.clear()
        return listed

    # -- the effect of a block --------------------------------------------------------------------

    def covers(self, member: Member) -> bool:
        """True if this member is blocked, by its name or by its address."""
        if not self._names and not self._networks:
            return False
        return (
            member.name in self._names
            or self.covers_address(member.address)
            or bool(member.other_host and self._covers_host(member.other_host))
        )

    def covers_name(self, name: str) -> bool:
        return name in self._names

    def covers_address(self, address: Address) -> bool:
        if not self._names and not self._networks:
            return False
        return address in self._sources or self._covers_host(address.host)

    def learn(self, source: Address, name: str) -> None:
        """A blocked name is, or speaks, at this address."""
        if source.host:
            self._sources[source] = name

    def admitted(
        self, messages: Sequence[Message | Member], source: Address
    ) -> list[Message | Member] | None:
        """The messages of a frame that may be taken; None where a blocked peer has written it.

        An ack may have been passed on by a helper: then it is worth nothing, and the helper is
        innocent.
        """
        for author in map(_author_of, messages):
            if author in self._names:
                self.learn(source, author)
                return None
        return [
            message
            for message in messages
            if not (isinstance(message, Ack) and message.sender in self._names)
        ]

    def _covers_host(self, host: str) -> bool:
        if not self._networks:
            return False
        covered = self._hosts.get(host)
        if covered is None:
            if len(self._hosts) >= HOSTS_MAX:
                self._hosts.clear()
            covered = self._hosts[host] = self._is_in_a_network(host)
        return covered

    def _is_in_a_network(self, host: str) -> bool:
        try:
            address = ip_address(host)
        except ValueError:
            return False
        return any(address in network for network in self._networks.values())


def _network(target: str) -> IPv4Network | IPv6Network | None:
    """The network of this text; None where it is a name."""
    try:
        return ip_network(target, strict=False)
    except ValueError:
        if NAME_PATTERN.fullmatch(target):
            return None
    raise ConfigError(
        f"{target!r} is neither a name nor a network",
        "for example node-7, 10.2.0.0/16, 10.2.0.9 or 2001:db8::/32",
    )


def _author_of(message: Message | Member) -> str:
    """The name under which this was written; empty where the message has none."""
    if isinstance(message, Join):
        return message.name
    return "" if isinstance(message, (Ack, Member)) else str(getattr(message, "sender", ""))
