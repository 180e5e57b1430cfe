"""MemberTable: the members that this node knows, and the conclusions from their records: which are
reachable, which are peers, which died, and which lives at an address.

Membership (swim.py) alone changes the table, and decides by rank what enters it; the table decides
nothing but the name at an address.

Laws
- What follows from the records - reachable, counted, digest - costs no walk over all of them for
  one that has changed: anybody who can send a datagram can make thousands change (roster.py).
- At one address lives one name: of two that claim it the one that has answered there, else the life
  that began later, for both began on one machine, by one clock (lesson 11). But one whose process
  comes back after it had to give way lives as well, behind one NAT perhaps: both stay, an operator
  is warned, and while it is heard of, no probe of that address makes a suspect of it.
- Of the names beyond `members_max` the one goes that has been here for longest without ever having
  answered a probe (proofs.py): so no number of invented names keeps a node out.
- The time since which a member is dead or left is kept. A life that was pruned is remembered as
  pruned, so that no stale table brings it back.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import chain, takewhile

from xxhash import xxh3_64_intdigest

from kvgossip.config import Address
from kvgossip.protocol.membership.proofs import Proofs
from kvgossip.protocol.membership.roster import Roster
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
        #: since when each member that is dead, or has left, is so, monotonic seconds, the longest
        #: time first
        self.dead_s: dict[str, float] = {}
        self._left_s: dict[str, float] = {}
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
        #: the names that have answered a probe for the first time since this was last looked at
        self.newly_proven: list[str] = []
        #: the others that are reachable, and those of them that have answered
        self._reachable, self._proven = Roster(), Roster()
        #: `digest`, and the list that it was worked out of; None: this node itself has changed
        self._digest: tuple[list[Member], int] | None = None

    # -- questions --------------------------------------------------------------------------------

    @property
    def reachable(self) -> list[Member]:
        """The other members that are alive or suspect, and not blocked, in the order of their
        names. Do not change the list."""
        return self._reachable.members

    @property
    def counted(self) -> list[Member]:
        """Those of them that count: of a crowd those that have answered (claims.py). The same list
        until one of them changes."""
        return (self._proven if self.proofs.is_crowded else self._reachable).members

    @property
    def is_whole(self) -> bool:
        """True if all others are reachable and count, but for those that left, and those that are
        dead for so long that nobody is expected to reach them."""
        gone = len(self.dead_s) + len(self._left_s)
        last_s = next(reversed(self.dead_s.values()), -math.inf)
        return (
            0 < len(self._reachable) == len(self.members) - 1 - gone
            and (not self.dead_s or last_s < self._given_up_s)
            and not self.proofs.is_crowded
        )

    def is_reachable(self, member: Member) -> bool:
        """True if it is alive or suspect, and not blocked."""
        return member.reachable and not self.is_blocked(member)

    @property
    def peers(self) -> list[Member]:
        """Those that count and that rumors and exchanges go to: all, but for those that this node
        reaches otherwise."""
        otherwise = self._is_reached_otherwise
        if otherwise is None:
            return self.counted
        return [member for member in self.counted if not otherwise(member)]

    def is_peer(self, member: Member) -> bool:
        """True if rumors and exchanges may go there."""
        return self.is_reachable(member) and not (
            self._is_reached_otherwise is not None and self._is_reached_otherwise(member)
        )

    @property
    def reached_otherwise(self) -> list[Member]:
        """The reachable that are no peers."""
        if self._is_reached_otherwise is None:
            return []
        return [member for member in self.counted if not self.is_peer(member)]

    def dead(self, since_s: float = -math.inf) -> list[Member]:
        """The members that died after `since_s` (monotonic seconds), and are not blocked: they may
        come back. Those that left are none."""
        lately = takewhile(lambda name: self.dead_s[name] > since_s, reversed(self.dead_s))
        found = [self.members[name] for name in lately]
        return [member for member in reversed(found) if not self.is_blocked(member)]

    def gone_too_long(self, now_s: float, forget_after_s: float) -> list[str]:
        """The names that are dead or left for longer than they want to be remembered, those that do
        not say, than `forget_after_s`. Seconds, monotonic."""
        return [
            name
            for name, gone_s in chain(self.dead_s.items(), self._left_s.items())
            if now_s - gone_s > (self.members[name].forget_s or forget_after_s)
        ]

    def makes_room(self) -> str | None:
        """The name that makes room for another one: the one that has been here for longest of those
        that never answered a probe, else the one that left longest ago, else the one that is dead
        for longest; None where there is none."""
        return next(chain(self.proofs.lacking, self._left_s, self.dead_s), None)

    def give_up(self, before_s: float) -> None:
        """Who is dead since before then, monotonic seconds, is not waited for any more (see
        `is_whole`)."""
        self._given_up_s = before_s

    def name_at(self, address: Address) -> str:
        """The name that is reachable at this address; empty if none is known to be."""
        member = self.reachable_at(address)
        if member is None and self._sharing_s:
            # of two that share it the one that was last seen there may be gone
            member = next((each for each in self.reachable if each.address == address), None)
        return "" if member is None else member.name

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

    def may_be_dialled(self, arrival: Arrival) -> bool:
        """True if what came so may make this node dial its source: it came over a link, or from
        where a member is. A datagram of a stranger may come from anybody, and name a victim."""
        source = arrival.source
        return arrival.reliable or self.proofs.has(source) or bool(self.name_at(source))

    def reachable_at(self, address: Address) -> Member | None:
        """The member that was last seen to live there, if it is reachable."""
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
        """A fingerprint of the members that count: equal tables have equal ones, no matter which
        member accuses which.

        The dead do not count: a node that joined later need not know them, and nobody should learn
        again of those it forgot.
        """
        counted = self.counted
        if self._digest is None or self._digest[0] is not counted:
            digest = 0
            for member in [self.me, *counted]:
                digest ^= xxh3_64_intdigest(repr((member.name, rank(member))).encode())
            self._digest = counted, digest
        return self._digest[1]

    def pruned_life(self, heard: Member) -> Prune | None:
        """The pruned life of this name that is not before the one that was heard of; None if there
        is none."""
        pruned, _ = self._pruned.get(heard.name, (None, 0.0))
        return pruned if pruned is not None and life(heard) <= pruned.life else None

    # -- changes ----------------------------------------------------------------------------------

    def regard_blocks(self) -> None:
        """A member was blocked or unblocked."""
        for name in self.members:
            self._enroll(name)

    def _enroll(self, name: str) -> None:
        """Whether this name is reachable, and has answered, may have changed."""
        member = self.members.get(name)
        if member is None or member is self.me or not self.is_reachable(member):
            self._reachable.discard(name)
            self._proven.discard(name)
            return
        self._reachable.put(member)
        if not self.proofs.lacks(name):
            self._proven.put(member)

    def prove(self, record: Member, address: Address) -> None:
        """The one of this name has answered at this address."""
        lacked = self.proofs.lacks(record.name)
        self.proofs.add(record, address)
        if lacked and not self.proofs.lacks(record.name):
            self._enroll(record.name)
            self.newly_proven.append(record.name)

    def put_own(self, me: Member) -> None:
        """This node's own record has changed."""
        self.me = self.members[me.name] = me
        self.leaving = me.state is MemberState.LEFT
        self._digest = None

    def put(self, record: Member, now_s: float) -> None:
        """Take the record of another member in place of the one before; monotonic seconds."""
        known = self.members.get(record.name)
        self.members[record.name] = record
        self._pruned.pop(record.name, None)
        self._note_gone(record, now_s)
        if known is None:
            self.proofs.met(record)
        self._enroll(record.name)
        if known is not None and known.address != record.address:
            self._leave_address(known)
        self._names_at.setdefault(record.address, record.name)

    def _note_gone(self, record: Member, now_s: float) -> None:
        name = record.name
        if record.state is MemberState.DEAD:
            self._left_s.pop(name, None)
            self.dead_s.setdefault(name, now_s)
            return
        dead_s = self.dead_s.pop(name, now_s)
        if record.state is MemberState.LEFT:
            self._left_s.setdefault(name, dead_s)
        else:
            self._left_s.pop(name, None)

    def remove(self, name: str) -> Member:
        """Forget a member; returns its last record."""
        old = self.members.pop(name)
        self.dead_s.pop(name, None)
        self._left_s.pop(name, None)
        self.proofs.forget(old)
        self._enroll(name)
        self._leave_address(old)
        return old

    def _leave_address(self, member: Member) -> None:
        if self._names_at.get(member.address) == member.name:
            del self._names_at[member.address]
        self.proofs.left(member)

    def settle(self, record: Member) -> Member | None:
        """Let this reachable member live at its address, unless another one does that has answered
        there, or began later. The member that has left thereby, if there is one."""
        at_home = record.address == self.me.address
        other = self.me if at_home else self.members.get(self._names_at[record.address])
        if other is not None and other.name != record.name and not other.reachable:
            # what it has answered once is no proof that it is back
            self.proofs.left(other)
        if (
            other is None
            or other.name == record.name
            or other.address != record.address
            or other.state is MemberState.LEFT
        ):
            self._names_at[record.address] = record.name
            return None
        proves = self.proofs.proves
        older, newer = sorted((other, record), key=lambda each: (proves(each), life(each)))
        if not newer.reachable:
            self._names_at[record.address] = record.name
            return None
        came_back = any(map(self.came_back, (older, newer)))
        if older.name == self.me.name or came_back:
            # the earlier one is this node, or gave way, and yet its process lives: both do
            self._share(older, newer)
            return None
        self._names_at[record.address] = newer.name
        self._expelled[older.name] = older.site
        self.proofs.left(older)
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
