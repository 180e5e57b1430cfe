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
After a crash in this state they are fetched from peers again, as after any absence. A commit that
the disk has not answered for `timeout_s` is such a fault too: the disk hangs. What it was given may
be there, or not; when it answers after all, writes are taken again.

On which thread? The loop never waits for the disk longer than INLINE_S_MAX. A thread does each
commit (commit_thread.py), since no measurement of the past says whether the next one hangs. But to
hear of its end by the loop costs more than a good disk takes, 0.1 to 1 ms: the thread that returns
from the disk has to wait for the interpreter's lock, up to 5 ms under load. So the loop waits for
the thread itself, which leaves the lock free, as long as that was soon enough the last time; after
a commit that was not, it goes on at once for a while, longer each time.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping

from kvgossip.errors import DiskHangsError, OverloadedError, StorageError
from kvgossip.protocol.effect import Dropped, Quarantined, Rewritten
from kvgossip.protocol.model.change import Changed, Persist
from kvgossip.protocol.model.histogram import Histogram
from kvgossip.runtime.disk.commit_thread import Commit, CommitThread
from kvgossip.runtime.disk.quarantine import QUARANTINE, Quarantine
from kvgossip.runtime.disk.rocksdb import ENTRY, FACT, RocksDB

INLINE_S_MAX = 0.002
INLINE_BYTES_MAX = 256 * 1024
"""The loop waits itself for no commit that is larger."""
PAUSE_S, PAUSE_S_MAX = 0.05, 60.0
"""After a commit that took too long the loop waits itself for none, for so long."""
MEAN_WEIGHT = 0.1
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

Durable = Changed | Rewritten | Dropped | Quarantined | Persist

log = logging.getLogger("kvgossip")


