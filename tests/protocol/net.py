"""A network in memory for replicas: virtual time, one heap, and nothing crosses it but bytes.

It behaves as the runtime's sockets do: a link that a node dialled shows up at the other end under a
port of its own, an answer sent to that port goes back on the link, and a datagram sent to it is
lost. At every event it checks the laws of the boundary: ticks do not repeat for ever in one
instant, and the clock and the generation of a replica never go back.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from random import Random
from typing import Any

from msgspec.structs import replace

from kvgossip.config import Address, Config, parse_address
from kvgossip.errors import RemoteError
from kvgossip.protocol.effect import Dropped, Effect, Log, MemberChanged, Resolve, Rewritten, Send
from kvgossip.protocol.model.change import Changed, Persist
from kvgossip.protocol.model.entry import Version, make_record
from kvgossip.protocol.model.member import Member, MemberState
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.model.peer import PoolKind
from kvgossip.protocol.replica import Replica
from kvgossip.protocol.store.digest import TAG_BITS
from kvgossip.protocol.wire.frame import Framing, frame_bytes_max
from kvgossip.protocol.wire.message import Message

WALL_MS = 1_700_000_000_000
START_S = 1000.0
PORT = 7481
WAN_PORT = 7483
LINK_PORTS = 50_000
TICKS_A_TURN_MAX = 200
STRANGER = Address("192.0.2.9", 9)


def address_of(place: int) -> Address:
    """Where the node in this place listens."""
    return Address(f"10.0.0.{place + 1}", PORT)


def wan_address_of(place: int) -> Address:
    """Where it listens for gateways, if it is one."""
    return address_of(place)._replace(port=WAN_PORT)


def version(ms: int = 0, site: int = 1) -> Version:
    """A version of `ms` milliseconds after the tests' epoch."""
    return Version((WALL_MS + ms) << 16, site)


def record(
    value: bytes | None, ms: int = 0, site: int = 1, content_type: str | None = None
) -> bytes:
    return make_record(version(ms, site), value, content_type)


def at(seconds: float = 0.0) -> Now:
    """So many seconds after the tests' epoch, by both clocks."""
    return Now(START_S + seconds, WALL_MS + round(seconds * 1000))


def member(
    name: str, place: int = 0, state: MemberState = MemberState.ALIVE, **fields: Any
) -> Member:
    """A record of a member; generation 1 unless told."""
    default: dict[str, Any] = {
        "host": address_of(place).host,
        "port": PORT,
        "generation": 1,
        "incarnation": 0,
        "site": place + 1,
    }
    return Member(name=name, state=state, datacenter="dc1", **{**default, **fields})


def make_replica(
    name: str = "a",
    place: int = 0,
    *,
    now: Now | None = None,
    seed: int = 0,
    saved: dict[bytes, bytes] | None = None,
    **config: Any,
) -> Replica:
    """One replica by itself. Its digest tree has two levels unless told: a small one, of which many
    can be made; and it waits for nobody before it founds a cluster."""
    rebuilding, found = config.pop("rebuilding", False), config.pop("found", False)
    settings = Config(name=name, **{"digest_levels": 2, "founding_s": 0.0, **config})
    rng = Random(f"{seed} {name}")
    return Replica(
        settings,
        address=address_of(place),
        wan_address=wan_address_of(place),
        rng=rng,
        now=now or at(),
        saved=saved,
        rebuilding=rebuilding,
        found=found,
    )


def prove(replica: Replica, name: str) -> Address:
    """This member has answered a probe of that replica; returns where."""
    table = replica.pools.lan.membership.table
    known = table.members[name]
    table.prove(known, known.address)
    return known.address


def sends(effects: Iterable[Effect]) -> list[Send]:
    return [effect for effect in effects if isinstance(effect, Send)]


def changed(effects: Iterable[Effect]) -> list[Changed]:
    return [effect for effect in effects if isinstance(effect, Changed)]


def logs(effects: Iterable[Effect]) -> list[str]:
    return [effect.text for effect in effects if isinstance(effect, Log)]


