"""Membership: SWIM (Das, Gupta, Motivala 2002) with Lifeguard. Who is in the pool, who is alive,
and how the news gets round.

Laws
- One order (member.rank) decides every merge; a merge that is no news changes nothing and sends
  nothing.
- Only a node itself raises its incarnation (to refute a suspicion) and its generation (to refute a
  death, or an older life).
- Each period one member is probed, in shuffled round robin. An ack from another name or to another
  sequence number is no ack.
- At one address lives one name: of two that claim it the life that began later, for both began on
  one machine, by one clock. The other one has left (lesson 11).
- A life that an operator had pruned is forgotten, and not taken from a stale table again: who tells
  of it is told that it is pruned.

Deviations from the papers, with reasons
- A direct probe over TCP goes out together with the indirect ones (memberlist): blocked UDP with
  working TCP is no death.
- Death is final for a generation; the owner comes back with the next one (see member.py).
- Every packet to a member that is not alive carries what we believe of it, first (Lifeguard's buddy
  system, for acks and gossip too).
- Each period one random dead member is pinged as well: so a partition in which both sides declared
  each other dead heals.
- A broken TCP link lets its member be probed before its turn: the kernel of a machine whose process
  crashed tells at once what round robin finds out a period later. Only a probe makes a suspect.
- Helpers are asked under another number than the one of the direct ping: so a number tells which
  way an ack has come, whatever address it has come from, and what is taken for a round trip is one
  (coordinate.py).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

from msgspec.structs import replace
from xxhash import xxh3_64_intdigest

from kvgossip.config import Address, Config
from kvgossip.protocol.membership.coordinate import Coordinates
from kvgossip.protocol.membership.proximity import Proximity
from kvgossip.protocol.membership.round_trip import RoundTrips
from kvgossip.protocol.membership.sampling import RoundRobin, uniform
from kvgossip.protocol.membership.suspicion import Awareness, Suspicion
from kvgossip.protocol.model.arrival import Arrival
from kvgossip.protocol.model.member import Member, MemberState, life, rank
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.wire.frame import encode
from kvgossip.protocol.wire.message import Ack, Nack, Ping, PingRequest, Prune

RELAYS_MAX = 256
NACK_AFTER = 0.8
NEWS_FACTOR, NEWS_MIN = 4, 64
SEQUENCE_BITS = 32
PRUNED_MAX = 1024
INCARNATION_MAX = 2**32
GENERATION_AHEAD_MS_MAX = 10 * 365 * 86_400_000


@dataclass(slots=True)
class Probe:
    """One period's question whether `target` is alive, and what became of it. Times are monotonic
    seconds.

    `sequence` is that of the pings, `relay_sequence` that of the helpers' requests; `direct`,
    `relayed` and `tcp` are the ways by which it was answered.
    """

    sequence: int
    target: Member
    sent_s: float
    timeout_s: float
    relay_sequence: int | None = None
    indirect: bool = False
    asked: int = 0
    nacks: int = 0
    direct: bool = False
    relayed: bool = False
    tcp: bool = False

    @property
    def acked(self) -> bool:
        return self.direct or self.relayed or self.tcp


@dataclass(slots=True)
class Relay:
    """A ping on behalf of another member; it is nacked at `nack_s`, unless it is `nacked` already
    or none is wanted, and forgotten at `end_s`.
    """

    origin: Address
    sequence: int
    nack_s: float
    end_s: float
    nacked: bool = False


MakePing = Callable[[int, str, Now], Ping]
"""Makes the ping with this sequence number to the member of this name."""


class Membership:
    """`send(message, to, member, reliable=)` is the pool's. `changes` gathers (old, new) records
    for the pool to take, `rival` is a live node that has claimed our name. `shut_out` says who is
    blocked (see blocklist.py).
    """

    def __init__(
        self,
        config: Config,
        me: Member,
        *,
        rng: Random,
        send: Callable[..., None],
        make_ping: MakePing,
        shut_out: Callable[[Member], bool],
        reached_otherwise: Callable[[Member], bool] | None,
        now: Now,
    ) -> None:
        self.me = me
        self.members: dict[str, Member] = {me.name: me}
        self.awareness = Awareness(config.awareness_max)
        # a generator of its own: where somebody is must not change who is probed
        self.coordinates = Coordinates(Random(me.site))
        self.round_trips = RoundTrips(config)
        self.changes: list[tuple[Member | None, Member | None]] = []
        self.rival: Member | None = None
        self.conflicts = self.names_refused = self.lives_refused = self.blocked_news = (
            self.identities_refused
        ) = 0
        self._config, self._rng, self._send, self._make_ping = config, rng, send, make_ping
        self._shut_out, self._reached_otherwise = shut_out, reached_otherwise
        self._order = RoundRobin(rng)
        self._news: deque[tuple[str, bytes, int]] = deque()
        self._latest: dict[str, bytes] = {}
        self._suspicions: dict[str, Suspicion] = {}
        self._gone_s: dict[str, float] = {}
        self._names_at: dict[Address, str] = {}
        self._pruned: dict[str, tuple[Member, float]] = {}
        self._probe: Probe | None = None
        self._next_probe_s = now.monotonic_s + rng.random() * config.probe_interval_s
        self._relays: dict[int, Relay] = {}
        self._reachable: list[Member] | None = None
        self._is_whole = False
        self._digest: int | None = None
        self._neighborhood = Proximity(config, me.location, self.coordinates)
        self.leaving = False
        self._host_is_learned = False
        self.spread(me)

    # -- questions --------------------------------------------------------------------------------

    @property
    def reachable(self) -> list[Member]:
        """The other members that are alive or suspect, and not blocked, in the order of their
        names. Do not change the list."""
        if self._reachable is None:
            others = [self.members[name] for name in sorted(self.members) if name != self.me.name]
            self._reachable = [member for member in others if self._is_reachable(member)]
            self._is_whole = len(self._reachable) == sum(
                member.state is not MemberState.LEFT for member in others
            )
        return self._reachable

    @property
    def is_whole(self) -> bool:
        """Whether all others are reachable, but for those that left."""
        return bool(self.reachable) and self._is_whole

    def _is_reachable(self, member: Member) -> bool:
        return member.reachable and not self._shut_out(member)

    @property
    def peers(self) -> list[Member]:
        """The reachable that rumors and exchanges go to: all, but for those that this node reaches
        otherwise (see pool.py)."""
        otherwise = self._reached_otherwise
        return (
            self.reachable
            if otherwise is None
            else [member for member in self.reachable if not otherwise(member)]
        )

    def is_peer(self, member: Member) -> bool:
        """Whether rumors and exchanges may go there."""
        return self._is_reachable(member) and not (
            self._reached_otherwise is not None and self._reached_otherwise(member)
        )

    def choose(self, count: int) -> list[Member]:
        """At most `count` different peers, near ones rather than far ones (protocol.md section
        10)."""
        if self._reached_otherwise is not None:
            self._neighborhood.changed()
        return self._neighborhood.choose(self._rng, lambda: self.peers, count)

    def gossip_targets(self, count: int, now: Now) -> list[Member]:
        """Who hears the next round: some of the peers, one of those that are reached otherwise, for
        news of members alone, and for a while one of the dead, so that it can refute.
        """
        since = now.monotonic_s - self._config.gossip_to_dead_s
        otherwise = (
            [member for member in self.reachable if not self.is_peer(member)]
            if self._reached_otherwise is not None
            else []
        )
        dead = [member for member in self.dead() if self._gone_s[member.name] > since]
        return self.choose(count) + uniform(self._rng, otherwise, 1) + uniform(self._rng, dead, 1)

    def dead(self) -> list[Member]:
        """The members that died, but not those that left: they may come back. Nor those that are
        blocked."""
        gone = [self.members[name] for name in self._gone_s]
        return [
            member
            for member in gone
            if member.state is MemberState.DEAD and not self._shut_out(member)
        ]

    def name_at(self, address: Address) -> str:
        """Who is reachable at this address; empty if nobody is known to be."""
        return next((member.name for member in self.reachable if member.address == address), "")

    @property
    def digest(self) -> int:
        """A fingerprint of the reachable members: equal tables have equal ones, whoever accuses
        whom.

        The dead do not count: who joined later need not know them, and nobody should learn again of
        those it forgot.
        """
        if self._digest is None:
            self._digest = 0
            for member in [self.me, *self.reachable]:
                self._digest ^= xxh3_64_intdigest(repr((member.name, rank(member))).encode())
        return self._digest

    def deadline(self) -> float:
        nearest, probe = self._next_probe_s, self._probe
        if (
            probe is not None
            and not probe.indirect
            and probe.timeout_s < nearest
            and not probe.acked
        ):
            nearest = probe.timeout_s
        if self._suspicions:
            nearest = min(
                nearest, *(suspicion.deadline_s for suspicion in self._suspicions.values())
            )
        if self._relays:
            nearest = min(
                nearest,
                *(relay.end_s if relay.nacked else relay.nack_s for relay in self._relays.values()),
            )
        return nearest

    def statistics(self) -> dict[str, int]:
        """Counters since the start and present sizes, by name."""
        return {
            "awareness": self.awareness.score,
            "name_conflicts": self.conflicts,
            "names_refused": self.names_refused,
            "lives_refused": self.lives_refused,
            "blocked_news": self.blocked_news,
            "identities_refused": self.identities_refused,
            "members_without_udp": len(self.round_trips.blocked()),
            "coordinate_samples": self.coordinates.samples,
            "coordinates_refused": self.coordinates.refused,
            "coordinate_resets": self.coordinates.resets,
        }

    # -- merging ----------------------------------------------------------------------------------

    def merge(self, heard: Member, now: Now) -> None:
        """Take over what is said of a member, if it is news. Of ourselves we know better.

        A generation is a time, so one that lies years ahead is a lie that its owner could never
        overrule.
        """
        if heard.generation > now.wall_ms + GENERATION_AHEAD_MS_MAX:
            self.lives_refused += 1
        elif heard.name == self.me.name:
            self._refute(heard)
        elif heard.reachable and self._shut_out(heard):
            self.blocked_news += 1
        elif self._is_of_another(heard):
            self.identities_refused += 1
        elif (known := self.members.get(heard.name)) is None:
            self._meet(heard, now)
        elif rank(heard) > rank(known):
            self._accept(known, heard, now)
        elif heard.state is MemberState.SUSPECT and rank(heard) == rank(known):
            suspicion = self._suspicions.get(heard.name)
            if suspicion is not None and suspicion.confirm(heard.accuser):
                self.spread(heard)

    def _is_of_another(self, heard: Member) -> bool:
        """Whether this name belongs to another identity, or nobody may be without one (see
        identity.py)."""
        known = self.members.get(heard.name)
        if known is not None and known.identity:
            return heard.identity != known.identity
        return self._config.require_identity and not heard.identity

    def _meet(self, heard: Member, now: Now) -> None:
        """A new name. The dead stay unknown, or those that everybody has forgotten would go round
        for ever as ghosts."""
        buried = self._pruned.get(heard.name)
        if buried is not None and life(heard) <= life(buried[0]):
            if heard.reachable and heard.name not in self._latest:
                self._spread_unit(heard.name, encode(Prune(buried[0])))
        elif len(self.members) >= self._config.members_max:
            self.names_refused += 1
        elif heard.reachable and heard.host:
            self._accept(None, heard, now)

    def _accept(self, known: Member | None, heard: Member, now: Now) -> None:
        if known is not None and not heard.host:
            heard = replace(heard, host=known.host)  # it does not know its own address yet, we do
        self.members[heard.name] = heard
        self._pruned.pop(heard.name, None)
        if known is None or (heard.reachable and not known.reachable):
            self._order.discard(heard.name)
            self._order.add(heard.name)
        self._suspicions.pop(heard.name, None)
        if heard.state is MemberState.SUSPECT:
            self._suspicions[heard.name] = Suspicion(
                self._config, 1 + len(self.reachable), heard.accuser, now.monotonic_s
            )
        if heard.reachable:
            self._gone_s.pop(heard.name, None)
        else:
            self._gone_s.setdefault(heard.name, now.monotonic_s)
        self._changed(known, heard)
        self.spread(heard)
        self._index_address(known, heard)
        if heard.reachable:
            self._replace_other_name(heard, now)

    def _index_address(self, known: Member | None, heard: Member) -> None:
        if (
            known is not None
            and known.address != heard.address
            and self._names_at.get(known.address) == known.name
        ):
            del self._names_at[known.address]
        self._names_at.setdefault(heard.address, heard.name)

    def _replace_other_name(self, heard: Member, now: Now) -> None:
        at_home = heard.address == self.me.address
        other = self.me if at_home else self.members.get(self._names_at[heard.address])
        if (
            other is None
            or other.name == heard.name
            or other.address != heard.address
            or other.state is MemberState.LEFT
        ):
            self._names_at[heard.address] = heard.name
            return
        older, newer = sorted((other, heard), key=life)
        if older.name != self.me.name and newer.reachable:
            self._names_at[heard.address] = newer.name
            self.declare_left(older.name, now)

    def _changed(self, old: Member | None, new: Member | None) -> None:
        self._reachable = self._digest = None
        self._neighborhood.changed()
        self.changes.append((old, new))

    def _refute(self, heard: Member) -> None:
        if self.leaving or rank(heard) <= rank(self.me):
            return
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
        """Change the own record, and tell everybody."""
        old, self.me = self.me, me
        self.members[me.name] = me
        self._changed(old, me)
        self.spread(me)

    def observed_at(self, host: str) -> None:
        """A peer reaches us at this host: take it as our address, unless the configuration or
        somebody farther away told us better."""
        if not self.me.host or (
            self._host_is_learned and is_loopback(self.me.host) and not is_loopback(host)
        ):
            self._host_is_learned = True
            self._renew_self(host=host, incarnation=self.me.incarnation + 1)

    def leave(self) -> None:
        """From now on this node is gone on purpose; nothing that others say of it matters any
        more."""
        self.leaving = True
        self.set_self(replace(self.me, state=MemberState.LEFT))

    # -- what operators say -----------------------------------------------------------------------

    def regard_blocks(self, now: Now) -> None:
        """Somebody was blocked or unblocked. Who is blocked cannot refute here, so no suspicion may
        end it; who no longer is, may."""
        self._reachable = self._digest = None
        self._neighborhood.changed()
        for member in self.members.values():
            if self._shut_out(member):
                self._suspicions.pop(member.name, None)
            elif member.state is MemberState.SUSPECT and member.name not in self._suspicions:
                self._suspicions[member.name] = Suspicion(
                    self._config, 1 + len(self.reachable), member.accuser, now.monotonic_s
                )

    def declare_left(self, name: str, now: Now) -> None:
        """A member that does not answer will not come back, says an operator. If it does, it is
        with a new generation."""
        self.merge(replace(self.members[name], state=MemberState.LEFT, accuser=""), now)

    def prune(self, gone: Member, now: Now) -> None:
        """Forget this life of a member, and tell everybody who knows it. Whoever lives it
        refutes."""
        gone = replace(gone, state=MemberState.LEFT, accuser="")
        known = self.members.get(gone.name)
        if known is None or gone.generation > now.wall_ms + GENERATION_AHEAD_MS_MAX:
            return
        if gone.name == self.me.name:
            self._refute(gone)
        elif life(known) <= life(gone):
            self.forget(gone.name)
            self._pruned[gone.name] = (gone, now.monotonic_s)
            if len(self._pruned) > PRUNED_MAX:
                del self._pruned[next(iter(self._pruned))]
            self._spread_unit(gone.name, encode(Prune(gone)))

    # -- news on their way ------------------------------------------------------------------------

    def spread(self, member: Member) -> None:
        """Queue this for piggybacking; an older piece of news about the same name is not sent any
        more."""
        if member.host:
            self._spread_unit(member.name, encode(member))

    def _spread_unit(self, name: str, unit: bytes) -> None:
        times = self._config.retransmit_multiplier * math.ceil(math.log10(len(self.members) + 1))
        self._latest[name] = unit
        self._news.appendleft((name, unit, times))
        if len(self._news) > NEWS_FACTOR * len(self.members) + NEWS_MIN:
            # nobody is there to be told: keep what is still true
            self._news = deque(news for news in self._news if self._latest.get(news[0]) is news[1])

    @property
    def has_news(self) -> bool:
        return bool(self._news)

    def take_news(self, room: int) -> Iterator[bytes]:
        """Encoded Member units that fit into `room` bytes: least sent first, each counted as sent
        once."""
        for _ in range(len(self._news)):
            name, unit, times = self._news[0]
            if len(unit) > room:
                return
            self._news.popleft()
            if self._latest.get(name) is not unit:
                continue
            if times > 1:
                self._news.append((name, unit, times - 1))
            else:
                del self._latest[name]
            room -= len(unit)
            yield unit

    # -- failure detection ------------------------------------------------------------------------

    def tick(self, now: Now) -> None:
        """Do whatever is due."""
        self._expire_suspicions(now)
        self._expire_relays(now)
        probe = self._probe
        if (
            probe is not None
            and not probe.acked
            and not probe.indirect
            and now.monotonic_s >= probe.timeout_s
        ):
            self._ask_others(probe, now)
            # A tick that comes late, after a pause of the process, must not conclude before anybody
            # could answer. Nor may it where a far target was waited for longer: the helpers need
            # their time too.
            rest_s = (
                self._config.probe_interval_s - self._config.probe_timeout_s
            ) * self.awareness.factor
            self._next_probe_s = max(self._next_probe_s, now.monotonic_s + rest_s)
        if now.monotonic_s >= self._next_probe_s:
            self._conclude(now)
            self._next_probe_s = (
                now.monotonic_s + self._config.probe_interval_s * self.awareness.factor
            )
            self._start_probe(now)
            self._ping_one_dead(now)
            self._forget_the_gone(now)

    def next_sequence(self) -> int:
        """At random, so that nobody can answer what was not sent to him."""
        return self._rng.getrandbits(SEQUENCE_BITS)

    def _start_probe(self, now: Now) -> None:
        self._probe = None
        name = self._order.next(
            lambda name: name in self.members and self._is_reachable(self.members[name])
        )
        if name is None or self.leaving:
            return
        target = self.members[name]
        timeout_s = now.monotonic_s + self.round_trips.timeout_s(name) * self.awareness.factor
        self._probe = Probe(self.next_sequence(), target, now.monotonic_s, timeout_s)
        self._send(self._make_ping(self._probe.sequence, name, now), target.address, target)

    def doubt(self, address: Address, now: Now) -> None:
        """A link to this address broke, or could not be made. That proves nothing, but who is there
        is probed next: now, if the probe that is under way has its answer, else when its period is
        over.
        """
        member = self.members.get(self._names_at.get(address, ""))
        if member is None or member.address != address or not self._is_reachable(member):
            return
        if self._probe is not None and not self._probe.acked:
            if self._probe.target.name != member.name:
                self._order.hasten(member.name)
            return
        self._order.hasten(member.name)
        if not self._order.was_hastened:
            self._next_probe_s = min(self._next_probe_s, now.monotonic_s)

    def _ask_others(self, probe: Probe, now: Now) -> None:
        """SWIM's indirect probes, and at the same time one of our own over TCP."""
        probe.indirect = True
        probe.relay_sequence = self.next_sequence()
        others = [member for member in self.reachable if member.name != probe.target.name]
        for helper in uniform(self._rng, others, self._config.indirect_probes):
            at = probe.target.address
            request = PingRequest(
                probe.relay_sequence,
                self.me.name,
                probe.target.name,
                at.host,
                at.port,
                self._config.probe_nacks,
            )
            self._send(request, helper.address, helper)
            probe.asked += self._config.probe_nacks
        self._send(
            self._make_ping(probe.sequence, probe.target.name, now),
            probe.target.address,
            probe.target,
            reliable=True,
        )

    def _conclude(self, now: Now) -> None:
        """The period is over: suspect a target that nobody heard of; doubt ourselves if not even
        the helpers answered."""
        probe = self._probe
        if probe is None:
            return
        if probe.target.name in self.members:
            self.round_trips.concluded(
                probe.target, direct=probe.direct, relayed=probe.relayed, tcp=probe.tcp
            )
        if probe.acked:
            return
        self.awareness.add(max(0, probe.asked - probe.nacks) if probe.asked else 1)
        known = self.members.get(probe.target.name)
        if known is not None and rank(known) == rank(probe.target):
            accused = replace(known, state=MemberState.SUSPECT, accuser=self.me.name)
            self.merge(accused, now)

    def _ping_one_dead(self, now: Now) -> None:
        dead = self.dead()
        if dead and not self.leaving:
            target = self._rng.choice(dead)
            self._send(
                self._make_ping(self.next_sequence(), target.name, now), target.address, target
            )

    def _forget_the_gone(self, now: Now) -> None:
        since = now.monotonic_s - self._config.forget_after_s
        for name in [name for name, gone_s in self._gone_s.items() if gone_s < since]:
            self.forget(name)
        for name in [name for name, (_, buried_s) in self._pruned.items() if buried_s < since]:
            del self._pruned[name]

    def forget(self, name: str) -> None:
        """Drop the record of a member."""
        old = self.members.pop(name)
        self._gone_s.pop(name, None)
        if self._names_at.get(old.address) == name:
            del self._names_at[old.address]
        self._latest.pop(name, None)
        self._suspicions.pop(name, None)
        self._order.discard(name)
        self.coordinates.forget(name)
        self.round_trips.forget(name)
        self._changed(old, None)

    def _expire_suspicions(self, now: Now) -> None:
        if not self._suspicions:
            return
        overdue = [
            name
            for name, suspicion in self._suspicions.items()
            if suspicion.deadline_s <= now.monotonic_s
        ]
        for name in overdue:
            self.merge(replace(self.members[name], state=MemberState.DEAD, accuser=""), now)

    def _expire_relays(self, now: Now) -> None:
        for sequence, relay in list(self._relays.items()) if self._relays else ():
            if relay.end_s <= now.monotonic_s:
                del self._relays[sequence]
            elif relay.nack_s <= now.monotonic_s and not relay.nacked:
                relay.nacked = True
                self._send(Nack(relay.sequence), relay.origin, None)

    # -- messages ---------------------------------------------------------------------------------

    def on_ack(self, ack: Ack, arrival: Arrival) -> float | None:
        """When the probe was sent that this answers; None where it answers no probe of ours."""
        probe = self._probe
        if (
            probe is not None
            and ack.sequence in (probe.sequence, probe.relay_sequence)
            and probe.target.name == ack.sender
        ):
            self._acked(probe, ack, arrival)
            return probe.sent_s
        relay = self._relays.pop(ack.sequence, None)
        if relay is not None:
            # what it holds is told to us, of our clock: it says nothing to whom we relay
            self._send(replace(ack, sequence=relay.sequence, held=0), relay.origin, None)
        return None

    def _acked(self, probe: Probe, ack: Ack, arrival: Arrival) -> None:
        """One answer of perhaps several: the first one by a datagram is a round trip, however late
        it comes."""
        if not probe.acked:
            self.awareness.add(-1)
        if arrival.reliable:
            probe.tcp = True
        elif ack.sequence == probe.relay_sequence:
            probe.relayed = True
        elif not probe.direct and probe.target.name in self.members:
            probe.direct = True
            round_trip_s = arrival.now.monotonic_s - probe.sent_s
            self.round_trips.measured(probe.target, round_trip_s)
            self.coordinates.sampled(ack.sender, ack.coordinate, round_trip_s)

    def on_nack(self, nack: Nack, arrival: Arrival) -> None:
        if self._probe is not None and self._probe.relay_sequence == nack.sequence:
            self._probe.nacks += 1

    def on_ping_request(self, request: PingRequest, arrival: Arrival) -> None:
        """Probe for another member, under a sequence number of our own."""
        if len(self._relays) >= RELAYS_MAX:
            return
        now, sequence = arrival.now, self.next_sequence()
        nack_s = now.monotonic_s + NACK_AFTER * self._config.probe_timeout_s
        end_s = now.monotonic_s + self._config.probe_interval_s
        self._relays[sequence] = Relay(
            arrival.source, request.sequence, nack_s, end_s, nacked=not request.nack
        )
        ping = self._make_ping(sequence, request.target, now)
        self._send(ping, Address(request.host, request.port), None)

    def on_member(self, member: Member, arrival: Arrival) -> None:
        """News of a member."""
        self.merge(member, arrival.now)

    def on_prune(self, prune: Prune, arrival: Arrival) -> None:
        self.prune(prune.member, arrival.now)


def is_loopback(host: str) -> bool:
    return host.startswith("127.") or host == "::1"
