"""Probing: failure detection. Each period one member is probed, in shuffled round robin: by a ping,
then by pings of helpers, which relay, and by one over TCP (SWIM section 3, Lifeguard 4.1).

    ping --> ack                                        before the target's own timeout
    PingRequest --> helper --> ping --> ack --> ack     after it; a nack says that the helper lives
    ping over TCP --> ack                               at the same time

Laws
- An ack from another name or to another sequence number is no ack; and one of another life than
  that of the record proves no address (proofs.py).
- Only a probe that nothing has answered until the period is over makes a suspect.
- Relays are bounded, and each is forgotten when a period is over. Nobody is pinged for a stranger,
  and no stranger for a member.

Deviations from the papers, with reasons
- A direct probe over TCP goes out together with the indirect ones (memberlist): blocked UDP with
  working TCP is no death.
- Each period one random dead member is pinged as well: so a partition in which both sides declared
  each other dead heals.
- Who pings this node, and has never answered it, is pinged next; also one that has left: so it can
  hear what is believed of it, which is not said to an address alone (pool_outbox.py).
- A broken TCP link lets its member be probed before its turn: the kernel of a machine whose process
  crashed shows at once what round robin finds out a period later.
- Helpers are asked under another number than the one of the direct ping: so a number shows by which
  way an ack has come, whatever address it has come from, and what is taken for a round trip is one
  (coordinate.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Protocol

from msgspec.structs import replace

from kvgossip.config import Address, Config
from kvgossip.protocol.membership.coordinate import Coordinates
from kvgossip.protocol.membership.member_table import MemberTable
from kvgossip.protocol.membership.round_trip import RoundTrips
from kvgossip.protocol.membership.sampling import RoundRobin, uniform
from kvgossip.protocol.membership.suspicion import Awareness
from kvgossip.protocol.model.arrival import Arrival
from kvgossip.protocol.model.member import Member, MemberState, is_of, rank
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.wire.message import Ack, Message, Nack, Ping, PingRequest

RELAYS_MAX = 256
NACK_AFTER = 0.8
SEQUENCE_BITS = 32

MakePing = Callable[[int, str, Now], Ping]
"""Makes the ping with this sequence number to the member of this name."""


class SendProbe(Protocol):
    """Sends a message of failure detection, or news of a member; `member` is the one at this
    address, None: unknown."""

    def __call__(
        self,
        message: Message | Member,
        to: Address,
        member: Member | None,
        /,
        *,
        reliable: bool = False,
    ) -> None: ...


@dataclass(slots=True)
class Probe:
    """One period's question whether a member is alive, and the answers to it."""

    #: of the pings
    sequence: int
    target: Member
    #: both monotonic seconds
    sent_s: float
    timeout_s: float
    #: of the requests to helpers; None: none was asked yet
    relay_sequence: int | None = None
    #: how many nacks the helpers owe, and how many have come
    asked: int = 0
    nacks: int = 0
    #: the ways by which it was answered: a datagram, a helper, TCP
    direct: bool = False
    relayed: bool = False
    tcp: bool = False
    #: that of the first answer by a datagram; None: there was none
    round_trip_s: float | None = None

    @property
    def acked(self) -> bool:
        return self.direct or self.relayed or self.tcp

    @property
    def is_waiting(self) -> bool:
        """True if nothing has answered yet, and no helper was asked."""
        return self.relay_sequence is None and not (self.direct or self.relayed or self.tcp)


@dataclass(slots=True)
class Relay:
    """A ping on behalf of another member."""

    #: the source of the request, and its number there
    origin: Address
    sequence: int
    #: the times at which it is nacked, and forgotten, monotonic seconds
    nack_s: float
    end_s: float
    #: true also where no nack is wanted
    nacked: bool = False


