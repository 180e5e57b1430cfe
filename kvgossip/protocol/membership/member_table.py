"""MemberTable: the members that this node knows, and the conclusions from their records: which are
reachable, which are peers, which died, and which lives at an address.

Membership (swim.py) alone changes the table, and decides by rank what enters it; the table decides
nothing but the name at an address.

Laws
- A result worked out of the records - reachable, peers, digest - holds until `changed` is called,
  once for each change.
- At one address lives one name: of two that claim it the life that began later, for both began on
  one machine, by one clock (lesson 11). But one whose process comes back after it had to give way
  lives as well, behind one NAT perhaps: both stay, an operator is warned, and while it is heard of,
  no probe of that address makes a suspect of it.
- Of the names beyond `members_max` the one goes that has been here for longest without ever having
  answered a probe (proofs.py): so no number of invented names keeps a node out.
- The time since which a member is dead or left is kept. A life that was pruned is remembered as
  pruned, so that no stale table brings it back.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from xxhash import xxh3_64_intdigest

from kvgossip.config import Address
from kvgossip.protocol.membership.proofs import Proofs
from kvgossip.protocol.model.arrival import Arrival
from kvgossip.protocol.model.member import Member, MemberState, life, rank
from kvgossip.protocol.model.newest import Newest
from kvgossip.protocol.wire.message import Prune

PRUNED_MAX = 1024
EXPELLED_MAX = 1024
SHARING_MAX = 1024
HEARD_PERIODS = 10


class MemberTable:
    """`is_blocked(member)`: it is blocked (blocklist.py). `is_reached_otherwise(member)`: rumors
    and exchanges reach it by the node's other pool (pool.py); None: there is no other way."""

    def __init__(
        self,
        me: Member,
        *,
        is_blocked: Callable[[Member], bool],
        is_reached_otherwise: Callable[[Member], bool] | None = None,
    ) -> None:
        #: this node's own record; true if it has left on purpose
        self.me, self.leaving = me, False
        #: the record of each name, this node's own among them
        self.members: dict[str, Member] = {me.name: me}
        #: true of a member that an operator has blocked
        self.is_blocked = is_blocked
        self._is_reached_otherwise = is_reached_otherwise
        #: since when each member that is dead or left is so, monotonic seconds
        self._gone_s: dict[str, float] = {}
        #: who is dead since before then is not waited for, monotonic seconds
        self._given_up_s = -math.inf
        #: by name, the life that was pruned, and when, monotonic seconds
        self._pruned: Newest[str, tuple[Prune, float]] = Newest(PRUNED_MAX)
        #: by name, the site of the process that gave way to another name at its address
        self._expelled: Newest[str, int] = Newest(EXPELLED_MAX)
        #: by name, when a live process whose address is another one's as well was heard last,
        #: monotonic seconds
        self._sharing_s: Newest[str, float] = Newest(SHARING_MAX)
        #: the pairs of those that were found since this was last looked at
        self.shared: list[tuple[Member, Member]] = []
        #: the name that lives, or lived last, at an address
        self._names_at: dict[Address, str] = {}
        #: who has answered a probe of this node, and where
        self.proofs = Proofs(self.members)
        #: `reachable` and `is_whole` of now; None: something has changed since they were worked out
        self._reachable: list[Member] | None = None
        self._is_whole = False
        #: `digest` of now; None: as above
        self._digest: int | None = None

    # -- questions --------------------------------------------------------------------------------

    @property
    def reachable(self) -> list[Member]:
        """The other members that are alive or suspect, and not blocked, in the order of their
        names. Do not change the list."""
        if self._reachable is None:
            others = [self.members[name] for name in sorted(self.members) if name != self.me.name]
            self._reachable = [member for member in others if self.is_reachable(member)]
            self._is_whole = len(self._reachable) == sum(map(self._is_waited_for, others))
        return self._reachable

    @property
    def is_whole(self) -> bool:
        """True if all others are reachable, but for those that left, and those that are dead for so
        long that nobody is expected to reach them."""
        return bool(self.reachable) and self._is_whole

    def _is_waited_for(self, member: Member) -> bool:
        if member.state is not MemberState.DEAD:
            return member.state is not MemberState.LEFT
        return self._gone_s[member.name] >= self._given_up_s

    def is_reachable(self, member: Member) -> bool:
        """True if it is alive or suspect, and not blocked."""
        return member.reachable and not self.is_blocked(member)

    @property
    def peers(self) -> list[Member]:
        """The reachable that rumors and exchanges go to: all, but for those that this node reaches
        otherwise."""
        otherwise = self._is_reached_otherwise
        reachable = self.reachable if self._reachable is None else self._reachable
        if otherwise is None:
            return reachable
        return [member for member in reachable if not otherwise(member)]

    def is_peer(self, member: Member) -> bool:
        """True if rumors and exchanges may go there."""
        return self.is_reachable(member) and not (
            self._is_reached_otherwise is not None and self._is_reached_otherwise(member)
        )

    @property
    def has_other_ways(self) -> bool:
        """True if a member may be reached otherwise. Then peers come and go without a change of
        this table."""
        return self._is_reached_otherwise is not None

    @property
    def reached_otherwise(self) -> list[Member]:
        """The reachable that are no peers."""
        if not self.has_other_ways:
            return []
        return [member for member in self.reachable if not self.is_peer(member)]

    def dead(self, since_s: float = -math.inf) -> list[Member]:
        """The members that died after `since_s` (monotonic seconds), and are not blocked: they may
        come back. Those that left are none."""
        return [
            member
            for name, gone_s in self._gone_s.items()
            if gone_s > since_s
            and (member := self.members[name]).state is MemberState.DEAD
            and not self.is_blocked(member)
        ]

    def gone_too_long(self, now_s: float, forget_after_s: float) -> list[str]:
        """The names that are dead or left for longer than they want to be remembered, those that do
        not say, than `forget_after_s`. Seconds, monotonic."""
        return [
            name
            for name, gone_s in self._gone_s.items()
            if now_s - gone_s > (self.members[name].forget_s or forget_after_s)
        ]

    def makes_room(self) -> str | None:
        """The name that makes room for another one: the one that has been here for longest of those
        that never answered a probe, else the one that left longest ago, else the one that is dead
        for longest; None where there is none."""
        for name in self.proofs.lacking:
            return name
        left = (name for name in self._gone_s if self.members[name].state is MemberState.LEFT)
        return next(left, next(iter(self._gone_s), None))

    def give_up(self, before_s: float) -> None:
        """Who is dead since before then, monotonic seconds, is not waited for any more (see
        `is_whole`)."""
        old, self._given_up_s = self._given_up_s, before_s
        if any(old <= gone_s < before_s for gone_s in self._gone_s.values()):
            self.changed()

    def name_at(self, address: Address) -> str:
        """The name that is reachable at this address; empty if none is known to be."""
        return next((member.name for member in self.reachable if member.address == address), "")

    def speaks(self, name: str, arrival: Arrival) -> bool:
        """True if what came so is this member's own word: from its address, or over the link that
        was dialled there. Whoever else names it may be anybody."""
        member = self.members.get(name)
        return member is not None and arrival.source == (member.host, member.port)

    def may_speak(self, name: str, arrival: Arrival) -> bool:
        """True also of a link that somebody on its host has dialled: most likely it is the member,
        and good enough where nothing is claimed in its name that it could not say itself."""
        member = self.members.get(name)
        return member is not None and (
            arrival.source == member.address
            or (arrival.reliable and arrival.source.host == member.host)
        )

    def reachable_at(self, address: Address) -> Member | None:
        """The same, without a search: by the name that was last seen to live there."""
        member = self.members.get(self._names_at.get(address, ""))
        if member is None or member.address != address or not self.is_reachable(member):
            return None
        return member

    def last_name_at(self, address: Address) -> str:
        """The name of another member that lives there, or lived there last, whatever became of it;
        empty if there is none."""
        member = self.members.get(self._names_at.get(address, ""))
        if member is None or member.address != address or member.name == self.me.name:
            return ""
        return member.name

    @property
    def digest(self) -> int:
        """A fingerprint of the reachable members: equal tables have equal ones, no matter which
        member accuses which.

        The dead do not count: a node that joined later need not know them, and nobody should learn
        again of those it forgot.
        """
        if self._digest is None:
            self._digest = 0
            for member in [self.me, *self.reachable]:
                self._digest ^= xxh3_64_intdigest(repr((member.name, rank(member))).encode())
        return self._digest

    def pruned_life(self, heard: Member) -> Prune | None:
        """The pruned life of this name that is not before the one that was heard of; None if there
        is none."""
        pruned, _ = self._pruned.get(heard.name, (None, 0.0))
        return pruned if pruned is not None and life(heard) <= pruned.life else None

    # -- changes ----------------------------------------------------------------------------------

    def changed(self) -> None:
        """Records have changed, or a member was blocked or unblocked: results worked out before
        hold no longer."""
        self._reachable = self._digest = None

    def put_own(self, me: Member) -> None:
        """This node's own record has changed."""
        self.me = self.members[me.name] = me
        self.leaving = me.state is MemberState.LEFT

    def put(self, record: Member, now_s: float) -> None:
        """Take the record of another member in place of the one before; monotonic seconds."""
        known = self.members.get(record.name)
        self.members[record.name] = record
        self._pruned.pop(record.name, None)
        if record.reachable:
            self._gone_s.pop(record.name, None)
        else:
            self._gone_s.setdefault(record.name, now_s)
        if known is None:
            self.proofs.met(record)
        if known is not None and known.address != record.address:
            self._leave_address(known)
        self._names_at.setdefault(record.address, record.name)

    def remove(self, name: str) -> Member:
        """Forget a member; returns its last record."""
        old = self.members.pop(name)
        self._gone_s.pop(name, None)
        self.proofs.forget(old)
        self._leave_address(old)
        return old

    def _leave_address(self, member: Member) -> None:
        if self._names_at.get(member.address) == member.name:
            del self._names_at[member.address]
        self.proofs.left(member)

    def settle(self, record: Member) -> Member | None:
        """Let this reachable member live at its address, unless a later life does. The member that
        has left thereby, if there is one."""
        at_home = record.address == self.me.address
        other = self.me if at_home else self.members.get(self._names_at[record.address])
        if (
            other is None
            or other.name == record.name
            or other.address != record.address
            or other.state is MemberState.LEFT
        ):
            self._names_at[record.address] = record.name
            return None
        older, newer = sorted((other, record), key=life)
        if not newer.reachable:
            return None
        came_back = any(map(self.came_back, (older, newer)))
        if older.name == self.me.name or came_back:
            # the earlier one is this node, or gave way, and yet its process lives: both do
            self._share(older, newer)
            return None
        self._names_at[record.address] = newer.name
        self._expelled[older.name] = older.site
        return older

    def came_back(self, record: Member) -> bool:
        """True if its process gave way to another one at its address, and yet it lives."""
        return self._expelled.get(record.name) == record.site

    def _share(self, one: Member, other: Member) -> None:
        if one.name not in self._sharing_s or other.name not in self._sharing_s:
            self.shared.append((one, other))
        for member in (one, other):
            self._sharing_s.setdefault(member.name, -math.inf)

    def heard(self, name: str, now_s: float) -> None:
        """A datagram of this name came; monotonic seconds."""
        if name in self._sharing_s:
            self._sharing_s[name] = now_s

    def is_beyond_probes(self, member: Member, now_s: float, period_s: float) -> bool:
        """True if its address cannot tell whether this member lives, since another one has the same
        one, and it was heard of lately. Monotonic seconds."""
        if member.name not in self._sharing_s:
            return False
        lately_s = (HEARD_PERIODS + len(self.members)) * period_s
        return member.address == self.me.address or now_s - self._sharing_s[member.name] < lately_s

    def prune(self, gone: Prune, now_s: float) -> None:
        """Remember that this life was pruned; monotonic seconds."""
        self._pruned[gone.name] = (gone, now_s)

    def forget_pruned(self, before_s: float) -> None:
        """Those that were pruned before then, monotonic seconds, may be met again."""
        for name in [name for name, (_, at_s) in self._pruned.items() if at_s < before_s]:
            del self._pruned[name]
