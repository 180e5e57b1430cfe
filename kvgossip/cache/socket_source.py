"""SocketSource: a source that follows the member of this host over its Unix socket.

One daemon thread, with a socket, a pipe by which others wake it, and the end of the member's
process (peer.py) to wait for. When its line breaks it looks for another member, and asks its owner
before each look (`between`): perhaps this process is to be the member now.

Laws
- What a follower has heard stays with its sink while there is no member; the sink hears why.
- A member that has settled is believed once all that it has has come, and it knows the seeds of
  this process (keeping.py): not before that does the sink hear that it has settled.
- A member that talks nonsense, or is another user's, is left, and looked for again: it is never
  believed, and the thread goes on.
"""

from __future__ import annotations

import logging
import os
import select
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from kvgossip.cache import forks
from kvgossip.cache.calls import Call, Calls
from kvgossip.cache.keeping import merge_into
from kvgossip.cache.line import (
    FRAME_BYTES_MAX,
    FROM_MEMBER,
    VERSION,
    Ask,
    Failed,
    Frames,
    FromFollower,
    FromMember,
    Hello,
    LineError,
    Planted,
    Records,
    Refused,
    Report,
    StateChanged,
    Surveyed,
    Write,
    Written,
    decoded,
    error_in,
    framed,
    portions,
)
from kvgossip.cache.peer import peer_of, process_of
from kvgossip.cache.seat import Seat
from kvgossip.cache.source import Applied, Record, Sink, SourceState, Survey
from kvgossip.errors import ConfigError, KVGossipError

if TYPE_CHECKING:
    from kvgossip.protocol.model.write import Writing

PAUSE_MIN_S, PAUSE_S, PAUSE_MAX_S = 0.01, 0.1, 1.0
"""Between two looks for a member: at first, while one is expected, and where it is no good."""
ANSWER_S = 10.0
"""How long a member may take to answer the hello."""
OPEN_WAIT_S = 1.0
"""How long `open` waits for the first records: the first read should see them."""
READ_BYTES = 256 * 1024
NOT_YET = "the member of this host does not answer yet"
NOBODY = SourceState(
    role="follower",
    node="",
    zone="",
    datacenter="",
    settled=False,
    exchanged_ms=None,
    from_disk=False,
    problem=NOT_YET,
)

log = logging.getLogger("kvgossip")


