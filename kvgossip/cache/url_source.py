"""UrlSource: a source that follows nodes over HTTP: `ConfigCache.follow`.

One daemon thread reads the stream of `/watch` of one node, and goes to the next URL when it breaks.
It goes on after the last event that it had, where that is the same node's; else everything comes
anew. Writes go to the node that is followed, on a thread of their own.

Laws
- What it knows stays with its sink while no node answers; where a file is named, also over a
  restart of the process.
- A half of what changed together is shown to nobody: events wait for the last one of their set.
- A node that has not settled tells nothing, so it takes nothing away; nor does the file, which may
  be older than what the cache has (keeping.py).
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import closing, suppress
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING

from kvgossip.cache import forks
from kvgossip.cache.errands import Errands
from kvgossip.cache.event_stream import Block, EventStream, document_of, record_of
from kvgossip.cache.keeping import Keeping, merge_into
from kvgossip.cache.line import LineError
from kvgossip.cache.node_http import ConnectError, NodeHTTP, Stream
from kvgossip.cache.source import Applied, Record, Sink, SourceState, Survey
from kvgossip.errors import ConfigError, KVGossipError, LocalError, NoMemberError

if TYPE_CHECKING:
    from kvgossip.protocol.model.write import Writing

PAUSE_MIN_S, PAUSE_MAX_S = 0.1, 5.0
OPEN_WAIT_S = 1.0
"""How long `open` waits for the first records, where it has no file of them."""
LOOK_S = 20.0
"""How old the age of a node's last exchange may be before it is asked again."""
KEEP_S = 1.0
"""The file is written no more often, but at the end."""
NEVER = "0"
"""The cursor of who has nothing."""
NOT_YET = "no node has answered yet"

log = logging.getLogger("kvgossip")


