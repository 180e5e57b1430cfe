"""Driver: one life of a Replica on real clocks and sockets. The shell decides nothing.

Every input takes the same way: read the clocks, hand the input to the replica, perform its effects
in their order, see to the timer.

    put, delete, join, ... --+                  +--> Send                     --> transport
    transport -------------->+--> Replica ------+--> Changed                  --> disk, publisher
    the timer -------------->+                  +--> Resolve                  --> DNS, and back
    DNS -------------------->+                  +--> Persist, Dropped, ...    --> disk
                                                +--> Settled, Joined, ...     --> callers
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kvgossip.config import Address, Config, parse_address
from kvgossip.errors import ConfigError, OverloadedError
from kvgossip.protocol.effect import (
    Dropped,
    Effect,
    Exchanged,
    Expired,
    JoinRefused,
    KeyringChanged,
    Log,
    MemberChanged,
    Quarantined,
    Resolve,
    Revived,
    Rewritten,
    Send,
)
from kvgossip.protocol.model.change import Changed, Conflict, Persist
from kvgossip.protocol.model.member import MemberState
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.model.peer import PoolKind
from kvgossip.protocol.model.plain_text import plain
from kvgossip.protocol.replica import Replica
from kvgossip.protocol.wire.keyring import key_id
from kvgossip.runtime.changes.publisher import Publisher
from kvgossip.runtime.clocks import read_clocks
from kvgossip.runtime.disk.compaction import Compaction
from kvgossip.runtime.disk.key_files import keep_keys, read_keys
from kvgossip.runtime.disk.quarantine import Quarantine
from kvgossip.runtime.network.transport import Transport
from kvgossip.runtime.pending.callers import Callers
from kvgossip.runtime.pending.join_attempt import DEFAULT_PORTS
from kvgossip.runtime.pending.join_log import JoinLog
from kvgossip.runtime.pending.member_log import MemberLog

if TYPE_CHECKING:
    from kvgossip.runtime.disk.group_commit import GroupCommit

# uvloop counts in milliseconds: a timer that fires that much early would have to be set again
TIMER_STEP_S = 0.001
AFTER_A_BUG_S = 1.0
LINK_BYTES_WAITING_MAX = 64 * 2**20
LOAD_LOOK_S = 0.1
"""All links are looked at no more often than this."""

log = logging.getLogger("kvgossip")


class Driver:
    """`transports` are bound, one for each pool, and their callbacks are this driver's `on_...` for
    that pool. `commits`: None without a disk; then nothing is kept, but for a quarantine in
    memory. `clocks` are read for every input."""

    def __init__(
        self,
        config: Config,
        replica: Replica,
        transports: Mapping[PoolKind, Transport],
        publisher: Publisher,
        *,
        commits: GroupCommit | None,
        quarantine: Quarantine,
        compaction: Compaction,
        clocks: Callable[[], Now] = read_clocks,
    ) -> None:
        self.replica, self.publisher, self.clocks = replica, publisher, clocks
        self.commits, self.quarantine, self.compaction = commits, quarantine, compaction
        if commits is not None:
            commits.on_fault = self._disk_fault_changed
        self.callers = Callers(replica, self.submit)
        #: how often a member came to each state, by pool and state
        self.member_events: Counter[tuple[PoolKind, str]] = Counter()
        self.closed = False
        self._name, self._transports = config.name, transports
        self._keyring_file = config.keyring if isinstance(config.keyring, str) else ""
        self._loop = asyncio.get_running_loop()
        #: names of join targets that are being looked up
        self._lookups: set[asyncio.Task[None]] = set()
        self._join_log, self._member_log = JoinLog(self._log), MemberLog(self._log)
        self._timer: asyncio.Handle | None = None
        #: the time at which the timer fires, monotonic seconds
        self._tick_s = math.inf
        #: true if `_look` is going to be called in this turn of the event loop
        self._looks = False
        #: the bytes that waited on all links, and the time at which they were counted
        self._link_bytes_waiting, self._load_seen_s = 0, -math.inf
        self._effects: Mapping[type[Effect], Callable[[Any], object]] = {
            **self.callers.effects,
            Resolve: self._resolve,
            JoinRefused: self._join_refused,
            MemberChanged: self._member_changed,
            Exchanged: self._exchanged,
            Dropped: self._dropped,
            Quarantined: self._quarantined,
            Expired: lambda effect: self.publisher.publish(effect.change, self.clocks()),
            Revived: lambda effect: self.publisher.publish(effect.change, self.clocks()),
            Conflict: lambda effect: self.publisher.conflict(effect, self.clocks()),
            Persist: self._persist,
            Rewritten: self._persist,
            KeyringChanged: self._keyring_changed,
            Log: lambda effect: self._log(logging.getLevelName(effect.level), effect.text),
        }

    def submit(self, given: Callable[[Now], Sequence[Effect]]) -> None:
        """An input of the replica, which needs but the time: hand it in, and perform its effects.
        Raises as the replica does."""
        now = self.clocks()
        self.do(given(now), now)

    def do(self, effects: Sequence[Effect], now: Now) -> None:
        """Perform the effects of an input, in their order; then see to the timer."""
        # what one input changes appears together
        self.publisher.feed.input += 1
        for effect in effects:
            if isinstance(effect, Changed):
                self.publisher.publish(effect, now)
                if self.commits is not None:
                    self.commits.changed(effect)
            elif isinstance(effect, Send):
                self._transports[effect.pool].send(
                    effect.to, effect.data, effect.reliable, effect.fresh
                )
            else:
                self._effects[type(effect)](effect)
        # once a turn, after all of its writes: so they share packets, and one look at what is due
        if not self._looks and self._tick_s > now.monotonic_s:
            self._looks = True
            self._loop.call_soon(self._look)

    def check_load(self, now: Now) -> None:
        """Raises StorageError while the disk takes nothing, OverloadedError while so much waits,
        for it or for peers, that a write may not be made. One slow peer is given up long before
        (see link_table.py): this is about many of them, or the network."""
        if self.commits is not None:
            self.commits.check()
        if now.monotonic_s - self._load_seen_s >= LOAD_LOOK_S:
            self._load_seen_s = now.monotonic_s
            self._link_bytes_waiting = sum(
                transport.waiting_bytes for transport in self._transports.values()
            )
        if self._link_bytes_waiting > LINK_BYTES_WAITING_MAX:
            raise OverloadedError(
                f"{self._link_bytes_waiting} bytes wait for peers of this node",
                "write again in a moment, or more slowly",
            )

    async def close(self) -> None:
        """No input and no effect from now on; all that wait for something have an error."""
        self.closed = True
        self.publisher.close()
        self.callers.close()
        if self._timer is not None:
            self._timer.cancel()
        lookups = list(self._lookups)
        for task in lookups:
            task.cancel()
        await asyncio.gather(*lookups, return_exceptions=True)

    # -- inputs -----------------------------------------------------------------------------------

    def on_datagram(self, pool: PoolKind, data: bytes, source: Address) -> None:
        if not self.closed:
            now = self.clocks()
            self.do(self.replica.receive(data, source, now, pool), now)

    def on_frame(self, pool: PoolKind, data: bytes, source: Address, here: str) -> bool:
        """True if it could be opened: its sender is of this cluster and pool, and has the key."""
        if self.closed:
            return False
        now = self.clocks()
        effects = self.replica.receive(data, source, now, pool, reliable=True, here=here)
        opened = self.replica.in_pool(pool).gate.has_opened
        self.do(effects, now)
        return opened

    def opener(self, pool: PoolKind) -> bytes:
        """A short frame that says nothing, but that its sender is of this cluster and pool."""
        return self.replica.in_pool(pool).gate.framing.frame([], reliable=True)

    def on_unreachable(self, pool: PoolKind, address: Address) -> None:
        if not self.closed:
            now = self.clocks()
            self.do(self.replica.unreachable(address, now, pool), now)

    # -- the timer --------------------------------------------------------------------------------

    def _look(self) -> None:
        """See to the timer; tick at once where something is due."""
        self._looks = False
        now = self.clocks()
        try:
            deadline_s = self.replica.deadline()
            if deadline_s is not None and deadline_s <= now.monotonic_s:
                self._tick(now)
            else:
                self._set_timer(deadline_s, now)
        except Exception:
            # one mistake must not silence a node for ever, nor make it repeat the mistake at full
            # speed
            log.exception("%s: a bug of kvgossip; the node goes on", self._name)
            self._set_timer(now.monotonic_s + AFTER_A_BUG_S, now)

    def _tick(self, now: Now) -> None:
        if not self.closed:
            if self._timer is not None:
                self._timer.cancel()
            self._timer, self._tick_s = None, math.inf
            self.do(self.replica.tick(now), now)

    def _set_timer(self, deadline_s: float | None, now: Now) -> None:
        """One timer. A look that comes early does nothing, so a timer that is early enough stays as
        it is."""
        if deadline_s is None or deadline_s >= self._tick_s or self.closed:
            return
        if self._timer is not None:
            self._timer.cancel()
        delay_s = max(deadline_s - now.monotonic_s, TIMER_STEP_S)
        self._timer, self._tick_s = self._loop.call_later(delay_s, self._wake), deadline_s

    def _wake(self) -> None:
        self._timer, self._tick_s = None, math.inf
        self._look()

    def reload_keyring(self) -> list[str]:
        """Take the keys that the keyring file has now; returns their ids, none where there is no
        such file. Raises ConfigError, and then nothing has changed."""
        if not self._keyring_file:
            return []
        keys = read_keys(self._keyring_file).keys
        self.submit(lambda now: self.replica.keyring_kept("", now, keys))
        return [key_id(key) for key in keys]

    # -- effects ----------------------------------------------------------------------------------

    def _persist(self, effect: Persist | Rewritten) -> None:
        if self.commits is not None:
            self.commits.take(effect)

    def _disk_fault_changed(self, fault: str) -> None:
        """Why the disk takes nothing; empty: it does."""
        self.replica.disk.fault = fault

    def _dropped(self, effect: Dropped) -> None:
        self.publisher.dropped(effect)
        if self.commits is not None:
            self.commits.take(effect)
        self.compaction.removed()

    def _quarantined(self, effect: Quarantined) -> None:
        if self.commits is not None:
            self.commits.take(effect)
        else:
            self.quarantine.add(effect)
        self.publisher.publish(effect.change, self.clocks())

    def _exchanged(self, effect: Exchanged) -> None:
        self.publisher.events.exchanged(effect, self.clocks())
        self.callers.exchanged(effect)

    def _resolve(self, effect: Resolve) -> None:
        task = self._loop.create_task(self._look_up(effect.target, effect.pool))
        self._lookups.add(task)
        task.add_done_callback(self._lookups.discard)

    async def _look_up(self, target: str, pool: PoolKind) -> None:
        try:
            host, port = parse_address(target, DEFAULT_PORTS[pool])
        except ConfigError:
            found = []
        else:
            found = await self._transports[pool].look_up(host, port)
        self.callers.resolved(target, found, pool)
        if not found and not self.closed:
            self._join_log.unresolved(target, self.clocks().monotonic_s)
        self.submit(lambda now: self.replica.resolved(target, found, now, pool))

    def _join_refused(self, effect: JoinRefused) -> None:
        # an operator who waits has the text; of the joins that the node makes by itself the log
        # tells
        if not self.callers.refused(effect) and not effect.logged:
            self._join_log.failed(str(effect.source), effect.text, self.clocks().monotonic_s)

    def _keyring_changed(self, effect: KeyringChanged) -> None:
        """Keep the keys for the next life. A problem stands beside this node's keys in every
        list."""
        problem = keep_keys(self._keyring_file, effect.keys)
        self.submit(lambda now: self.replica.keyring_kept(problem, now))
        self._log(
            logging.INFO,
            f"the keyring has changed: {', '.join(map(key_id, effect.keys))}, and the first of "
            "them seals",
        )
        if problem:
            self._log(logging.WARNING, problem)

    def _member_changed(self, effect: MemberChanged) -> None:
        old, new = effect.old, effect.new
        self.publisher.member_changed(effect, self.clocks())
        where = " in the WAN pool" if effect.pool is PoolKind.WAN else ""
        if new is None:
            self.member_events[effect.pool, "forgotten"] += 1
            text, level = f"forgot the member {old.name if old else '?'}{where}", logging.INFO
        elif old is None or old.state != new.state:
            self.member_events[effect.pool, new.state.name.lower()] += 1
            level = logging.WARNING if new.state is MemberState.DEAD else logging.INFO
            text = f"{new.name} at {new.address} is {new.state.name.lower()}{where}"
        else:
            return
        self._member_log.tell(level, text, self.clocks().monotonic_s)

    def _log(self, level: int, text: str) -> None:
        # a line is one line, whatever it repeats of others
        log.log(level, "%s: %s", self._name, plain(text))
