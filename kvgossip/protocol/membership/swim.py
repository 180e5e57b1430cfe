"""Membership: SWIM (Das, Gupta, Motivala 2002) with Lifeguard, put together from its parts: records
are kept by the table, spread by dissemination, and accused by probing and suspicion.

    news of a member --> merge --> table, suspicions, dissemination
    tick --> suspicions that are overdue --> merge
         --> probing: a target without an answer --> merge

Laws
- One order (member.rank) decides every merge; a merge that is no news changes nothing and sends
  nothing.
- Only a node itself raises its incarnation (to refute a suspicion) and its generation (to refute a
  death, or an older life).
- Of two names at one address the earlier one has left (member_table.py, lesson 11), once the later
  one has answered there (claims.py).
- What thousands of names cost that somebody invents is bounded: nothing walks over all of them for
  each input (member_table.py), and those of a crowd wait for their answer (claims.py).
- A life that an operator had pruned is forgotten, and not taken from a stale table again: a node
  that sends it hears that it is pruned.

Deviations from the papers, with reasons (those of failure detection: probing.py)
- Death is final for a generation; the owner comes back with the next one (see member.py).
- Every packet to a member that is not alive carries what this node believes of it, first
  (Lifeguard's buddy system, for acks and gossip too; pool_outbox.py).
"""

from __future__ import annotations

from random import Random

from msgspec.structs import replace

from kvgossip.config import Config
from kvgossip.protocol.membership.claims import Claims
from kvgossip.protocol.membership.coordinate import Coordinates
from kvgossip.protocol.membership.dissemination import Dissemination
from kvgossip.protocol.membership.identity import is_of_another
from kvgossip.protocol.membership.member_table import MemberTable
from kvgossip.protocol.membership.obituaries import Obituaries
from kvgossip.protocol.membership.own_host import OwnHost, at_reach
from kvgossip.protocol.membership.probing import MakePing, Probing, SendProbe
from kvgossip.protocol.membership.proximity import Proximity
from kvgossip.protocol.membership.round_trip import RoundTrips
from kvgossip.protocol.membership.sampling import uniform
from kvgossip.protocol.membership.signed_records import SignedRecords, is_signed_now
from kvgossip.protocol.membership.suspicion import Awareness, Suspicions
from kvgossip.protocol.model.arrival import Arrival
from kvgossip.protocol.model.member import Member, MemberState, life, rank
from kvgossip.protocol.model.newest import Newest
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.wire.message import Prune
from kvgossip.protocol.wire.unit import encode

INCARNATION_MAX = 2**32
JOINED_MAX = 1024
GENERATION_AHEAD_MS_MAX = 10 * 365 * 86_400_000


