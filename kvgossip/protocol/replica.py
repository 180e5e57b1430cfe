"""Replica: one copy of the data and its pools, as one machine. Bytes, requests and the time go in,
effects come out.

Laws
- A local write and a heard rumor are the same event: both end in `_is_news`, which merges and emits
  Changed, and heat the rumor.
- Every input returns the effects it asks for, in order; questions change nothing; no input raises
  on what a peer sent.
- A write on a replica that has seen version v has a greater version than v.
- What was deleted, and collected since, does not come back (tombstones.py).
- Deadlines are state: `tick` does what is due, however late it is called, and never twice.

Pools (protocol.md section 9): every node is in the LAN pool of its datacenter, a gateway in the WAN
pool as well. Data crosses datacenters through gateways only, and by these laws:
- What is news is a rumor in every pool. In the pool that did not bring it, it is told at once:
  nobody there has heard it yet.
- What an exchange brings is no rumor in that pool, where others see the difference themselves (see
  scheduler.py). In the other pool it is one while fewer than REKINDLED_MAX rumors are hot there: a
  few entries are what rumors have lost, or one write of an empty moment, and as rumors they cross
  the pool in milliseconds instead of one exchange after the other. Many are a cut that has healed:
  they travel by exchanges, whose cost follows the difference, instead of being told to everybody
  one by one. A node that catches up kindles nothing.
- No storm: an entry becomes a rumor only by a merge that was news, which happens once a version and
  node, whatever pools it came from.
- A node settles by any pool: by an exchange with a settled member of either; or, in a fresh
  cluster, when all its join addresses, of both pools, have answered and exchanged. So the first
  nodes of a new datacenter wait for the data of the others, not for each other.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from random import Random

from msgspec.structs import replace
from xxhash import xxh3_64_intdigest

from kvgossip.config import Address, Config, wan_config
from kvgossip.errors import (
    BadKeyError,
    ClockAheadError,
    ConfigError,
    LocalError,
    NotFoundError,
    RemoteError,
    StillAliveError,
)
from kvgossip.protocol.acks.tracker import AckTracker
from kvgossip.protocol.acks.write_concern import Candidate, Group, WriteConcern, groups_of
from kvgossip.protocol.anti_entropy.survey import Surveys, question
from kvgossip.protocol.clock_guard import ClockGuard
from kvgossip.protocol.effect import Departed, Dropped, Effect, Log, Resolve, Settled
from kvgossip.protocol.ingress.blocklist import Blocklist
from kvgossip.protocol.key_rotation import KeyRotation
from kvgossip.protocol.membership.identity import Identity
from kvgossip.protocol.merging import Outcome, Spread
from kvgossip.protocol.model.change import Changed, Persist
from kvgossip.protocol.model.entry import (
    HEAD_BYTES,
    Entry,
    Version,
    check_flags,
    check_key,
    check_record,
    check_ttl,
    entry_of,
    is_dead,
    make_record,
    must_go_one_day,
    timestamp_in,
    with_version,
)
from kvgossip.protocol.model.hlc import HybridLogicalClock, milliseconds_of
from kvgossip.protocol.model.member import Member, MemberState, SyncState
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.model.peer import Peer, PoolKind
from kvgossip.protocol.model.write import Writing, check_batch, check_write
from kvgossip.protocol.pool import Pool
from kvgossip.protocol.rumors.batches import Batches
from kvgossip.protocol.saved_state import SavedLife, SavedState, clock_fact, self_fact
from kvgossip.protocol.share import Share
from kvgossip.protocol.store.digest import DigestTree
from kvgossip.protocol.store.store import Store
from kvgossip.protocol.tombstones.tombstones import Tombstones
from kvgossip.protocol.wire.keyring import Keyring, keyring_of
from kvgossip.protocol.wire.message import Enquire, KeyringAction, KeyringOrder, KeyringReport

FAREWELL_ROUNDS = 2
REKINDLED_MAX = 64
CLOCK_COMPLAINT_S = 60.0


class Replica:
    """One node's protocol machine.

    `address`: where peers reach this node; an empty host is learned from the first member that
    answers a join. `wan_address`: the same of the WAN pool, for a gateway. `rng`: the only source
    of chance; one seed gives one trace. `now`: the time of the start. `config.name` must not be
    empty. `pool` is the LAN pool, `wan` the WAN pool of a gateway. `saved`: the facts that an
    earlier life has left on the disk (see saved_state.py), None where there is none. `rebuilding`:
    the data of this node was lost, so that it knows nothing until a settled member has told it all.
    `keyring`: None takes the keys that the configuration itself holds; without any, nothing is
    sealed. `identity`: this node's own (see identity.py), None where it has none.
    """

    def __init__(
        self,
        config: Config,
        *,
        address: Address,
        rng: Random,
        now: Now,
        wan_address: Address | None = None,
        saved: Mapping[bytes, bytes] | None = None,
        rebuilding: bool = False,
        keyring: Keyring | None = None,
        identity: Identity | None = None,
    ) -> None:
        if not config.name:
            raise ConfigError("a replica needs a name")
        if config.identity and identity is None:
            raise ConfigError("the identity file has not been read")
        self.config = config
        self.site = rng.getrandbits(64)
        facts = SavedState(saved or {})
        self.hlc = HybridLogicalClock(int(config.clock_drift_max_s * 1000))
        self.hlc.latest = facts.clock
        self.store = Store(
            DigestTree(config.digest_levels, xxh3_64_intdigest(config.cluster.encode()))
        )
        self.blocklist = Blocklist()
        self.keyring, self.identity = keyring or keyring_of(config), identity
        self.clock_guard = ClockGuard()
        self.news_s = now.monotonic_s
        self.counters: Counter[str] = Counter()
        self._effects: list[Effect] = []
        self.batches = Batches(2 * config.exchange_timeout_s)
        self.surveys = Surveys(self._effects, rng)
        self.acks = AckTracker(self._effects, rng, self._enquire, self._state_of)
        self._departs_s: float | None = None
        self._departed = False
        self._clock_told_s = -math.inf
        self._saved_self = facts.own
        self.tombstones = Tombstones(
            config, self.site, self.store, self.hlc, self._effects, self.counters
        )
        if rebuilding:
            self.tombstones.context.renounce(saved or {})
        else:
            self.tombstones.context.restore(saved or {})
        self.pool = self._pool(PoolKind.LAN, config, address, rng, now, facts)
        self.wan: Pool | None = None
        self.pools: tuple[Pool, ...] = (self.pool,)
        if config.gateway:
            self.wan = self._pool(
                PoolKind.WAN, wan_config(config), wan_address or config.wan, rng, now, facts
            )
            self.pool.beside, self.wan.beside = self.wan, self.pool
            self.wan.membership.reached_otherwise = self._is_in_lan
            self.pools = (self.pool, self.wan)
        self.rotation = KeyRotation(self.pools, self.keyring, rng, self._effects)
        self.tombstones.members, self.tombstones.cool = self._counting, self._cool
        self.tombstones.absent = lambda: any(pool.known_peers.absent for pool in self.pools)
        self._rebuilding = rebuilding or facts.own.rebuilding
        targets = bool(config.join or config.join_wan)
        strangers = not any(pool.known_peers.absent for pool in self.pools)
        self.settled = facts.own.settled or (strangers and not targets and not self._rebuilding)
        self._may_settle_fresh = targets and not self._rebuilding

    def _pool(
        self,
        kind: PoolKind,
        config: Config,
        address: Address,
        rng: Random,
        now: Now,
        facts: SavedState,
    ) -> Pool:
        me = Member(
            name=config.name,
            host=address.host,
            port=address.port,
            state=MemberState.ALIVE,
            generation=max(now.wall_ms, facts.generation(kind) + 1),
            incarnation=0,
            site=self.site,
            datacenter=config.datacenter,
            http=str(config.http) if config.http else "",
            zone=config.zone,
            coordinates=config.coordinates,
            identity=self.identity.fingerprint if self.identity is not None else b"",
            gateway=self.config.gateway,
        )
        return Pool(config, kind, me, Share(self, kind), rng, self._effects, now, facts.peers(kind))

    def _is_in_lan(self, gateway: Member) -> bool:
        """Whether this node reaches this gateway, in its present life, in the LAN pool too."""
        known = self.pool.membership.members.get(gateway.name)
        return (
            known is not None and known.site == gateway.site and self.pool.is_member(gateway.name)
        )

    def _counting(self) -> list[Member]:
        """The members, of all pools, without which no tombstone may go (see tombstones.py)."""
        every = (member for pool in self.pools for member in pool.membership.members.values())
        return [
            m
            for m in every
            if m.name != self.name
            and m.state is not MemberState.LEFT
            and not self.blocklist.covers(m)
        ]

    def _cool(self, key: str) -> None:
        for pool in self.pools:
            pool.mongering.rumors.cool(key)

    # -- writes ------------------------------------------------------------------------------------

    def put(
        self,
        key: str,
        value: bytes,
        now: Now,
        content_type: str | None = None,
        ttl_s: float | None = None,
        flags: int = 0,
    ) -> list[Effect]:
        """Write. The first effect is the write's Changed. `ttl_s`: the entry expires so many
        seconds from now.

        Raises BadKeyError, ValueTooLargeError, ClockAheadError, or LocalError for bad other
        arguments; then nothing has changed.
        """
        check_write(key, value, content_type, self.config)
        if flags:
            check_flags(flags)
        if ttl_s is not None:
            check_ttl(ttl_s)
        return self._write(key, value, now, content_type, ttl_s, flags)

    def delete(self, key: str, now: Now) -> list[Effect]:
        """Write a tombstone; the first effect is its Changed. Without a live entry nothing
        happens and nothing is returned."""
        check_key(key)
        return self._write(key, None, now) if self._is_live(key) else []

    def batch(self, writes: Sequence[Writing], now: Now) -> list[Effect]:
        """Write them all, as one (see batches.py). Their Changed are the first effects, in order; a
        delete of nothing has none.

        Raises as `put`, and BadBatchError; then nothing has changed.
        """
        check_batch(writes, self.config)
        self._check_may_write(now)
        made = [each for each in writes if each.value is not None or self._is_live(each.key)]
        pairs = tuple(
            (each.key, self._record(each.value, now, each.content_type, each.ttl_s, each.flags))
            for each in made
        )
        if len(pairs) == 1:
            self._take(*pairs[0], now, heard_from=None, spread=Spread.AT_ONCE, pool=PoolKind.LAN)
        elif pairs:
            self._take_batch(
                pairs, pairs, now, heard_from=None, spread=Spread.AT_ONCE, pool=PoolKind.LAN
            )
        return self._drain()

    def _is_live(self, key: str) -> bool:
        record = self.store.record(key)
        return record is not None and not self.store.is_deleted_or_expired(key, record)

    def restore(
        self, entries: Iterable[tuple[str, bytes]], now: Now, *, as_new: bool = False
    ) -> tuple[list[Effect], list[Outcome]]:
        """Merge entries of a backup, with the versions that they have there; what became of each.

        `as_new`: write each value anew, whatever was written or deleted since; tombstones
        are left out then. Raises as `put`.
        """
        self._check_may_write(now)
        offer = self._write_anew if as_new else self._merge_again
        outcomes = [offer(key, record, now) for key, record in entries]
        return self._drain(), outcomes

    def _merge_again(self, key: str, record: bytes, now: Now) -> Outcome:
        return self.merge(key, record, now, heard_from="", spread=Spread.NEXT_ROUND)

    def _write_anew(self, key: str, record: bytes, now: Now) -> Outcome:
        if is_dead(record):
            return Outcome.KNOWN
        fresh = with_version(record, self._next_version(now))
        self._take(key, fresh, now, heard_from=None, spread=Spread.AT_ONCE, pool=PoolKind.LAN)
        return Outcome.NEWS

    def _check_may_write(self, now: Now) -> None:
        if self._departs_s is not None:
            raise LocalError("this node is leaving", "write to another node")
        if self.clock_guard.is_ahead(now, self.config.clock_drift_max_s):
            raise ClockAheadError(
                self._ahead_text(now),
                "set its clock right, by NTP for example, or write to another node",
            )

    def _next_version(self, now: Now) -> Version:
        return Version(self.hlc.tick(now.wall_ms), self.site)

    def _write(
        self,
        key: str,
        value: bytes | None,
        now: Now,
        content_type: str | None = None,
        ttl_s: float | None = None,
        flags: int = 0,
    ) -> list[Effect]:
        self._check_may_write(now)
        record = self._record(value, now, content_type, ttl_s, flags)
        self._take(key, record, now, heard_from=None, spread=Spread.AT_ONCE, pool=PoolKind.LAN)
        return self._drain()

    def _record(
        self,
        value: bytes | None,
        now: Now,
        content_type: str | None,
        ttl_s: float | None,
        flags: int,
    ) -> bytes:
        """What is written now."""
        timestamp = self.hlc.tick(now.wall_ms)
        expires_ms = None if ttl_s is None else milliseconds_of(timestamp) + int(ttl_s * 1000)
        return make_record(Version(timestamp, self.site), value, content_type, expires_ms, flags)

    def merge(
        self,
        key: str,
        record: bytes,
        now: Now,
        *,
        heard_from: str,
        spread: Spread,
        pool: PoolKind = PoolKind.LAN,
    ) -> Outcome:
        """Offer what a peer of this pool sent. What cannot be accepted is counted by reason and
        costs nothing else (lesson 8)."""
        if not self._accepts(key, record, now):
            return Outcome.REFUSED
        if self.acks:
            self.acks.showed(Peer(pool, heard_from), key, record[1:HEAD_BYTES])
        if self.tombstones.refuses(key, record):
            self.counters["offers_collected"] += 1
            return Outcome.COLLECTED
        if self._take(key, record, now, heard_from=heard_from, spread=spread, pool=pool):
            return Outcome.NEWS
        self.tombstones.known(key, record)
        return Outcome.KNOWN

    def merge_batch(
        self,
        entries: tuple[tuple[str, bytes], ...],
        now: Now,
        *,
        heard_from: str,
        spread: Spread,
        pool: PoolKind = PoolKind.LAN,
    ) -> Outcome:
        """Offer a batch that a peer of this pool sent: all of it is merged now, or, where a part
        cannot be accepted, nothing."""
        if not all(self._accepts(key, record, now) for key, record in entries):
            return Outcome.REFUSED
        offered: list[tuple[str, bytes]] = []
        for key, record in entries:
            if self.acks:
                self.acks.showed(Peer(pool, heard_from), key, record[1:HEAD_BYTES])
            if not self.tombstones.refuses(key, record):
                offered.append((key, record))
        return (
            Outcome.NEWS
            if self._take_batch(
                entries, offered, now, heard_from=heard_from, spread=spread, pool=pool
            )
            else Outcome.KNOWN
        )

    def _accepts(self, key: str, record: bytes, now: Now) -> bool:
        """Whether it may be merged; if so, the clock has taken over its time."""
        try:
            check_key(key)
            check_record(record)
            self.hlc.observe(timestamp_in(record), now.wall_ms)
        except RemoteError as fault:
            self.counters[f"entries_refused.{fault.reason}"] += 1
            return False
        except BadKeyError:
            self.counters["entries_refused.bad_key"] += 1
            return False
        return True

    def _take(
        self,
        key: str,
        record: bytes,
        now: Now,
        *,
        heard_from: str | None,
        spread: Spread,
        pool: PoolKind,
    ) -> bool:
        """Merge; if it is news, say so and spread it."""
        if not self._is_news(key, record, now):
            return False
        for each in self.pools:
            if each.kind is not pool:
                self._heat_elsewhere(each, key, record, heard_from, spread)
            elif spread is Spread.AT_ONCE or spread is Spread.NEXT_ROUND:
                each.mongering.heat(key, record, heard_from, at_once=spread is Spread.AT_ONCE)
        return True

    def _take_batch(
        self,
        entries: tuple[tuple[str, bytes], ...],
        offered: Iterable[tuple[str, bytes]],
        now: Now,
        *,
        heard_from: str | None,
        spread: Spread,
        pool: PoolKind,
    ) -> bool:
        """Merge those of the entries that are offered; if any of it is news, spread the whole. What
        was collected since is superseded."""
        news = False
        for key, record in offered:
            if self._is_news(key, record, now):
                news = True
            else:
                self.tombstones.known(key, record)
        for each in self.pools if news else ():
            if each.kind is not pool:
                each.mongering.heat_batch(
                    entries, self._speaker_elsewhere(each, heard_from), at_once=True
                )
            elif spread is not Spread.ELSEWHERE:
                each.mongering.heat_batch(entries, heard_from, at_once=spread is Spread.AT_ONCE)
        return news

    def _is_news(self, key: str, record: bytes, now: Now) -> bool:
        """Merge; if it is news, say so. Every entry that this replica ever holds came through
        here."""
        changed = self.store.merge(key, record)
        if changed is None:
            return False
        self.news_s = now.monotonic_s
        self._effects.append(changed)
        self.tombstones.merged(changed, now)
        for each in self.pools:
            if each.version_queries:
                each.version_queries.merged(key, record, now)
        return True

    def _heat_elsewhere(
        self, other: Pool, key: str, record: bytes, heard_from: str | None, spread: Spread
    ) -> None:
        """What is news in one pool is news in this other one."""
        if spread is not Spread.NOT or (
            self.settled and len(other.mongering.rumors) < REKINDLED_MAX
        ):
            other.mongering.heat(
                key, record, self._speaker_elsewhere(other, heard_from), at_once=True
            )

    def _speaker_elsewhere(self, other: Pool, heard_from: str | None) -> str | None:
        """Who told it needs not hear it, but names are those of one pool: another node may have
        this one there."""
        return heard_from if heard_from is None or other.knows_as_neighbour(heard_from) else ""

    # -- waits -------------------------------------------------------------------------------------

    def check_wait(self, write_concern: WriteConcern) -> None:
        """Raises CannotMeetError or OverloadedError where a wait for this cannot begin: to be asked
        before the write."""
        self.acks.check_room()
        self._groups(write_concern)

    def wait(
        self, ticket: int, key: str, write_concern: WriteConcern, timeout_s: float, now: Now
    ) -> list[Effect]:
        """From now on, wait until the version that is here now is held by those that
        `write_concern` names.

        AckReceived tells of each holder, and one WriteConcernEnded that the wait is over; they
        carry `ticket`. Raises as `check_wait`, and NotFoundError where there is nothing under the
        key.
        """
        record = self.store.record(key)
        if record is None:
            raise NotFoundError(f"there is nothing under {key!r}")
        self.check_wait(write_concern)
        self.acks.begin(ticket, self._me, key, record, self._groups(write_concern), timeout_s, now)
        return self._drain()

    def cancel_wait(self, ticket: int, now: Now) -> list[Effect]:
        """Nobody waits any more."""
        self.acks.cancel(ticket)
        return self._drain()

    def survey(self, ticket: int, now: Now) -> list[Effect]:
        """Ask all reachable members by how much they differ: Surveyed, with this ticket, tells each
        answer, until `end_survey`.

        Raises OverloadedError.
        """
        asked = question(self.store, self.surveys.begin(ticket), self.name)
        for pool in self.pools:
            for member in pool.surveyed():
                pool.send(asked, member.address, reliable=True)
        return self._drain()

    def end_survey(self, ticket: int, now: Now) -> list[Effect]:
        """Later answers are of no interest."""
        self.surveys.end(ticket)
        return self._drain()

    @property
    def _me(self) -> Peer:
        return Peer(PoolKind.LAN, self.name)

    def _groups(self, write_concern: WriteConcern) -> list[Group]:
        others = [candidate for pool in self.pools for candidate in pool.candidates()]
        return groups_of(write_concern, Candidate(self._me, self.config.zone, alive=True), others)

    def _enquire(self, peer: Peer, enquiry: Enquire, reliable: bool) -> None:
        pool, told = (
            self.in_pool(peer.pool),
            replace(enquiry, sender=self.name) if reliable else enquiry,
        )
        pool.send(told, pool.membership.members[peer.name].address, reliable=reliable)

    def _state_of(self, peer: Peer) -> MemberState:
        return self.in_pool(peer.pool).membership.members[peer.name].state

    # -- the disk ----------------------------------------------------------------------------------

    def expect(self, keys: int) -> None:
        """About so many keys are on the disk, and will be loaded: it goes faster then."""
        self.tombstones.expect(keys)

    def load(self, entries: Sequence[tuple[str, bytes]]) -> None:
        """Take records from the disk, some at a time, before `start`. They are no news: nobody is
        told.

        Raises RemoteError for a record of a format that this version does not know.
        """
        for _, record in entries:
            check_record(record)
        self.hlc.latest = max([self.hlc.latest, *(timestamp_in(record) for _, record in entries)])
        self.store.load(entries)
        for key in dict.fromkeys(key for key, record in entries if must_go_one_day(record)):
            self.tombstones.loaded(key, self.store[key])

    def checkpoint(self, now: Now) -> list[Persist]:
        """What belongs into every commit: the facts that are always now, and the dots since the
        last one, which are told once."""
        return [clock_fact(self.hlc.latest), *self.tombstones.checkpoint(), *self._self_facts()]

    def _self_facts(self) -> list[Persist]:
        """The fact about this life, if it has changed."""
        wan_generation = self.wan.membership.me.generation if self.wan is not None else 0
        own = SavedLife(
            self.member.generation,
            wan_generation,
            self.settled,
            self._rebuilding and not self.settled,
        )
        if own == self._saved_self:
            return []
        self._saved_self = own
        return [self_fact(own)]

    # -- other inputs ------------------------------------------------------------------------------

    def start(self, now: Now) -> list[Effect]:
        """The first input: begins to join."""
        return self.tick(now)

    def receive(
        self, data: bytes, source: Address, now: Now, pool: PoolKind = PoolKind.LAN
    ) -> list[Effect]:
        """A datagram from `source` to the address of this pool."""
        self.in_pool(pool).receive(data, source, now, reliable=False)
        return self._drain()

    def receive_reliable(
        self, data: bytes, source: Address, now: Now, pool: PoolKind = PoolKind.LAN
    ) -> list[Effect]:
        """A frame of the TCP link whose remote address is `source`."""
        self.in_pool(pool).receive(data, source, now, reliable=True)
        return self._drain()

    def unreachable(
        self, address: Address, now: Now, pool: PoolKind = PoolKind.LAN
    ) -> list[Effect]:
        """A reliable frame to this address could not be delivered, or its link broke."""
        self.in_pool(pool).unreachable(address, now)
        self.rotation.unreachable(address, now, pool)
        return self._drain()

    def resolved(
        self, target: str, addresses: Sequence[Address], now: Now, pool: PoolKind = PoolKind.LAN
    ) -> list[Effect]:
        """The answer to Resolve; no addresses if there was none."""
        if not addresses:
            self._effects.append(
                Log(
                    "WARNING",
                    f"the join address {target} cannot be resolved; it will be tried again",
                )
            )
        joined = self.in_pool(pool)
        joined.join(joined.join_targets.resolved(target, addresses, joined.is_member))
        return self._drain()

    def join(self, targets: Sequence[str], now: Now, pool: PoolKind = PoolKind.LAN) -> list[Effect]:
        """An operator's wish to join these `HOST:PORT` of a pool now; the outcome comes as Joined
        or JoinRefused.

        Raises ConfigError on a node that is not in such a pool.
        """
        self._effects.extend(
            Resolve(target, pool) for target in self.in_pool(pool).join_targets.add(targets)
        )
        return self._drain()

    def settle(self, now: Now) -> list[Effect]:
        """An operator says that what this node has is the truth."""
        self._settle()
        return self._drain()

    def leave(self, now: Now) -> list[Effect]:
        """Tell the peers that this node goes; Departed follows when they have had time to hear
        it."""
        if self._departs_s is None:
            self.acks.end_all()
            for pool in self.pools:
                pool.leave(now)
            anybody = any(pool.membership.reachable for pool in self.pools)
            self._departs_s = (
                now.monotonic_s
                + (FAREWELL_ROUNDS if anybody else 0) * self.config.gossip_interval_s
            )
        return self._drain()

    def block(self, target: str, now: Now) -> list[Effect]:
        """Ignore a member, an address or a network from now on (see blocklist.py). Raises
        ConfigError for what is none, or this node."""
        if target == self.name:
            raise ConfigError(
                f"{target!r} is this node itself",
                "name another member, or stop this one with `kvgossip leave`",
            )
        self.blocklist.add(target)
        for pool in self.pools:
            known = pool.membership.members.get(target)
            if known is not None:
                self.blocklist.learn(known.address, target)
        return self._regard_blocks(now)

    def unblock(self, target: str, now: Now) -> list[Effect]:
        """Take a block back. Raises NotFoundError if there is none."""
        self.blocklist.remove(target)
        return self._regard_blocks(now)

    def _regard_blocks(self, now: Now) -> list[Effect]:
        for pool in self.pools:
            pool.regard_blocks(now)
        return self._drain()

    def force_leave(self, name: str, now: Now, *, prune: bool = False) -> list[Effect]:
        """Declare a member left that will not come back; `prune`: and let everybody forget it.

        Raises NotFoundError for an unknown name, StillAliveError for a member that answers probes
        and is not blocked here.
        """
        if name == self.name:
            raise StillAliveError(
                f"{name!r} is this node itself", "let it leave with `kvgossip leave`"
            )
        knowing = [
            (pool, pool.membership.members[name])
            for pool in self.pools
            if name in pool.membership.members
        ]
        if not knowing:
            raise NotFoundError(
                f"no member is named {name!r}", "`kvgossip members` shows who is known"
            )
        for _, known in knowing:
            if known.state is MemberState.ALIVE and not self.blocklist.covers(known):
                raise StillAliveError(
                    f"the member {name!r} at {known.address} answers probes, so it would come "
                    "back at once",
                    "stop it; or, if it belongs elsewhere, block it on every node of this cluster "
                    "first",
                )
        for pool, known in knowing:
            pool.membership.declare_left(name, now)
            if prune:
                pool.membership.prune(known, now)
            pool.take_changes(now)
        return self._drain()

    def rotate(self, ticket: int, action: KeyringAction, key: bytes, now: Now) -> list[Effect]:
        """An operator's order for the keyrings of the whole cluster (see key_rotation.py);
        KeyringTold follows. Raises KeyringError."""
        self.rotation.ask(ticket, action, key, now)
        return self._drain()

    def keyring_kept(self, problem: str, now: Now) -> list[Effect]:
        """The answer to KeyringChanged: the keys were kept for the next life; or, where `problem`
        is not empty, they were not, and why. It stands beside this node's keys in every list."""
        self.rotation.problem = problem
        return self._drain()

    def keyring_heard(
        self, told: KeyringOrder | KeyringReport, source: Address, now: Now, pool: PoolKind
    ) -> None:
        if isinstance(told, KeyringOrder):
            self.rotation.on_order(told, source, now, pool)
        else:
            self.rotation.on_report(told, source, now, pool)

    def examine(self, now: Now, pool: PoolKind = PoolKind.LAN) -> list[Effect]:
        """Look at the members of a pool, and let them look at each other; Examined follows, once
        where several wishes meet."""
        self.in_pool(pool).doctor.start(now)
        return self._drain()

    def let_look(
        self, one: str, other: str, now: Now, pool: PoolKind = PoolKind.LAN
    ) -> list[Effect]:
        """Look at one member, and let it look at another one; Examined follows. Raises
        NotFoundError for a name that is not known."""
        for name in (one, other):
            if name not in self.in_pool(pool).membership.members:
                raise NotFoundError(
                    f"no member is named {name!r}", "`kvgossip members` shows who is known"
                )
        self.in_pool(pool).doctor.ask(one, other, now)
        return self._drain()

    def deadline(self) -> float | None:
        """Call `tick` no later than this, monotonic seconds. May lie in the past: then at the end
        of this turn. None: never."""
        if self._departs_s is not None:
            return None if self._departed else self._departs_s
        nearest, rotated_s = self.tombstones.deadline(), self.rotation.deadline()
        for pool in self.pools:
            nearest = min(nearest, pool.deadline())
        if self.acks:
            nearest = min(nearest, self.acks.deadline())
        return nearest if rotated_s is None else min(nearest, rotated_s)

    def tick(self, now: Now) -> list[Effect]:
        """Do whatever is due."""
        if self._departs_s is None:
            for pool in self.pools:
                pool.tick(now)
            self.rotation.tick(now)
            self.acks.tick(now)
            self.tombstones.tick(now, settled=self.settled)
            self.batches.age(now)
        elif now.monotonic_s >= self._departs_s and not self._departed:
            self._departed = True
            self._effects.append(Departed())
        return self._drain()

    def saw_clock(self, peer: str, wall_ms: int, asked_s: float, now: Now) -> None:
        """A peer's wall clock showed this, at `asked_s` or later: enough to see that the own one is
        wrong."""
        self.clock_guard.saw(peer, wall_ms, asked_s)
        if not self.clock_guard.is_ahead(now, self.config.clock_drift_max_s):
            self._clock_told_s = -math.inf
        elif now.monotonic_s - self._clock_told_s >= CLOCK_COMPLAINT_S:
            self._clock_told_s = now.monotonic_s
            self._effects.append(Log("WARNING", f"{self._ahead_text(now)}: set it right"))

    def _ahead_text(self, now: Now) -> str:
        ahead_s = self.clock_guard.ahead_s(now) or 0.0
        return (
            f"the clock of this node is {ahead_s:.1f} s ahead of its peers' median, so they "
            "would refuse what it writes"
        )

    def introduced(self) -> None:
        """A join address turned out to be our own: perhaps there is no other one."""
        if self._all_exchanged():
            self._settle()

    def exchanged(self, peer: str, peer_sync_state: SyncState, now: Now) -> None:
        """An exchange with this peer completed: perhaps that was what we waited for before
        answering reads (protocol.md section 8)."""
        for pool in self.pools:
            pool.join_targets.exchanged(peer, peer_sync_state)
        if peer_sync_state is SyncState.SETTLED or self._all_exchanged():
            self._settle()

    def _all_exchanged(self) -> bool:
        return self._may_settle_fresh and all(
            pool.join_targets.all_exchanged() for pool in self.pools
        )

    @property
    def sync_state(self) -> SyncState:
        """What peers are told of how much this replica's answers are worth."""
        if self.settled:
            return SyncState.SETTLED
        fresh = self._may_settle_fresh and all(
            pool.join_targets.all_answered() for pool in self.pools
        )
        return SyncState.FRESH if fresh else SyncState.WAITING

    def _settle(self) -> None:
        if not self.settled:
            self.settled = True
            # a commit of its own, where nothing else is going to be written
            self._effects += [Settled(), *self._self_facts()]

    def _drain(self) -> list[Effect]:
        context = self.tombstones.context
        if context.has_changed:
            self._effects += context.take_changes()
        if context.has_new_dots:
            context.has_new_dots = False
            if not any(isinstance(effect, (Changed, Dropped, Persist)) for effect in self._effects):
                # they go with the next commit, and nothing else asks for one
                self._effects.append(self.tombstones.own_row())
        effects = self._effects[:]
        self._effects.clear()
        return effects

    # -- questions ---------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        return self.config.name

    @property
    def member(self) -> Member:
        """This node's own record in its LAN pool."""
        return self.pool.membership.me

    def in_pool(self, kind: PoolKind) -> Pool:
        """This node's pool of that kind. Raises ConfigError where it has none."""
        pool = self.pool if kind is PoolKind.LAN else self.wan
        if pool is None:
            raise ConfigError(
                f"the node {self.name!r} is no gateway, so it is not in the WAN pool",
                "start its agent with --gateway",
            )
        return pool

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
        """The record (see entry.py) of an entry or a tombstone; None of what has
        expired."""
        record = self.store.record(key)
        return None if record is None or self.store.is_expired(key) else record

    def scan(self, prefix: str = "", after: str = "", limit: int = 1000) -> list[Entry]:
        """At most `limit` live entries whose keys start with `prefix` and are greater than `after`,
        sorted by code point."""
        return [entry_of(key, record) for key, record in self.store.scan(prefix, after, limit)]

    def members(self, pool: PoolKind = PoolKind.LAN) -> list[Member]:
        """Everybody this node knows in that pool, itself included, sorted by name. Raises
        ConfigError as `in_pool`."""
        table = self.in_pool(pool).membership.members
        return [table[name] for name in sorted(table)]

    def last_exchange_s(self, now: Now) -> float | None:
        """Seconds since an exchange of this node's last completed; None if none ever did."""
        completed_s = [
            pool.exchanges.completed_s
            for pool in self.pools
            if pool.exchanges.completed_s is not None
        ]
        return now.monotonic_s - max(completed_s) if completed_s else None

    def statistics(self) -> dict[str, int | float]:
        """Counters since the start and present sizes, by name; those of the pools added up."""
        told: Counter[str] = self.counters + self.acks.counters
        for pool in self.pools:
            told.update(pool.statistics())
        sizes = {
            "keys": self.store.live,
            "entries": len(self.store),
            "record_bytes": self.store.record_bytes,
        }
        return {**told, **sizes, **self.tombstones.statistics()}
