"""Replica: one copy of the data and its pool, as one machine. Bytes, requests and the time go in, effects come out.

Laws
- A local write and a heard rumor are the same event: both end in `_take`, which merges, emits Changed and heats the rumor.
- Every input returns the effects it asks for, in order; questions change nothing; no input raises on what a peer sent.
- A write on a replica that has seen version v has a greater version than v.
- Deadlines are state: `tick` does what is due, however late it is called, and never twice.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from random import Random

from xxhash import xxh3_64_intdigest

from kvgossip.config import Address, Config
from kvgossip.errors import (
    BadKeyError,
    ClockAheadError,
    ConfigError,
    LocalError,
    NotFoundError,
    RemoteError,
    StillAliveError,
    ValueTooLargeError,
)
from kvgossip.protocol.blocking import Blocks
from kvgossip.protocol.clocks import PeerClocks
from kvgossip.protocol.digest import DigestTree
from kvgossip.protocol.effect import Changed, Departed, Effect, Log, Now, Resolve, Settled
from kvgossip.protocol.entry import (
    Entry,
    Version,
    check_content_type,
    check_key,
    check_record,
    entry_of,
    is_dead,
    make_record,
    timestamp_in,
)
from kvgossip.protocol.hlc import HybridLogicalClock
from kvgossip.protocol.member import Member, MemberState, Standing
from kvgossip.protocol.outcome import Heat, Outcome
from kvgossip.protocol.pool import Pool
from kvgossip.protocol.store import Store

FAREWELL_ROUNDS = 2
CLOCK_COMPLAINT_S = 60.0


class Replica:
    """One node's protocol machine.

    `address`: where peers reach this node; an empty host is learned from the first member that answers a join.
    `rng`: the only source of chance; one seed gives one trace. `now`: the time of the start. `config.name` must not be empty.
    """

    def __init__(self, config: Config, *, address: Address, rng: Random, now: Now) -> None:
        if not config.name:
            raise ConfigError("a replica needs a name")
        self.config = config
        self.site = rng.getrandbits(64)
        self.hlc = HybridLogicalClock(int(config.clock_drift_max_s * 1000))
        self.store = Store(DigestTree(config.digest_levels, xxh3_64_intdigest(config.cluster.encode())))
        self.blocks = Blocks()
        self.peer_clocks = PeerClocks()
        self.settled = not config.join
        self.news_s = now.monotonic_s
        self.counters: Counter[str] = Counter()
        self._effects: list[Effect] = []
        self._departs_s: float | None = None
        self._departed = False
        self._clock_told_s = -math.inf
        me = Member(
            name=config.name,
            host=address.host,
            port=address.port,
            state=MemberState.ALIVE,
            generation=max(now.wall_ms, 0),
            incarnation=0,
            site=self.site,
            datacenter=config.datacenter,
            http=str(config.http) if config.http else "",
            zone=config.zone,
            coordinates=config.coordinates,
        )
        self.pool = Pool(config, f"lan:{config.datacenter}", me, self, rng, self._effects, now)

    # -- writes ------------------------------------------------------------------------------------------------------

    def put(self, key: str, value: bytes, now: Now, content_type: str | None = None) -> list[Effect]:
        """Write. The first effect is the write's Changed.

        Raises BadKeyError, ValueTooLargeError, ClockAheadError, or LocalError for a bad content type; then nothing has changed.
        """
        check_key(key)
        check_content_type(content_type)
        if len(value) > self.config.value_bytes_max:
            raise ValueTooLargeError(f"the value has {len(value)} bytes", f"value_bytes_max is {self.config.value_bytes_max}")
        return self._write(key, value, now, content_type)

    def delete(self, key: str, now: Now) -> list[Effect]:
        """Write a death certificate; the first effect is its Changed. Without a live entry nothing happens and nothing is returned."""
        check_key(key)
        record = self.store.record(key)
        return [] if record is None or is_dead(record) else self._write(key, None, now, None)

    def _write(self, key: str, value: bytes | None, now: Now, content_type: str | None) -> list[Effect]:
        if self._departs_s is not None:
            raise LocalError("this node is leaving", "write to another node")
        if self._is_ahead(now):
            raise ClockAheadError(self._ahead_text(now), "set its clock right, by NTP for example, or write to another node")
        version = Version(self.hlc.tick(now.wall_ms), self.site)
        self._take(key, make_record(version, value, content_type), now, heard_from=None, heat=Heat.AT_ONCE)
        return self._drain()

    def merge(self, key: str, record: bytes, now: Now, *, heard_from: str, heat: Heat) -> Outcome:
        """Offer what a peer sent. What cannot be accepted is counted by reason and costs nothing else (lesson 8)."""
        try:
            check_key(key)
            check_record(record)
            self.hlc.observe(timestamp_in(record), now.wall_ms)
        except RemoteError as fault:
            self.counters[f"entries_refused.{fault.reason}"] += 1
            return Outcome.REFUSED
        except BadKeyError:
            self.counters["entries_refused.bad_key"] += 1
            return Outcome.REFUSED
        return Outcome.NEWS if self._take(key, record, now, heard_from=heard_from, heat=heat) else Outcome.KNOWN

    def _take(self, key: str, record: bytes, now: Now, *, heard_from: str | None, heat: Heat) -> bool:
        """Merge; if it is news, say so and spread it. Every entry that this replica ever holds came through here."""
        news = self.store.merge(key, record)
        if news is None:
            return False
        self.news_s = now.monotonic_s
        self._effects.append(Changed(key, news.old, news.new))
        if heat is not Heat.NOT:
            self.pool.spreading.heat(key, record, heard_from, at_once=heat is Heat.AT_ONCE)
        return True

    # -- other inputs ------------------------------------------------------------------------------------------------

    def start(self, now: Now) -> list[Effect]:
        """The first input: begins to join."""
        return self.tick(now)

    def receive(self, data: bytes, source: Address, now: Now) -> list[Effect]:
        """A datagram from `source`."""
        self.pool.receive(data, source, now, reliable=False)
        return self._drain()

    def receive_reliable(self, data: bytes, source: Address, now: Now) -> list[Effect]:
        """A frame of the TCP link whose remote address is `source`."""
        self.pool.receive(data, source, now, reliable=True)
        return self._drain()

    def unreachable(self, address: Address, now: Now) -> list[Effect]:
        """A reliable frame to this address could not be delivered, or its link broke."""
        self.pool.unreachable(address, now)
        return self._drain()

    def resolved(self, target: str, addresses: Sequence[Address], now: Now) -> list[Effect]:
        """The answer to Resolve; no addresses if there was none."""
        if not addresses:
            self._effects.append(Log("WARNING", f"the join address {target} cannot be resolved; it will be tried again"))
        self.pool.join(self.pool.joining.resolved(target, addresses, self.pool.is_member))
        return self._drain()

    def join(self, targets: Sequence[str], now: Now) -> list[Effect]:
        """An operator's wish to join these `HOST:PORT` now; the outcome comes as Joined or JoinRefused."""
        self._effects.extend(Resolve(target) for target in self.pool.joining.add(targets))
        return self._drain()

    def settle(self, now: Now) -> list[Effect]:
        """An operator says that what this node has is the truth."""
        self._settle()
        return self._drain()

    def leave(self, now: Now) -> list[Effect]:
        """Tell the peers that this node goes; Departed follows when they have had time to hear it."""
        if self._departs_s is None:
            self.pool.leave(now)
            rounds = FAREWELL_ROUNDS if self.pool.membership.reachable else 0
            self._departs_s = now.monotonic_s + rounds * self.config.gossip_interval_s
        return self._drain()

    def block(self, target: str, now: Now) -> list[Effect]:
        """Ignore a member, an address or a network from now on (see blocking.py). Raises ConfigError for what is none, or this node."""
        if target == self.name:
            raise ConfigError(f"{target!r} is this node itself", "name another member, or stop this one with `kvgossip leave`")
        self.blocks.add(target)
        known = self.pool.membership.members.get(target)
        if known is not None:
            self.blocks.learn(known.address, target)
        self.pool.regard_blocks(now)
        return self._drain()

    def unblock(self, target: str, now: Now) -> list[Effect]:
        """Take a block back. Raises NotFoundError if there is none."""
        self.blocks.remove(target)
        self.pool.regard_blocks(now)
        return self._drain()

    def force_leave(self, name: str, now: Now, *, prune: bool = False) -> list[Effect]:
        """Declare a member left that will not come back; `prune`: and let everybody forget it.

        Raises NotFoundError for an unknown name, StillAliveError for a member that answers probes and is not blocked here.
        """
        membership = self.pool.membership
        known = membership.members.get(name)
        if known is None:
            raise NotFoundError(f"no member is named {name!r}", "`kvgossip members` shows who is known")
        if name == self.name:
            raise StillAliveError(f"{name!r} is this node itself", "let it leave with `kvgossip leave`")
        if known.state is MemberState.ALIVE and not self.blocks.covers(known):
            raise StillAliveError(
                f"the member {name!r} at {known.address} answers probes, so it would come back at once",
                "stop it; or, if it belongs elsewhere, block it on every node of this cluster first",
            )
        membership.declare_left(name, now)
        if prune:
            membership.bury(known, now)
        self.pool.take_changes(now)
        return self._drain()

    def deadline(self) -> float | None:
        """Call `tick` no later than this, monotonic seconds. May lie in the past: then at the end of this turn. None: never."""
        if self._departs_s is not None:
            return None if self._departed else self._departs_s
        return self.pool.deadline()

    def tick(self, now: Now) -> list[Effect]:
        """Do whatever is due."""
        if self._departs_s is None:
            self.pool.tick(now)
        elif now.monotonic_s >= self._departs_s and not self._departed:
            self._departed = True
            self._effects.append(Departed())
        return self._drain()

    def saw_clock(self, peer: str, wall_ms: int, now: Now) -> None:
        """A peer's wall clock shows this: enough to see that the own one is wrong."""
        self.peer_clocks.saw(peer, wall_ms, now)
        if not self._is_ahead(now):
            self._clock_told_s = -math.inf
        elif now.monotonic_s - self._clock_told_s >= CLOCK_COMPLAINT_S:
            self._clock_told_s = now.monotonic_s
            self._effects.append(Log("WARNING", f"{self._ahead_text(now)}: set it right"))

    def _is_ahead(self, now: Now) -> bool:
        return self.peer_clocks.is_ahead(now, self.config.clock_drift_max_s)

    def _ahead_text(self, now: Now) -> str:
        ahead_s = self.peer_clocks.ahead_s(now) or 0.0
        return f"the clock of this node is {ahead_s:.1f} s ahead of its peers' median, so they would refuse what it writes"

    def introduced(self) -> None:
        """A join address turned out to be our own: perhaps there is no other one."""
        if self.pool.joining.all_exchanged():
            self._settle()

    def exchanged(self, peer: str, peer_standing: Standing, now: Now) -> None:
        """An exchange with this peer completed: perhaps that was what we waited for before answering reads (protocol.md section 8)."""
        self.pool.joining.exchanged(peer, peer_standing)
        if peer_standing is Standing.SETTLED or self.pool.joining.all_exchanged():
            self._settle()

    @property
    def standing(self) -> Standing:
        """What peers are told of how much this replica's answers are worth."""
        if self.settled:
            return Standing.SETTLED
        return Standing.FRESH if self.pool.joining.all_answered() else Standing.WAITING

    def _settle(self) -> None:
        if not self.settled:
            self.settled = True
            self._effects.append(Settled())

    def _drain(self) -> list[Effect]:
        effects = self._effects[:]
        self._effects.clear()
        return effects

    # -- questions ---------------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        return self.config.name

    @property
    def member(self) -> Member:
        """This node's own record."""
        return self.pool.membership.me

    @property
    def root(self) -> int:
        """The root of the digest tree, 64 bits: equal on replicas with equal content."""
        return self.store.digest.root

    def get(self, key: str) -> Entry | None:
        """The live entry under the key; None if there is none or it was deleted."""
        return self.store.get(key)

    def value(self, key: str) -> bytes | None:
        return self.store.value(key)

    def record(self, key: str) -> bytes | None:
        """The record (see entry.py) of an entry or a death certificate."""
        return self.store.record(key)

    def scan(self, prefix: str = "", after: str = "", limit: int = 1000) -> list[Entry]:
        """At most `limit` live entries whose keys start with `prefix` and are greater than `after`, sorted by code point."""
        return [entry_of(key, record) for key, record in self.store.scan(prefix, after, limit)]

    def members(self) -> list[Member]:
        """Everybody this node knows, itself included, sorted by name."""
        table = self.pool.membership.members
        return [table[name] for name in sorted(table)]

    def last_exchange_s(self, now: Now) -> float | None:
        """Seconds since an exchange of this node's last completed; None if none ever did."""
        completed_s = self.pool.repair.completed_s
        return None if completed_s is None else now.monotonic_s - completed_s

    def statistics(self) -> dict[str, int | float]:
        """Counters since the start and present sizes, by name."""
        repair, membership = self.pool.repair, self.pool.membership
        return {
            **self.counters,
            **self.pool.counters,
            "keys": self.store.live,
            "entries": len(self.store),
            "record_bytes": self.store.record_bytes,
            "rumors_hot": len(self.pool.spreading.rumors),
            "gossips_sent": self.pool.spreading.gossips,
            "rumors_cooled": self.pool.spreading.rumors.cooled,
            "exchanges_started": repair.started,
            "exchanges_completed": repair.completed,
            "exchanges_cut": repair.cut,
            "exchanges_futile": repair.futile,
            "awareness": membership.awareness.score,
            "name_conflicts": membership.conflicts,
            "names_refused": membership.names_refused,
            "lives_refused": membership.lives_refused,
            "blocked_news": membership.blocked_news,
            "partitions_suspected": self.pool.partition.count,
        }