def told(framing: Framing, effects: Iterable[Effect]) -> list[tuple[Address, Message | Member]]:
    """Every message in these effects, with where it goes."""
    return [
        (effect.to, message)
        for effect in sends(effects)
        for message in framing.open(effect.data, reliable=effect.reliable).messages
    ]


def about(replica: Replica, message: Message) -> Any:
    """This message; if it is of an exchange, with a number that the replica takes for one about
    where it places its keys."""
    number = getattr(message, "exchange", 2**TAG_BITS)
    if number >> TAG_BITS:
        return message
    return replace(message, exchange=replica.store.digest.numbered(number))


LAN = Framing("default", "lan:dc1", frame_bytes_max(Config()))


class Disk:
    """What a driver with a disk keeps of one node: facts and records."""

    def __init__(self) -> None:
        self.facts: dict[bytes, bytes] = {}
        self.records: dict[str, bytes] = {}

    def commit(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Changed):
                self.records[effect.key] = effect.new_record
            elif isinstance(effect, Rewritten):
                self.records[effect.key] = effect.record
            elif isinstance(effect, Dropped) and self.records.get(effect.key) == effect.record:
                del self.records[effect.key]
            elif isinstance(effect, Persist) and effect.value is None:
                self.facts.pop(effect.key, None)
            elif isinstance(effect, Persist) and effect.value is not None:
                self.facts[effect.key] = effect.value


