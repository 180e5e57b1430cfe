"""ExpiryQueue: the entries that will expire, by their time. A heap that is cleaned now and then,
for keys are overwritten and deleted before their time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from heapq import heapify, heappop, heappush

from kvgossip.protocol.model.entry import expires_in
from kvgossip.protocol.store.store import Store

SPARE = 1024
BATCH = 512


class ExpiryQueue:
    """Times are milliseconds of the HLC."""

    __slots__ = ("_heap", "_store", "_useful")

    def __init__(self, store: Store) -> None:
        self._store = store
        #: (when, key); a key whose entry has changed since stays until its time, or the next
        #: cleaning
        self._heap: list[tuple[int, str]] = []
        #: how many were true after the last cleaning
        self._useful = 0

    @property
    def next_ms(self) -> float:
        """The time at which to look again; infinite where nothing will expire."""
        return self._heap[0][0] if self._heap else math.inf

    def add(self, key: str, expires_ms: int) -> None:
        heappush(self._heap, (expires_ms, key))
        if len(self._heap) > 2 * self._useful + SPARE:
            self._heap = [
                (at_ms, key)
                for at_ms, key in dict.fromkeys(self._heap)
                if self._is_true(at_ms, key)
            ]
            heapify(self._heap)
            self._useful = len(self._heap)

    def due(self, hlc_ms: int) -> Iterator[str]:
        """A batch of the keys whose entries have expired by now."""
        for _ in range(BATCH):
            if self.next_ms > hlc_ms:
                break
            at_ms, key = heappop(self._heap)
            if self._is_true(at_ms, key):
                yield key

    def _is_true(self, at_ms: int, key: str) -> bool:
        record = self._store.record(key)
        return (
            record is not None
            and not self._store.is_deleted_or_expired(key, record)
            and expires_in(record) == at_ms
        )
