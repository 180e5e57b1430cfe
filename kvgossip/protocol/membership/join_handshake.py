"""JoinHandshake: the handshake by which a node enters a pool, both sides of it.

    newcomer ==Join, its record, the members it knows==> host ==JoinReply, the members the host
    knows==> newcomer

Laws
- A name belongs to one live node. If a newcomer brings a name that somebody reachable holds at
  another address, the holder is probed, over UDP and TCP: if it answers either, the newcomer is
  refused; if neither is answered within one probe timeout, the newcomer takes the name over (lesson
  10). A refusal of TCP says nothing: the holder may still answer UDP.
- At one address lives one name, the one that answers there: a newcomer at the address of a member
  that has answered there is probed, and taken in once it has answered itself (claims.py). Of a
  member that has not answered yet, since it may be a crashed one, or an invention, the newcomer
  takes the place unless that one answers within one probe timeout.
- A name that belongs to another identity is refused (identity.py).
- A newcomer of another cluster id is refused, unless an operator wants the two clusters to be one
  (own_cluster_id.py); and so is one that looks for somebody else at this address, where it is not
  of the same cluster for sure: an address may have been given away.
- A newcomer that does not know its own address learns it from where the host saw it (lesson 30,
  own_host.py), and keeps for the host the one by which it reached it (own_host.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from msgspec.structs import replace

from kvgossip.config import Address, Config
from kvgossip.protocol.effect import Joined, JoinRefused
from kvgossip.protocol.ingress.refusal import of_other_id, pool_name
from kvgossip.protocol.membership.identity import Identity, objection_to
from kvgossip.protocol.membership.own_cluster_id import OwnClusterId
from kvgossip.protocol.membership.probing import MakePing
from kvgossip.protocol.membership.swim import GENERATION_AHEAD_MS_MAX, Membership
from kvgossip.protocol.model.arrival import Arrival
from kvgossip.protocol.model.cluster_id import ClusterId
from kvgossip.protocol.model.member import Member, SyncState
from kvgossip.protocol.model.newest import Newest
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.model.peer import PoolKind
from kvgossip.protocol.outbox import Outbox, SendPort
from kvgossip.protocol.wire.message import Ack, Join, JoinPurpose, JoinReply, Message
from kvgossip.protocol.wire.unit import encode

NAME_CHECKS_MAX = 64
ASKED_MAX = 1024
FIRST_MEMBERS = 100


@dataclass(slots=True)
class NameCheck:
    """A join that waits until `asked` has answered, or has not by `deadline_s`: the holder of its
    name, which keeps it then; or the newcomer itself, where another member lives at its address; or
    that one, if it has not answered there before."""

    join: Join
    members: list[Member]
    source: Address
    asked: Member
    deadline_s: float
    asks_newcomer: bool = False

    @property
    def is_of_name(self) -> bool:
        """The holder of the name is asked."""
        return self.asked.name == self.members[0].name


@dataclass(slots=True)
class Asked:
    """An address that this node asked to take it in. `undecided`: nobody has said no, although
    perhaps another one than was asked."""

    purpose: JoinPurpose
    undecided: bool = True


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
        cluster_id: OwnClusterId,
        identity: Identity | None = None,
    ) -> None:
        self._config, self._kind, self._membership = config, kind, membership
        self._send_port, self._outbox, self._refuse = send_port, outbox, refuse
        self._make_ping, self._sync_state, self._identity = make_ping, sync_state, identity
        self._cluster_id = cluster_id
        self._pool_name = pool_name(kind, config.datacenter)
        self._asked: Newest[Address, Asked] = Newest(ASKED_MAX)
        #: by the sequence number of the pings to the holder of a name
        self._checks: Newest[int, NameCheck] = Newest(NAME_CHECKS_MAX)

    # -- the newcomer -----------------------------------------------------------------------------

    def ask(
        self, address: Address, purpose: JoinPurpose = JoinPurpose.ENTER, asked_name: str = ""
    ) -> None:
        """Send a Join there. `asked_name`: of the member that is, or was, at that address."""
        self._asked[address] = Asked(purpose)
        self._cluster_id.look()
        me = self._membership.me
        members = [me, *self._membership.table.counted[:FIRST_MEMBERS]]
        join = Join(
            me.name,
            me.site,
            address.host,
            cluster_id=self._cluster_id.value,
            purpose=purpose,
            asked_name=asked_name,
        )
        if self._identity is not None:
            signature = self._identity.sign(self._config.cluster, self._pool_name, me)
            join = replace(join, identity=self._identity.public, signature=signature)
        self._send_port.send_units(self._units(join, members), address, reliable=True, joining=True)

    def on_reply(self, reply: JoinReply, members: list[Member], arrival: Arrival) -> bool:
        """True if this answers a Join of ours; its members are merged then."""
        source, now, *_ = arrival
        asked = self._asked.pop(source, None)
        if asked is None:
            return False
        if reply.site == self._membership.me.site:
            self._outbox.emit(
                JoinRefused(
                    source,
                    f"{source} is this node itself: name another member",
                    self._kind,
                    # every node may name all of them, itself too
                    logged=True,
                )
            )
        elif not self._cluster_id.admits(reply.cluster_id):
            # this node has come into another cluster since it asked
            if asked.purpose is JoinPurpose.MERGE:
                self.ask(source, asked.purpose)
            else:
                text = self._other_id(reply.cluster_id)
                self._outbox.emit(JoinRefused(source, text, self._kind))
            return False
        else:
            self._cluster_id.take(reply.cluster_id)
            if asked.purpose is JoinPurpose.MERGE:
                # before the members of there are, since two may have one name
                self._cluster_id.tell()
            self._membership.observed_at(reply.observed_host, arrival)
            self._membership.joined_at[reply.sender] = source.host
            for member in members:
                # a host that does not know its own address yet is where we found it
                at_source = member.name == reply.sender and not member.host
                self._membership.merge(
                    replace(member, host=source.host) if at_source else member, now, by_others=True
                )
            host = self._membership.members.get(reply.sender)
            if host is not None:
                self._membership.table.prove(host, source)
            self._outbox.emit(Joined(source, reply.sender, self._kind))
        return True

    def failed(
        self, source: Address, text: str, *, final: bool = True, logged: bool = True
    ) -> None:
        """The node that was asked there said no, or nothing. Not `final`: the one that says so may
        not be the one that was asked, so a yes still counts. `logged`: the gate has complained."""
        asked = self._asked.get(source)
        if asked is None:
            return
        if final:
            del self._asked[source]
        undecided, asked.undecided = asked.undecided, False
        if undecided:
            self._outbox.emit(JoinRefused(source, text, self._kind, logged))

    # -- the host ---------------------------------------------------------------------------------

    def on_join(self, join: Join, members: list[Member], arrival: Arrival) -> None:
        """Take the newcomer in, refuse it, or first ask the holder of its name. Its own record is
        the first of `members`."""
        source, now, *_ = arrival
        if not members or (members[0].name, members[0].site) != (join.name, join.site):
            return
        if join.asked_host:
            self._membership.observed_at(join.asked_host, arrival)
        me, holder = self._membership.me, self._membership.members.get(join.name)
        required = self._config.require_identity
        objection = objection_to(
            join, members[0], holder, self._config.cluster, self._pool_name, required
        )
        if members[0].generation > now.wall_ms + GENERATION_AHEAD_MS_MAX:
            objection = (
                f"{join.name!r} says that it was started years from now: set the clock of its "
                "machine right, or of this one, and restart it"
            )
        newcomer = members[0] if members[0].host else replace(members[0], host=source.host)
        members = [newcomer, *members[1:]]
        objection = self._objection_to_cluster(join, newcomer) or objection
        if objection:
            self._refuse(source, objection)
        elif holder is None and not self._membership.make_room():
            text = (
                f"this cluster has all the names that it takes, {self._config.members_max} "
                "(members_max), and nobody is gone who could make room; raise it everywhere"
            )
            self._refuse(source, text)
        elif join.name == me.name and join.site != me.site and newcomer.address != me.address:
            # at its own address it is this node, before it began a new life
            self._refuse(source, self._name_is_held(newcomer, me))
        else:
            self._check_or_accept(join, members, source, holder, now)

    def _check_or_accept(
        self,
        join: Join,
        members: list[Member],
        source: Address,
        holder: Member | None,
        now: Now,
    ) -> None:
        newcomer, deadline_s = members[0], now.monotonic_s + self._config.probe_timeout_s
        elsewhere = (
            holder is not None
            and holder.reachable
            and holder.site != join.site
            and holder.address != newcomer.address
        )
        if holder is not None and elsewhere:
            self._check(NameCheck(join, members, source, holder, deadline_s), now)
        elif holder is None and self._membership.claims.is_claim(newcomer, None):
            there = self._membership.claims.unproven_at(newcomer.address)
            asked = newcomer if there is None else there
            self._check(NameCheck(join, members, source, asked, deadline_s, there is None), now)
        else:
            self._accept(join, members, source, now)

    def _objection_to_cluster(self, join: Join, newcomer: Member) -> str:
        """Why it may not come from its cluster into this one; empty where it may."""
        theirs, ours, me = join.cluster_id, self._cluster_id, self._membership.me
        if join.purpose is JoinPurpose.MERGE:
            return ""
        if not ours.admits(theirs):
            return self._other_id(theirs)
        if join.asked_name not in ("", me.name) and not ours.value.meets(theirs):
            return (
                f"{newcomer.name!r} looks for {join.asked_name!r}, which is not at {me.address} "
                f"any more: here is {me.name!r}, perhaps of another cluster; join it by its "
                "address, if that is wanted"
            )
        return ""

    def _other_id(self, theirs: ClusterId) -> str:
        ours, me = self._cluster_id.value, self._membership.me
        return of_other_id(theirs.number, ours.number, self._kind, me.address)

    def _check(self, check: NameCheck, now: Now) -> None:
        sequence = self._membership.probing.next_sequence()
        self._checks[sequence] = check
        for reliable in (False, True):
            self._send_port.send(
                self._make_ping(sequence, check.asked.name, now),
                check.asked.address,
                reliable=reliable,
            )

    def _accept(self, join: Join, members: list[Member], source: Address, now: Now) -> None:
        if self._cluster_id.admits(join.cluster_id):
            self._cluster_id.take(join.cluster_id)
        else:
            self._cluster_id.take_over(join.cluster_id)
        for member in members:
            self._membership.merge(member, now, by_others=True)
        me, known = self._membership.me, self._membership.members.get(members[0].name)
        if known is not None:
            # until it has answered it is a stranger, and makes room for others
            self._membership.probing.hasten(known.name)
        counted = self._membership.table.counted
        listed = {
            member.name: member
            for member in [me, *([known] if known else []), *counted[:FIRST_MEMBERS]]
        }
        reply = JoinReply(me.name, me.site, source.host, self._sync_state(), self._cluster_id.value)
        units = self._units(reply, list(listed.values()))
        pruned = self._membership.table.pruned_life(members[0])
        if pruned is not None:  # before the reply: the newcomer must hear it to be taken in
            units = [encode(pruned), *units]
        self._send_port.send_units(units, source, reliable=True, joining=True)
        if join.purpose is not JoinPurpose.LEARN:
            self._send_port.send_members(source, counted[FIRST_MEMBERS:])

    def _name_is_held(self, newcomer: Member, holder: Member) -> str:
        return (
            f"the name {newcomer.name!r}, with which {newcomer.address} wants to join, is held by "
            f"the live node at {holder.address}; "
            "give one of them another --name, or stop it"
        )

    def on_ack(self, ack: Ack, now: Now) -> bool:
        """True if this ack is the answer of the one that was asked."""
        check = self._checks.get(ack.sequence)
        if check is None or check.asked.name != ack.sender:
            return False
        del self._checks[ack.sequence]
        if check.asks_newcomer:
            self._membership.prove(check.asked, now)
            self._accept(check.join, check.members, check.source, now)
        elif check.is_of_name:
            self._refuse(check.source, self._name_is_held(check.members[0], check.asked))
        else:
            self._membership.table.prove(check.asked, check.asked.address)
            self._refuse(check.source, self._is_elsewhere(check.members[0]))
        return True

    def _is_elsewhere(self, newcomer: Member) -> str:
        there = self._membership.table.last_name_at(newcomer.address) or self._membership.me.name
        return (
            f"{newcomer.name!r} does not answer at {newcomer.address}, where it says that it is "
            f"reached, and {there!r} lives there: they may be behind one NAT. Give each an "
            "--advertise of its own, at which the others reach it"
        )

    def unreachable(self, address: Address) -> None:
        """Nobody listens there, so a join that was sent there failed."""
        self.failed(
            address,
            f"no answer from {address}: is a node running there, is this its gossip port (that of "
            "HTTP is another), and does a firewall let TCP and UDP through?",
            logged=False,
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
            if check.asks_newcomer:
                self._refuse(check.source, self._is_elsewhere(check.asked))
            else:
                claims = self._membership.claims
                claims.let_in(None if check.is_of_name else check.members[0])
                self._accept(check.join, check.members, check.source, now)
                claims.let_in(None)

    def _units(self, first: Message, members: list[Member]) -> list[bytes]:
        return [encode(first), *map(encode, members)]
