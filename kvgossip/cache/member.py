"""MemberSource: a source that is a member of the cluster - a Node on a thread and an event loop of
its own, so that a blocked application stops neither gossip nor reads.

Laws
- All changes of one turn of the node's loop are one set: so a batch, which comes in one turn, is
  never torn.
- Until the node has settled, the sink has what the disk has, or nothing: what an exchange brings
  little by little is shown as a whole.
- Who takes long to take a set gets the next one later, with more in it: to show changes takes at
  most a REST_FACTOR-th of the thread.
- A node that knows nobody else has exchanged with all the cluster just now.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress

from kvgossip.cache.record_bytes import all_records, record_of
from kvgossip.cache.source import Applied, Record, Sink, SourceState, Survey
from kvgossip.config import Config
from kvgossip.errors import LocalError
from kvgossip.protocol.model.change import Changed
from kvgossip.protocol.model.entry import Entry
from kvgossip.protocol.model.member import MemberState
from kvgossip.protocol.model.write import Writing
from kvgossip.runtime.changes.stream import State
from kvgossip.runtime.changes.watchers import Topic, TopicQueue
from kvgossip.runtime.loop import new_event_loop
from kvgossip.runtime.node import Node

REST_FACTOR = 10
LOOK_S = 1.0
"""So often the state of the node is looked at."""

log = logging.getLogger("kvgossip")


class MemberSource:
    """Of the keys under `prefix`, by a node with this configuration. It can be opened once; `node`
    and `loop` are there from then on, for those who serve followers beside it."""

    node: Node
    loop: asyncio.AbstractEventLoop

    def __init__(self, config: Config, prefix: str) -> None:
        self._config, self._prefix = config, prefix
        self._thread: threading.Thread | None = None
        self._life: _Life | None = None
        self._closed = threading.Event()
        #: what this process applied, and what those that follow it did
        self._applied: tuple[Applied, ...] = ()
        self._followers_applied: tuple[Applied, ...] = ()

    def open(self, sink: Sink) -> None:
        """Returns when the node has read its disk, and the sink has what was there."""
        opened: Future[None] = Future()
        self._thread = threading.Thread(
            target=self._run, args=(sink, opened), name=f"kvgossip {self._prefix}", daemon=True
        )
        self._thread.start()
        try:
            opened.result()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        thread = self._thread
        if thread is threading.current_thread():
            raise LocalError(
                "a member cannot be closed by what runs on its own thread",
                "close it in a callback, or on any other thread",
            )
        self._closed.set()
        if (life := self._life) is not None:
            life.end()
        if thread is not None:
            thread.join()

    def write(self, writes: Sequence[Writing]) -> Future[tuple[str, ...]]:
        life = self._life
        if life is None:
            failed: Future[tuple[str, ...]] = Future()
            failed.set_exception(LocalError("the cache is closed", "open it again"))
            return failed
        return asyncio.run_coroutine_threadsafe(life.write(writes), life.loop)

    def report(self, applied: Applied) -> None:
        self._applied = (applied,)
        self._tell_applied()

    def followers_applied(self, applied: Sequence[Applied]) -> None:
        """What the processes that follow applied, all of them: they count in surveys."""
        self._followers_applied = tuple(applied)
        self._tell_applied()

    def _tell_applied(self) -> None:
        if (life := self._life) is not None:
            applied = (*self._applied, *self._followers_applied)
            with suppress(RuntimeError):  # the loop is closed already
                life.loop.call_soon_threadsafe(life.tell_applied, applied)

    def survey(self, prefix: str, timeout_s: float) -> Future[Survey]:
        life = self._life
        if life is None:
            failed: Future[Survey] = Future()
            failed.set_exception(LocalError("the cache is closed", "open it again"))
            return failed
        return asyncio.run_coroutine_threadsafe(life.survey(prefix, timeout_s), life.loop)

    # -- the thread -------------------------------------------------------------------------------

    def _run(self, sink: Sink, opened: Future[None]) -> None:
        try:
            with asyncio.Runner(loop_factory=new_event_loop) as runner:
                runner.run(self._live(sink, opened))
        except BaseException as error:
            if not opened.done():
                opened.set_exception(error)
            else:
                log.exception("%s: a bug of kvgossip; the node has stopped", self._prefix)

    async def _live(self, sink: Sink, opened: Future[None]) -> None:
        node = Node(self._config)
        await node.start()
        self.node, self.loop = node, asyncio.get_running_loop()
        self._life = life = _Life(node, self._prefix, sink)
        try:
            life.begin()
            opened.set_result(None)
            if self._closed.is_set():
                life.end()
            await life.watch()
        except Exception as error:
            problem = f"a bug of kvgossip has stopped the node: {error!r}"
            sink.state_changed(life.state._replace(settled=False, problem=problem))
            raise
        finally:
            self._life = None
            await node.stop()


class _Life:
    """One life of the node; all but `end` is for its own thread."""

    def __init__(self, node: Node, prefix: str, sink: Sink) -> None:
        self.node, self.loop = node, asyncio.get_running_loop()
        self._prefix, self._sink = prefix, sink
        self._ended = asyncio.Event()
        #: what the sink knows
        self.state = self._look()
        self._queue: TopicQueue | None = None
        #: true if the queue is about to be emptied, and the time before which it is not
        self._due, self._rested_s = False, 0.0

    def end(self) -> None:
        with suppress(RuntimeError):  # the loop is closed already
            self.loop.call_soon_threadsafe(self._ended.set)

    async def survey(self, prefix: str, timeout_s: float) -> Survey:
        return await self.node.applied.survey(prefix, timeout_s)

    def tell_applied(self, applied: Sequence[Applied]) -> None:
        with suppress(LocalError):  # the node has stopped
            self.node.applied.tell(applied)

    def begin(self) -> None:
        # who it is, before its records; that it has settled, after them
        self._sink.state_changed(self.state._replace(settled=False))
        if self._readable:
            self._show_all()
            self._sink.state_changed(self.state)

    async def watch(self) -> None:
        """Until the end: keep the sink informed of the state."""
        settling = self.loop.create_task(self._tell_settled())
        try:
            while not self._ended.is_set():
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_S):
                        await self._ended.wait()
                self._tell()
        finally:
            settling.cancel()
            if self._queue is not None:
                self.node.feed.watches.remove(self._queue)

    async def write(self, writes: Sequence[Writing]) -> tuple[str, ...]:
        try:
            return await self._write(writes)
        except asyncio.CancelledError:
            raise LocalError("the cache was closed meanwhile", "open it again") from None

    async def _write(self, writes: Sequence[Writing]) -> tuple[str, ...]:
        entries: Sequence[Entry | None]
        key, value, content_type, ttl_s, flags = writes[0]
        if len(writes) == 1 and value is not None:
            entries = [
                await self.node.put(key, value, content_type=content_type, ttl_s=ttl_s, flags=flags)
            ]
        else:
            entries = await self.node.batch(writes)
        # who writes reads what was written
        self._flush()
        return tuple("" if entry is None else str(entry.version) for entry in entries)

    # -- records ----------------------------------------------------------------------------------

    @property
    def _readable(self) -> bool:
        return self.node.settled or self.node.stale_s is not None

    async def _tell_settled(self) -> None:
        await self.node.wait_settled()
        self._tell()

    def _show_all(self) -> None:
        self._queue = self.node.feed.subscribe(Topic(self._prefix), self._wake)
        records = all_records(self.node, self._prefix)
        self._sink.replaced(records, settled=self.node.settled)

    def _wake(self) -> None:
        """Something came into the queue."""
        if not self._due:
            self._due = True
            rest_s = self._rested_s - self.loop.time()
            if rest_s > 0:
                self.loop.call_later(rest_s, self._flush)
            else:
                self.loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._due, queue = False, self._queue
        if queue is None or self._ended.is_set():
            return
        begun_s = time.perf_counter()
        if queue.state is State.LAGGED:
            self._show_all()
        elif queue.arrivals:
            arrivals = [arrival.changed for arrival in queue.arrivals]
            queue.arrivals.clear()
            # of one key the last is the one to see
            self._sink.changed([_new(each) for each in {a.key: a for a in arrivals}.values()])
        took_s = time.perf_counter() - begun_s
        self._rested_s = self.loop.time() + REST_FACTOR * took_s

    # -- the state --------------------------------------------------------------------------------

    def _tell(self) -> None:
        state, known = self._look(), self.state
        if state.settled and not known.settled:
            # who waits for that wants to read then
            if self._queue is None:
                self._show_all()
            else:
                self._flush()
        moved_ms = (state.exchanged_ms or 0) - (known.exchanged_ms or 0)
        if moved_ms >= 1000 * LOOK_S or state._replace(exchanged_ms=known.exchanged_ms) != known:
            self.state = state
            self._sink.state_changed(state)

    def _look(self) -> SourceState:
        node = self.node
        return SourceState(
            role="member",
            node=node.name,
            zone=node.config.zone,
            datacenter=node.config.datacenter,
            settled=node.settled,
            exchanged_ms=self._exchanged_ms(),
            from_disk=node.stale_s is not None,
            problem="; ".join(reason.text for reason in node.not_ready),
        )

    def _exchanged_ms(self) -> int | None:
        node = self.node
        age_s = node.last_exchange_age_s
        if node.settled and all(
            member.name == node.name or member.state is MemberState.LEFT
            for member in (*node.members(), *node.gateways())
        ):
            age_s = 0.0
        elif age_s is None:
            age_s = node.stale_s
        return None if age_s is None else int(time.time() * 1000 - age_s * 1000)


def _new(changed: Changed) -> Record:
    return record_of(changed.key, changed.new_record)
