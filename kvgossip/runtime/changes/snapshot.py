"""Snapshot: all records as they were at one moment, in the order of their keys, read in chunks
while the node goes on.

A copy of a million records would hold the node for long. So keys are gathered chunk by chunk,
and whatever changes meanwhile is remembered as it was: a key that is not remembered has not changed
since the moment.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator

from kvgossip.protocol.store.digest import FAN_OUT
from kvgossip.protocol.store.sorted_keys import SortedKeys
from kvgossip.protocol.store.store import Store

CHUNK_ENTRIES = 1000
CHUNK_BYTES = 256 * 1024
CHUNK_BUCKETS = 4096

Chunk = list[tuple[str, bytes]]


class Snapshot:
    """The content of the store when this is made. `changed` must be called for every change from
    then on."""

    def __init__(self, store: Store) -> None:
        self._store = store
        #: the old records of the keys that have changed since; None: there was none
        self._before: dict[str, bytes | None] = {}

    def changed(self, key: str, old: bytes | None) -> None:
        """`old` was under the key: a record, or None for a new key."""
        self._before.setdefault(key, old)

    def chunks(self) -> Iterator[Chunk]:
        """Some milliseconds of work each; the first ones are empty. The store may change between
        them."""
        keys = yield from self._gathered()
        chunk: Chunk = []
        size = 0
        for key in keys.since(""):
            record = self._before[key] if key in self._before else self._store.record(key)
            if record is None:
                continue  # it came later
            chunk.append((key, record))
            size += len(key) + len(record)
            if len(chunk) >= CHUNK_ENTRIES or size >= CHUNK_BYTES:
                yield chunk
                chunk, size = [], 0
        yield chunk

    def _gathered(self) -> Generator[Chunk, None, SortedKeys]:
        """All keys that there were, and perhaps some that came since."""
        keys = None
        while keys is None:
            keys = yield from self._walk()
        # the records that were dropped before their bucket had its turn
        for key, old in self._before.items():
            if old is not None and key not in keys:
                keys.add(key)
        return keys

    def _walk(self) -> Generator[Chunk, None, SortedKeys | None]:
        """The keys of all buckets; None where the store was reseeded meanwhile."""
        keys, digest, count = SortedKeys(), self._store.digest, 0
        for bucket in range(FAN_OUT**digest.levels):
            for key, _ in self._store.entries_in(digest.levels, bucket):
                keys.add(key)
                count += 1
            if count >= CHUNK_ENTRIES or bucket % CHUNK_BUCKETS == 0:
                count = 0
                yield []
                if self._store.digest is not digest:
                    return None
        return keys
