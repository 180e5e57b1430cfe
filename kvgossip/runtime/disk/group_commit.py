"""GroupCommit: everything that happened since the last commit goes to the disk in one batch, while
the next batch gathers.

    effects --> take --> the batch that gathers --> one atomic commit with fsync --> callers
    that wait for it

Laws (protocol.md section 7)
- A write is acknowledged when the commit that contains it is on the disk. Rumors do not wait: they
  leave while the disk works, so a write that was not acknowledged may still exist, on peers or
  here, as with any store that answers over a network.
- A commit holds whole inputs, in their order, and the facts that are always those of now: the disk
  holds a state that the replica was in.
- A change that nobody waits for, such as one that a peer has sent, waits LINGER_S for company: else
  each rumor would cost every node a sync of its own. A crash in that moment costs an exchange with
  a peer, and no acknowledged write.
- Watchers hear of a change at the merge, before the commit: they see what this node answers to
  reads.
- One commit at a time. The busier the node, the more writes share one: each turn of the loop that
  brings more of them is followed by another one before the commit, up to GATHER_TURNS_MAX. Clients
  that were answered together come back one after the other; to commit with the first of them would
  let the others wait for one sync more.
- A batch holds one record a key, and it is the store's own: however long the disk takes, the batch
  that waits is bounded by the data itself. A caller who writes faster than the disk waits in
  `admit` while more than WAITING_BYTES_MAX wait.

Faults. When a commit fails, those who wait for it have the error, the batch is kept and tried again
each RETRY_S, and until that succeeds writes are refused before they change anything. Changes from
peers are still taken into memory and wait with the rest; `status` says that the node is degraded.
After a crash in this state they are fetched from peers again, as after any absence.

On which thread? A sync on a good disk takes 0.1 to 1 ms, and the hand-over to a thread costs more
than that under load: the thread that returns from the disk has to wait for the interpreter's lock,
up to 5 ms. So while the mean of the syncs is short the loop does it itself. On a slow disk the loop
must go on meanwhile, so a thread does it; as the time measured there contains the wait for the
lock, the loop does one in a while itself to measure, more seldom the slower it was.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

from kvgossip.errors import OverloadedError, StorageError
from kvgossip.protocol.effect import Dropped, Quarantined
from kvgossip.protocol.model.change import Changed, Persist
from kvgossip.runtime.disk.quarantine import QUARANTINE, Quarantine
from kvgossip.runtime.disk.rocksdb import ENTRY, FACT, RocksDB
from kvgossip.runtime.histogram import Histogram

INLINE_S_MAX = 0.001
INLINE_BYTES_MAX = 256 * 1024
MEAN_WEIGHT = 0.1
MEASURE_AFTER_S, MEASURE_AFTER_S_MAX = 1.0, 60.0
WAITING_BYTES_MAX = 64 * 2**20
RETRY_S = 1.0
LINGER_S = 0.02
GATHER_TURNS_MAX = 4
COMMIT_BOUNDS_S = (
    0.0001,
    0.00025,
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    1.0,
    5.0,
)

WriteBatch = dict[bytes, bytes | None]
Durable = Changed | Dropped | Quarantined | Persist

log = logging.getLogger("kvgossip")


class GroupCommit:
    """Between `start` and `close`, on the thread of the event loop that made it. `checkpoint()`
    gives the facts for a commit.

    `times` are those that the commits took. `fault` is why the last commit failed, None while all
    is well.
    """

    def __init__(
        self,
        storage: RocksDB,
        quarantine: Quarantine,
        checkpoint: Callable[[], list[Persist]],
        title: str,
    ) -> None:
        self.fault: StorageError | None = None
        self._storage, self._quarantine, self._checkpoint, self._title = (
            storage,
            quarantine,
            checkpoint,
            title,
        )
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="kvgossip-disk")
        #: changes that gather for the next commit, and their size
        self._batch: WriteBatch = {}
        self._batch_bytes = 0
        #: callers that wait for the next commit
        self._waiters: list[asyncio.Future[None]] = []
        #: callers that wait for the commit that the disk is at
        self._flying: list[asyncio.Future[None]] = []
        #: the next commit, where one is due
        self._due: asyncio.Handle | None = None
        #: true if it is due only for changes that nobody waits for
        self._lingers = False
        #: true while the disk is at a commit
        self._busy = False
        #: the mean of the syncs, and when the loop does one itself again to measure
        self._mean_s = 0.0
        self._measure_after_s = MEASURE_AFTER_S
        self._measure_s = 0.0
        self.counters: Counter[str] = Counter()
        self.times = Histogram(COMMIT_BOUNDS_S)

    async def start(self) -> None:
        """The first commit of this life: nobody shall hear of it before the disk has. Raises
        StorageError."""
        for fact in self._checkpoint():
            self._put(FACT + fact.key, fact.value)
        await self._flush()

    # -- the changes to be kept -------------------------------------------------------------------

    def take(self, effect: Durable) -> None:
        """One effect of an input. All effects of an input are taken in one turn of the event
        loop."""
        if isinstance(effect, Changed):
            self.changed(effect)
        elif isinstance(effect, Dropped):
            self._put(ENTRY + effect.key.encode(), None)
        elif isinstance(effect, Persist):
            self._put(FACT + effect.key, effect.value)
        else:
            number, kept = self._quarantine.add(effect)
            self._put(QUARANTINE + number, kept)

    def changed(self, effect: Changed) -> None:
        """`take` for the most frequent effects."""
        self._put(ENTRY + effect.key.encode(), effect.new_record)

    def remove_quarantined(self, number: bytes) -> None:
        self._put(QUARANTINE + number, None)

    def _put(self, key: bytes, value: bytes | None) -> None:
        self._batch[key] = value
        self._batch_bytes += len(key) + len(value or b"")
        if self._due is None and not self._busy:
            self._linger()

    def _linger(self) -> None:
        self._lingers, self._due = True, self._loop.call_later(LINGER_S, self._begin)

    # -- the callers that wait --------------------------------------------------------------------

    def check(self) -> None:
        """Raises StorageError while the disk takes nothing, OverloadedError while so much waits for
        it that a write may not be made."""
        if self.fault is not None:
            raise self.fault
        if self._batch_bytes >= WAITING_BYTES_MAX:
            raise OverloadedError(
                f"{self._batch_bytes} bytes wait for the disk of this node",
                "write again in a moment, or more slowly",
            )

    async def admit(self) -> None:
        """Returns when a write may be made. Raises StorageError while the disk takes nothing."""
        while True:
            try:
                return self.check()
            except OverloadedError:
                await self.durable()

    def durable(self) -> asyncio.Future[None]:
        """Done when everything taken so far is on the disk. Its exception is StorageError when that
        failed."""
        waiter = self._loop.create_future()
        if self._batch:
            self._waiters.append(waiter)
            if self._lingers and self._due is not None:
                self._due.cancel()
                # in a later turn: by then every request that arrived in this one has had its say
                self._lingers, self._due = (
                    False,
                    self._loop.call_soon(self._gather, 0, GATHER_TURNS_MAX),
                )
        elif self._busy:
            self._flying.append(waiter)
        else:
            waiter.set_result(None)
        return waiter

    # -- one commit -------------------------------------------------------------------------------

    def _gather(self, waiting: int, turns: int) -> None:
        """Begin, unless this turn has brought more callers that wait; `waiting` is how many did
        before it."""
        if turns and len(self._waiters) > waiting:
            self._due = self._loop.call_soon(self._gather, len(self._waiters), turns - 1)
        else:
            self._begin()

    def _begin(self) -> None:
        self._lingers, self._due = False, None
        if self._busy or not self._batch:
            return
        for fact in self._checkpoint():
            self._batch[FACT + fact.key] = fact.value
        batch, batch_bytes = self._batch, self._batch_bytes
        self._batch, self._batch_bytes = {}, 0
        self._flying, self._waiters = self._waiters, []
        if self._is_quick(batch_bytes):
            try:
                took_s = self._storage.commit(batch)
                self._measured(took_s)
            except Exception as error:
                self._failed(batch, batch_bytes, error)
            else:
                self._succeeded(len(batch), took_s)
            return
        self._busy = True
        done = self._loop.run_in_executor(self._thread, self._storage.commit, batch)
        done.add_done_callback(lambda done: self._returned(done, batch, batch_bytes))

    def _is_quick(self, batch_bytes: int) -> bool:
        """True if the loop itself does this one."""
        if batch_bytes > INLINE_BYTES_MAX or self.fault is not None:
            return False
        return self._mean_s < INLINE_S_MAX or time.monotonic() >= self._measure_s

    def _measured(self, took_s: float) -> None:
        """The loop did one, so that this is the time of the disk, and nothing else."""
        self.counters["commits_inline"] += 1
        was_quick = self._mean_s < INLINE_S_MAX
        self._mean_s += MEAN_WEIGHT * (took_s - self._mean_s)
        if not was_quick and took_s < INLINE_S_MAX:
            self._mean_s = took_s
        if self._mean_s < INLINE_S_MAX:
            self._measure_after_s = MEASURE_AFTER_S
        else:
            self._measure_s = time.monotonic() + self._measure_after_s
            self._measure_after_s = min(2 * self._measure_after_s, MEASURE_AFTER_S_MAX)

    def _returned(self, done: asyncio.Future[float], batch: WriteBatch, batch_bytes: int) -> None:
        self._busy = False
        error = done.exception()
        if error is not None:
            self._failed(batch, batch_bytes, error)
        else:
            self._succeeded(len(batch), done.result())
        if self._batch and self._due is None:
            if self._waiters:
                self._begin()
            else:
                self._linger()

    def _succeeded(self, changes: int, took_s: float) -> None:
        self.times.observe(took_s)
        self.counters["commits"] += 1
        self.counters["changes_committed"] += changes
        if self.fault is not None:
            self.fault = None
            log.warning("%s: the disk takes writes again", self._title)
        flying, self._flying = self._flying, []
        for waiter in flying:
            if not waiter.done():
                waiter.set_result(None)

    def _failed(self, batch: WriteBatch, batch_bytes: int, error: BaseException) -> None:
        """Keep it under the changes that came since, fail those who wait, try again later."""
        self.counters["commits_failed"] += 1
        fault = (
            error
            if isinstance(error, StorageError)
            else StorageError(f"a commit failed: {error!r}", "this is a bug of kvgossip")
        )
        if self.fault is None:
            log.error("%s: %s; writes are refused until it takes them again", self._title, fault)
        self.fault = fault
        self._batch = {**batch, **self._batch}
        self._batch_bytes += batch_bytes
        failed, self._flying, self._waiters = [*self._flying, *self._waiters], [], []
        for waiter in failed:
            if not waiter.done():
                waiter.set_exception(_not_durable(fault))
        if self._due is not None:
            self._due.cancel()
        self._lingers, self._due = False, self._loop.call_later(RETRY_S, self._begin)

    # -- the end ----------------------------------------------------------------------------------

    async def close(self) -> None:
        """A last commit of the changes that wait; then the storage may be closed."""
        if self._batch or self._busy:
            try:
                await self._flush()
            except StorageError as error:
                log.error("%s: what peers sent last is not on the disk: %s", self._title, error)
        if self._due is not None:
            self._due.cancel()
        await self._loop.run_in_executor(None, self._thread.shutdown)

    async def _flush(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None
        waiter = self.durable()
        self._begin()
        await waiter

    def statistics(self) -> Mapping[str, int | float]:
        """Counters since the start; `sync_ms` is the time that the disk takes, where the loop has
        measured it."""
        return {
            **self.counters,
            "changes_waiting": len(self._batch),
            "sync_ms": round(1000 * self._mean_s, 3),
        }


def _not_durable(fault: StorageError) -> StorageError:
    """For a write that was made and could not be kept here."""
    hint = (
        "it is in memory here, and peers may have it: write it again when the disk takes "
        "writes, or on another node"
    )
    return type(fault)(f"the write is not on the disk: {fault}", hint)
