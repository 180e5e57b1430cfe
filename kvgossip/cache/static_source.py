"""StaticSource: a source without a cluster, a socket and a file - what is written is there at once.
For tests of programs that use a cache."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence
from concurrent.futures import Future

from kvgossip.cache.source import Applied, NodeApplied, Record, Sink, SourceState, Survey
from kvgossip.errors import KVGossipError, LocalError
from kvgossip.protocol.model.entry import Version, check_content_type
from kvgossip.protocol.model.key import check_key
from kvgossip.protocol.model.write import Writing

NAME = "static"
FOR_EVER_MS = 2**53
"""Nothing here grows old."""
STATE = SourceState("member", NAME, "", "", True, FOR_EVER_MS, False)


class StaticSource:
    def __init__(self, records: Sequence[Record] = ()) -> None:
        self._records = {record.key: record for record in records}
        self._sink: Sink | None = None
        self._applied = Applied("", "")
        self._versions = itertools.count(1)
        self._lock = threading.Lock()

    def open(self, sink: Sink) -> None:
        self._sink = sink
        sink.state_changed(STATE._replace(settled=False))
        sink.replaced(list(self._records.values()))
        sink.state_changed(STATE)

    def close(self) -> None:
        self._sink = None

    def write(self, writes: Sequence[Writing]) -> Future[tuple[str, ...]]:
        future: Future[tuple[str, ...]] = Future()
        try:
            future.set_result(self._write(writes))
        except KVGossipError as error:
            future.set_exception(error)
        return future

    def _write(self, writes: Sequence[Writing]) -> tuple[str, ...]:
        for each in writes:
            check_key(each.key)
            check_content_type(each.content_type)
        with self._lock:
            if self._sink is None:
                raise LocalError("the cache is closed", "open it again")
            changed = [
                Record(each.key, each.value, self._version(), each.content_type or "")
                for each in writes
            ]
            self._records.update((record.key, record) for record in changed)
            self._sink.changed(changed)
        return tuple(record.version for record in changed)

    def _version(self) -> str:
        return str(Version(next(self._versions), 0))

    def report(self, applied: Applied) -> None:
        self._applied = applied

    def survey(self, prefix: str, timeout_s: float) -> Future[Survey]:
        future: Future[Survey] = Future()
        answer = NodeApplied(NAME, self._applied.release, 1, self._applied.refused)
        future.set_result(Survey((answer,), ()))
        return future
