"""A source in the hands of a test: it gives what the test says, when the test says it, on the
test's thread."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from kvgossip.cache.config_cache import ConfigCache
from kvgossip.cache.source import Applied, Record, Sink, SourceState, Survey
from kvgossip.protocol.model.write import Writing

PREFIX = "shop/"
TIMEOUT_S = 30.0
JSON = "application/json"

Written = str | bytes | tuple[str | bytes, str]
"""A value as it is written, alone or with its content type."""

_versions = itertools.count(1)


def record(name: str, value: Written | None, prefix: str = PREFIX) -> Record:
    value, content_type = value if isinstance(value, tuple) else (value, "")
    octets = value.encode() if isinstance(value, str) else value
    return Record(prefix + name, octets, f"{next(_versions):016x}-{7:016x}", content_type)


class FakeSource:
    """With these values as it opens. `fails`: what opening raises, while it is set."""

    def __init__(
        self,
        values: Mapping[str, Written] | None = None,
        *,
        settled: bool = True,
        exchanged_ms: int | None = None,
        from_disk: bool = False,
    ) -> None:
        self.values = dict(values or {})
        self.state = SourceState(
            "member",
            "n1",
            "paris",
            "dc1",
            settled,
            int(time.time() * 1000) if exchanged_ms is None else exchanged_ms,
            from_disk,
        )
        self.fails: Exception | None = None
        self.opened = self.closed = 0
        self.applied: list[Applied] = []
        self.written: list[Writing] = []
        self.on_open: Callable[[], object] = lambda: None
        self._sink: Sink | None = None

    # -- of the test ------------------------------------------------------------------------------

    def give(self, values: Mapping[str, Written | None] | None = None, **named: Any) -> None:
        """One set of changes. None: deleted."""
        assert self._sink is not None
        self._sink.changed(
            [record(name, value) for name, value in {**(values or {}), **named}.items()]
        )

    def resync(self, values: Mapping[str, Written]) -> None:
        assert self._sink is not None
        self._sink.replaced([record(name, value) for name, value in values.items()])

    def tell(self, **state: Any) -> None:
        self.state = self.state._replace(**state)
        if self._sink is not None:
            self._sink.state_changed(self.state)

    # -- of a source ------------------------------------------------------------------------------

    def open(self, sink: Sink) -> None:
        self.opened += 1
        if self.fails is not None:
            raise self.fails
        self._sink = sink
        sink.state_changed(self.state._replace(settled=False))
        self.on_open()
        if self.state.settled or self.state.from_disk:
            sink.replaced([record(name, value) for name, value in self.values.items()])
        sink.state_changed(self.state)

    def close(self) -> None:
        self.closed += 1
        self._sink = None

    def write(self, writes: Sequence[Writing]) -> Future[tuple[str, ...]]:
        self.written += writes
        records = [
            Record(
                each.key, each.value, f"{next(_versions):016x}-{8:016x}", each.content_type or ""
            )
            for each in writes
        ]
        assert self._sink is not None
        self._sink.changed(records)
        future: Future[tuple[str, ...]] = Future()
        future.set_result(tuple(each.version for each in records))
        return future

    def report(self, applied: Applied) -> None:
        self.applied.append(applied)

    def survey(self, prefix: str, timeout_s: float) -> Future[Survey]:
        raise NotImplementedError


def cache_of(
    source: FakeSource, defaults: Mapping[str, Any] | None = None, stale_after_s: float = 60.0
) -> ConfigCache:
    return ConfigCache._over(lambda: source, PREFIX, defaults, stale_after_s)
