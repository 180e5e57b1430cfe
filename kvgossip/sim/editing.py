"""Editing: clients that write to typed keys: counters that only grow, sets, and siblings with the
context of what they read there or read before, perhaps on another node."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from random import Random
from typing import NamedTuple

from kvgossip.errors import BadContextError, ClockAheadError, SiblingsError
from kvgossip.protocol.effect import Effect
from kvgossip.protocol.model.change import Changed
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.typed import edit as edits
from kvgossip.protocol.typed.body import decode
from kvgossip.protocol.typed.edit import Edit
from kvgossip.protocol.typed.typed_record import Seen, context_of
from kvgossip.sim.checks.edits import EditCheck
from kvgossip.sim.checks.violation import require
from kvgossip.sim.deletion import deletion_options
from kvgossip.sim.driver import Driver
from kvgossip.sim.host import Life
from kvgossip.sim.lives import Lives
from kvgossip.sim.scenario import Options
from kvgossip.sim.tracing import Event

KEYS = 3
ELEMENTS = 6
EDITS = 60
KEPT_CHANCE = 0.5


def editing_options(seed: int) -> Options:
    """The meaning of a seed when types are under trial: what it means for deletes, with edits
    beside the writes, but without what takes acknowledged writes from a host that goes on: liars,
    and machines that are set back. In half of the seeds no host loses its disk either: then each
    acknowledged edit is counted at the end."""
    options = deletion_options(seed)
    assert options.intensity is not None
    intensity = replace(options.intensity, stranger_rate=0.0, hostile_rate=0.0, set_back_rate=0.0)
    options = replace(options, intensity=intensity, edits=EDITS)
    if Random(f"{seed} kept").random() >= KEPT_CHANCE:
        return options
    kept = replace(intensity, vanish_share=0.0, wipe_share=0.0, hole_share=0.0)
    return replace(options, intensity=kept, durable=True)


class Wish(NamedTuple):
    """`verb`: of a counter `add`; of a set `insert`, `remove`, `empty`; of siblings `put`,
    `delete`, with the context of a read now, of an earlier one, or with none. `choice` as in
    Write."""

    key: str
    verb: str
    number: int
    context: str
    choice: float


def wishes(count: int, duration_s: float, rng: Random) -> list[tuple[float, Wish]]:
    """So many by their time."""
    every = _each(rng)
    return sorted(
        ((rng.random() * duration_s, next(every)) for _ in range(count)),
        key=lambda timed: timed[0],
    )


def _each(rng: Random) -> Iterator[Wish]:
    number = 0
    while True:
        number += 1
        kind, verbs = rng.choice(
            (
                ("counter", ("add",)),
                ("set", ("insert", "insert", "insert", "remove", "empty")),
                ("siblings", ("put", "put", "put", "delete")),
            )
        )
        key = f"{kind}/{rng.randrange(KEYS)}"
        context = rng.choice(("now", "before", "none"))
        yield Wish(key, rng.choice(verbs), number, context, rng.random())


class Editing:
    def __init__(self, lives: Lives, driver: Driver, check: EditCheck, rng: Random) -> None:
        self._lives, self._driver, self._check, self._rng = lives, driver, check, rng
        #: By key, what clients have read of siblings.
        self._reads: dict[str, list[Seen]] = {}

    def edit(self, wish: Wish) -> None:
        """On one of the running nodes."""
        takers = [life for life in self._lives.running() if life.active and not life.leaving]
        if takers:
            life = takers[int(wish.choice * len(takers))]
            self._driver.turn(life, Event.PUT, wish.key.encode(), self._accept, life, wish)

    def _accept(self, life: Life, wish: Wish, now: Now) -> list[Effect]:
        edit = self._edit_of(life, wish)
        try:
            effects = life.replica.edit(wish.key, edit, now).effects
        except (ClockAheadError, SiblingsError, BadContextError):
            return []
        changes = [effect for effect in effects if type(effect) is Changed]
        require(len(changes) <= 1, "an edit has changed several keys", wish)
        for change in changes:
            amount = wish.number if wish.verb == "add" else 0
            self._check.wrote(change, amount, edit.context)
        return effects

    def _edit_of(self, life: Life, wish: Wish) -> Edit:
        if wish.verb == "add":
            return edits.add(wish.number)
        if wish.verb == "empty":
            return edits.delete("set")
        element = f"e{wish.number % ELEMENTS}"
        if wish.verb == "insert":
            return edits.add_elements([element])
        if wish.verb == "remove":
            return edits.remove_elements([element])
        context = self._context(life, wish)
        if wish.verb == "delete" and context:
            return edits.delete("siblings", context)
        return edits.put_sibling(b"%d" % wish.number, context=context)

    def _context(self, life: Life, wish: Wish) -> Seen | None:
        record, reads = life.replica.store.record(wish.key), self._reads.setdefault(wish.key, [])
        if record is not None:
            reads.append(context_of(decode(record)))
        if not reads or wish.context == "none":
            return None
        return reads[-1] if wish.context == "now" else self._rng.choice(reads)
