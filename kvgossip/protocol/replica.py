"""Replica: one copy of the data and its pools, as one machine. Bytes, requests and the time go in,
effects come out.

    put, delete, batch, restore --> writes --+
    receive --> pool --> a mechanism --------+--> merging --> store
    absorb --> piggyback --------------------+
    tick --> pools, acks, tombstones, key rotation            each of them --> outbox --> effects

Laws
- Every input returns the effects that it asks for, in order; questions change nothing; no input
  raises on any bytes of a peer.
- An entry that was deleted, and collected since, does not come back (tombstones.py).
- Deadlines are state: `tick` does what is due, however late it is called, and never twice.

Pools (protocol.md section 9): every node is in the LAN pool of its datacenter, a gateway in the WAN
pool as well. Data crosses datacenters through gateways only; merging.py has the laws of that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from random import Random

from kvgossip.config import Address, Config
from kvgossip.errors import ConfigError, NotFoundError
from kvgossip.protocol.acks.write_concern import WriteConcern
from kvgossip.protocol.anti_entropy.inspection import Sought
from kvgossip.protocol.anti_entropy.survey import Topic, question
from kvgossip.protocol.data import Data
from kvgossip.protocol.doctor.shell_report import ShellReport
from kvgossip.protocol.effect import Departed, Effect, forgotten
from kvgossip.protocol.ingress.blocklist import Blocklist
from kvgossip.protocol.key_rotation import KeyRotation
from kvgossip.protocol.membership.identity import Identity
from kvgossip.protocol.model.arrival import Arrival
from kvgossip.protocol.model.change import Persist
from kvgossip.protocol.model.entry import Version, check_record, must_go_one_day, timestamp_in
from kvgossip.protocol.model.member import Member
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.model.peer import PoolKind
from kvgossip.protocol.model.story import Watch
from kvgossip.protocol.model.write import Writing
from kvgossip.protocol.outbox import Outbox
from kvgossip.protocol.pools.farewell import Farewell
from kvgossip.protocol.pools.piggyback import Piggyback
from kvgossip.protocol.pools.pool import Pool
from kvgossip.protocol.pools.pool_set import PoolSet
from kvgossip.protocol.pools.shared import Shared
from kvgossip.protocol.rumors.batches import Batches
from kvgossip.protocol.saved_state import clock_fact
from kvgossip.protocol.store.capacity import Capacity
from kvgossip.protocol.typed.edit import Edit, KeyEdit
from kvgossip.protocol.wire.keyring import Keyring, keyring_of
from kvgossip.protocol.wire.message import KeyringAction
from kvgossip.protocol.writes import BatchWritten, Restored, Writes, Written


class Replica:
    """One node's protocol machine.

    `address`: the address at which peers reach this node; an empty host is learned (see
    own_host.py). `wan_address`: the same of the WAN pool, for a gateway. `rng`: the
    only source of chance; one seed gives one trace. `now`: the time of the start. `config.name`
    must not be empty. `saved`: the facts that an earlier life has left on the disk (see
    saved_state.py), None where there is none. `rebuilding`: the data of this node was lost, so that
    it knows nothing until a settled member has sent it all. `found`: there is nobody whom this node
    could know, so that its data is the truth. `keyring`: None takes the keys that the
    configuration itself holds; without any, nothing is sealed. `identity`: this node's own (see
    identity.py), None where it has none.
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
        found: bool = False,
        keyring: Keyring | None = None,
        identity: Identity | None = None,
    ) -> None:
        if not config.name:
            raise ConfigError("a replica needs a name")
        if config.identity and identity is None:
            raise ConfigError("the identity file has not been read")
        self.config = config
        #: this life of the node, among the writers of versions
        self.site = rng.getrandbits(64)
        self.outbox = Outbox()
        self.counters: Counter[str] = Counter()
        self.blocklist = Blocklist()
        self.keyring, self.identity = keyring or keyring_of(config), identity
        #: the LAN pool, and on a gateway the WAN pool: all that it has before the first input
        self.pools = PoolSet(config, self.blocklist)
        data = Data(
            config,
            self.site,
            self.pools,
            saved=saved,
            rebuilding=rebuilding,
            found=found,
            begin_life=partial(_begin_life, self),
            outbox=self.outbox,
            counters=self.counters,
            rng=rng,
            now=now,
        )
        self._saved, self.hlc, self.store = data.saved, data.hlc, data.store
        self._own_facts = data.own_facts
        self.readiness, self.clock_guard, self.disk = data.readiness, data.clock_guard, data.disk
        self.surveys, self.inspections, self.acks = data.surveys, data.inspections, data.acks
        self.tombstones, self.set_back = data.tombstones, data.set_back
        self.settling, self.cluster_id, self.story = data.settling, data.cluster_id, data.story
        self.merging, self.left_out, self.lag = data.merging, data.left_out, data.lag
        self.batches = Batches(2 * config.exchange_timeout_s)
        self.key_rotation = KeyRotation(self.pools, self.keyring, rng, self.outbox)
        #: what others hear of the shell
        self.shell_report = ShellReport(config)
        self.capacity = Capacity(config, self.store)
        self.readiness.add_notices(self.capacity.notices)
        self._writes = Writes(config, data, self.capacity, self.pools.check_types)
        self._farewell = Farewell(self.pools, config.gossip_interval_s)
        shared, wan = _shared(self, rng), wan_address or config.wan
        self.pools.open(shared, self._saved, self.site, address, wan, now)
        self._piggyback = Piggyback(config, self.pools.lan, shared)
        self.settling.begin()

    # -- writes -----------------------------------------------------------------------------------

    def put(
        self,
        key: str,
        value: bytes,
        now: Now,
        content_type: str | None = None,
        ttl_s: float | None = None,
        flags: int = 0,
        after: Version | None = None,
    ) -> Written:
        """Write. `ttl_s`: the entry expires so many seconds from now. `after`: what its client has
        read, perhaps elsewhere. Raises BadKeyError, ValueTooLargeError, ClockAheadError, or
        LocalError for bad other arguments; then nothing has changed."""
        record = self._writes.put(key, value, now, content_type, ttl_s, flags, after)
        return Written(record, self._drain(now))

    def delete(self, key: str, now: Now, after: Version | None = None) -> Written:
        """Write a tombstone. Without a live entry nothing happens, and there is no record."""
        return Written(self._writes.delete(key, now, after), self._drain(now))

    def edit(self, key: str, edit: Edit, now: Now) -> Written:
        """Write to a typed key. Raises as `put`, and what the edit raises."""
        return Written(self._writes.edit(key, edit, now), self._drain(now))

    def batch(self, writes: Sequence[Writing | KeyEdit], now: Now) -> BatchWritten:
        """Write them all, as one (rumors/batches.py). Raises as `put`, and BadBatchError."""
        return BatchWritten(self._writes.batch(writes, now), self._drain(now))

    def restore(
        self, entries: Iterable[tuple[str, bytes]], now: Now, *, as_new: bool = False
    ) -> Restored:
        """Merge entries of a backup, with the versions that they have there; those that are more
        than a second ahead of the wall clock are REFUSED.

        `as_new`: write each value anew instead, and no tombstone. Raises as `put`.
        """
        outcomes = self._writes.restore(entries, now, as_new=as_new)
        return Restored(self._drain(now), outcomes)

    # -- write concerns and surveys ---------------------------------------------------------------

    def check_wait(self, write_concern: WriteConcern) -> None:
        """Raises CannotMeetError or OverloadedError where a wait for this cannot begin: to be asked
        before the write."""
        self.acks.check_room()
        self.pools.groups_of(write_concern, settled=self.settled)

    def wait(
        self, ticket: int, key: str, write_concern: WriteConcern, timeout_s: float, now: Now
    ) -> list[Effect]:
        """From now on, wait until those that `write_concern` names hold the version that is here
        now. AckReceived names each holder, and one WriteConcernEnded that the wait is over; they
        carry `ticket`. Raises as `check_wait`, and NotFoundError for a key that is not here."""
        record = self.store.record(key)
        if record is None:
            raise NotFoundError(f"there is nothing under {key!r}")
        self.acks.check_room()
        groups = self.pools.groups_of(write_concern, settled=self.settled)
        concern = None if self.settled else write_concern
        self.acks.begin(ticket, self.pools.me, key, record, groups, timeout_s, now, concern)
        return self._drain(now)

    def survey(
        self, ticket: int, now: Now, topic: Topic = Topic.DATA, subject: str | Watch = ""
    ) -> list[Effect]:
        """Ask all reachable members by how much they differ: Surveyed, with this ticket, tells each
        answer, until it is cancelled. Of another topic it is AppliedReported, about the releases
        under a prefix, OverviewReported, or StoryReported, of a key; a Watch is an order for all,
        this node too (model/story.py). Raises OverloadedError."""
        number = self.surveys.begin(ticket, self.store.digest)
        if isinstance(subject, Watch):
            self.outbox.persist(self.story.order(subject, now))
        asked = question(self.store, number, self.config.name, topic, subject)
        for pool, member in self.pools.surveyed():
            pool.outbox.send(asked, member.address, reliable=True)
        return self._drain(now)

    def compare(
        self, name: str, now: Now, sought: Sought | None = None, ticket: int = 0
    ) -> list[Effect]:
        """Exchange with this member now; Exchanged tells the end. `sought`: only find out which
        keys differ; Inspected, with this ticket. Raises as PoolSet.exchange, Inspections.begin."""
        if sought is None:
            self.pools.exchange(name, now)
        else:
            self.inspections.begin(ticket, self.pools.way_to(name), sought)
        return self._drain(now)

    def cancel(self, ticket: int, now: Now) -> list[Effect]:
        """Nobody waits under this ticket any more. Harmless when it is over."""
        self.acks.cancel(ticket)
        self.surveys.end(ticket)
        self.inspections.end(ticket)
        return self._drain(now)

    # -- the disk ---------------------------------------------------------------------------------

    def load(self, entries: Sequence[tuple[str, bytes]]) -> None:
        """Take records from the disk, some at a time, before any input; then `disk.loaded()`. They
        are no news: no peer hears of them. Raises RemoteError for a record of an unknown format."""
        for _, record in entries:
            check_record(record)
        self.hlc.latest = max([self.hlc.latest, *(timestamp_in(record) for _, record in entries)])
        self.store.load(entries)
        if self.story.on:
            self.story.loaded(entries)
        for key in dict.fromkeys(key for key, record in entries if must_go_one_day(record)):
            self.tombstones.loaded(key, self.store[key])

    def checkpoint(self, now: Now) -> list[Persist]:
        """The facts that belong into every commit: those that are always those of now, and the
        changes of the context since the last one, which are handed out once."""
        own = [self.disk.content(), *self._own_facts()]
        return [clock_fact(self.hlc.latest), *self.tombstones.checkpoint(), *own]

    # -- the network ------------------------------------------------------------------------------

    def receive(
        self,
        data: bytes,
        source: Address,
        now: Now,
        pool: PoolKind = PoolKind.LAN,
        *,
        reliable: bool = False,
        here: str = "",
    ) -> list[Effect]:
        """A datagram from `source` to the address of this pool; or, when `reliable`, a frame of the
        TCP link whose remote address is `source`. `here` as in Arrival."""
        self.pools.of(pool).receive(data, Arrival(source, now, reliable, here))
        return self._drain(now)

    def unreachable(
        self, address: Address, now: Now, pool: PoolKind = PoolKind.LAN
    ) -> list[Effect]:
        """A reliable frame to this address could not be delivered, or its link broke."""
        self.in_pool(pool).unreachable(address, now)
        self.inspections.unreachable(address)
        self.key_rotation.unreachable(address, now, pool)
        return self._drain(now)

    def resolved(
        self, target: str, addresses: Sequence[Address], now: Now, pool: PoolKind = PoolKind.LAN
    ) -> list[Effect]:
        """The answer to Resolve; no addresses if there was none."""
        self.in_pool(pool).joining.resolved(target, addresses)
        return self._drain(now)

    def piggyback(self, room: int, now: Now) -> bytes:
        """News in at most `room` bytes, to ride on a message of the application; see piggyback.py.
        It asks for no effects. Raises LocalError without a keyring."""
        return self._piggyback.load(room)

    def absorb(self, data: bytes, now: Now) -> list[Effect]:
        """Take what rode. Raises LocalError without a keyring, and for what is not bytes."""
        self._piggyback.absorb(data, now)
        return self._drain(now)

    # -- orders of the operator -------------------------------------------------------------------

    def join(
        self,
        targets: Sequence[str],
        now: Now,
        pool: PoolKind = PoolKind.LAN,
        *,
        merge: bool = False,
    ) -> list[Effect]:
        """Join these `HOST:PORT` of a pool now; the outcome comes as Joined or JoinRefused.
        `merge`: where they are of another cluster, this one becomes a part of that. Raises
        ConfigError on a node that is not in such a pool."""
        self.in_pool(pool).joining.order(targets, merge=merge)
        return self._drain(now)

    def settle(self, now: Now) -> list[Effect]:
        """Take the data of this node as the truth, as an operator wants it."""
        self.settling.settle()
        return self._drain(now)

    def leave(self, now: Now) -> list[Effect]:
        """Tell the peers that this node goes; Departed follows when they have had time to hear
        it."""
        if not self._farewell.has_begun:
            self._writes.end()
            self.acks.end_all()
            self._farewell.begin(now)
        return self._drain(now)

    def block(self, target: str, now: Now) -> list[Effect]:
        """Ignore a member, an address or a network from now on (see blocklist.py). Raises
        ConfigError for what is none, or this node."""
        self.pools.block(target, now)
        return self._drain(now)

    def unblock(self, target: str, now: Now) -> list[Effect]:
        """Take a block back. Raises NotFoundError if there is none."""
        self.pools.unblock(target, now)
        return self._drain(now)

    def force_leave(self, name: str, now: Now, *, prune: bool = False) -> list[Effect]:
        """Declare a member left that will not come back; `prune`: and let everybody forget it.

        Raises NotFoundError for an unknown name, StillAliveError for a member that answers probes
        and is not blocked here.
        """
        self.pools.force_leave(name, now, prune=prune)
        return self._drain(now)

    def rotate(self, ticket: int, action: KeyringAction, key: bytes, now: Now) -> list[Effect]:
        """Change or list the keyrings of the whole cluster (see key_rotation.py); KeyringReported
        follows. Raises KeyringError."""
        self.key_rotation.ask(ticket, action, key, now)
        return self._drain(now)

    def keyring_kept(
        self, problem: str, now: Now, keys: Sequence[bytes] | None = None
    ) -> list[Effect]:
        """The driver's answer to KeyringChanged. `problem` says why a later life would not find the
        keys; it is empty where it will. `keys`: an operator has changed the file to these, and they
        are the node's from now on; a node without a keyring stays so for its life."""
        if keys is not None and self.keyring is not None:
            self.keyring.become(keys)
        self.key_rotation.problem = problem
        return self._drain(now)

    def examine(
        self, now: Now, pool: PoolKind = PoolKind.LAN, one: str = "", other: str = ""
    ) -> list[Effect]:
        """Let the members of a pool observe each other, or one member observe another one; Examined
        follows, once where several ask for the same. Raises NotFoundError for an unknown name."""
        doctor = self.in_pool(pool).doctor
        if one:
            doctor.ask(one, other, now)
        else:
            doctor.start(now)
        return self._drain(now)

    # -- time -------------------------------------------------------------------------------------

    def deadline(self) -> float | None:
        """Call `tick` no later than this, monotonic seconds. May lie in the past: then at the end
        of this turn. None: never."""
        if self._farewell.has_begun:
            return self._farewell.deadline()
        for pool in self.pools.all:
            if pool.mongering.rumors.fresh:
                return 0.0  # as after every write: nothing else need be asked
        if self.store.reseeding:
            return 0.0
        nearest, rotation_s = self.tombstones.deadline(), self.key_rotation.deadline()
        if not self.settling.settled:
            nearest = min(nearest, self.settling.deadline())
        for pool in self.pools.all:
            pool_s = pool.deadline()
            if pool_s < nearest:
                nearest = pool_s
        if self.acks.waits:
            nearest = min(nearest, self.acks.deadline())
        return nearest if rotation_s is None else min(nearest, rotation_s)

    def tick(self, now: Now) -> list[Effect]:
        """Do whatever is due. The first input: it begins to join."""
        self.clock_guard.look(now)
        self.store.work_on_seed()
        if self.capacity.bytes_max and (line := self.capacity.change()) is not None:
            self.outbox.log(*line)
        if not self._farewell.has_begun:
            for pool in self.pools:
                pool.tick(now)
            if not self.settling.settled:
                self.settling.tick(now)
            self.key_rotation.tick(now)
            self.acks.tick(now)
            self.tombstones.tick(now, settled=self.settled)
            self.batches.age(now)
        elif self._farewell.ends(now):
            self.outbox.emit(Departed())
        return self._drain(now)

    def _drain(self, now: Now) -> list[Effect]:
        """The effects of an input, with the facts that it has changed."""
        if self.tombstones.context.has_changed:
            commits = self.outbox.writes_to_disk()
            changes = self.tombstones.take_changes(commits=commits)
            if changes:
                self.outbox.persist(changes)
        if not self.cluster_id.value.epoch:
            self.cluster_id.look()
        effects = self.outbox.drain()
        if self.story.on:
            self.story.forgot(forgotten(effects), now)
        return effects

    # -- questions --------------------------------------------------------------------------------

    @property
    def settled(self) -> bool:
        """True if reads may be answered as truth."""
        return self.settling.settled

    @property
    def member(self) -> Member:
        """This node's own record in its LAN pool."""
        return self.pools.lan.membership.me

    def in_pool(self, kind: PoolKind) -> Pool:
        """This node's pool of that kind. Raises ConfigError where it has none."""
        return self.pools.of(kind)

    def members(self, pool: PoolKind = PoolKind.LAN) -> list[Member]:
        """Everybody this node knows in that pool, itself included, sorted by name. Raises
        ConfigError as `in_pool`."""
        table = self.in_pool(pool).membership.members
        return [table[name] for name in sorted(table)]

    def statistics(self) -> dict[str, int | float]:
        """Counters since the start and present sizes, by name; those of the pools added up."""
        counters: Counter[str] = self.counters + self.acks.counters
        for pool in self.pools:
            counters.update(pool.statistics())
        sizes = {
            "keys": self.store.live,
            "entries": len(self.store),
            "record_bytes": self.store.record_bytes,
            "entries_left_out": len(self.left_out.keys),
        }
        return {**counters, **sizes, **self.tombstones.statistics()}


def _begin_life(replica: Replica, site: int, lost: int, peer: str, now: Now) -> None:
    """From now on this is the life `site`: this machine was set back, and has lost what it wrote
    at that time, as a peer has shown (set_back.py)."""
    replica.site = site
    replica.tombstones.begin_life(site, lost)
    for pool in replica.pools:
        pool.begin_life(site, peer, now)


def _shared(replica: Replica, rng: Random) -> Shared:
    """The state that all its pools share."""
    return Shared(
        store=replica.store,
        tombstones=replica.tombstones,
        merging=replica.merging,
        settling=replica.settling,
        cluster_id=replica.cluster_id,
        acks=replica.acks,
        batches=replica.batches,
        surveys=replica.surveys,
        inspections=replica.inspections,
        left_out=replica.left_out,
        clock_guard=replica.clock_guard,
        lag=replica.lag,
        story=replica.story,
        readiness=replica.readiness,
        key_rotation=replica.key_rotation,
        blocklist=replica.blocklist,
        keyring=replica.keyring,
        identity=replica.identity,
        pools=replica.pools,
        outbox=replica.outbox,
        rng=rng,
        disk_problem=replica.disk.problem,
        shell_report=replica.shell_report,
    )
