"""Writes: the values that clients of this node ask to be stored. Each write is a version of its
own, merged in the same way as an entry that a peer sends (merging.py).

Laws
- A write on a replica that has seen version v has a greater version than v.
- It says in its parent what of other sites its writer had under that key (model/conflicts.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from kvgossip.config import Config
from kvgossip.errors import LocalError
from kvgossip.protocol.data import Data
from kvgossip.protocol.effect import Effect
from kvgossip.protocol.merging import BACKUP, CLIENT, Outcome
from kvgossip.protocol.model.conflicts import parent_of
from kvgossip.protocol.model.entry import (
    Version,
    check_flags,
    check_ttl,
    is_dead,
    make_record,
    timestamp_in,
    with_version,
)
from kvgossip.protocol.model.hlc import milliseconds_of
from kvgossip.protocol.model.key import check_key
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.model.write import Writing, check_batch, check_write
from kvgossip.protocol.store.capacity import Capacity

BACKUP_AHEAD_MS = 1000
"""How far the versions of a backup may be ahead of the wall clock."""


class Written(NamedTuple):
    """A write, or a delete, and its effects: `record` is None where there was nothing to delete."""

    record: bytes | None
    effects: list[Effect]


class BatchWritten(NamedTuple):
    """A batch, and its effects. `records`: by key, without those of deletes of nothing."""

    records: Mapping[str, bytes]
    effects: list[Effect]


class Restored(NamedTuple):
    """The result of restoring entries of a backup: the effects, and the outcome of each entry."""

    effects: list[Effect]
    outcomes: list[Outcome]


class Writes:
    """All raise as `Replica` says; then nothing has changed."""

    def __init__(self, config: Config, data: Data, capacity: Capacity) -> None:
        self._config, self._context, self._hlc = config, data.tombstones.context, data.hlc
        self._store, self._merging, self._clock_guard = data.store, data.merging, data.clock_guard
        self._capacity = capacity
        #: from now on none is taken
        self._ended = False

    def end(self) -> None:
        """This node is leaving."""
        self._ended = True

    def put(
        self,
        key: str,
        value: bytes,
        now: Now,
        content_type: str | None,
        ttl_s: float | None,
        flags: int,
    ) -> bytes:
        """The record that was written."""
        check_write(key, value, content_type, self._config)
        if flags:
            check_flags(flags)
        if ttl_s is not None:
            check_ttl(ttl_s)
        self._check_may_write(now)
        if self._capacity.bytes_max:
            self._capacity.check(key, value)
        record = self._record(now, key, value, content_type, ttl_s, flags)
        self._merging.take(key, record, now, CLIENT)
        return record

    def delete(self, key: str, now: Now) -> bytes | None:
        """The tombstone; None where there was nothing to delete."""
        check_key(key)
        if not self._is_live(key):
            return None
        self._check_may_write(now)
        record = self._record(now, key, None, None, None, 0)
        self._merging.take(key, record, now, CLIENT)
        return record

    def batch(self, writes: Sequence[Writing], now: Now) -> dict[str, bytes]:
        """The records by key, without those of deletes of nothing."""
        check_batch(writes, self._config)
        self._check_may_write(now)
        self._capacity.check_all((each.key, each.value or b"") for each in writes)
        made = [each for each in writes if each.value is not None or self._is_live(each.key)]
        pairs = tuple((each.key, self._record(now, *each)) for each in made)
        if len(pairs) == 1:
            self._merging.take(*pairs[0], now, CLIENT)
        elif pairs:
            self._merging.take_batch(pairs, pairs, now, CLIENT)
        return dict(pairs)

    def restore(
        self, entries: Iterable[tuple[str, bytes]], now: Now, *, as_new: bool
    ) -> list[Outcome]:
        """The outcome of each entry."""
        self._check_may_write(now)
        entries = list(entries)
        self._capacity.check_all(entries)
        if as_new:
            return [self._write_anew(key, record, now) for key, record in entries]
        return [
            Outcome.REFUSED
            if self._is_ahead(record, now)
            else self._merging.merge(key, record, now, BACKUP)
            for key, record in entries
        ]

    def _is_ahead(self, record: bytes, now: Now) -> bool:
        """True for a version of a backup that is not due yet: it would take the clocks of all nodes
        along."""
        timestamp = timestamp_in(record)
        return (
            timestamp > self._hlc.latest
            and milliseconds_of(timestamp) > now.wall_ms + BACKUP_AHEAD_MS
        )

    def _write_anew(self, key: str, record: bytes, now: Now) -> Outcome:
        if is_dead(record):
            return Outcome.KNOWN
        version = self._version(now)
        self._merging.take(key, with_version(record, version, self._parent(key)), now, CLIENT)
        return Outcome.NEWS

    def _record(
        self,
        now: Now,
        key: str,
        value: bytes | None,
        content_type: str | None,
        ttl_s: float | None,
        flags: int,
    ) -> bytes:
        version = self._version(now)
        expires_ms = None
        if ttl_s is not None:
            # where the wall clock was set back, the hybrid clock may be far ahead of the time by
            # which entries expire
            latest_ms = now.wall_ms + self._hlc.drift_max_ms
            expires_ms = min(milliseconds_of(version.timestamp), latest_ms) + int(ttl_s * 1000)
        return make_record(version, value, content_type, expires_ms, flags, self._parent(key))

    def _parent(self, key: str) -> bytes:
        """That of a write of this key."""
        replaced = self._store.record(key)
        return b"" if replaced is None else parent_of(replaced, self._context.own)

    def _version(self, now: Now) -> Version:
        """That of the next write."""
        timestamp = self._hlc.tick(now.wall_ms)
        self._context.wrote(timestamp)
        return Version(timestamp, self._context.site)

    def _is_live(self, key: str) -> bool:
        record = self._store.record(key)
        return record is not None and not self._store.is_deleted_or_expired(key, record)

    def _check_may_write(self, now: Now) -> None:
        if self._ended:
            raise LocalError("this node is leaving", "write to another node")
        self._clock_guard.check(now)
