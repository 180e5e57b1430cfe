"""Driver: one life of a Replica on real clocks and sockets. The shell decides nothing.

Every input takes the same way: read the clocks, hand the input to the replica, perform its effects
in their order, see to the timer.

    put, delete, join, ... --+                  +--> Send                      --> transport
    transport -------------->+--> Replica ------+--> Changed                   --> disk, feed -->
    watches
    the timer -------------->+                  +--> Resolve                   --> DNS -->
                                                Replica.resolved
    DNS -------------------->+                  +--> Persist, Dropped, ...     --> disk
                                                +--> Settled, Joined, Departed --> whoever waits for
                                                it
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import TYPE_CHECKING, Any

from kvgossip.config import GOSSIP_PORT, WAN_PORT, Address, Config, parse_address
from kvgossip.errors import ConfigError, KVGossipError, LocalError, OverloadedError
from kvgossip.protocol.acks.write_concern import WriteConcern
from kvgossip.protocol.effect import (
    AckReceived,
    Departed,
    DoctorReport,
    Dropped,
    Effect,
    Examined,
    Expired,
    Joined,
    JoinRefused,
    KeyringChanged,
    KeyringReported,
    Log,
    MemberChanged,
    Quarantined,
    Resolve,
    Send,
    Settled,
    Surveyed,
    WriteConcernEnded,
)
from kvgossip.protocol.membership.identity import Identity
from kvgossip.protocol.model.change import Changed, Persist
from kvgossip.protocol.model.entry import Entry
from kvgossip.protocol.model.hlc import COUNTER_BITS, timestamp_of
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.model.peer import Peer, PoolKind
from kvgossip.protocol.replica import Replica
from kvgossip.protocol.wire.keyring import Keyring, key_id
from kvgossip.protocol.wire.message import KeyringAction
from kvgossip.runtime.changes.feed import Feed
from kvgossip.runtime.changes.history import History
from kvgossip.runtime.changes.snapshot import Snapshot
from kvgossip.runtime.clocks import read_clocks
from kvgossip.runtime.disk.compaction import Compaction
from kvgossip.runtime.disk.key_files import write_keys
from kvgossip.runtime.disk.quarantine import Quarantine
from kvgossip.runtime.network.transport import Transport
from kvgossip.runtime.pending.join_attempt import JoinAttempt
from kvgossip.runtime.pending.survey import Survey
from kvgossip.runtime.pending.version_waits import VersionWaits
from kvgossip.runtime.pending.write_acks import AckedWrite, PendingAcks, Told

if TYPE_CHECKING:
    from kvgossip.runtime.disk.group_commit import GroupCommit

# uvloop counts in milliseconds: a timer that fires that much early would have to be set again
TIMER_STEP_S = 0.001
AFTER_A_BUG_S = 1.0
STOPPED = "the node stopped while it was examining others"
LINK_BYTES_WAITING_MAX = 64 * 2**20
LOAD_LOOK_S = 0.1
"""All links are looked at no more often than this."""
DEFAULT_PORTS = {PoolKind.LAN: GOSSIP_PORT, PoolKind.WAN: WAN_PORT}

log = logging.getLogger("kvgossip")


class Driver:
    """`transports` are bound, one for each pool, and their callbacks are this driver's `on_...` for
    that pool; `addresses` are where peers reach the node, by pool, as Replica takes them.

    `saved` and `rebuilding` are as Replica takes them. `clocks` are read for every input; `rng` is
    seeded by the operating system where none is handed in, so that no two lives are alike.
    `commits` is set by who has a disk; without one nothing is kept, but for a quarantine in memory.
    `settled` and `departed` are set once the replica says so, and both when the driver is closed.
    """

    def __init__(
        self,
        config: Config,
        addresses: Mapping[PoolKind, Address],
        transports: Mapping[PoolKind, Transport],
        keyring: Keyring | None,
        identity: Identity | None,
        *,
        saved: Mapping[bytes, bytes] | None = None,
        rebuilding: bool = False,
        clocks: Callable[[], Now] = read_clocks,
        rng: Random | None = None,
    ) -> None:
        self.clocks = clocks
        now = clocks()
        self.replica = Replica(
            config,
            address=addresses[PoolKind.LAN],
            wan_address=addresses.get(PoolKind.WAN),
            rng=rng or Random(),
            now=now,
            keyring=keyring,
            saved=saved,
            rebuilding=rebuilding,
            identity=identity,
        )
        self.feed = Feed(
            config, self.replica.site, max(self.replica.hlc.latest, timestamp_of(now.wall_ms))
        )
        self.commits: GroupCommit | None = None
        self.quarantine = Quarantine(None)
        self.snapshots: list[Snapshot] = []
        self.settled, self.departed = asyncio.Event(), asyncio.Event()
        self.attempts: set[JoinAttempt] = set()
        self.member_events: Counter[tuple[PoolKind, str]] = Counter()
        self.version_waits = VersionWaits()
        self.history = History(config.history_versions, config.history_bytes_max)
        self.history.name_site(self.replica.site, config.name)
        self.compaction = Compaction(None, lambda: len(self.replica.store), config.name)
        self._waits: dict[int, PendingAcks] = {}
        self._surveys: dict[int, Survey] = {}
        self._rotations: dict[int, asyncio.Future[KeyringReported]] = {}
        self._tickets = itertools.count()
        self._keyring_file = config.keyring if isinstance(config.keyring, str) else ""
        self._name, self._transports = config.name, transports
        self._examinations: dict[tuple[PoolKind, str, str], asyncio.Future[DoctorReport]] = {}
        self._loop = asyncio.get_running_loop()
        self._lookups: set[asyncio.Task[None]] = set()
        self._timer: asyncio.Handle | None = None
        self._tick_s = math.inf
        self._looks = False
        self.closed = False
        self._link_bytes_waiting, self._load_seen_s = 0, -math.inf
        self._performers: dict[type[Effect], Callable[[Any], None]] = {
            Settled: lambda effect: self.settled.set(),
            Departed: lambda effect: self.departed.set(),
            Resolve: self._resolve,
            Joined: self._joined,
            JoinRefused: self._refused,
            MemberChanged: self._member_changed,
            Dropped: self._dropped,
            Quarantined: self._quarantined,
            Expired: lambda effect: self._publish(effect.change, self.clocks()),
            Persist: self._keep,
            KeyringChanged: self._keyring_changed,
            KeyringReported: self._keyring_told,
            AckReceived: lambda effect: self._waits[effect.ticket].held(effect),
            WriteConcernEnded: lambda effect: self._waits[effect.ticket].waited(effect),
            Surveyed: lambda effect: self._surveys[effect.ticket].answered(effect),
            Examined: self._examined,
            Log: lambda effect: self._log(logging.getLevelName(effect.level), effect.text),
        }

    def do(self, effects: Sequence[Effect], now: Now) -> None:
        """Perform the effects of an input, in their order; then see to the timer."""
        for effect in effects:
            if isinstance(effect, Changed):
                self._publish(effect, now)
                if self.commits is not None:
                    self.commits.changed(effect)
                for snapshot in self.snapshots:
                    snapshot.changed(effect.key, effect.old_record)
            elif isinstance(effect, Send):
                self._transports[effect.pool].send(effect.to, effect.data, effect.reliable)
            else:
                self._performers[type(effect)](effect)
        # once a turn, after all of its writes: so they share packets, and one look at what is due
        if not self._looks and self._tick_s > now.monotonic_s:
            self._looks = True
            self._loop.call_soon(self._look)

    def _publish(self, changed: Changed, now: Now) -> None:
        if changed.old_record is not None:
            self.history.changed(changed)
        if self.version_waits:
            self.version_waits.arrived(changed)
        latest = self.replica.hlc.latest
        # a local write has just moved the clock there
        self.feed.publish(
            changed, latest if latest >= now.wall_ms << COUNTER_BITS else timestamp_of(now.wall_ms)
        )

    def pack_past(self) -> bool:
        """A portion of what is kept of the past; whether there is more."""
        more = self.history.tidy()
        if not more:
            self.feed.tidy()
        return more

    def check_load(self, now: Now) -> None:
        """Raises StorageError while the disk takes nothing, OverloadedError while so much waits,
        for it or for peers, that a write may not be made. One slow peer is given up long before
        (see link_table.py): many of them, or the network, are what this is about."""
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
        """No input and no effect from now on; whoever waits for something is told."""
        self.closed = True
        self.feed.close()
        self.version_waits.close()
        for wait in self._waits.values():
            wait.stopped()
        if self._timer is not None:
            self._timer.cancel()
        for attempt in self.attempts:
            attempt.stopped()
        for rotation in [each for each in self._rotations.values() if not each.done()]:
            rotation.set_exception(
                LocalError("the node stopped while keyrings were changed: list them on another one")
            )
        for waiting in self._examinations.values():
            waiting.cancel()
        self.settled.set()
        self.departed.set()
        lookups = list(self._lookups)
        for task in lookups:
            task.cancel()
        await asyncio.gather(*lookups, return_exceptions=True)
        if self.commits is None:
            await self.compaction.close()

    async def rotate(self, action: KeyringAction, key: bytes) -> KeyringReported:
        """An order for the keyrings of the whole cluster, and what came of it. Raises
        KeyringError."""
        now, ticket = self.clocks(), next(self._tickets)
        told: asyncio.Future[KeyringReported] = self._loop.create_future()
        self._rotations[ticket] = told
        try:
            self.do(self.replica.rotate(ticket, action, key, now), now)
            return await told
        finally:
            del self._rotations[ticket]

    async def examine(self, pool: PoolKind, one: str = "", other: str = "") -> DoctorReport:
        """Examine a pool; or let one member look at another one. Who asks for the same at the same
        time shares the answer.

        Raises what the replica does, and LocalError when the node stops meanwhile.
        """
        if self.closed:
            raise LocalError(STOPPED)
        key = (pool, one, other)
        waiting = self._examinations.get(key)
        if waiting is None:
            waiting = self._examinations[key] = self._loop.create_future()
            now = self.clocks()
            try:
                effects = (
                    self.replica.examine(now, pool, one=one, other=other)
                    if one
                    else self.replica.examine(now, pool)
                )
            except BaseException:
                del self._examinations[key]
                raise
            self.do(effects, now)
        try:
            # shielded: who gives up must not take the answer from others
            return await asyncio.shield(waiting)
        except asyncio.CancelledError:
            if not self.closed:
                raise
            raise LocalError(STOPPED) from None

    def begin_wait(
        self, key: str, write_concern: WriteConcern, timeout_s: float, told: Told | None
    ) -> int:
        """Wait for those that shall hold what is under the key now; `end_wait` must follow. Raises
        as Replica.wait."""
        now, ticket = self.clocks(), next(self._tickets)
        self._waits[ticket] = PendingAcks(told)
        try:
            self.do(self.replica.wait(ticket, key, write_concern, timeout_s, now), now)
        except KVGossipError:
            del self._waits[ticket]
            raise
        return ticket

    async def outcome(self, ticket: int, entry: Entry) -> AckedWrite:
        """What came of it. Raises LocalError when the node stops."""
        return await self._waits[ticket].outcome(entry)

    def end_wait(self, ticket: int) -> None:
        del self._waits[ticket]
        if not self.closed:
            now = self.clocks()
            self.do(self.replica.cancel(ticket, now), now)

    async def survey(self, timeout_s: float) -> Mapping[Peer, Surveyed]:
        """What the members say of themselves that answer within this time. Raises
        OverloadedError."""
        now, ticket = self.clocks(), next(self._tickets)
        survey = self._surveys[ticket] = Survey(sum(1 for _ in self.replica.pools.surveyed()))
        try:
            self.do(self.replica.survey(ticket, now), now)
            await survey.complete(timeout_s)
            return survey.answers
        finally:
            del self._surveys[ticket]
            if not self.closed:
                now = self.clocks()
                self.do(self.replica.cancel(ticket, now), now)

    # -- inputs -----------------------------------------------------------------------------------

    def on_datagram(self, pool: PoolKind, data: bytes, source: Address) -> None:
        if not self.closed:
            now = self.clocks()
            self.do(self.replica.receive(data, source, now, pool), now)

    def on_frame(self, pool: PoolKind, data: bytes, source: Address) -> None:
        if not self.closed:
            now = self.clocks()
            self.do(self.replica.receive(data, source, now, pool, reliable=True), now)

    def on_unreachable(self, pool: PoolKind, address: Address) -> None:
        if not self.closed:
            now = self.clocks()
            self.do(self.replica.unreachable(address, now, pool), now)

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

    # -- effects ----------------------------------------------------------------------------------

    def _dropped(self, effect: Dropped) -> None:
        self._keep(effect)
        self.compaction.removed()
        for snapshot in self.snapshots:
            snapshot.changed(effect.key, effect.record)

    def _keep(self, effect: Dropped | Quarantined | Persist) -> None:
        if isinstance(effect, Dropped):
            self.history.dropped(effect)
        if self.commits is not None:
            self.commits.take(effect)
        elif isinstance(effect, Quarantined):
            self.quarantine.add(effect)

    def _quarantined(self, effect: Quarantined) -> None:
        self._keep(effect)
        self._publish(effect.change, self.clocks())

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
        for attempt in self._attempts_of(pool):
            attempt.resolved(target, found)
        now = self.clocks()
        self.do(self.replica.resolved(target, found, now, pool), now)

    def _attempts_of(self, pool: PoolKind) -> list[JoinAttempt]:
        return [attempt for attempt in self.attempts if attempt.pool is pool]

    def _keyring_told(self, effect: KeyringReported) -> None:
        told = self._rotations.get(effect.ticket)
        if told is not None and not told.done():
            told.set_result(effect)

    def _keyring_changed(self, effect: KeyringChanged) -> None:
        """Keep the keys for the next life. What goes wrong is told with this node's keys, wherever
        somebody lists them."""
        problem = ""
        if not self._keyring_file:
            problem = (
                "its keys stand in its configuration: change them there too, or it will "
                "start with the old ones"
            )
        else:
            try:
                write_keys(self._keyring_file, effect.keys)
            except OSError as error:
                problem = (
                    f"cannot write its keyring file {self._keyring_file} "
                    f"({error.strerror}): it will start with the old keys"
                )
        now = self.clocks()
        self.do(self.replica.keyring_kept(problem, now), now)
        self._log(
            logging.INFO,
            f"the keyring has changed: {', '.join(map(key_id, effect.keys))}, and the first of "
            "them seals",
        )
        if problem:
            self._log(logging.WARNING, problem)

    def _examined(self, effect: Examined) -> None:
        waiting = self._examinations.pop((effect.pool, *effect.asked), None)
        if waiting is not None and not waiting.done():
            waiting.set_result(effect.report)

    def _joined(self, effect: Joined) -> None:
        for attempt in self._attempts_of(effect.pool):
            attempt.joined(effect.source)

    def _refused(self, effect: JoinRefused) -> None:
        heard = [
            attempt.refused(effect.source, effect.text)
            for attempt in self._attempts_of(effect.pool)
        ]
        # an operator who waits is told; of the joins that the node makes by itself the log tells
        if not any(heard):
            self._log(logging.INFO, effect.text)

    def _member_changed(self, effect: MemberChanged) -> None:
        old, new = effect.old, effect.new
        self.history.met(effect)
        where = " in the WAN pool" if effect.pool is PoolKind.WAN else ""
        if new is None:
            self.member_events[effect.pool, "forgotten"] += 1
            self._log(logging.INFO, f"forgot the member {old.name if old else '?'}{where}")
        elif old is None or old.state != new.state:
            self.member_events[effect.pool, new.state.name.lower()] += 1
            self._log(
                logging.INFO, f"{new.name} at {new.address} is {new.state.name.lower()}{where}"
            )

    def _log(self, level: int, text: str) -> None:
        log.log(level, "%s: %s", self._name, text)
