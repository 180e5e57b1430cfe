"""Node: a member of a cluster with a copy of its data; the object that users embed.

It hands every wish to a Replica through the Driver and every question to the Replica itself. A node
lives on the thread of the event loop that started it: no method may be called from another thread.
A memory-only write neither waits nor starts a task; with a data directory it returns when it is on
the disk (see group_commit.py).
"""

from __future__ import annotations

import asyncio
import builtins
import re
import socket
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from random import Random
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

from kvgossip.config import Address, Config, parse_address, wan_config
from kvgossip.errors import (
    ConfigError,
    KeyringError,
    LocalError,
    NotFoundError,
    NotSettledError,
    OverloadedError,
    StaleError,
    StorageError,
)
from kvgossip.extras import require
from kvgossip.protocol.acks.write_concern import WriteConcern, parse_write_concern
from kvgossip.protocol.effect import Effect, Surveyed
from kvgossip.protocol.key_rotation import parse_order
from kvgossip.protocol.membership.identity import Identity
from kvgossip.protocol.membership.partition_watch import PartitionWatch
from kvgossip.protocol.merging import Outcome
from kvgossip.protocol.model.change import Changed
from kvgossip.protocol.model.entry import Entry, Version, check_key, entry_of, is_dead, version_of
from kvgossip.protocol.model.member import Member, MemberState
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.model.peer import Peer, PoolKind
from kvgossip.protocol.model.write import Writing
from kvgossip.protocol.pools.pool import Pool
from kvgossip.protocol.replica import Replica
from kvgossip.protocol.store.store import Store
from kvgossip.protocol.wire.frame import frame_bytes_max
from kvgossip.protocol.wire.keyring import Keyring
from kvgossip.protocol.wire.message import Holding
from kvgossip.runtime.changes.feed import Feed
from kvgossip.runtime.changes.follower import Follower
from kvgossip.runtime.changes.history import HistoryEntry
from kvgossip.runtime.changes.snapshot import Snapshot
from kvgossip.runtime.changes.watchers import Topic, Watcher
from kvgossip.runtime.clocks import read_clocks
from kvgossip.runtime.disk.key_files import read_identity, read_keys
from kvgossip.runtime.disk.quarantine import Quarantine
from kvgossip.runtime.driver import DEFAULT_PORTS, Driver
from kvgossip.runtime.histogram import Histogram
from kvgossip.runtime.network.link_table import LinkLimits
from kvgossip.runtime.network.sockets import ANY_HOSTS
from kvgossip.runtime.network.transport import Transport
from kvgossip.runtime.pending.doctor_report import (
    doctor_report,
    estimate_between,
    measured_by,
    pool_of,
    round_trip_to,
)
from kvgossip.runtime.pending.join_attempt import JoinAttempt
from kvgossip.runtime.pending.survey import Comparison
from kvgossip.runtime.pending.write_acks import AckedWrite, Told

if TYPE_CHECKING:
    from kvgossip.runtime.disk.data_dir import DataDir

JOIN_TIMEOUT_S = 10.0
CONVERGE_TIMEOUT_S = 2.0
WAIT_TIMEOUT_S = 5.0
WAIT_TIMEOUT_MAX_S = 600.0
FAREWELL_TIMEOUT_S = 5.0
NAME_CHARACTERS_MAX = 128


class Written(NamedTuple):
    """A write that was done: its record (see protocol/model/entry.py), and when it is on the disk.
    None: there is nothing to wait for."""

    record: bytes
    durable: asyncio.Future[None] | None


class Batch(NamedTuple):
    """A batch that was written: the records by key, without those of deletes of nothing; `durable`
    as in Written."""

    records: Mapping[str, bytes]
    durable: asyncio.Future[None] | None