class Membership:
    """`send` and `make_ping`: see probing.py."""

    def __init__(
        self,
        config: Config,
        table: MemberTable,
        dissemination: Dissemination,
        *,
        rng: Random,
        send: SendProbe,
        make_ping: MakePing,
        signed_records: SignedRecords,
        now: Now,
    ) -> None:
        self._config, self._rng, self._signed_records = config, rng, signed_records
        self.table, self.dissemination = table, dissemination
        self._send = send
        #: those of the table, by name
        self.members = table.members
        self.awareness = Awareness(config.awareness_max)
        # a generator of its own: the place of a member must not change which one is probed
        self.coordinates = Coordinates(Random(table.me.site))
        self.round_trips = RoundTrips(config)
        self.probing = Probing(
            config,
            table,
            self.awareness,
            self.round_trips,
            self.coordinates,
            rng=rng,
            send=send,
            make_ping=make_ping,
            now=now,
        )
        self.claims = Claims(config, table, self.probing, send=send, make_ping=make_ping)
        self.obituaries = Obituaries(
            table, self.probing, self.round_trips, send=send, make_ping=make_ping
        )
        self._suspicions = Suspicions(config)
        self._proximity = Proximity(config, table.me.location, self.coordinates)
        #: (old, new) records, None where there is none, until the pool takes them
        self.changes: list[tuple[Member | None, Member | None]] = []
        #: a live node that has claimed this node's name, until it is warned of
        self.rival: Member | None = None
        #: how often one did
        self.conflicts = 0
        #: news that was not taken: of one name too many, of lives that began years from now, of
        #: blocked members, of members whose name belongs to another identity
        self.names_refused = self.lives_refused = self.blocked_news = self.identities_refused = 0
        self.own_host = OwnHost()
        #: by name, the host at which a member has taken this node in
        self.joined_at: Newest[str, str] = Newest(JOINED_MAX)
        table.put_own(signed_records.signed(table.me))
        dissemination.spread(table.me)

    # -- questions --------------------------------------------------------------------------------

    @property
    def me(self) -> Member:
        """This node's own record."""
        return self.table.me

    @property
    def reachable(self) -> list[Member]:
        return self.table.reachable

    @property
    def peers(self) -> list[Member]:
        return self.table.peers

    def statistics(self) -> dict[str, int]:
        """Counters since the start and present sizes, by name."""
        return {
            "awareness": self.awareness.score,
            "name_conflicts": self.conflicts,
            "names_refused": self.names_refused,
            "lives_refused": self.lives_refused,
            "blocked_news": self.blocked_news,
            "identities_refused": self.identities_refused,
            "claims_asked": self.claims.count,
            "members_without_udp": len(self.round_trips.blocked()),
            "coordinate_samples": self.coordinates.samples,
            "coordinates_refused": self.coordinates.refused,
            "coordinate_resets": self.coordinates.resets,
        }

    # -- selection of peers -----------------------------------------------------------------------

    def choose(self, count: int) -> list[Member]:
        """At most `count` different peers, near ones rather than far ones (protocol.md 10)."""
        return self._proximity.choose(self._rng, self.table.peers, count)

    def gossip_targets(self, count: int, now: Now) -> list[Member]:
        """The members that hear the next round: some of the peers, one of those that are reached
        otherwise, for news of members alone, and for a while one of the dead, so that it can
        refute.
        """
        otherwise = self.table.reached_otherwise
        dead = self.table.dead(now.monotonic_s - self._config.gossip_to_dead_s)
        return self.choose(count) + uniform(self._rng, otherwise, 1) + uniform(self._rng, dead, 1)

    # -- merging ----------------------------------------------------------------------------------

    def merge(self, heard: Member, now: Now, *, by_others: bool = False) -> None:
        """Take over the record of a member, if it is news. Of itself this node knows better. A
        generation is a time, so one that lies years ahead is a lie that its owner could never
        overrule. `by_others`: another one than itself says so.
        """
        known = self.members.get(heard.name)
        if known is not None and not heard.host and heard.name != self.me.name:
            # it does not know its own address yet, we do
            heard = replace(heard, host=known.host, other_host=known.other_host)
        as_sent, heard = heard, self._at_reach(heard)
        if heard.generation > now.wall_ms + GENERATION_AHEAD_MS_MAX:
            self.lives_refused += 1
        elif heard.name == self.me.name:
            self._refute(heard)
        elif heard.reachable and self.table.is_blocked(heard):
            self.blocked_news += 1
        elif is_of_another(heard, known, required=self._config.require_identity):
            self.identities_refused += 1
        elif known is None or rank(heard) > rank(known) or is_signed_now(heard, known):
            believed = self._signed_records.believed(as_sent, known, now)
            if believed is None:
                self.identities_refused += 1
            elif known is None:
                self._meet(self._at_reach(believed), now)
            elif not self.claims.hold(believed := self._at_reach(believed), known, now) and not (
                by_others and self.obituaries.holds(believed, known, now)
            ):
                self._accept(known, believed, now)
        elif (
            heard.state is MemberState.SUSPECT
            and rank(heard) == rank(known)
            and self._suspicions.confirm(heard)
        ):
            self.dissemination.spread(heard)

    def _at_reach(self, heard: Member) -> Member:
        return at_reach(heard, self.me, self.joined_at.get(heard.name, ""))

    def _meet(self, heard: Member, now: Now) -> None:
        """A new name. The dead stay unknown, or those that everybody has forgotten would go round
        for ever as ghosts."""
        pruned = self.table.pruned_life(heard)
        if pruned is not None:
            if heard.reachable and not self.dissemination.is_spreading(heard.name):
                self.dissemination.spread_unit(heard.name, encode(pruned))
        elif not heard.reachable or not heard.host or self.claims.hold(heard, None, now):
            pass
        elif self.make_room():
            self._accept(None, heard, now)
        else:
            self.names_refused += 1

    def make_room(self) -> bool:
        """True if there is room for another name; who has never answered makes it, or who is gone
        for longest."""
        if len(self.members) < self._config.members_max:
            return True
        name = self.table.makes_room()
        if name is not None:
            self.forget(name)
        return name is not None

    def prove(self, record: Member, now: Now) -> None:
        """This name has answered at its address, so the record is believed."""
        self.table.prove(record, record.address)
        self.merge(record, now)
        known = self.members.get(record.name)
        if known is None or known.address != record.address:
            self.table.proofs.drop(record.address)
        else:
            self.dissemination.spread(known)

    def _accept(self, known: Member | None, heard: Member, now: Now) -> None:
        self.table.put(heard, now.monotonic_s)
        self.obituaries.taken(known, heard, now)
        is_new = known is None or (heard.reachable and not known.reachable)
        if is_new and self.table.proofs.counts(heard.name):
            self.probing.admit(heard.name)
        self._suspicions.end(heard.name)
        if heard.state is MemberState.SUSPECT:
            self._suspicions.begin(heard, 1 + len(self.table.counted), now.monotonic_s)
        self.changes.append((known, heard))
        if self.table.proofs.counts(heard.name) if known else self.claims.introduce(heard, now):
            self.dissemination.spread(heard)
        gone = self.table.settle(heard) if heard.reachable else None
        if gone is not None:
            self.declare_left(gone.name, now)

    # -- this node itself -------------------------------------------------------------------------

    def _refute(self, heard: Member) -> None:
        if self.table.leaving or rank(heard) <= rank(self.me):
            return
        self.own_host.accused()
        if (
            life(heard) > life(self.me)
            or heard.state >= MemberState.DEAD
            or heard.incarnation >= INCARNATION_MAX
        ):
            if heard.site != self.me.site and heard.reachable:
                self.conflicts += 1
                self.rival = heard
            self._renew_self(generation=heard.generation + 1, incarnation=0)
        else:
            self.awareness.add(1)
            self._renew_self(generation=self.me.generation, incarnation=heard.incarnation + 1)

    def _renew_self(self, **changes: object) -> None:
        self.set_self(replace(self.me, state=MemberState.ALIVE, **changes))

    def set_self(self, me: Member) -> None:
        """Change the own record, and spread it."""
        old = self.me
        self.table.put_own(self._signed_records.signed(me))
        self.changes.append((old, self.me))
        self.dissemination.spread(self.me)

    def begin_life(self, site: int, now: Now) -> None:
        """As a restart does."""
        generation = max(now.wall_ms, self.me.generation + 1)
        self._renew_self(site=site, generation=generation, incarnation=0)

    def observed_at(self, host: str, arrival: Arrival) -> None:
        """A peer says that it reaches us at this host."""
        self.move(self.own_host.observed(self.me, host, arrival.source.host, arrival.here))

    def move(self, me: Member) -> None:
        """We are reached where this record says (own_host.py)."""
        if me != self.me:
            self._renew_self(
                host=me.host, other_host=me.other_host, incarnation=self.me.incarnation + 1
            )

    def leave(self) -> None:
        """From now on this node is gone on purpose; nothing that others say of it matters any
        more."""
        self.set_self(replace(self.me, state=MemberState.LEFT))

    # -- orders of operators ----------------------------------------------------------------------

    def regard_blocks(self, now: Now) -> None:
        """A member was blocked or unblocked. One that is blocked cannot refute here, so no
        suspicion may end it; one that is no longer, may."""
        self.table.regard_blocks()
        for member in self.members.values():
            if self.table.is_blocked(member):
                self._suspicions.end(member.name)
            elif member.state is MemberState.SUSPECT and member.name not in self._suspicions:
                self._suspicions.begin(member, 1 + len(self.table.counted), now.monotonic_s)

    def declare_left(self, name: str, now: Now) -> None:
        """A member that does not answer will not come back, says an operator. If it does, it is
        with a new generation."""
        self.merge(replace(self.members[name], state=MemberState.LEFT, accuser=""), now)

    def prune(self, gone: Prune, now: Now, *, by_others: bool = False) -> None:
        """Forget this life of a member, and spread that. If it is lived, its owner refutes.
        `by_others`: no operator of this node says so."""
        known = self.members.get(gone.name)
        if known is None or gone.generation > now.wall_ms + GENERATION_AHEAD_MS_MAX:
            return
        if gone.name == self.me.name:
            self._refute(
                replace(known, state=MemberState.LEFT, generation=gone.generation, site=gone.site)
            )
        elif life(known) <= gone.life and not (
            by_others and self.obituaries.holds(gone, known, now)
        ):
            self.forget(gone.name)
            self.obituaries.taken(known, None, now)
            self.table.prune(gone, now.monotonic_s)
            self.dissemination.spread_unit(gone.name, encode(gone))

    def forget(self, name: str) -> None:
        """Drop the record of a member."""
        old = self.table.remove(name)
        self.dissemination.drop(name)
        self._suspicions.end(name)
        self.probing.forget(name)
        self.coordinates.forget(name)
        self.round_trips.forget(name)
        self.changes.append((old, None))

    # -- time -------------------------------------------------------------------------------------

    def deadline(self) -> float:
        """The time at which something is due, monotonic seconds."""
        return min(
            self.probing.deadline(),
            self._suspicions.deadline(),
            self.claims.due_s,
            self.obituaries.deadline(),
        )

    def tick(self, now: Now) -> None:
        """Do whatever is due."""
        for name in self._suspicions.overdue(now.monotonic_s):
            self.merge(replace(self.members[name], state=MemberState.DEAD, accuser=""), now)
        for word in self.obituaries.overdue(now):
            self.prune(word, now) if isinstance(word, Prune) else self.merge(word, now)
        self.probing.tick(now)
        self.claims.tick(now)
        if self.probing.is_over(now):
            accused = self.probing.conclude()
            period_s = self._config.probe_interval_s
            if accused is not None and not self.table.is_beyond_probes(
                accused, now.monotonic_s, period_s
            ):
                self.merge(accused, now)
            self.probing.admit_all(self.table.counted)
            self.probing.begin(now)
            self._forget_the_gone(now)

    def _forget_the_gone(self, now: Now) -> None:
        forget_after_s = self._config.forget_after_s
        gone = self.table.gone_too_long(now.monotonic_s, forget_after_s)
        for name in dict.fromkeys([*gone, *self.claims.period(now)]):
            self.forget(name)
        self.table.forget_pruned(now.monotonic_s - forget_after_s)
        self.table.give_up(now.monotonic_s - self._config.gossip_to_dead_s)

    # -- messages ---------------------------------------------------------------------------------

    def on_member(self, member: Member, arrival: Arrival) -> None:
        """News of a member. Whoever tells of a life that was pruned is told so: it may be the one
        that lives it, which comes back with the next generation."""
        known = self.members.get(member.name)
        self.merge(member, arrival.now, by_others=not self.table.speaks(member.name, arrival))
        self.obituaries.contradict(member, known, arrival)
        pruned = self.table.pruned_life(member)
        if pruned is not None and member.reachable:
            self._send(pruned, arrival.source, None, reliable=arrival.reliable)

    def on_prune(self, prune: Prune, arrival: Arrival) -> None:
        known = self.members.get(prune.name)
        self.prune(prune, arrival.now, by_others=True)
        self.obituaries.contradict(prune, known, arrival)
