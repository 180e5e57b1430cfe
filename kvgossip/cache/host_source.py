"""HostSource: one member a host, and the other processes follow it.

Whoever gets the seat (seat.py) opens a member, and serves the others beside it (followers.py). Who
does not get it follows (socket_source.py), and tries for the seat whenever its line breaks: the
kernel frees it however the member ended. One of them gets it, and the others follow that one.

Laws
- A process has one source at a time; its cache keeps its values from one to the next (keeping.py).
- Who takes over gives its node what its cache has, with the versions, so that values outlast a
  member that had them in memory alone; and so does who follows it, with what it still lacks
  (keeping.py). Until the node has taken that, nobody believes that it has settled.
- What waits to be written goes to the next source. What was sent, and not answered, has failed.
- A process that cannot take over - its disk fails, its address is taken - gives the seat back, says
  why, and follows whoever can.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from kvgossip.cache import forks
from kvgossip.cache.calls import Call
from kvgossip.cache.keeping import Keeping
from kvgossip.cache.line import Ask, Write
from kvgossip.cache.seat import Seat
from kvgossip.cache.socket_source import NOBODY, SocketSource
from kvgossip.cache.source import Applied, Record, Sink, Source, SourceState, Survey
from kvgossip.errors import ConfigError, KVGossipError

if TYPE_CHECKING:
    from kvgossip.cache.followers import Followers, ServedMember
    from kvgossip.protocol.model.write import Writing

PLANT_AGAIN_S = 1.0
"""So often a node that does not take what its process has is asked again."""

log = logging.getLogger("kvgossip")


class HostSource:
    """A Source of all that is under `prefix`. `folder`: where the processes of this host meet
    (seat_folder). `make_member` makes the member, which is not open yet: called where this process
    is to be it, for only then is a node imported."""

    def __init__(self, folder: str, prefix: str, make_member: Callable[[], ServedMember]) -> None:
        self.orphaned = False
        self._seat, self._prefix, self._make_member = Seat(folder), prefix, make_member
        self._keeping: Keeping | None = None
        #: held for a moment, while the source of this process becomes another one
        self._lock = threading.Lock()
        self._line = SocketSource(self._seat, prefix, self._take_over, self._lacking)
        self._reign: Reign | None = None
        self._applied: Applied | None = None
        forks.watch(self)

    # -- a source ---------------------------------------------------------------------------------

    def open(self, sink: Sink) -> None:
        self._keeping = keeping = Keeping(sink)
        self._reign = self._begin_reign()
        if self._reign is None:
            self._line.open(keeping)

    def close(self) -> None:
        if self.orphaned:
            return
        # its thread may be about to take over
        self._line.close()
        if self._reign is not None:
            self._reign.end()

    def write(self, writes: Sequence[Writing]) -> Future[tuple[str, ...]]:
        with self._lock:
            return self._source.write(writes)

    def report(self, applied: Applied) -> None:
        with self._lock:
            self._applied = applied
            self._source.report(applied)

    def survey(self, prefix: str, timeout_s: float) -> Future[Survey]:
        with self._lock:
            return self._source.survey(prefix, timeout_s)

    @property
    def _source(self) -> Source:
        return self._line if self._reign is None else self._reign.member

    # -- who is the member ------------------------------------------------------------------------

    def _begin_reign(self) -> Reign | None:
        """None where another process is the member. Raises ConfigError, DataDirError."""
        assert self._keeping is not None
        if not self._seat.take():
            return None
        keeping = self._keeping
        try:
            return Reign(self._seat, self._make_member(), self._prefix, keeping, keeping.seeds())
        except BaseException:
            self._seat.release()
            raise

    def _lacking(self) -> Sequence[Record]:
        assert self._keeping is not None
        return self._keeping.lacking()

    def _take_over(self) -> bool:
        """Whether this process is the member from now on. On the thread of the line; raises as
        `open`."""
        reign = self._begin_reign()
        if reign is None:
            return False
        log.info("this process is the member of its host now: the one before has ended")
        with self._lock:
            self._reign = reign
            if self._applied is not None:
                reign.member.report(self._applied)
        for call in self._line.unsent():
            _hand_on(call, reign.member)
        return True


class Reign:
    """The time for which this process is the member, and has the seat. It is the sink of the
    member, so that the followers hear of its state too. `seeds`: what the node shall know. Raises
    as `Source.open`."""

    def __init__(
        self, seat: Seat, member: ServedMember, prefix: str, sink: Sink, seeds: Sequence[Record]
    ) -> None:
        self._seat, self.member, self._prefix, self._sink = seat, member, prefix, sink
        self._state = NOBODY._replace(role="member")
        #: true until the node knows the seeds: before that it is not believed; and why it does not
        self._doubted, self._refusal = bool(seeds), ""
        self._followers: Followers | None = None
        member.open(self)
        try:
            if seeds:
                self._plant(seeds)
            self._serve()
        except BaseException:
            member.close()
            raise

    def end(self) -> None:
        """Let the followers go, then leave the cluster, then let another process be the member."""
        followers, self._followers = self._followers, None
        try:
            if followers is not None:
                followers.end()
            self.member.close()
        finally:
            self._seat.release()

    def replaced(self, records: Sequence[Record], *, settled: bool = False) -> None:
        self._sink.replaced(records, settled=settled and not self._doubted)

    def changed(self, records: Sequence[Record]) -> None:
        self._sink.changed(records)

    def state_changed(self, state: SourceState) -> None:
        self._state = state
        self._tell()

    def records(self) -> Mapping[str, Record]:
        return self._sink.records()

    def _tell(self) -> None:
        state = self._shown
        self._sink.state_changed(state)
        if (followers := self._followers) is not None:
            # the loop of a member that is being closed may have ended
            with suppress(RuntimeError):
                self.member.loop.call_soon_threadsafe(followers.state_changed, state)

    @property
    def _shown(self) -> SourceState:
        if not self._doubted:
            return self._state
        return self._state._replace(settled=False, problem=self._refusal or self._state.problem)

    def _plant(self, seeds: Sequence[Record]) -> None:
        """Returns once the node knows the seeds, or has refused them, and is asked again."""
        from asyncio import run_coroutine_threadsafe, sleep

        from kvgossip.cache.record_bytes import all_records, plant

        async def try_it() -> bool:
            try:
                await plant(self.member.node, seeds)
            except KVGossipError as error:
                refusal = f"the node does not take what this process has: {error}; {error.hint}"
                if refusal != self._refusal:
                    self._refusal = refusal
                    log.warning(refusal)
                    self._tell()
                return False
            self._doubted = False
            if self._state.settled:
                # so early that the sink may not have the seeds
                records = all_records(self.member.node, self._prefix)
                self._sink.replaced(records, settled=True)
            self._tell()
            return True

        async def try_again() -> None:
            await sleep(PLANT_AGAIN_S)
            while not await try_it():  # noqa: ASYNC110 - nobody sets an event
                await sleep(PLANT_AGAIN_S)

        if not run_coroutine_threadsafe(try_it(), self.member.loop).result():
            run_coroutine_threadsafe(try_again(), self.member.loop)

    def _serve(self) -> None:
        from kvgossip.cache.followers import Followers

        try:
            listener = self._seat.listen()
        except OSError as error:
            raise ConfigError(
                f"no socket can be made in {self._seat.folder}: {error.strerror or error}",
                "choose another data_dir, on a file system with sockets",
            ) from error
        self._followers = followers = Followers.begin(self.member, listener, self._shown)
        # what it became meanwhile: looked up on the loop, where nothing newer can come before it
        self.member.loop.call_soon_threadsafe(lambda: followers.state_changed(self._shown))


def _hand_on(call: Call, member: Source) -> None:
    """Let the member answer a call that waited for one."""
    from kvgossip.protocol.model.write import Writing

    if not call.future.set_running_or_notify_cancel():
        return
    future: Future[Any]
    match call.make(0):
        case Write(_, writes):
            future = member.write([Writing(*each) for each in writes])
        case Ask(_, prefix, timeout_s):
            future = member.survey(prefix, timeout_s)
        case message:
            raise AssertionError(f"{message} has no answer")
    future.add_done_callback(partial(_copy, call.future))


def _copy(to: Future[Any], answer: Future[Any]) -> None:
    error = answer.exception()
    if error is None:
        to.set_result(answer.result())
    else:
        to.set_exception(error)