class Node:
    """A node of the cluster that `config` names.

        async with Node(Config(join=("10.0.0.5:7481",))) as node:
            await node.wait_settled()
            await node.put("a", b"1")

    At the start `config` is completed by the port that was taken and by the name: of several starts
    on one data directory that of the first. `rebuild`: the first start moves what is in the data
    directory aside, and fetches everything from peers. All but `config`, `name`, `address` and
    `settled` raises LocalError while the node does not run. Once stopped it may be started again,
    as a new life of the same name: without a data directory it is empty then.
    """

    def __init__(
        self,
        config: Config | None = None,
        *,
        rebuild: bool = False,
        _clocks: Callable[[], Now] = read_clocks,
        _rng: Random | None = None,
    ) -> None:
        self._named = config is not None and bool(config.name)
        self._rebuild = rebuild
        # as Driver takes them
        self._clocks, self._rng = _clocks, _rng
        self.config = _completed(config or Config(), 0)
        self._transports: dict[PoolKind, Transport] = {}
        self._driver: Driver | None = None
        self._disk: DataDir | None = None

    # -- life -------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Take the data directory and the sockets, read the data, and begin to join.

        Raises ConfigError when the gossip address or the keyring cannot be used, DataDirError for
        the data directory; then nothing is open.
        """
        if self._transports:
            raise LocalError(f"the node {self.name!r} runs already")
        path = self.config.keyring
        keyring = read_keys(path) if path and isinstance(path, str) else None
        identity = read_identity(self.config.identity) if self.config.identity else None
        try:
            rebuilding = await self._take_disk()
            addresses = {
                PoolKind.LAN: _told_address(
                    self.config.advertise, await self._bind(PoolKind.LAN, self.config.gossip)
                )
            }
            if self.config.gateway:
                addresses[PoolKind.WAN] = _told_address(
                    self.config.advertise_wan, await self._bind(PoolKind.WAN, self.config.wan)
                )
            driver = await self._prepare(addresses, keyring, identity, rebuilding)
            for pool, transport in self._transports.items():
                await transport.serve(
                    *(
                        partial(told, pool)
                        for told in (driver.on_datagram, driver.on_frame, driver.on_unreachable)
                    )
                )
            now = self._clocks()
            driver.do(driver.replica.start(now), now)
        except BaseException:
            await self._close()
            raise

    async def _take_disk(self) -> bool:
        """Take the data directory, if there is to be one; whether the data is to be rebuilt from
        peers."""
        rebuilding = self._rebuild
        if not self.config.data_dir:
            if rebuilding:
                raise ConfigError(
                    "--rebuild is for a data directory, and this node has none",
                    "add --data-dir DIR",
                )
            return False
        # RocksDB is loaded by those who use it
        require("rocksdict", "a data directory")
        from kvgossip.runtime.disk.data_dir import DataDir

        self._disk = await DataDir.take(self.config, rebuild=rebuilding)
        self._rebuild = False
        if self._disk.name and not self._named:
            self.config = replace(self.config, name=self._disk.name)
        return rebuilding

    async def _prepare(
        self,
        addresses: Mapping[PoolKind, Address],
        keyring: Keyring | None,
        identity: Identity | None,
        rebuilding: bool,
    ) -> Driver:
        """A driver whose replica has what is on the disk."""
        disk = self._disk
        if disk is not None:
            await disk.open(self.config)
        driver = Driver(
            self.config,
            addresses,
            self._transports,
            keyring,
            identity,
            saved=disk.facts if disk is not None else None,
            rebuilding=rebuilding,
            clocks=self._clocks,
            rng=self._rng,
        )
        if disk is not None:
            await disk.load(driver.replica, driver.clocks)
            driver.commits, driver.quarantine, driver.compaction = (
                disk.commits,
                disk.quarantine,
                disk.compaction,
            )
        driver.compaction.pack = driver.pack_past
        self._driver = driver
        return driver

    async def _bind(self, pool: PoolKind, wanted: Address) -> Address:
        """Take the sockets of a pool; the configuration then tells their port."""
        config = self.config if pool is PoolKind.LAN else wan_config(self.config)
        transport = self._transports[pool] = Transport(_limits(config))
        bound = await transport.bind(wanted)
        if pool is PoolKind.WAN:
            self.config = replace(self.config, wan=Address(wanted.host, bound.port))
        else:
            self.config = _completed(self.config, bound.port)
        return bound

    async def stop(self, *, leave: bool = True) -> None:
        """Leave, unless told not to, and close everything. Watchers get what waits for them, and
        end. Harmless when repeated."""
        try:
            if leave and self._driver is not None:
                await self.leave()
        finally:
            await self._close()

    async def __aenter__(self) -> Node:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    async def _close(self) -> None:
        driver, self._driver = self._driver, None
        try:
            if driver is not None:
                await driver.close()
        finally:
            transports, self._transports = list(self._transports.values()), {}
            await asyncio.gather(*(transport.close() for transport in transports))
            disk, self._disk = self._disk, None
            if disk is not None:
                await disk.close()

    @property
    def name(self) -> str:
        """Empty only before the start, where the configuration has neither a name nor a port."""
        return self.config.name

    @property
    def address(self) -> Address:
        """Where peers reach this node. The host is empty until a peer has told it, where the
        configuration does not."""
        return (
            self._driver.replica.member.address
            if self._driver is not None
            else self.config.advertise or self.config.gossip
        )

    @property
    def wan_address(self) -> Address | None:
        """Where other gateways reach this one; None where it is no gateway. The host as for
        `address`."""
        if not self.config.gateway:
            return None
        wan = self._driver.replica.pools.wan if self._driver is not None else None
        return (
            wan.membership.me.address
            if wan is not None
            else self.config.advertise_wan or self.config.wan
        )

    # -- data -------------------------------------------------------------------------------------

    async def put(
        self,
        key: str,
        value: bytes | str,
        *,
        content_type: str | None = None,
        ttl_s: float | None = None,
        flags: int = 0,
    ) -> Entry:
        """Write; text is stored as UTF-8. Returns the entry with its version, with a data directory
        once it is on the disk.

        `ttl_s`: it expires so many seconds from now; `flags`: 64 bits for the caller's own use.
        Raises BadKeyError, ValueTooLargeError, or LocalError for a bad content type, ttl or flags;
        StorageError when the disk does not take it; OverloadedError while too much waits for peers.
        While too much waits for the disk, it waits.
        """
        await self._admission()
        octets = value.encode() if isinstance(value, str) else value
        return await _finished(
            key, self.begin_put(key, octets, content_type=content_type, ttl_s=ttl_s, flags=flags)
        )

    async def delete(self, key: str) -> Entry | None:
        """Delete; returns the tombstone, None when there was nothing to delete. Durable,
        and raises, as `put`."""
        await self._admission()
        written = self.begin_delete(key)
        return None if written is None else await _finished(key, written)

    def begin_put(
        self,
        key: str,
        value: bytes,
        *,
        content_type: str | None = None,
        ttl_s: float | None = None,
        flags: int = 0,
    ) -> Written:
        """What `put` does, without waiting for anything: for those who answer many writes at once.

        Raises as `put`, and OverloadedError also while too much waits for the disk.
        """
        driver, now = self._running, self._clocks()
        driver.check_load(now)
        return _written(
            driver, driver.replica.put(key, value, now, content_type, ttl_s, flags).effects, now
        )

    def begin_delete(self, key: str) -> Written | None:
        """What `delete` does, without waiting for anything. Raises as `begin_put`."""
        driver, now = self._running, self._clocks()
        driver.check_load(now)
        effects = driver.replica.delete(key, now).effects
        return _written(driver, effects, now) if effects else None

    async def batch(self, writes: Sequence[Writing]) -> builtins.list[Entry | None]:
        """Make these writes as one: with consecutive versions, in one commit, and every node that
        hears of them shows all or none.

        Returns the entries in their order, None for a delete of nothing. At most 256 writes and
        `message_bytes_max` bytes, each key once. Durable, and raises, as `put`, and BadBatchError:
        then nothing was written.
        """
        await self._admission()
        batch = self.begin_batch(writes)
        if batch.durable is not None:
            await batch.durable
        records = [batch.records.get(each.key) for each in writes]
        return [
            None if record is None else entry_of(each.key, record)
            for each, record in zip(writes, records, strict=True)
        ]

    def begin_batch(self, writes: Sequence[Writing]) -> Batch:
        """What `batch` does, without waiting for anything. Raises as `begin_put` and `batch`."""
        driver, now = self._running, self._clocks()
        driver.check_load(now)
        effects = driver.replica.batch(writes, now).effects
        driver.do(effects, now)
        records = {
            effect.key: effect.new_record for effect in effects if isinstance(effect, Changed)
        }
        return Batch(
            records, driver.commits.durable() if records and driver.commits is not None else None
        )

    @property
    def overload(self) -> str | None:
        """Why no write is taken just now; None while they are."""
        try:
            self._running.check_load(self._clocks())
        except (OverloadedError, StorageError) as reason:
            return str(reason)
        return None

    def kept(self) -> asyncio.Future[None] | None:
        """Done when all that this node has by now is on the disk, with the exception of `put`.
        None: there is nothing to wait for."""
        commits = self._running.commits
        return None if commits is None else commits.durable()

    async def _admission(self) -> None:
        commits = self._running.commits
        if commits is not None:
            await commits.admit()

    async def restore(
        self, entries: Sequence[tuple[str, bytes]], *, as_new: bool = False
    ) -> builtins.list[Outcome]:
        """Merge keys with records of a backup, with their versions, all in one commit; what became
        of each.

        `as_new`: write their values anew instead, whatever was written or deleted since. Durable,
        and raises, as `put`.
        """
        await self._admission()
        driver, now = self._running, self._clocks()
        effects, outcomes = driver.replica.restore(entries, now, as_new=as_new)
        driver.do(effects, now)
        if effects and driver.commits is not None:
            await driver.commits.durable()
        return outcomes

    def snapshot(self) -> AsyncGenerator[builtins.list[tuple[str, bytes]], None]:
        """All keys with records as they are when the iteration begins, tombstones too,
        sorted, in portions. Honest as `get`."""
        return _portions(self._running, self._honest.store)

    @property
    def quarantine(self) -> Quarantine:
        """Live values that this node had and the cluster had deleted meanwhile (see
        quarantine.py)."""
        return self._running.quarantine

    async def restore_quarantined(self, number: str) -> Entry:
        """Write a value in quarantine anew, and take it out of there. Raises NotFoundError, and as
        `put`."""
        suspect = self.quarantine.get(number)
        await self.restore([(suspect.entry.key, suspect.record)], as_new=True)
        await self.discard_quarantined(number)
        record = self._running.replica.store.visible(suspect.entry.key)
        return suspect.entry if record is None else entry_of(suspect.entry.key, record)

    async def discard_quarantined(self, number: str) -> None:
        """Forget a value in quarantine. Raises NotFoundError."""
        self.quarantine.get(number)
        driver = self._running
        forgotten = driver.quarantine.forget(number)
        if driver.commits is not None:
            driver.commits.remove_quarantined(forgotten)
            await driver.commits.durable()

    async def put_and_wait(
        self,
        key: str,
        value: bytes | str,
        wait: str | WriteConcern,
        *,
        timeout_s: float = WAIT_TIMEOUT_S,
        content_type: str | None = None,
        told: Told | None = None,
    ) -> AckedWrite:
        """Write, and return when enough members hold it, or after `timeout_s`: the write stands in
        either case.

        `wait` says how many and which: "2" (this node counts), "majority", "all", "zone:1" or
        "other-zone:1" (see protocol/acks/write_concern.py). `told` is called with each holder as it
        shows. Raises as `put`, CannotMeetError where there are not so many members, and
        OverloadedError where too many wait: then nothing was written.
        """
        await self._admission()
        write_concern = self.check_wait(wait, timeout_s)
        written = self.begin_put(
            key, value.encode() if isinstance(value, str) else value, content_type=content_type
        )
        return await self.held(key, written, write_concern, timeout_s=timeout_s, told=told)

    async def delete_and_wait(
        self,
        key: str,
        wait: str | WriteConcern,
        *,
        timeout_s: float = WAIT_TIMEOUT_S,
        told: Told | None = None,
    ) -> AckedWrite | None:
        """As `put_and_wait`; None when there was nothing to delete."""
        await self._admission()
        write_concern = self.check_wait(wait, timeout_s)
        written = self.begin_delete(key)
        return (
            None
            if written is None
            else await self.held(key, written, write_concern, timeout_s=timeout_s, told=told)
        )

    def check_wait(self, wait: str | WriteConcern, timeout_s: float) -> WriteConcern:
        """What `wait` says. Raises as `put_and_wait` where one could not wait for it: to be asked
        before the write."""
        write_concern = wait if isinstance(wait, WriteConcern) else parse_write_concern(wait)
        if not 0 <= timeout_s <= WAIT_TIMEOUT_MAX_S:
            raise LocalError(
                f"timeout_s = {timeout_s} is out of bounds",
                f"choose 0 to {WAIT_TIMEOUT_MAX_S:.0f} seconds",
            )
        self._running.replica.check_wait(write_concern)
        return write_concern

    async def held(
        self,
        key: str,
        written: Written,
        write_concern: WriteConcern,
        *,
        timeout_s: float = WAIT_TIMEOUT_S,
        told: Told | None = None,
    ) -> AckedWrite:
        """As `put_and_wait`, of what `begin_put` or `begin_delete` has written in this turn of the
        event loop."""
        driver = self._running
        ticket = driver.begin_wait(key, write_concern, timeout_s, told)
        try:
            return await driver.outcome(ticket, await _finished(key, written))
        finally:
            driver.end_wait(ticket)

    @property
    def root(self) -> int:
        """The root of this node's digest, 64 bits: equal on nodes with equal data."""
        return self._running.replica.store.digest.root

    @property
    def waits_among(self) -> str:
        """Whose members `all` means on this node, in words."""
        gateways = " and the gateways of the WAN pool" if self.config.gateway else ""
        return f"the members of datacenter {self.config.datacenter}{gateways}"

    async def wait_for(self, key: str, version: Version, timeout_s: float) -> Entry:
        """Return what is under the key once this version, or a newer one, is here: perhaps a
        tombstone, or what has expired.

        Raises StaleError when it has not come in time, NotSettledError when the node has not
        settled by then, OverloadedError where too many wait.
        """
        check_key(key)
        driver = self._running
        replica = driver.replica
        try:
            async with asyncio.timeout(timeout_s):
                await self.wait_settled()
                while not _has_arrived(replica, key, version):
                    await driver.version_waits.wait(key, version)
        except TimeoutError:
            record = self._honest.store.record(key)
            text = f"version {version} of this key has not arrived within {timeout_s:g} s"
            raise StaleError(
                text, "try again, or ask another node", str(version_of(record)) if record else None
            ) from None
        record = replica.store.record(key)
        return entry_of(key, record) if record is not None else Entry(key, None, version)

    def history(self, key: str) -> builtins.list[HistoryEntry]:
        """The versions of the key that this node remembers, newest first, with who wrote them: see
        history.py. Honest as `get`."""
        check_key(key)
        record, history = self._honest.store.record(key), self._running.history
        if not self.config.history_versions:
            raise NotFoundError("this node keeps no history", "set history_versions to more than 0")
        earlier = history.earlier(key)
        # a tombstone that was collected is still what is true
        is_deleted = record is None and bool(earlier) and is_dead(earlier[-1])
        entries = [
            entry_of(key, each) for each in [*earlier, *([record] if record is not None else [])]
        ][::-1]
        present = record is not None or is_deleted
        return [
            HistoryEntry(each, history.writer(each.version.site), present and each is entries[0])
            for each in entries
        ]

    def get(self, key: str) -> bytes | None:
        """The value, None if there is none or it was deleted. Raises NotSettledError before the
        node has settled."""
        return self._honest.store.value(key)

    def entry(self, key: str) -> Entry | None:
        """The live entry, with version and content type. Honest as `get`."""
        return self._honest.store.get(key)

    def record(self, key: str) -> bytes | None:
        """The record (see protocol/model/entry.py) of an entry or a tombstone. Honest as
        `get`."""
        return self._honest.store.visible(key)

    def list(self, prefix: str = "", after: str = "", limit: int = 1000) -> builtins.list[Entry]:
        """At most `limit` live entries whose keys start with `prefix` and are greater than `after`,
        sorted. Honest as `get`."""
        return self._honest.store.scan_entries(prefix, after, limit)

    def records(
        self, prefix: str = "", after: str = "", limit: int = 1000
    ) -> builtins.list[tuple[str, bytes]]:
        """What `list` gives, as keys with records: no value is copied."""
        return self._honest.store.scan(prefix, after, limit)

    def watch(self, prefix: str = "", *, since: str | None = None) -> Watcher:
        """Every change under this prefix that this node merges from now on, in the order of the
        merges (see watchers.py).

        `since`: the cursor of an earlier watcher, from which this one goes on. Raises
        WatchLaggedError where that is not possible: list the keys again, then watch again. Also
        before the node has settled: what it catches up with comes as changes.
        """
        return self.feed.watch(Topic(prefix), since)

    def follow(self, topic: Topic, since: str | None = None) -> Follower:
        """A way through the feed that begins with a snapshot where the cursor cannot be gone on
        from (see follower.py). Honest as `get`."""
        return Follower(self.feed, self._honest.store.scan, topic, since)

    @property
    def feed(self) -> Feed:
        """The changes of this life of the node (see feed.py)."""
        return self._running.feed

    # -- cluster ----------------------------------------------------------------------------------

    @property
    def settled(self) -> bool:
        """Whether reads are answered as truth."""
        return self._driver is not None and self._driver.replica.settled

    async def wait_settled(self, timeout_s: float | None = None) -> None:
        """Raises NotSettledError when it takes longer than that, LocalError when the node stops
        meanwhile."""
        driver = self._running
        if driver.replica.settled:
            return
        try:
            async with asyncio.timeout(timeout_s):
                await driver.settled.wait()
        except TimeoutError:
            raise NotSettledError(
                f"the node {self.name!r} has not settled within {timeout_s} s"
            ) from None
        if not driver.replica.settled:
            raise LocalError(f"the node {self.name!r} stopped before it had settled")

    def settle(self) -> None:
        """An operator says that what this node has is the truth."""
        driver, now = self._running, self._clocks()
        driver.do(driver.replica.settle(now), now)

    async def join(
        self, *targets: str, wan: bool = False, timeout_s: float = JOIN_TIMEOUT_S
    ) -> None:
        """Join through any of these `HOST:PORT`; returns once a member has taken this node in.
        `wan`: into the WAN pool, for gateways.

        Raises JoinRefusedError with every reason when all refused or did not answer, ConfigError
        when none could be asked.
        """
        pool = PoolKind.WAN if wan else PoolKind.LAN
        for target in targets:
            parse_address(target, DEFAULT_PORTS[pool])
        driver, now, attempt = self._running, self._clocks(), JoinAttempt(targets, pool)
        driver.attempts.add(attempt)
        try:
            driver.do(driver.replica.join(targets, now, pool), now)
            await attempt.wait(timeout_s)
        finally:
            driver.attempts.discard(attempt)

    async def leave(self) -> None:
        """Say farewell; returns when the peers have had time to hear it. Until it is stopped, the
        node still answers reads."""
        driver, now = self._running, self._clocks()
        driver.do(driver.replica.leave(now), now)
        with suppress(TimeoutError):
            async with asyncio.timeout(FAREWELL_TIMEOUT_S):
                await driver.departed.wait()

    async def converge(self, timeout_s: float = CONVERGE_TIMEOUT_S) -> builtins.list[Comparison]:
        """Ask all members how their data differs from this node's, sorted by pool and name: see
        runtime/pending/survey.py.

        Who has not answered within `timeout_s` is told without an answer. On a gateway the other
        gateways of the WAN pool are asked too.
        """
        driver = self._running
        answers, now = await driver.survey(timeout_s), self._clocks()
        return [
            _comparison(pool, candidate.peer, answers.get(candidate.peer), now)
            for pool in driver.replica.pools
            for candidate in driver.replica.pools.candidates(pool)
        ]

    def block(self, target: str) -> None:
        """Drop everything of a member, an IP address or a network from now on. Raises ConfigError
        for what is none of them."""
        driver, now = self._running, self._clocks()
        driver.do(driver.replica.block(target, now), now)

    def unblock(self, target: str) -> None:
        """Take a block back. Raises NotFoundError if there is none."""
        driver, now = self._running, self._clocks()
        driver.do(driver.replica.unblock(target, now), now)

    def force_leave(self, name: str, *, prune: bool = False) -> None:
        """Declare a member left that will not come back; `prune`: and let the whole cluster forget
        it.

        Raises NotFoundError for an unknown name, StillAliveError for a member that answers and is
        not blocked here.
        """
        driver, now = self._running, self._clocks()
        driver.do(driver.replica.force_leave(name, now, prune=prune), now)

    async def rotate(self, action: str = "list", key: str = "") -> builtins.list[Holding]:
        """Change the keyrings of all nodes of all datacenters: `install` a key of 64 hexadecimal
        digits, `use` or `remove` the one with this id of 8, or `list`. Returns who has which keys
        then, who did not answer, and what is wrong.

        Raises KeyringError where this node has no keyring; for `use`, while an alive member lacks
        the key; for `remove`, while it is the primary one of a member; and for both while one does
        not answer.
        """
        told = await self._running.rotate(*parse_order(action, key))
        if told.objection:
            raise KeyringError(
                told.objection, "nothing was changed; `kvgossip keyring list` shows who has what"
            )
        return builtins.list(told.found)

    def is_blocked(self, member: Member) -> bool:
        return self._running.replica.blocklist.covers(member)

    def members(self) -> builtins.list[Member]:
        """Everybody this node knows in its datacenter, itself included, sorted by name."""
        return self._running.replica.members()

    def gateways(self) -> builtins.list[Member]:
        """The members of the WAN pool, sorted by name; empty where this node is no gateway.
        Addresses are those of that pool."""
        replica = self._running.replica
        return replica.members(PoolKind.WAN) if replica.pools.wan is not None else []

    async def doctor(self) -> dict[str, Any]:
        """Examine the cluster through this node, ready for JSON: `findings` say in words what is
        wrong, `healthy` that there are none.

        Takes some seconds where something does not answer. In each pool up to 64 members are looked
        at, by each other too.
        """
        driver = self._running
        return doctor_report(
            await asyncio.gather(*(driver.examine(pool.kind) for pool in driver.replica.pools))
        )

    async def round_trip(self, one: str, other: str) -> dict[str, Any]:
        """The round trip between two members, ready for JSON: estimated, and measured - by `one`,
        where neither is this node.

        Raises NotFoundError where no pool of this node has both.
        """
        driver = self._running
        pool = pool_of(driver.replica.pools.all, one, other)
        if pool is None or one == other:
            text = (
                f"{one!r} is both ends"
                if one == other
                else f"no pool of this node has both {one!r} and {other!r}"
            )
            raise NotFoundError(
                text, "`kvgossip members` shows who is known; name two that are in one pool"
            )
        if other == self.name:
            one, other = other, one
        told = {
            "from": one,
            "to": other,
            "pool": pool.kind.value,
            **estimate_between(pool, one, other),
        }
        if one != self.name:
            return {**told, **measured_by(await driver.examine(pool.kind, one, other), one, other)}
        known = round_trip_to(pool, other)["rtt_ms"]
        return {
            **told,
            "measured_ms": known,
            "measured_by": one if known is not None else None,
            "note": "" if known else "not probed yet",
        }

    def round_trip_to(self, member: Member, pool: PoolKind) -> dict[str, float | None]:
        """What is known of the way from this node to a member, ready for JSON: `rtt_ms` measured,
        `rtt_estimate_ms` by coordinates."""
        return round_trip_to(self._running.replica.in_pool(pool), member.name)

    @property
    def last_exchange_age_s(self) -> float | None:
        """Seconds since an exchange of this node's last completed, None if none ever did."""
        return self._running.replica.pools.last_exchange_s(self._clocks())

    def status(self) -> dict[str, Any]:
        """What an operator may want to know, ready for JSON. `statistics` are the replica's,
        `transport` the sockets'."""
        replica, now = self._running.replica, self._clocks()
        statistics = replica.statistics()
        return {
            "name": self.name,
            "cluster": self.config.cluster,
            "datacenter": self.config.datacenter,
            "gateway": self.config.gateway,
            "site": f"{replica.site:016x}",
            "gossip": str(self.address),
            "http": str(self.config.http) if self.config.http else None,
            "settled": replica.settled,
            "overload": self.overload,
            "memory_only": self._disk is None,
            "storage": self._disk.status() if self._disk is not None else None,
            "root": f"{replica.store.digest.root:016x}",
            "keys": statistics["keys"],
            "members": _states(replica.pools.lan),
            "certificates_wait_for": replica.tombstones.late(),
            "clock_ahead_s": replica.clock_guard.ahead_s(now),
            "suspected_partition": _partition(replica.pools.lan.partition, now),
            "blocked": replica.blocklist.targets(),
            "identity": replica.identity.fingerprint.hex()
            if replica.identity is not None
            else None,
            "keyring": {"primary": replica.keyring.primary, "keys": replica.keyring.ids}
            if replica.keyring is not None
            else None,
            "last_exchange_age_s": self.last_exchange_age_s,
            "watchers": len(self.feed.watches),
            "watchers_cut_off": self.feed.watches.lagged,
            "statistics": statistics,
            "transport": _added_up(each.statistics() for each in self._transports.values()),
            "pools": {pool.kind.value: self._pool_status(pool, now) for pool in replica.pools},
        }

    def _pool_status(self, pool: Pool, now: Now) -> dict[str, Any]:
        return {
            "name": pool.name,
            "address": str(pool.membership.me.address),
            "members": _states(pool),
            "member_events": self._member_events(pool.kind),
            "suspected_partition": _partition(pool.partition, now),
            "udp_blocked": pool.membership.round_trips.blocked(),
            "statistics": pool.statistics(),
            "transport": self._transports[pool.kind].statistics(),
        }

    def _member_events(self, pool: PoolKind) -> dict[str, int]:
        """How often a member came to each state, in the eyes of this node."""
        return {
            state: count
            for (kind, state), count in self._running.member_events.items()
            if kind is pool
        }

    @property
    def commit_times(self) -> Histogram | None:
        """How long the commits of this life took; None without a data directory."""
        commits = self._running.commits
        return None if commits is None else commits.times

    # -- the life under way -----------------------------------------------------------------------

    @property
    def _running(self) -> Driver:
        if self._driver is None:
            raise LocalError(
                "the node does not run", "start it, or use `async with Node(config) as node`"
            )
        return self._driver

    @property
    def _honest(self) -> Replica:
        """The replica, once it may be asked (protocol.md section 8)."""
        replica = self._running.replica
        if not replica.settled:
            raise NotSettledError(f"the node {self.name!r} has not caught up with its cluster yet")
        return replica