class SocketSource:
    """A Source (source.py). `between` is called on its thread while there is no line; where it says
    true the source has ended, and `unsent` has the calls for whoever comes after it. What it raises
    of kvgossip's errors is a problem, and no end. `lacking`: the seeds that the source does not
    know by what its sink has heard. Raises OSError where the process has no descriptor left."""

    def __init__(
        self,
        seat: Seat,
        prefix: str,
        between: Callable[[], bool],
        lacking: Callable[[], Sequence[Record]],
    ) -> None:
        self.orphaned = False
        self._seat, self._prefix = seat, prefix
        self._between, self._lacking = between, lacking
        self._sink: Sink | None = None
        self._calls = Calls()
        self._applied: Applied | None = None
        #: true while the member has not heard of what was applied
        self._report_due = False
        self._state = NOBODY
        #: what the member has said of a set of changes that is not whole yet
        self._part: dict[str, Record] = {}
        self._part_is_all = False
        #: what the member of this line says of itself, and why it does not take the seeds
        self._said, self._refusal = NOBODY, ""
        #: once all that it has has come; while it has not answered about seeds; once it is believed
        self._has_all = self._plants = self._believes = False
        self._closing = False
        self._came = threading.Event()
        self._wakes = os.pipe()
        for descriptor in self._wakes:
            os.set_blocking(descriptor, False)
        self._thread = threading.Thread(target=self._run, name=f"kvgossip {prefix}", daemon=True)
        forks.watch(self)

    def __del__(self) -> None:
        # not before: another thread may be about to wake it, and the number may be another file's
        for descriptor in self._wakes:
            os.close(descriptor)

    # -- a source ---------------------------------------------------------------------------------

    def open(self, sink: Sink) -> None:
        """Returns once all that there is has come, or after OPEN_WAIT_S without it."""
        self._sink = sink
        sink.state_changed(self._state)
        self._thread.start()
        self._came.wait(OPEN_WAIT_S)

    def close(self) -> None:
        if self.orphaned:
            return
        self._closing = True
        self._wake()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join()
        self._calls.close()

    def write(self, writes: Sequence[Writing]) -> Future[tuple[str, ...]]:
        asked = tuple((w.key, w.value, w.content_type, w.ttl_s, w.flags) for w in writes)
        return self._call(lambda number: Write(number, asked))

    def survey(self, prefix: str, timeout_s: float) -> Future[Survey]:
        return self._call(lambda number: Ask(number, prefix, timeout_s))

    def report(self, applied: Applied) -> None:
        self._applied, self._report_due = applied, True
        self._wake()

    # -- for who comes after it -------------------------------------------------------------------

    @property
    def applied(self) -> Applied | None:
        return self._applied

    def unsent(self) -> list[Call]:
        return self._calls.unsent()

    # -- the thread -------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._follow()
        finally:
            self._came.set()

    def _follow(self) -> None:
        pause_s = PAUSE_MIN_S
        while not self._closing:
            had, problem = self._state, NOT_YET
            try:
                if self._between():
                    return
            except KVGossipError as error:
                problem = self._complaint("this process cannot be the member of its host", error)
            problem = self._follow_one() or problem
            self._calls.broken()
            self._calls.give_up(problem)
            # one that has sent its state is a member: the next one is soon there
            longest_s = PAUSE_S if problem == NOT_YET else PAUSE_MAX_S
            pause_s = PAUSE_MIN_S if self._state is not had else min(2 * pause_s, longest_s)
            if not self._closing:
                self._tell(self._state._replace(settled=False, problem=problem))
                self._rest(pause_s)

    def _follow_one(self) -> str:
        """Follow until the line breaks: why it did. Empty: nobody listens."""
        try:
            with Line(self._seat.connect(), self._wakes[0]) as line:
                self._follow_on(line)
            return "the cache is being closed"
        except (FileNotFoundError, ConnectionRefusedError, BlockingIOError):
            return ""
        except OSError as error:
            return f"the member of this host has gone: {error.strerror or error}"
        except (KVGossipError, LineError) as error:
            return self._complaint("the member of this host is not followed", error)

    def _complaint(self, what: str, error: Exception) -> str:
        """In words, and once in the log."""
        hint = error.hint if isinstance(error, KVGossipError) else ""
        problem = f"{what}: {error}; {hint}" if hint else f"{what}: {error}"
        if problem != self._state.problem:
            log.warning(problem)
        return problem

    def _follow_on(self, line: Line) -> None:
        self._part, self._part_is_all = {}, False
        self._said, self._refusal = NOBODY, ""
        self._has_all = self._plants = self._believes = False
        self._report_due = self._applied is not None
        line.send(Hello(VERSION, self._prefix))
        heard = False
        while not self._closing:
            if heard:
                self._say(line)
            bodies = line.wait(None if heard else ANSWER_S)
            for body in bodies:
                heard = True
                self._hear(decoded(body, FROM_MEMBER), line)

    def _say(self, line: Line) -> None:
        if self._report_due and self._applied is not None:
            self._report_due = False
            line.send(Report(self._applied))
        for message in self._calls.take():
            line.send(message)

    def _hear(self, message: FromMember, line: Line) -> None:
        match message:
            case Records():
                self._gather(message)
                if not self._refusal:
                    self._judge(line)
            case StateChanged(state):
                self._said = state
                self._judge(line)
            case Planted(error, hint):
                self._plants, self._believes, self._refusal = False, not error, ""
                if error:
                    what = "the member of this host does not take what this process has"
                    self._refusal = self._complaint(what, KVGossipError(error, hint))
                self._tell_said()
            case Written(number, versions):
                self._calls.answered(number, versions)
            case Surveyed(number, survey):
                self._calls.answered(number, survey)
            case Failed(number):
                self._calls.answered(number, error_in(message))
            case Refused(error, hint):
                raise ConfigError(error, hint)

    def _judge(self, line: Line) -> None:
        """See whether the member is believed. One that did not take the seeds is asked again when
        its state is another."""
        if self._said.settled and self._has_all and not (self._believes or self._plants):
            lacking = self._lacking()
            self._plants, self._believes = bool(lacking), not lacking
            if lacking:
                for portion in portions(lacking):
                    line.send(portion)
        self._tell_said()

    def _tell_said(self) -> None:
        said = self._said
        self._tell(
            said._replace(
                role="follower",
                settled=said.settled and self._believes,
                problem=self._refusal or said.problem,
            )
        )

    def _gather(self, message: Records) -> None:
        if message.anew:
            self._part, self._part_is_all = {}, True
        if self._part_is_all:
            merge_into(self._part, message.records)
        else:
            self._part.update((record.key, record) for record in message.records)
        if not message.more:
            self._give()

    def _give(self) -> None:
        """What has come is whole."""
        part, is_all = self._part, self._part_is_all
        self._part, self._part_is_all = {}, False
        assert self._sink is not None
        if is_all:
            self._sink.replaced(list(part.values()), settled=self._said.settled)
            self._has_all = True
            self._came.set()
        elif part:
            self._sink.changed(list(part.values()))

    def _tell(self, state: SourceState) -> None:
        if state != self._state:
            self._state = state
            assert self._sink is not None
            self._sink.state_changed(state)

    # -- waking -----------------------------------------------------------------------------------

    def _call(self, make: Callable[[int], FromFollower]) -> Future[Any]:
        future = self._calls.add(make)
        self._wake()
        return future

    def _wake(self) -> None:
        # full: it will wake anyway
        with suppress(BlockingIOError):
            os.write(self._wakes[1], b"\0")

    def _rest(self, pause_s: float) -> None:
        """Up to a second part of it is chance, so that those who race do not do so in step."""
        chance = int.from_bytes(os.urandom(2)) / 2**16
        waiting = select.poll()
        waiting.register(self._wakes[0], select.POLLIN)
        if waiting.poll(1000 * pause_s * (0.5 + chance / 2)):
            os.read(self._wakes[0], 4096)


