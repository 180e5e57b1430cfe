"""Reading: the half of Node that answers from this node's own copy - one key, many keys, the past,
changes and members; and the one way by which all methods of Node come to the life that is open.

To the language a node is a mapping of the keys that are live here to their values, but that it is
always true: an empty node is a node.
"""

from __future__ import annotations

import builtins
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from threading import get_ident
from typing import Any, TypeVar, overload

from kvgossip.errors import LocalError
from kvgossip.protocol.model.change import Conflict
from kvgossip.protocol.model.entry import Entry, Version
from kvgossip.protocol.model.member import Member
from kvgossip.protocol.model.peer import PoolKind
from kvgossip.protocol.typed.views import view_of
from kvgossip.runtime.changes.feed import Feed
from kvgossip.runtime.changes.follower import Follower
from kvgossip.runtime.changes.history import HistoryEntry
from kvgossip.runtime.changes.members import MemberWatcher, OnMemberChange
from kvgossip.runtime.changes.watchers import ConflictWatcher, SetWatcher, Topic, Watcher
from kvgossip.runtime.driver import Driver
from kvgossip.runtime.life import Life
from kvgossip.runtime.resident import check_home

Default = TypeVar("Default")


class Reading:
    """Before the node has settled all reads raise NotSettledError; but with a data directory for
    what it lacks alone (see reads.py). This is meant by *honest*."""

    #: None: it does not run
    _life: Life | None

    # -- the life under way -----------------------------------------------------------------------

    @property
    def _open(self) -> Life:
        """Raises LocalError where the node does not run, and where this is not its thread;
        ForkedError where this is not its process (see resident.py)."""
        life = self._life
        if life is None:
            raise LocalError("the node does not run", "start it, or use `async with Node(...)`")
        if life.thread != get_ident():
            check_home(life)
        return life

    @property
    def _running(self) -> Driver:
        return self._open.driver

    @property
    def settled(self) -> bool:
        """True if reads are answered as truth."""
        return self._life is not None and self._running.replica.settled

    async def wait_settled(self, timeout_s: float | None = None) -> None:
        """Raises NotSettledError when it takes longer, LocalError when the node stops meanwhile."""
        await self._running.callers.wait_settled(timeout_s)

    # -- one key ----------------------------------------------------------------------------------

    @overload
    def get(self, key: str) -> bytes | None: ...
    @overload
    def get(self, key: str, default: Default) -> bytes | Default: ...
    def get(self, key: str, default: Any = None) -> Any:
        """The value; `default` if there is none or it was deleted. Honest: before the node has
        settled no default is an answer."""
        value = self._open.reads.value(key)
        return default if value is None else value

    def __getitem__(self, key: str) -> bytes:
        """The value. Raises KeyError if there is none or it was deleted. Honest."""
        value = self._open.reads.value(key)
        if value is None:
            raise KeyError(key)
        return value

    def __contains__(self, key: object) -> bool:
        """True if there is a value under the key. Honest."""
        return isinstance(key, str) and self._open.reads.has(key)

    def entry(self, key: str) -> Entry | None:
        """The live entry, with version and content type. Honest."""
        return self._open.reads.entry(key)

    def record(self, key: str) -> bytes | None:
        """The record (protocol/model/entry.py) of an entry or a tombstone. Honest."""
        return self._open.reads.record(key)

    async def wait_for(self, key: str, version: Version, timeout_s: float) -> Entry:
        """What is under the key once this version, or a newer one, is here: perhaps a tombstone, or
        what has expired. Raises StaleError when it has not come in time, NotSettledError,
        OverloadedError where too many wait."""
        return await self._open.reads.wait_for(key, version, timeout_s)

    def history(self, key: str) -> builtins.list[HistoryEntry]:
        """The versions of the key that this node remembers, newest first, with the writer of each:
        see history.py. Honest."""
        return self._open.reads.history(key)

    # -- many keys --------------------------------------------------------------------------------

    def __len__(self) -> int:
        """How many keys have a value. Honest."""
        return self._open.reads.some.store.live

    def __iter__(self) -> Iterator[str]:
        """The keys that have a value as the iteration begins, sorted by code point: what comes or
        goes meanwhile changes nothing of it. Honest."""
        return iter(list(self._open.reads.some.store.live_keys.sort()))

    def __bool__(self) -> bool:
        return True

    def scan(self, prefix: str = "", after: str = "", limit: int = 1000) -> builtins.list[Entry]:
        """At most `limit` live entries whose keys start with `prefix` and are greater than `after`,
        sorted. Honest."""
        found = self._open.reads.some.store.scan(prefix, after, limit)
        wall_ms = self._running.clocks().wall_ms
        return [view_of(key, record, wall_ms) for key, record in found]

    def list(self, prefix: str = "", after: str = "", limit: int = 1000) -> builtins.list[Entry]:
        """The same as `scan`, under its first name."""
        return self.scan(prefix, after, limit)

    def records(
        self, prefix: str = "", after: str = "", limit: int = 1000, offset: int = 0
    ) -> builtins.list[tuple[str, bytes]]:
        """As `scan`, as keys with records: no value is copied. `offset`: without the first so
        many."""
        return self._open.reads.some.store.scan(prefix, after, limit, offset)

    def count(self, prefix: str = "") -> int:
        """How many keys that start with `prefix` have a value. Honest."""
        return self._open.reads.some.store.live_keys.count(prefix)

    def folders(
        self, prefix: str = "", first: str = "", limit: int = 1000
    ) -> tuple[builtins.list[tuple[str, int]], str | None]:
        """The folders in `prefix`, sorted, each with the number of keys under it: the texts up to
        their next slash that live keys have which are not less than `first`. The second one is the
        `first` of the next page, None behind the last; a page may have no folder. Honest."""
        return self._open.reads.some.store.live_keys.folders(prefix, first, limit)

    def snapshot(self) -> AsyncGenerator[builtins.list[tuple[str, bytes]], None]:
        """All keys with records as the iteration begins, tombstones too, sorted, in chunks."""
        return self._open.reads.snapshot()

    @property
    def root(self) -> int:
        """A fingerprint of the data, 64 bits: equal on nodes of one cluster with equal data."""
        return self._running.replica.store.digest.shown

    def writer(self, version: Version) -> str | None:
        """The member that wrote this; None where this node has never met it."""
        return self._running.publisher.history.writer(version.site)

    # -- changes ----------------------------------------------------------------------------------

    def watch(self, prefix: str = "", *, since: str | None = None) -> Watcher:
        """Every change under this prefix that this node merges from now on, in the order of the
        merges (see watchers.py). `since`: the cursor of an earlier watcher, from which this one
        goes on. Raises WatchLaggedError where that is not possible: list the keys again, then watch
        again. Also before the node has settled: what it catches up with comes as changes."""
        return self.feed.watch(Topic(prefix), since)

    def watch_sets(self, prefix: str = "") -> SetWatcher:
        """The same changes, as tuples of those that appeared together: a batch is one, here and
        wherever it arrives by rumor. What an exchange brings is one set only as far as one message
        had it."""
        return self.feed.watch_sets(Topic(prefix))

    def watch_conflicts(self, prefix: str = "", *, since: str | None = None) -> ConflictWatcher:
        """Every write under this prefix that has lost on this node from now on, although the writer
        of what is kept had not seen it (see protocol/model/conflicts.py). `since`: as for
        `watch`."""
        topic = Topic(prefix, conflicts=True)
        return self._running.publisher.conflicts.feed.watch_conflicts(topic, since)

    def conflicts(self, prefix: str = "", limit: int = 1000) -> builtins.list[Conflict]:
        """The last of those that were lost in this life, newest first: at most `limit`. The lost
        values are in the history of their keys too."""
        topic = Topic(prefix, conflicts=True)
        newest = self._running.publisher.conflicts.feed.newest(topic, limit)
        return [Conflict(key, lost or b"", kept) for _, (key, lost, kept), _ in newest]

    @property
    def conflict_counts(self) -> Mapping[str, int]:
        """How many there were in this life, by the first segment of their keys."""
        return self._running.publisher.conflicts.by_segment

    def follow(self, topic: Topic, since: str | None = None) -> Follower:
        """A way through the feed, with a snapshot where the cursor is unknown (see follower.py).
        Raises NotSettledError before the node has settled."""
        return self._open.reads.follow(topic, since)

    @property
    def feed(self) -> Feed:
        """The changes of this life of the node (see feed.py)."""
        return self._running.publisher.feed

    # -- members ----------------------------------------------------------------------------------

    def members(self) -> builtins.list[Member]:
        """Everybody this node knows in its datacenter, itself included, sorted by name."""
        return self._running.replica.members()

    def gateways(self) -> builtins.list[Member]:
        """The members of the WAN pool, sorted by name; empty where this node is no gateway."""
        replica = self._running.replica
        return replica.members(PoolKind.WAN) if replica.pools.wan is not None else []

    def watch_members(self) -> MemberWatcher:
        """Every change of what this node believes of members, from now on (see members.py). Raises
        WatchLaggedError where more than `watch_events_max` wait."""
        return self._running.publisher.members.watch()

    def on_member_change(self, callback: OnMemberChange) -> Callable[[], None]:
        """Call this of each such change, in a later turn of the event loop, until the node stops or
        what is returned is called. What it raises goes to the handler of the loop. Raises
        LocalError for a coroutine function."""
        return self._running.publisher.members.call(callback)