def _limits(config: Config) -> LinkLimits:
    return LinkLimits(
        frame_bytes_max=frame_bytes_max(config), source_links_per_s=config.source_links_per_s
    )


def _comparison(pool: Pool, peer: Peer, told: Surveyed | None, now: Now) -> Comparison:
    state, since_s = (
        pool.membership.members[peer.name].state,
        pool.exchanges.unequal_since_s(peer.name),
    )
    unequal_s = None if since_s is None else now.monotonic_s - since_s
    if told is None:
        return Comparison(peer.name, peer.pool, state, None, None, None, unequal_s)
    return Comparison(
        peer.name,
        peer.pool,
        state,
        told.root,
        told.keys,
        told.precision,
        unequal_s if told.keys else None,
    )


def _has_arrived(replica: Replica, key: str, version: Version) -> bool:
    """Whether this version, or a newer one, is here, or was here and has been collected since."""
    record = replica.store.record(key)
    return (
        version_of(record) >= version
        if record is not None
        else replica.tombstones.has_collected(key, version)
    )


def _partition(watch: PartitionWatch, now: Now) -> dict[str, Any] | None:
    return (
        None
        if watch.since_s is None
        else {"age_s": round(now.monotonic_s - watch.since_s, 3), "lost": watch.lost}
    )