class Line:
    """A connection to a member, on the thread of its source. Raises ConfigError where that is
    another user's, and ConnectionError once it has ended."""

    def __init__(self, connection: socket.socket, wake: int) -> None:
        self._connection, self._wake = connection, wake
        self._frames = Frames(FRAME_BYTES_MAX)
        self._out = bytearray()
        self._process: int | None = None
        try:
            self._process = process_of(peer_of(connection))
        except BaseException:
            connection.close()
            raise
        self._poll = select.poll()
        self._poll.register(connection, select.POLLIN)
        for descriptor in (wake, self._process):
            if descriptor is not None:
                self._poll.register(descriptor, select.POLLIN)

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *error: object) -> None:
        self._connection.close()
        if self._process is not None:
            os.close(self._process)

    def send(self, message: FromFollower) -> None:
        """As soon as the member takes it."""
        self._out += framed(message)

    def wait(self, timeout_s: float | None) -> Iterator[bytes]:
        """The messages that have come, perhaps none, once something has happened. Raises
        TimeoutError."""
        own = self._connection.fileno()
        self._poll.modify(own, select.POLLIN | (select.POLLOUT if self._out else 0))
        ready = dict(self._poll.poll(None if timeout_s is None else 1000 * timeout_s))
        if not ready:
            raise TimeoutError(f"it has not answered within {timeout_s} s")
        if self._wake in ready:
            os.read(self._wake, 4096)
        if ready.get(own, 0) & select.POLLOUT:
            self._flush()
        if ready.get(own, 0) & ~select.POLLOUT:
            data = self._connection.recv(READ_BYTES)
            if not data:
                raise ConnectionError("it has closed the connection")
            return self._frames.feed(data)
        if self._process in ready:
            # with what it had sent read before
            raise ConnectionError("its process has ended")
        return iter(())

    def _flush(self) -> None:
        try:
            sent = self._connection.send(self._out)
            del self._out[:sent]
        except BrokenPipeError:
            # what it said last is still to be read
            self._out.clear()