class GroupCommit:
    """Between `start` and `close`, on the thread of the event loop that made it. `checkpoint()`
    gives the facts for a commit. `timeout_s`: a disk that has not answered for so long hangs.

    `times` are those that the commits took. `fault` is why the disk takes nothing, None while all
    is well; `on_fault(text)` is called when it changes, with no text when all is well again.
    """

    def __init__(
        self,
        storage: RocksDB,
        quarantine: Quarantine,
        checkpoint: Callable[[], list[Persist]],
        title: str,
        timeout_s: float,
    ) -> None:
        self.fault: StorageError | None = None
        self.on_fault: Callable[[str], object] = lambda text: None
        self._storage, self._quarantine, self._checkpoint, self._title = (
            storage,
            quarantine,
            checkpoint,
            title,
        )
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        self._thread = CommitThread(storage.commit, self._ended)
        #: changes that gather for the next commit, and their size
        self._batch: dict[bytes, bytes | None] = {}
        self._batch_bytes = 0
        #: callers that wait for the next commit
        self._waiters: list[asyncio.Future[None]] = []
        #: callers that wait for the commit that the disk is at
        self._flying: list[asyncio.Future[None]] = []
        #: the next commit, where one is due
        self._due: asyncio.Handle | None = None
        #: true if it is due only for changes that nobody waits for
        self._lingers = False
        #: the commit that the disk is at, when it began, and what is done where it takes too long
        self._commit: Commit | None = None
        self._begun_s = 0.0
        self._watchdog: asyncio.Handle | None = None
        #: the mean of the commits' times
        self._mean_s = 0.0
        #: when the loop waits itself again, and how long it does not after the next late one
        self._inline_s, self._pause_s = 0.0, PAUSE_S
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
        elif isinstance(effect, Rewritten):
            self._put(ENTRY + effect.key.encode(), effect.record)
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
        if self._due is None and self._commit is None:
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
        if self.fault is not None and self.hangs:
            waiter.set_exception(_not_durable(self.fault))
        elif self._batch:
            self._waiters.append(waiter)
            if self._lingers and self._due is not None:
                self._due.cancel()
                # in a later turn: by then every request that arrived in this one has had its say
                self._lingers, self._due = (
                    False,
                    self._loop.call_soon(self._gather, 0, GATHER_TURNS_MAX),
                )
        elif self._commit is not None:
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
        if self._commit is not None or not self._batch:
            return
        for fact in self._checkpoint():
            self._batch[FACT + fact.key] = fact.value
        self._commit = commit = Commit(self._batch, self._batch_bytes)
        self._batch, self._batch_bytes = {}, 0
        self._flying, self._waiters = self._waiters, []
        self._begun_s = time.monotonic()
        self._thread.begin(commit)
        if self._is_quick(commit.batch_bytes) and self._is_in_time(commit):
            self._returned(commit)
        elif commit.tell():
            self._ended(commit)
        else:
            self._watchdog = self._loop.call_later(self._timeout_s, self._hangs)

    def _is_quick(self, batch_bytes: int) -> bool:
        """True if the loop itself waits for this one."""
        if batch_bytes > INLINE_BYTES_MAX or self.fault is not None:
            return False
        return self._begun_s >= self._inline_s

    def _is_in_time(self, commit: Commit) -> bool:
        """Wait for it a moment; true if it has ended."""
        if commit.wait(INLINE_S_MAX):
            self._pause_s = PAUSE_S
            self.counters["commits_inline"] += 1
            return True
        self._inline_s = self._begun_s + INLINE_S_MAX + self._pause_s
        self._pause_s = min(2 * self._pause_s, PAUSE_S_MAX)
        return False

    def _hangs(self) -> None:
        self._watchdog = None
        self._fail(
            DiskHangsError(
                f"the disk hangs: it has not answered for {self._timeout_s:g} s",
                "see to the disk; the node goes on by itself when it answers, and answers reads "
                "meanwhile",
            )
        )

    @property
    def hangs(self) -> bool:
        """True while the disk does not answer."""
        return isinstance(self.fault, DiskHangsError)

    def _ended(self, commit: Commit) -> None:
        """The thread says so; twice, where the loop has seen it by itself."""
        if commit is not self._commit:
            return
        if self._watchdog is not None:
            self._watchdog.cancel()
            self._watchdog = None
        self._returned(commit)
        if self._batch and self._due is None:
            if self._waiters:
                self._begin()
            else:
                self._linger()

    def _returned(self, commit: Commit) -> None:
        self._commit = None
        if commit.error is not None:
            self._failed(commit, commit.error)
        else:
            self._succeeded(len(commit.batch), commit.took_s)

    def _succeeded(self, changes: int, took_s: float) -> None:
        self.times.observe(took_s)
        self._mean_s += MEAN_WEIGHT * (took_s - self._mean_s)
        self.counters["commits"] += 1
        self.counters["changes_committed"] += changes
        if self.fault is not None:
            self.fault = None
            log.warning("%s: the disk takes writes again", self._title)
            self.on_fault("")
        flying, self._flying = self._flying, []
        for waiter in flying:
            if not waiter.done():
                waiter.set_result(None)

    def _failed(self, commit: Commit, error: BaseException) -> None:
        """Keep it under the changes that came since, fail those who wait, try again later."""
        self.counters["commits_failed"] += 1
        self._batch = {**commit.batch, **self._batch}
        self._batch_bytes += commit.batch_bytes
        self._fail(
            error
            if isinstance(error, StorageError)
            else StorageError(f"a commit failed: {error!r}", "this is a bug of kvgossip")
        )
        if self._due is not None:
            self._due.cancel()
        self._lingers, self._due = False, self._loop.call_later(RETRY_S, self._begin)

    def _fail(self, fault: StorageError) -> None:
        """Fail all who wait, and refuse writes from now on."""
        before, self.fault = self.fault, fault
        if type(before) is not type(fault):
            log.error("%s: %s; writes are refused until it takes them again", self._title, fault)
        if str(before) != str(fault):
            self.on_fault(str(fault))
        failed, self._flying, self._waiters = [*self._flying, *self._waiters], [], []
        for waiter in failed:
            if not waiter.done():
                waiter.set_exception(_not_durable(fault))

    # -- the end ----------------------------------------------------------------------------------

    async def close(self) -> None:
        """A last commit of the changes that wait; then the storage may be closed, but where the
        disk hangs."""
        if self._batch or self._commit is not None:
            try:
                await self._flush()
            except StorageError as error:
                log.error("%s: what came last is not on the disk: %s", self._title, error)
        for timer in (self._due, self._watchdog):
            if timer is not None:
                timer.cancel()
        self._thread.close()

    async def _flush(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None
        waiter = self.durable()
        self._begin()
        await waiter

    def statistics(self) -> Mapping[str, int | float]:
        """Counters since the start. `sync_ms` is the mean time of the last commits, `commit_age_s`
        that of the one that the disk is at, 0 where it is at none."""
        age_s = 0.0 if self._commit is None else time.monotonic() - self._begun_s
        return {
            **self.counters,
            "changes_waiting": len(self._batch),
            "sync_ms": round(1000 * self._mean_s, 3),
            "commit_age_s": round(age_s, 3),
        }


def _not_durable(fault: StorageError) -> StorageError:
    """For a write that was made and could not be kept here."""
    hint = (
        "it is in memory here, and peers may have it: write it again when the disk takes "
        "writes, or on another node"
    )
    return type(fault)(f"the write is not on the disk: {fault}", hint)