class UrlSource:
    """A Source (source.py) of all that is under `prefix`. `urls`: tried in their order. `token`,
    `ca`: see NodeHTTP. `file`: where the last-known-good is kept; None: nowhere. Raises ConfigError
    for what is no URL."""

    def __init__(
        self,
        urls: Sequence[str],
        prefix: str,
        *,
        token: str = "",
        ca: str = "",
        file: Path | None = None,
    ) -> None:
        if not urls:
            raise ConfigError("there is no URL to follow", "name at least one node")
        self.orphaned = False
        self._nodes = [NodeHTTP(url, token, ca) for url in urls]
        self._prefix, self._file = prefix, file
        self._sink: Sink | None = None
        self._state = SourceState("follower", "", "", "", False, None, False, NOT_YET)
        #: the place of the node that is followed, or tried
        self._place = 0
        self._stream: Stream | None = None
        #: that of what the sink has, and that of what has come
        self._cursor = self._part_cursor = NEVER
        #: what the file is to have; None: there is no file
        self._table: dict[str, Record] | None = None if file is None else {}
        self._is_kept, self._kept_s = True, 0.0
        #: what changed together, as far as it has come; and whether it is all that there is
        self._part: dict[str, Record] = {}
        self._part_is_all = False
        #: when the age of the last exchange was heard
        self._looked_s = 0.0
        self._came, self._closing = threading.Event(), threading.Event()
        self._errands = Errands(f"kvgossip {prefix} writes")
        self._thread = threading.Thread(target=self._run, name=f"kvgossip {prefix}", daemon=True)
        forks.watch(self)

    # -- a source ---------------------------------------------------------------------------------

    def open(self, sink: Sink) -> None:
        """Begins with the file. Where there is none it returns once all that there is has come, no
        node has answered, or after OPEN_WAIT_S."""
        self._sink = sink = Keeping(sink)
        sink.state_changed(self._state)
        if self._file is not None:
            self._begin_from(self._file)
        self._thread.start()
        self._came.wait(OPEN_WAIT_S)

    def close(self) -> None:
        if self.orphaned:
            return
        self._closing.set()
        if self._stream is not None:
            self._stream.shut()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join()

    def write(self, writes: Sequence[Writing]) -> Future[tuple[str, ...]]:
        return self._errands.add(lambda: self._write(writes))

    def report(self, applied: Applied) -> None:
        """It goes to nobody: a node does not know who follows it over HTTP."""

    def survey(self, prefix: str, timeout_s: float) -> Future[Survey]:
        """Fails: the API tells what became of a release, and not what each process has."""
        url = self._nodes[self._place].url
        future: Future[Survey] = Future()
        future.set_exception(
            LocalError(
                "a cache that follows over HTTP makes no release, and asks no member about one",
                f"have the node do it: `kvgossip release --url {url}`, or {url}/releases/{prefix}",
            )
        )
        return future

    def _write(self, writes: Sequence[Writing]) -> tuple[str, ...]:
        """With the node that is followed, or with the first one that is reached."""
        first, reasons = self._place, []
        for step in range(len(self._nodes)):
            try:
                return self._nodes[(first + step) % len(self._nodes)].write(writes)
            except ConnectError as error:
                reasons.append(str(error))
        raise NoMemberError(
            f"no node is reached: {', '.join(reasons)}",
            "nothing was changed: try again in a moment",
        )

    # -- the thread -------------------------------------------------------------------------------

    def _run(self) -> None:
        pause_s, tried = PAUSE_MIN_S, 0
        while not self._closing.is_set():
            had = self._cursor
            problem = self._follow(self._nodes[self._place])
            if self._closing.is_set():
                break
            if problem != self._state.problem:
                log.warning("%s", problem)
            self._tell(self._state._replace(settled=False, problem=problem))
            tried += 1
            if tried >= len(self._nodes):
                self._came.set()
            self._place = (self._place + 1) % len(self._nodes)
            pause_s = PAUSE_MIN_S if self._cursor != had else min(2 * pause_s, PAUSE_MAX_S)
            # a part of it is chance, so that many who lost a node do not come in step
            self._closing.wait(pause_s * (0.5 + os.urandom(1)[0] / 512))
        self._keep(at_once=True)

    def _follow(self, node: NodeHTTP) -> str:
        """Follow it until the stream breaks: why it did."""
        try:
            stream = node.watch(self._prefix, self._cursor)
            with closing(stream):
                self._stream = stream
                self._follow_on(node, stream)
            return f"{node.url} has ended the stream"
        except (OSError, HTTPException, KVGossipError, LineError, ValueError) as error:
            hint = error.hint if isinstance(error, KVGossipError) else ""
            return f"{node.url} is not followed: {error}{'; ' if hint else ''}{hint}"
        finally:
            self._stream = None

    def _follow_on(self, node: NodeHTTP, stream: Stream) -> None:
        self._part, self._part_is_all, self._part_cursor = {}, False, self._cursor
        self._note_age(stream.age_s)
        self._tell(
            self._state._replace(
                node=stream.node,
                zone=stream.zone,
                datacenter=stream.datacenter,
                problem="" if stream.settled else f"{node.url} has not settled yet",
            )
        )
        events = EventStream()
        while not self._closing.is_set() and (data := stream.read()):
            for block in events.feed(data):
                self._hear(block)
            if time.monotonic() - self._looked_s > LOOK_S:
                # the stream goes on without it
                with suppress(OSError, HTTPException):
                    self._note_age(node.synced_age_s())
            self._keep(at_once=False)

    def _hear(self, block: Block) -> None:
        if block.event and block.cursor:
            self._part_cursor = block.cursor
        match block.event:
            case "put" | "delete" | "expire":
                document = document_of(block)
                record = record_of(block, document)
                if self._part_is_all:
                    merge_into(self._part, [record])
                else:
                    self._part[record.key] = record
                if not document.more and not self._part_is_all:
                    self._give()
            case "resync":
                self._part, self._part_is_all = {}, True
            case "synced":
                self._give()
            case "cut":
                raise LocalError(document_of(block).error or "the node ends the stream")
            case "" if block.cursor and block.cursor != NEVER and not self._part_is_all:
                # a sign of life that tells that nothing is under way
                self._part_cursor = block.cursor
                self._give()

    def _give(self) -> None:
        """Whatever is here is whole."""
        assert self._sink is not None
        whole, is_all = list(self._part.values()), self._part_is_all
        self._part, self._part_is_all, self._cursor = {}, False, self._part_cursor
        self._note(whole, is_all=is_all)
        if is_all:
            self._sink.replaced(whole, settled=True)
        elif whole:
            self._sink.changed(whole)
        self._tell(self._state._replace(settled=True, from_disk=False, problem=""))
        self._came.set()

    # -- its state, and the file ------------------------------------------------------------------

    def _tell(self, state: SourceState) -> None:
        if state != self._state:
            self._state = state
            assert self._sink is not None
            self._sink.state_changed(state)

    def _note_age(self, age_s: int | None) -> None:
        self._looked_s = time.monotonic()
        if age_s is not None:
            exchanged_ms = int(1000 * (time.time() - age_s))
            self._tell(self._state._replace(exchanged_ms=exchanged_ms))

    def _begin_from(self, file: Path) -> None:
        from kvgossip.cache.kept_file import read_kept

        kept = read_kept(file, self._prefix)
        if kept is None:
            return
        assert self._sink is not None
        self._table = {record.key: record for record in kept.records}
        self._cursor = kept.cursor
        self._sink.replaced(kept.records)
        self._tell(self._state._replace(exchanged_ms=kept.exchanged_ms, from_disk=True))
        self._came.set()

    def _note(self, records: Sequence[Record], *, is_all: bool) -> None:
        if self._table is None:
            return
        if is_all:
            self._table = {}
        merge_into(self._table, records)
        self._is_kept = self._is_kept and not records and not is_all

    def _keep(self, *, at_once: bool) -> None:
        """Write the file, where it lacks something."""
        now_s = time.monotonic()
        if (
            self._file is None
            or self._table is None
            or self._is_kept
            or not (at_once or now_s - self._kept_s >= KEEP_S)
        ):
            return
        from kvgossip.cache.kept_file import Kept, write_kept

        self._is_kept, self._kept_s = True, now_s
        kept = Kept(
            format=1,
            prefix=self._prefix,
            cursor=self._cursor,
            exchanged_ms=self._state.exchanged_ms,
            records=list(self._table.values()),
        )
        try:
            write_kept(self._file, kept)
        except OSError as error:
            self._is_kept = False
            log.warning("%s cannot be written: %s", self._file, error.strerror or error)
