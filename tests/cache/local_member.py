"""A member as small as one can be that is followed: a Node on a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import Future

from kvgossip import Config, Node, Writing
from kvgossip.cache.record_bytes import all_records, record_of
from kvgossip.cache.source import Applied, NodeApplied, Sink, SourceState, Survey
from kvgossip.errors import NotSettledError
from kvgossip.runtime.changes.watchers import Topic, TopicQueue
from kvgossip.runtime.loop import new_event_loop


class LocalMember:
    """Of `prefix`; `asyncio_loop`: on asyncio's own loop instead of the quickest."""

    def __init__(self, config: Config, prefix: str, *, asyncio_loop: bool = False) -> None:
        self.node = Node(config)
        self.loop = asyncio.new_event_loop() if asyncio_loop else new_event_loop()
        #: what its followers applied, as it was told last
        self.applied_by_followers: list[Applied] = []
        self._applied: list[Applied] = []
        self._prefix = prefix
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._queue: TopicQueue | None = None

    def open(self, sink: Sink) -> None:
        self._sink = sink
        self._thread.start()
        try:
            asyncio.run_coroutine_threadsafe(self._begin(), self.loop).result()
        except BaseException:
            self._end()
            raise

    def close(self) -> None:
        if self._thread.is_alive():
            asyncio.run_coroutine_threadsafe(self.node.stop(), self.loop).result()
            self._end()

    def write(self, writes: Sequence[Writing]) -> Future[tuple[str, ...]]:
        return asyncio.run_coroutine_threadsafe(self._write(writes), self.loop)

    def report(self, applied: Applied) -> None:
        self._applied = [applied]

    def survey(self, prefix: str, timeout_s: float) -> Future[Survey]:
        answered: Future[Survey] = Future()
        all_of_them = [*self._applied, *self.applied_by_followers]
        releases = sorted({each.release for each in all_of_them})
        counts = [sum(each.release == release for each in all_of_them) for release in releases]
        answered.set_result(
            Survey(
                tuple(
                    NodeApplied(self.node.name, release, count)
                    for release, count in zip(releases, counts, strict=True)
                ),
                (),
            )
        )
        return answered

    def followers_applied(self, applied: Sequence[Applied]) -> None:
        self.applied_by_followers = list(applied)

    async def _begin(self) -> None:
        await self.node.start()
        self._tell()
        try:
            self._show_all()
        except NotSettledError:
            self._settling = asyncio.create_task(self._settle())
        self._queue = self.node.feed.subscribe(Topic(self._prefix), self._wake)

    async def _settle(self) -> None:
        await self.node.wait_settled()
        self._show_all()
        self._tell()

    def _show_all(self) -> None:
        self._sink.replaced(all_records(self.node, self._prefix))

    def _wake(self) -> None:
        self.loop.call_soon(self._flush)

    def _flush(self) -> None:
        assert self._queue is not None
        changes = [arrival.changed for arrival in self._queue.arrivals]
        self._queue.arrivals.clear()
        if changes:
            self._sink.changed([record_of(each.key, each.new_record) for each in changes])

    async def _write(self, writes: Sequence[Writing]) -> tuple[str, ...]:
        entries = await self.node.batch(writes)
        return tuple("" if entry is None else str(entry.version) for entry in entries)

    def _tell(self) -> None:
        self._sink.state_changed(
            SourceState(
                "member", self.node.name, "z1", "dc1", self.node.settled, None, from_disk=False
            )
        )

    def _run(self) -> None:
        self.loop.run_forever()
        self.loop.close()

    def _end(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