class Network:
    """Replicas at `address_of(place)`. Both kinds of frames take `way_s(frm, to)`, which is
    `delay_s` unless it is replaced; `passes(frm, to, reliable)` decides what arrives.
    """

    def __init__(self, delay_s: float = 0.001) -> None:
        self.clock_s = START_S
        self.delay_s = delay_s
        self.replicas: dict[str, Replica] = {}
        self.effects: dict[str, list[Effect]] = {}
        self.names: dict[str, list[Address]] = {}
        self.disks: dict[str, Disk] = {}
        self.skew_ms: dict[str, int] = {}
        self.cut_pairs: set[frozenset[str]] = set()
        self.passes: Callable[[str, str, bool], bool] = lambda frm, to, reliable: True
        self.way_s: Callable[[str, str], float] = lambda frm, to: self.delay_s
        self.watch: Callable[[str, str, Send], None] | None = None
        self._at: dict[Address, str] = {}
        self._links: dict[Address, tuple[str, Address, PoolKind]] = {}
        self._dialled: dict[tuple[str, PoolKind, Address], Address] = {}
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._floor: dict[str, tuple[int, int]] = {}
        self._timers: Counter[str] = Counter()
        self._turns: dict[str, tuple[float, int]] = {}

    # -- nodes ------------------------------------------------------------------------------------

    def add(
        self, name: str, place: int | None = None, *, start: bool = True, **config: Any
    ) -> Replica:
        """A new node; its place is the next free one unless told. A name that exists is a restart
        of it: a new life, without its data.

        But where `disks` has a disk under the name, with what is on that.
        """
        place = len(self._at) if place is None else place
        address = address_of(place)
        disk = self.disks.get(name)
        saved = disk.facts if disk is not None else None
        replica = make_replica(
            name, place, now=self.now(name), seed=self._count, saved=saved, **config
        )
        if disk is not None:
            replica.load(list(disk.records.items()))
            replica.disk.loaded()
            disk.commit(replica.checkpoint(self.now(name)))
        self._at = {where: who for where, who in self._at.items() if who != name} | {address: name}
        self.replicas[name] = replica
        self.effects.setdefault(name, [])
        self._floor.pop(name, None)
        if start:
            self.perform(name, replica.tick(self.now(name)))
        return replica

    def crash(self, name: str) -> None:
        self._at = {where: who for where, who in self._at.items() if who != name}
        del self.replicas[name]
        self._timers[name] += 1

    def cluster(self, names: str, **config: Any) -> list[Replica]:
        """Nodes that joined through the first of them, and are settled."""
        first, *others = names.split()
        self.add(first, **config)
        seed = str(next(where for where, who in self._at.items() if who == first))
        for name in others:
            self.add(name, join=(seed,), **config)
        self.until(
            lambda: all(
                self.sees(name, *names.split()) and self.replicas[name].settled
                for name in names.split()
            )
        )
        return [self.replicas[name] for name in names.split()]

    def sees(self, name: str, *others: str) -> bool:
        """Whether this node knows exactly these as alive."""
        alive = {
            member.name
            for member in self.replicas[name].members()
            if member.state is MemberState.ALIVE
        }
        return alive == {name, *others}

    def state(self, name: str, of: str, pool: PoolKind = PoolKind.LAN) -> MemberState | None:
        known = self.replicas[name].in_pool(pool).membership.members.get(of)
        return None if known is None else known.state

    def state_changes(self, name: str, of: str) -> list[MemberState | None]:
        """Every state of a member that this node's effects told, oldest first."""
        told = [effect for effect in self.effects[name] if isinstance(effect, MemberChanged)]
        changes = [(effect.new or effect.old, effect.new) for effect in told]
        return [new.state if new else None for known, new in changes if known and known.name == of]

    def converged(self) -> bool:
        return len({replica.store.digest.root for replica in self.replicas.values()}) == 1

    # -- time -------------------------------------------------------------------------------------

    @property
    def time_s(self) -> float:
        """Seconds since the beginning."""
        return self.clock_s - START_S

    def now(self, name: str) -> Now:
        return Now(self.clock_s, WALL_MS + round(1000 * self.time_s) + self.skew_ms.get(name, 0))

    def run(self, seconds: float) -> None:
        """Let this much time pass."""
        self._run(self.clock_s + seconds, lambda: False)

    def until(self, condition: Callable[[], bool], seconds: float = 120.0) -> float:
        """Let time pass until the condition holds, and say how much it was. Fails if it was not
        enough."""
        start_s = self.clock_s
        self._run(start_s + seconds, condition)
        assert condition(), f"did not happen within {seconds} s"
        return self.clock_s - start_s

    def _run(self, end_s: float, condition: Callable[[], bool]) -> None:
        while not condition():
            if not self._heap or self._heap[0][0] > end_s:
                self.clock_s = end_s
                return
            self.clock_s, _, event = heapq.heappop(self._heap)
            event()

    def _at_s(self, clock_s: float, event: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._heap, (max(self.clock_s, clock_s), self._count, event))

    def _after(self, delay_s: float, event: Callable[[], None]) -> None:
        self._at_s(self.clock_s + delay_s, event)

    # -- inputs and effects -----------------------------------------------------------------------

    def put(self, name: str, key: str, value: bytes) -> None:
        self.perform(name, self.replicas[name].put(key, value, self.now(name)).effects)

    def delete(self, name: str, key: str) -> None:
        self.perform(name, self.replicas[name].delete(key, self.now(name)).effects)

    def leave(self, name: str) -> None:
        self.perform(name, self.replicas[name].leave(self.now(name)))

    def join(
        self, name: str, *targets: str, pool: PoolKind = PoolKind.LAN, merge: bool = False
    ) -> None:
        joined = self.replicas[name].join(targets, self.now(name), pool, merge=merge)
        self.perform(name, joined)

    def perform(self, name: str, effects: list[Effect]) -> None:
        """What a driver does after every input."""
        self.effects[name] += effects
        if name in self.disks:
            self.disks[name].commit([*effects, *self.replicas[name].checkpoint(self.now(name))])
        for effect in effects:
            if isinstance(effect, Send):
                self._send(name, effect)
            elif isinstance(effect, Resolve):
                self._after(0.0, partial(self._resolved, name, effect.target, effect.pool))
        self._check(name)
        self._set_timer(name)

    def _check(self, name: str) -> None:
        replica = self.replicas[name]
        floor = (replica.hlc.latest, replica.member.generation)
        before = self._floor.get(name, (0, 0))
        assert floor[0] >= before[0], "the clock went back"
        assert floor[1] >= before[1], "the generation went back"
        self._floor[name] = floor

    def _set_timer(self, name: str) -> None:
        self._timers[name] += 1
        turn, deadline = self._timers[name], self.replicas[name].deadline()
        if deadline is not None and deadline != float("inf"):
            self._at_s(deadline, lambda: self._tick(name, turn))

    def _tick(self, name: str, turn: int) -> None:
        if self._timers[name] == turn and name in self.replicas:
            replica = self.replicas[name]
            now = self.now(name)
            turn_s, ticks = self._turns.get(name, (0.0, 0))
            self._turns[name] = (self.clock_s, ticks + 1 if turn_s == self.clock_s else 1)
            assert self._turns[name][1] <= TICKS_A_TURN_MAX, f"{name} ticks for ever in one instant"
            self.perform(name, replica.tick(now))

    def _resolved(self, name: str, target: str, pool: PoolKind) -> None:
        address = parse_address(target, PORT)
        addresses = self.names.get(address.host, [] if address.host[:1].isalpha() else [address])
        if name in self.replicas:
            self.perform(
                name, self.replicas[name].resolved(target, addresses, self.now(name), pool)
            )

    def _send(self, name: str, sent: Send) -> None:
        mine = next(where for where, who in self._at.items() if who == name)
        mine = mine if sent.pool is PoolKind.LAN else mine._replace(port=WAN_PORT)
        to, pool, source = *self._listener(sent.to), mine
        if sent.reliable and sent.to in self._links:
            to, source, pool = self._links[sent.to]
            to = to if to in self.replicas else ""
        elif sent.reliable:
            source = self._dialled.setdefault(
                (name, sent.pool, sent.to), Address(mine.host, LINK_PORTS + len(self._dialled))
            )
            self._links[source] = (name, sent.to, sent.pool)
        open_ = (
            bool(to)
            and frozenset((name, to)) not in self.cut_pairs
            and self.passes(name, to, sent.reliable)
        )
        if self.watch is not None:
            self.watch(name, to if open_ else "", sent)
        if open_:
            self._after(self.way_s(name, to), lambda: self._deliver(name, to, sent, source, pool))
        elif sent.reliable:
            self._after(self.delay_s, lambda: self._unreachable(name, sent.to, sent.pool))

    def _listener(self, address: Address) -> tuple[str, PoolKind]:
        """Who listens there, and for which pool; nobody: an empty name."""
        if address.port != WAN_PORT:
            return self._at.get(address, ""), PoolKind.LAN
        name = self._at.get(address._replace(port=PORT), "")
        return name if name and self.replicas[name].pools.wan is not None else "", PoolKind.WAN

    def _deliver(self, name: str, to: str, sent: Send, source: Address, pool: PoolKind) -> None:
        replica = self.replicas.get(to)
        if replica is None or frozenset((name, to)) in self.cut_pairs:
            if sent.reliable:
                self._unreachable(name, sent.to, sent.pool)
            return
        here = next(where.host for where, who in self._at.items() if who == to)
        effects = replica.receive(
            sent.data,
            source,
            self.now(to),
            pool,
            reliable=sent.reliable,
            here=here if sent.reliable else "",
        )
        self.perform(to, effects)

    def _unreachable(self, name: str, address: Address, pool: PoolKind = PoolKind.LAN) -> None:
        if name in self.replicas:
            self.perform(name, self.replicas[name].unreachable(address, self.now(name), pool))

    # -- faults -----------------------------------------------------------------------------------

    def partition(self, one: str, other: str) -> None:
        """Nothing passes between these two groups of names."""
        self.cut_pairs |= {
            frozenset((left, right)) for left in one.split() for right in other.split()
        }

    def heal(self) -> None:
        self.cut_pairs.clear()


def refused(call: Callable[[], object]) -> str:
    """The reason of the RemoteError that the call raises; empty if it raises none."""
    try:
        call()
    except RemoteError as fault:
        return fault.reason
    return ""
