"""PoolSet: the pools of one replica, and the tasks that concern all of them."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from kvgossip.config import Address, Config, wan_config
from kvgossip.errors import (
    ConfigError,
    NoAnswerError,
    NotFoundError,
    StillAliveError,
    TypesUnknownError,
)
from kvgossip.protocol.acks.write_concern import Candidate, Group, WriteConcern, groups_of
from kvgossip.protocol.anti_entropy.inspections import Way
from kvgossip.protocol.ingress.blocklist import Blocklist
from kvgossip.protocol.model.member import Member, MemberState
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.model.peer import Peer, PoolKind
from kvgossip.protocol.pools.pool import Pool
from kvgossip.protocol.pools.shared import Shared, next_generation, own_record
from kvgossip.protocol.saved_state import SavedState
from kvgossip.protocol.wire.clock_messages import AskClocks
from kvgossip.protocol.wire.message import Enquire, Prune

SHOWN = 3
_LAN = PoolKind.LAN
"""Asked of every frame (see merging.py)."""


class PoolSet:
    """The LAN pool, and on a gateway the WAN pool after it. It is filled before the first input,
    since pools are made of parts that need to know each other's pools."""

    def __init__(self, config: Config, blocklist: Blocklist) -> None:
        self._config, self._blocklist = config, blocklist
        #: the LAN pool, then the WAN pool
        self.all: list[Pool] = []

    def open(
        self, shared: Shared, saved: SavedState, site: int, lan: Address, wan: Address, now: Now
    ) -> None:
        """Fill it, for the life `site`; peers reach it at these addresses."""
        gateway, places = self._config.gateway, [(PoolKind.LAN, self._config, lan)]
        if gateway:
            places.append((PoolKind.WAN, wan_config(self._config), wan))
        for kind, config, address in places:
            generation = next_generation(saved.generation(kind), now, shared.outbox)
            me = own_record(config, address, generation, site, shared.identity, gateway=gateway)
            self.all.append(Pool(config, kind, me, shared, saved.peers(kind), now))

    def __iter__(self) -> Iterator[Pool]:
        return iter(self.all)

    @property
    def lan(self) -> Pool:
        return self.all[0]

    @property
    def wan(self) -> Pool | None:
        """None where the node is no gateway."""
        return self.all[1] if len(self.all) > 1 else None

    def of(self, kind: PoolKind) -> Pool:
        """Raises ConfigError where there is none of that kind."""
        if kind is _LAN:
            return self.all[0]
        pool = self.wan
        if pool is None:
            raise ConfigError(
                f"the node {self._config.name!r} is no gateway, so it is not in the WAN pool",
                "start its agent with --gateway",
            )
        return pool

    def beside(self, kind: PoolKind) -> Pool | None:
        """The other pool than that; None where there is none."""
        return next((pool for pool in self.all if pool.kind is not kind), None)

    def last_exchange_s(self, now: Now) -> float | None:
        """Seconds since an exchange of this node's last completed; None if none ever did."""
        completed_s = [
            pool.exchanges.completed_s
            for pool in self.all
            if pool.exchanges.completed_s is not None
        ]
        return now.monotonic_s - max(completed_s) if completed_s else None

    def tell_cluster_id(self) -> None:
        """Two clusters are one now: let all members hear of it."""
        for pool in self.all:
            pool.joining.tell_cluster_id()

    def is_alone(self) -> bool:
        """True if this node knows nobody else, and no earlier life of it did."""
        return not self.absent() and all(len(pool.membership.members) == 1 for pool in self.all)

    # -- for tombstones ---------------------------------------------------------------------------

    def holders(self) -> list[Member]:
        """The members, of all pools, without which no tombstone may go (see tombstones.py)."""
        every = (member for pool in self.all for member in pool.membership.members.values())
        return [
            member
            for member in every
            if member.name != self._config.name
            and member.state is not MemberState.LEFT
            and not self._blocklist.covers(member)
        ]

    def absent(self) -> bool:
        """True if an earlier life knew members that this one has not met."""
        return any(pool.known_peers.absent for pool in self.all)

    def cool(self, key: str) -> None:
        """Spread nothing of this key any more."""
        for pool in self.all:
            pool.mongering.rumors.cool(key)

    def check_types(self, number: int) -> None:
        """Raises TypesUnknownError where a member that can be reached does not know this format of
        typed records: it would keep the greater version of two that join."""
        older = [
            member.name
            for pool in self.all
            for member in pool.membership.table.reachable
            if member.types < number
        ]
        if older:
            raise TypesUnknownError(
                f"types of values are not known to {', '.join(sorted(older)[:SHOWN])}"
                + (f" and {len(older) - SHOWN} more" if len(older) > SHOWN else ""),
                "upgrade these members, then write it again: they would keep one of two values "
                "where others merge them",
            )

    # -- for write concerns -----------------------------------------------------------------------

    @property
    def me(self) -> Peer:
        return Peer(PoolKind.LAN, self._config.name)

    def groups_of(self, write_concern: WriteConcern, *, settled: bool = True) -> list[Group]:
        """The members of which so many must hold a write. Raises CannotMeetError where there are
        not so many. A node that has not `settled` cannot know that: then all count of whom it has
        heard."""
        if not settled:
            heard_of = [] if write_concern.is_of_one else self._heard_of()
            return [Group((self.me, *heard_of), 1 + len(heard_of))]
        others = [candidate for pool in self.all for candidate in self.candidates(pool)]
        others += [Candidate(peer, "", alive=False) for peer in self._absent(others)]
        return groups_of(write_concern, Candidate(self.me, self._config.zone, alive=True), others)

    def _heard_of(self) -> list[Peer]:
        """All other members that this node knows, those of earlier lives that it has not met yet,
        and the join addresses at which nobody has answered."""
        candidates = [candidate for pool in self.all for candidate in self.candidates(pool)]
        known, absent = [candidate.peer for candidate in candidates], self._absent(candidates)
        unanswered = [
            Peer(pool.kind, address)
            for pool in self.all
            for address in pool.join_targets.unanswered()
        ]
        return list(dict.fromkeys([*known, *absent, *unanswered]))

    def _absent(self, candidates: list[Candidate]) -> list[Peer]:
        """Those that an earlier life knew, and this one has not met: until they are forgotten they
        count as the dead do, of whom its member table knows nothing. By name, so that none counts
        twice."""
        names = dict.fromkeys(candidate.peer.name for candidate in candidates)
        absent: dict[str, Peer] = {}
        for pool in self.all:
            for name in pool.known_peers.absent:
                if name not in names:
                    absent.setdefault(name, Peer(pool.kind, name))
        return list(absent.values())

    def candidates(self, pool: Pool) -> list[Candidate]:
        """The other members of a pool that have not left and are not blocked, each on one way only:
        one that is in both pools, in the LAN pool."""
        members = (pool.membership.members[name] for name in sorted(pool.membership.members))
        return [
            Candidate(Peer(pool.kind, member.name), member.zone, member.reachable)
            for member in members
            if member.name != self._config.name
            and member.state is not MemberState.LEFT
            and not self._blocklist.covers(member)
            and not pool.is_reached_in_lan(member.name)
        ]

    def surveyed(self) -> Iterator[tuple[Pool, Member]]:
        """The members that a survey asks: each reachable one on one way only."""
        for pool in self.all:
            for member in pool.membership.reachable:
                if not pool.is_reached_in_lan(member.name):
                    yield pool, member

    def ask_clocks(self) -> None:
        """Ask gateways for the clocks of other datacenters: one of the own one, or, as a gateway,
        one of each other."""
        pool = self.wan or self.lan
        asked: dict[str, Member] = {}
        for member in pool.membership.reachable:
            if member.gateway and (
                pool is self.lan or member.datacenter != self._config.datacenter
            ):
                asked.setdefault(member.datacenter, member)
        for member in asked.values():
            pool.outbox.send(AskClocks(self._config.name), member.address, reliable=True)

    def enquire(self, peer: Peer, query: Enquire, reliable: bool) -> None:
        """Ask a member whether it holds a version. Over a link it sees which node asks."""
        pool = self.of(peer.pool)
        if reliable:
            query = replace(query, sender=self._config.name)
        pool.outbox.send(query, pool.membership.members[peer.name].address, reliable=reliable)

    def state_of(self, peer: Peer) -> MemberState | None:
        """None where this life has not met it."""
        known = self.of(peer.pool).membership.members.get(peer.name)
        return None if known is None else known.state

    def way_to(self, name: str) -> Way:
        """How a member is asked over a link. Raises NotFoundError for a name that is not known or
        is this node's, NoAnswerError for a member that cannot be asked."""
        pool, member = self._reachable(name)
        membership = pool.membership
        return Way(
            Peer(pool.kind, name),
            member.address,
            pool.outbox,
            pool.exchanges.responder.backlog,
            membership.table.digest,
        )

    def _reachable(self, name: str) -> tuple[Pool, Member]:
        if name == self._config.name:
            raise NotFoundError(f"{name!r} is this node itself", "name another member")
        known = [
            (pool, pool.membership.members[name])
            for pool in self.all
            if name in pool.membership.members and not pool.is_reached_in_lan(name)
        ]
        if not known:
            raise NotFoundError(
                f"no member is named {name!r}", "`kvgossip members` shows who is known"
            )
        pool, member = known[0]
        if self._blocklist.covers(member):
            raise NoAnswerError(
                f"this node blocks {name!r}, so it hears nothing of it",
                f"take the block back: `kvgossip unblock` of {name}, or of its address or network",
            )
        if not member.reachable:
            raise NoAnswerError(
                f"the member {name!r} is {member.state.name.lower()}", "start it, and ask again"
            )
        return pool, member

    # -- orders of the operator -------------------------------------------------------------------

    def exchange(self, name: str, now: Now) -> Peer:
        """Begin an exchange with this member at once, as soon as there is room for one. Raises as
        `way_to`, and ConfigError on a node that does none."""
        pool, _ = self._reachable(name)
        if not self._config.anti_entropy:
            raise ConfigError(
                "anti_entropy is off on this node, so it exchanges with nobody",
                "start it with anti_entropy = true",
            )
        pool.exchanges.start(name, now, differs=True)
        return Peer(pool.kind, name)

    def block(self, target: str, now: Now) -> None:
        if target == self._config.name:
            raise ConfigError(
                f"{target!r} is this node itself",
                "name another member, or stop this one with `kvgossip leave`",
            )
        self._blocklist.add(target)
        for pool in self.all:
            known = pool.membership.members.get(target)
            if known is not None:
                self._blocklist.learn(known.address, target)
        self._regard_blocks(now)

    def unblock(self, target: str, now: Now) -> None:
        self._blocklist.remove(target)
        self._regard_blocks(now)

    def _regard_blocks(self, now: Now) -> None:
        for pool in self.all:
            pool.regard_blocks(now)

    def force_leave(self, name: str, now: Now, *, prune: bool) -> None:
        if name == self._config.name:
            raise StillAliveError(
                f"{name!r} is this node itself", "let it leave with `kvgossip leave`"
            )
        knowing = [
            (pool, pool.membership.members[name])
            for pool in self.all
            if name in pool.membership.members
        ]
        if not knowing:
            raise NotFoundError(
                f"no member is named {name!r}", "`kvgossip members` shows who is known"
            )
        for _, known in knowing:
            if known.state is MemberState.ALIVE and not self._blocklist.covers(known):
                raise StillAliveError(
                    f"the member {name!r} at {known.address} answers probes, so it would come back "
                    "at once",
                    "stop it; or, if it belongs elsewhere, block it on every node of this cluster "
                    "first",
                )
        for pool, known in knowing:
            pool.membership.declare_left(name, now)
            if prune:
                pool.membership.prune(Prune.of(known), now)
            pool.take_changes(now)