class Probing:
    """`awareness`, `round_trips` and `coordinates` learn from the answers."""

    def __init__(
        self,
        config: Config,
        table: MemberTable,
        awareness: Awareness,
        round_trips: RoundTrips,
        coordinates: Coordinates,
        *,
        rng: Random,
        send: SendProbe,
        make_ping: MakePing,
        now: Now,
    ) -> None:
        self._config, self._table, self._awareness = config, table, awareness
        self._round_trips, self._coordinates = round_trips, coordinates
        self._rng, self._send, self._make_ping = rng, send, make_ping
        #: the names to probe
        self._order = RoundRobin(rng)
        #: the members that `admit_all` was given last
        self._admitted: list[Member] = []
        #: this period's; None: there is nobody to probe
        self._probe: Probe | None = None
        #: the time at which the period is over, monotonic seconds
        self._next_probe_s = now.monotonic_s + rng.random() * config.probe_interval_s
        #: the last ping to one of the dead: its number, and the record that it went to
        self._dead_pinged: tuple[int, Member] | None = None
        #: the last member that spoke although it is gone; empty where none did
        self._gone_speaks = ""
        #: by the sequence number of our ping
        self._relays: dict[int, Relay] = {}

    # -- periods ----------------------------------------------------------------------------------

    def admit(self, name: str) -> None:
        """A member is new, or has come back: it has its turn from now on."""
        self._order.discard(name)
        self._order.add(name)

    def admit_all(self, counted: list[Member]) -> None:
        """So do these, if they have none: those of a crowd that have answered since."""
        if counted is not self._admitted:
            self._admitted = counted
            for member in counted:
                if member.name not in self._order:
                    self._order.add(member.name)

    def hasten(self, name: str) -> None:
        """This member is pinged next."""
        known = self._table.members.get(name)
        if known is self._table.me:
            # a seed may be this node itself
            return
        if known is not None and not known.reachable:
            self._gone_speaks = name
        else:
            self._order.hasten(name)

    def forget(self, name: str) -> None:
        self._order.discard(name)

    def next_sequence(self) -> int:
        """A random number, so that nobody can answer a probe that was not sent to him."""
        return self._rng.getrandbits(SEQUENCE_BITS)

    def deadline(self) -> float:
        """The time at which something is due, monotonic seconds."""
        nearest, probe = self._next_probe_s, self._probe
        if probe is not None and probe.timeout_s < nearest and probe.is_waiting:
            nearest = probe.timeout_s
        if self._relays:
            nearest = min(
                nearest,
                *(relay.end_s if relay.nacked else relay.nack_s for relay in self._relays.values()),
            )
        return nearest

    def tick(self, now: Now) -> None:
        """Nack or forget relays; ask helpers where the direct ack has not come in time."""
        self._expire_relays(now)
        probe = self._probe
        if probe is not None and now.monotonic_s >= probe.timeout_s and probe.is_waiting:
            self._ask_others(probe, now)
            # A tick that comes late, after a pause of the process, must not conclude before anybody
            # could answer. Nor may it where a far target was waited for longer: the helpers need
            # their time too.
            rest_s = (
                self._config.probe_interval_s - self._config.probe_timeout_s
            ) * self._awareness.factor
            self._next_probe_s = max(self._next_probe_s, now.monotonic_s + rest_s)

    def is_over(self, now: Now) -> bool:
        """True if the period is over: then `conclude` it, and `begin` the next one."""
        return now.monotonic_s >= self._next_probe_s

    def conclude(self) -> Member | None:
        """The accusation of a target that nothing was heard of; None where there is none. This node
        doubts itself if not even the helpers answered."""
        probe, members = self._probe, self._table.members
        if probe is None:
            return None
        if probe.target.name in members:
            self._round_trips.concluded(
                probe.target, direct=probe.direct, relayed=probe.relayed, tcp=probe.tcp
            )
            if probe.acked:
                self._round_trips.answered(probe.target, probe.sent_s, probe.round_trip_s)
        if probe.acked:
            return None
        self._awareness.add(max(0, probe.asked - probe.nacks) if probe.asked else 1)
        known = members.get(probe.target.name)
        if known is None or rank(known) != rank(probe.target):
            return None
        return replace(known, state=MemberState.SUSPECT, accuser=self._table.me.name)

    def begin(self, now: Now) -> None:
        """The next period: probe the next member, and ping one of the dead."""
        self._next_probe_s = (
            now.monotonic_s + self._config.probe_interval_s * self._awareness.factor
        )
        self._start_probe(now)
        self._ping_one_dead(now)

    def _start_probe(self, now: Now) -> None:
        self._probe = None
        members = self._table.members
        name = self._order.next(
            lambda name: (
                name in members
                and self._table.is_reachable(members[name])
                and self._table.proofs.counts(name)
            )
        )
        if name is None or self._table.leaving:
            return
        target = members[name]
        timeout_s = now.monotonic_s + self._round_trips.timeout_s(name) * self._awareness.factor
        self._probe = Probe(self.next_sequence(), target, now.monotonic_s, timeout_s)
        self._send(self._make_ping(self._probe.sequence, name, now), target.address, target)

    def _ping_one_dead(self, now: Now) -> None:
        dead = self._table.dead()
        speaks = self._table.members.get(self._gone_speaks)
        self._gone_speaks = ""
        if (dead or speaks is not None) and not self._table.leaving:
            target = speaks or self._rng.choice(dead)
            self._dead_pinged = self.next_sequence(), target
            self._send(
                self._make_ping(self._dead_pinged[0], target.name, now), target.address, target
            )

    def _ask_others(self, probe: Probe, now: Now) -> None:
        """SWIM's indirect probes, and at the same time one of our own over TCP."""
        target = probe.target
        probe.relay_sequence = self.next_sequence()
        others = [member for member in self._table.counted if member.name != target.name]
        for helper in uniform(self._rng, others, self._config.indirect_probes):
            request = PingRequest(
                sequence=probe.relay_sequence,
                sender=self._table.me.name,
                target=target.name,
                host=target.host,
                port=target.port,
                nack=self._config.probe_nacks,
            )
            self._send(request, helper.address, helper)
            probe.asked += self._config.probe_nacks
        ping = self._make_ping(probe.sequence, target.name, now)
        self._send(ping, target.address, target, reliable=True)

    def doubt(self, address: Address, now: Now) -> None:
        """A link to this address broke, or could not be made. The break proves nothing, but the
        member there is probed next: now, if the probe that is under way has its answer, else when
        its period is over.
        """
        member = self._table.reachable_at(address)
        if member is None:
            return
        if self._probe is not None and not self._probe.acked:
            if self._probe.target.name != member.name:
                self._order.hasten(member.name)
            return
        self._order.hasten(member.name)
        if not self._order.was_hastened:
            self._next_probe_s = min(self._next_probe_s, now.monotonic_s)

    # -- messages ---------------------------------------------------------------------------------

    def on_ack(self, ack: Ack, arrival: Arrival) -> float | None:
        """The time at which the probe was sent that this answers, monotonic seconds; None where it
        answers no probe of ours, or a helper has passed it on: the number that helpers get is
        no secret of the target, so what comes under it proves nothing but that somebody answers."""
        probe = self._probe
        if (
            probe is not None
            and ack.sequence in (probe.sequence, probe.relay_sequence)
            and probe.target.name == ack.sender
        ):
            self._acked(probe, ack, arrival)
            return probe.sent_s if ack.sequence == probe.sequence else None
        if self._dead_pinged is not None and self._dead_pinged[0] == ack.sequence:
            self._proven(self._dead_pinged[1], ack)
        relay = self._relays.pop(ack.sequence, None)
        if relay is not None:
            # `held` is of this node's clock, `seen_host` its own, and it is this node that is gone:
            # they say nothing to the node that the ack goes on to
            passed_on = replace(ack, sequence=relay.sequence, held=0, seen_host="", gone_in=0)
            self._send(passed_on, relay.origin, None)
        return None

    def _acked(self, probe: Probe, ack: Ack, arrival: Arrival) -> None:
        """One answer of perhaps several: the first one by a datagram is a round trip, however late
        it comes."""
        if not probe.acked:
            self._awareness.add(-1)
        if ack.sequence == probe.sequence:
            self._proven(probe.target, ack)
        if arrival.reliable:
            probe.tcp = True
        elif ack.sequence == probe.relay_sequence:
            probe.relayed = True
        elif not probe.direct and probe.target.name in self._table.members:
            probe.direct = True
            probe.round_trip_s = round_trip_s = arrival.now.monotonic_s - probe.sent_s
            self._round_trips.measured(probe.target, round_trip_s)
            self._coordinates.sampled(ack.sender, ack.coordinate, round_trip_s)

    def _proven(self, target: Member, ack: Ack) -> None:
        """The number of this ack went to the address of this record, and to nowhere else."""
        known = self._table.members.get(ack.sender)
        if known is not None and known.name == target.name and is_of(known, ack.life):
            self._table.prove(known, target.address)

    def on_nack(self, nack: Nack, arrival: Arrival) -> None:
        if self._probe is not None and self._probe.relay_sequence == nack.sequence:
            self._probe.nacks += 1

    def on_ping_request(self, request: PingRequest, arrival: Arrival) -> None:
        """Probe for another member, under a sequence number of our own. Both must be members, for
        both get more bytes than the request has; who does not know the other one says that nothing
        was heard."""
        if not self._table.proofs.has(arrival.source):
            return
        target = self._table.members.get(request.target)
        if (
            target is None
            or request.port != target.port
            or request.host not in (target.host, target.other_host)
        ):
            if request.nack:
                self._send(Nack(sequence=request.sequence), arrival.source, None)
            return
        if len(self._relays) >= RELAYS_MAX:
            return
        now, sequence = arrival.now, self.next_sequence()
        self._relays[sequence] = Relay(
            origin=arrival.source,
            sequence=request.sequence,
            nack_s=now.monotonic_s + NACK_AFTER * self._config.probe_timeout_s,
            end_s=now.monotonic_s + self._config.probe_interval_s,
            nacked=not request.nack,
        )
        ping = self._make_ping(sequence, request.target, now)
        self._send(ping, Address(request.host, request.port), target)

    def _expire_relays(self, now: Now) -> None:
        for sequence, relay in list(self._relays.items()) if self._relays else ():
            if relay.end_s <= now.monotonic_s:
                del self._relays[sequence]
            elif relay.nack_s <= now.monotonic_s and not relay.nacked:
                relay.nacked = True
                self._send(Nack(sequence=relay.sequence), relay.origin, None)
