"""Clients: they write through the nodes, and hold each replica to its answer."""

from __future__ import annotations

from kvgossip.errors import ClockAheadError
from kvgossip.protocol.effect import Effect
from kvgossip.protocol.model.change import Changed
from kvgossip.protocol.model.entry import is_dead, timestamp_in
from kvgossip.protocol.model.hlc import milliseconds_of
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.model.write import Writing
from kvgossip.sim.checks.batches import Batches
from kvgossip.sim.checks.ledger import Ledger
from kvgossip.sim.checks.oracle import Oracle
from kvgossip.sim.checks.promises import Promises
from kvgossip.sim.checks.violation import require
from kvgossip.sim.driver import Driver
from kvgossip.sim.host import Life
from kvgossip.sim.lives import Lives
from kvgossip.sim.tracing import Event
from kvgossip.sim.workload import Write


class Clients:
    def __init__(
        self,
        lives: Lives,
        driver: Driver,
        ledger: Ledger,
        oracle: Oracle,
        promises: Promises,
        batches: Batches,
        hostile: int | None = None,
    ) -> None:
        self._lives, self._driver = lives, driver
        self._ledger, self._oracle = ledger, oracle
        self._promises, self._batches = promises, batches
        #: The host whose process lies: nobody writes there.
        self._hostile = hostile
        #: Accepted writes: values, and tombstones.
        self.puts = self.deletes = 0

    def write(self, together: list[Write]) -> None:
        """Writes of one turn of the event loop, on one of the running nodes."""
        takers = [
            life
            for life in self._lives.running()
            if life.active and not life.leaving and life.host.number != self._hostile
        ]
        if not takers:
            return
        life = takers[int(together[0].choice * len(takers))]
        batch = self._batches.choose(together, life.replica.config.message_bytes_max)
        if batch:
            keys = "\n".join(write.key for write in batch).encode()
            self._driver.turn(life, Event.BATCH, keys, self.accept, life, batch)
            return
        for write in together:
            event = Event.DELETE if write.value is None else Event.PUT
            self._driver.turn(life, event, write.key.encode(), self.accept, life, write)

    def accept(self, life: Life, what: Write | list[Write], now: Now) -> list[Effect]:
        """Hand a write, or a batch of them, to the replica, and hold it to its answer: the first
        effects are those of the stored entries.

        A node whose clock is ahead of its peers' refuses, and says so.
        """
        try:
            return (
                self._batched(life, what, now)
                if isinstance(what, list)
                else self._written(life, what, now)
            )
        except ClockAheadError:
            return []

    def _batched(self, life: Life, batch: list[Write], now: Now) -> list[Effect]:
        effects = life.replica.batch(
            [Writing(write.key, write.value, ttl_s=write.ttl_s) for write in batch], now
        ).effects
        live = life.witness.live()
        effective = [write for write in batch if write.value is not None or write.key in live]
        changes = [effect for effect in effects if type(effect) is Changed]
        stored = [(change.new.key, change.new.value) for change in changes]
        require(
            stored == [(write.key, write.value) for write in effective],
            "what was stored is not the batch that was written",
            stored,
        )
        for change in changes:
            self._note(life, change, now)
        if len(changes) > 1:
            self._batches.wrote(tuple((change.key, change.new_record) for change in changes))
        if not changes:
            return effects
        return [*effects, *self._promises.begin(life.replica, changes[0], now)]

    def _written(self, life: Life, write: Write, now: Now) -> list[Effect]:
        if write.value is None:
            effects = life.replica.delete(write.key, now).effects
            if write.key not in life.witness.live():
                require(not effects, "a delete of nothing had effects", write.key, effects)
                return effects
        else:
            effects = life.replica.put(write.key, write.value, now, ttl_s=write.ttl_s).effects
        change = effects[0] if effects else None
        assert isinstance(change, Changed), f"the first effect of a write is {change}"
        require(
            change.new.key == write.key and change.new.value == write.value,
            "what was stored is not what was written",
            change.new,
        )
        self._note(life, change, now)
        return [*effects, *self._promises.begin(life.replica, change, now)]

    def _note(self, life: Life, change: Changed, now: Now) -> None:
        """A write that was accepted."""
        drift_ms = life.replica.config.clock_drift_max_s * 1000
        ahead_ms = milliseconds_of(timestamp_in(change.new_record)) - self._lives.true_ms
        own_ms = max(now.wall_ms - self._lives.true_ms, 0)
        require(
            ahead_ms <= max(self._lives.farthest_ms(life), own_ms) + 2 * drift_ms,
            "a write was taken that lies in the future of all others",
            change.key,
            ahead_ms,
        )
        if is_dead(change.new_record):
            self.deletes += 1
        else:
            self.puts += 1
        self._ledger.write(change.key, change.new_record)
        self._oracle.wrote(life.host.number, change.key, change.new_record)