async def _portions(driver: Driver, store: Store) -> AsyncGenerator[list[tuple[str, bytes]], None]:
    """A snapshot hears of every change as long as somebody reads it."""
    snapshot = Snapshot(store)
    driver.snapshots.append(snapshot)
    try:
        for portion in snapshot.portions():
            yield portion
            await asyncio.sleep(0)
            if driver.closed:
                raise LocalError("the node stopped")
    finally:
        driver.snapshots.remove(snapshot)


def _written(driver: Driver, effects: Sequence[Effect], now: Now) -> Written:
    """Perform what a write asks for: its Changed is always the first effect."""
    driver.do(effects, now)
    changed = effects[0]
    assert isinstance(changed, Changed)
    return Written(
        changed.new_record, driver.commits.durable() if driver.commits is not None else None
    )


async def _finished(key: str, written: Written) -> Entry:
    if written.durable is not None:
        await written.durable
    return entry_of(key, written.record)


def _added_up(statistics: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for each in statistics:
        total.update(each)
    return dict(total)


def _states(pool: Pool) -> dict[str, int]:
    """How many members are in which state."""
    states = Counter(member.state for member in pool.membership.members.values())
    return {state.name.lower(): states[state] for state in MemberState}


def _completed(config: Config, port: int) -> Config:
    """With the port that was taken (0: none yet), and with a name as soon as there is a port."""
    port = port or config.gossip.port
    name = config.name or (_default_name(port) if port else "")
    return replace(config, name=name, gossip=Address(config.gossip.host, port))


def _default_name(port: int) -> str:
    """The host's name and the port, as far as they make a name (see NAME_PATTERN)."""
    tail = f"-{port}"
    host = re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname())[
        : NAME_CHARACTERS_MAX - len(tail)
    ].strip("._-")
    return (host or "node") + tail


def _told_address(advertised: Address | None, bound: Address) -> Address:
    """Where peers reach the node, as far as it knows: an empty host is learned from them."""
    if advertised is not None:
        return Address(advertised.host, advertised.port or bound.port)
    return Address("" if bound.host in ANY_HOSTS else bound.host, bound.port)
