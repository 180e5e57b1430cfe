"""JoinHandshake: the handshake by which a node enters a pool, both sides of it.

    newcomer ==Join, its record, the members it knows==> host ==JoinReply, the members the host
    knows==> newcomer

Laws
- A name belongs to one live node. If a newcomer brings a name that somebody reachable holds at
  another address, the holder is probed, over UDP and TCP: if it answers either, the newcomer is
  refused; if neither is answered within one probe timeout, the newcomer takes the name over (lesson
  10). A refusal of TCP says nothing: the holder may still answer UDP.
- A name that belongs to another identity is refused (identity.py).
- A newcomer that does not know its own address takes the one from which the host saw it (lesson
  30).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from msgspec.structs import replace

from kvgossip.config import Address, Config
from kvgossip.protocol.effect import Joined, JoinRefused
from kvgossip.protocol.ingress.refusal import pool_name
from kvgossip.protocol.membership.identity import Identity, objection_to
from kvgossip.protocol.membership.probing import MakePing
from kvgossip.protocol.membership.swim import Membership
from kvgossip.protocol.model.arrival import Arrival
from kvgossip.protocol.model.member import Member, SyncState
from kvgossip.protocol.model.newest import Newest
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.model.peer import PoolKind
from kvgossip.protocol.outbox import Outbox, SendPort
from kvgossip.protocol.wire.frame import encode
from kvgossip.protocol.wire.message import Ack, Join, JoinReply, Message

NAME_CHECKS_MAX = 64
ASKED_MAX = 1024
FIRST_MEMBERS = 100


@dataclass(slots=True)
class NameCheck:
    """A join that waits until the holder of its name has answered, or has not by `deadline_s`."""

    members: list[Member]
    source: Address
    holder: Member
    deadline_s: float


class JoinHandshake:
    """`refuse(to, text)` says no, `make_ping(sequence, target, now)` makes a ping; `sync_state()`
    is this node's."""

    def __init__(
        self,
        config: Config,
        kind: PoolKind = PoolKind.LAN,
        *,
        membership: Membership,
        send_port: SendPort,
        outbox: Outbox,
        refuse: Callable[[Address, str], None],
        make_ping: MakePing,
        sync_state: Callable[[], SyncState],
        identity: Identity | None = None,
    ) -> None:
        self._config, self._kind, self._membership = config, kind, membership
        self._send_port, self._outbox, self._refuse = send_port, outbox, refuse
        self._make_ping, self._sync_state, self._identity = make_ping, sync_state, identity
        self._pool_name = pool_name(kind, config.datacenter)
        #: the addresses that this node asked to take it in; False: somebody has said no, but
        #: perhaps another one
        self._asked: Newest[Address, bool] = Newest(ASKED_MAX)
        #: by the sequence number of the pings to the holder of a name
        self._checks: Newest[int, NameCheck] = Newest(NAME_CHECKS_MAX)

    # -- the newcomer -----------------------------------------------------------------------------

    def ask(self, address: Address) -> None:
        """Send a Join there."""
        self._asked[address] = True
        me = self._membership.me
        members = [me, *self._membership.reachable[:FIRST_MEMBERS]]
        join = Join(me.name, me.site, address.host)
        if self._identity is not None:
            signature = self._identity.sign(self._config.cluster, self._pool_name, me)
            join = replace(join, identity=self._identity.public, signature=signature)
        self._send_port.send_units(self._units(join, members), address, reliable=True)

    def on_reply(self, reply: JoinReply, members: list[Member], arrival: Arrival) -> bool:
        """True if this answers a Join of ours; its members are merged then."""
        source, now, _ = arrival
        if source not in self._asked:
            return False
        del self._asked[source]
        if reply.site == self._membership.me.site:
            self._outbox.emit(
                JoinRefused(
                    source, f"{source} is this node itself: name another member", self._kind
                )
            )
        else:
            self._membership.observed_at(reply.observed_host)
            for member in members:
                # a host that does not know its own address yet is where we found it
                at_source = member.name == reply.sender and not member.host
                self._membership.merge(
                    replace(member, host=source.host) if at_source else member, now
                )
            self._outbox.emit(Joined(source, reply.sender, self._kind))
        return True

    def failed(self, source: Address, text: str, *, final: bool = True) -> None:
        """The node that was asked there said no, or nothing. Not `final`: the one that says so may
        not be the one that was asked, so a yes still counts."""
        undecided = self._asked.get(source)
        if undecided is None:
            return
        if final:
            del self._asked[source]
        else:
            self._asked[source] = False
        if undecided:
            self._outbox.emit(JoinRefused(source, text, self._kind))

    # -- the host ---------------------------------------------------------------------------------

    def on_join(self, join: Join, members: list[Member], arrival: Arrival) -> None:
        """Take the newcomer in, refuse it, or first ask the holder of its name. Its own record is
        the first of `members`."""
        source, now, _ = arrival
        if not members or (members[0].name, members[0].site) != (join.name, join.site):
            return
        if join.asked_host:
            self._membership.observed_at(join.asked_host)
        me, holder = self._membership.me, self._membership.members.get(join.name)
        required = self._config.require_identity
        objection = objection_to(
            join, members[0], holder, self._config.cluster, self._pool_name, required
        )
        newcomer = members[0] if members[0].host else replace(members[0], host=source.host)
        members = [newcomer, *members[1:]]
        if objection:
            self._refuse(source, objection)
        elif holder is None and len(self._membership.members) >= self._config.members_max:
            text = (
                f"this cluster has all the names that it takes, {self._config.members_max} "
                "(members_max); raise it everywhere"
            )
            self._refuse(source, text)
        elif join.name == me.name and join.site != me.site:
            self._refuse(source, self._name_is_held(newcomer, me))
        elif (
            holder is not None
            and holder.reachable
            and holder.site != join.site
            and holder.address != newcomer.address
        ):
            self._check_holder(
                NameCheck(members, source, holder, now.monotonic_s + self._config.probe_timeout_s),
                now,
            )
        else:
            self._accept(members, source, now)

    def _check_holder(self, check: NameCheck, now: Now) -> None:
        sequence = self._membership.next_sequence()
        self._checks[sequence] = check
        for reliable in (False, True):
            self._send_port.send(
                self._make_ping(sequence, check.holder.name, now),
                check.holder.address,
                reliable=reliable,
            )

    def _accept(self, members: list[Member], source: Address, now: Now) -> None:
        for member in members:
            self._membership.merge(member, now)
        me, known = self._membership.me, self._membership.members.get(members[0].name)
        reachable = self._membership.reachable
        listed = {
            member.name: member
            for member in [me, *([known] if known else []), *reachable[:FIRST_MEMBERS]]
        }
        reply = JoinReply(me.name, me.site, source.host, self._sync_state())
        self._send_port.send_units(self._units(reply, list(listed.values())), source, reliable=True)
        self._send_port.send_members(source, reachable[FIRST_MEMBERS:])

    def _name_is_held(self, newcomer: Member, holder: Member) -> str:
        return (
            f"the name {newcomer.name!r}, with which {newcomer.address} wants to join, is held by "
            f"the live node at {holder.address}; "
            "give one of them another --name, or stop it"
        )

    def on_ack(self, ack: Ack) -> bool:
        """True if this ack is the answer of a name's holder."""
        check = self._checks.pop(ack.sequence, None)
        if check is not None:
            self._refuse(check.source, self._name_is_held(check.members[0], check.holder))
        return check is not None

    def unreachable(self, address: Address) -> None:
        """Nobody listens there, so a join that was sent there failed."""
        self.failed(
            address,
            f"no answer from {address}: is a node running there, and does a firewall let TCP and "
            "UDP through?",
        )

    def deadline(self) -> float | None:
        return min(check.deadline_s for check in self._checks.values()) if self._checks else None

    def tick(self, now: Now) -> None:
        if not self._checks:
            return
        for sequence in [
            sequence
            for sequence, check in self._checks.items()
            if check.deadline_s <= now.monotonic_s
        ]:
            check = self._checks.pop(sequence)
            self._accept(check.members, check.source, now)

    def _units(self, first: Message, members: list[Member]) -> list[bytes]:
        return [encode(first), *map(encode, members)]
