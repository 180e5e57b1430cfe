"""EditCheck: typed records against all edits that were acknowledged. It knows nothing of causal
contexts, and joins nothing.

A value is a dot with its payload. An edit brings some, and supersedes those that its writer had,
or its client had seen elsewhere, and that its record has no more. The laws, for every step and for
the end:

- No record holds a value that nobody has written.
- A value leaves a node's record only where some edit has superseded it. (A delete may be covered
  by what was seen later of its site, and has done its work.)
- What has left a node's record, in one of its lives, does not come back to it; but a delete that
  was collected may, and does no harm, and so may what went on another's word, if that is doubted.
- At the end all nodes have exactly the values that no edit has superseded, where all hosts have
  disks that keep what was acknowledged; so a counter counts each acknowledged increment once. But
  where a member was forgotten, what only the context of a client had superseded may be back with
  it: the node that took that write never had it, and has forgotten the write as well.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from kvgossip.protocol.effect import Dropped, Effect, MemberChanged, Quarantined, Rewritten
from kvgossip.protocol.model.change import Changed
from kvgossip.protocol.model.entry import HEAD_BYTES, is_typed, value_offset
from kvgossip.protocol.typed import counter
from kvgossip.protocol.typed.body import decode
from kvgossip.protocol.typed.typed_record import DOT_BYTES, Seen, covers
from kvgossip.sim.checks.violation import require


class EditCheck:
    def __init__(self) -> None:
        #: How many edits were acknowledged.
        self.count = 0
        #: By key, the values that were written, and those that an edit has superseded.
        self._written: dict[str, dict[bytes, None]] = {}
        self._superseded: dict[str, dict[bytes, None]] = {}
        #: Those that a client had seen elsewhere, and the node that took its write had not.
        self._seen_elsewhere: dict[str, dict[bytes, None]] = {}
        #: True if some member was ever forgotten.
        self._one_was_forgotten = False
        #: By key, what was added to it.
        self._added: Counter[str] = Counter()
        #: By life and key, what has left its record.
        self._gone: dict[tuple[str, str], dict[bytes, None]] = {}

    def wrote(self, change: Changed, amount: int, context: Seen | None) -> None:
        """A replica has acknowledged the edit that made this change, added that much, and whose
        client had seen this, perhaps on another node."""
        before, after = _values(change.old_record), _values(change.new_record)
        self.count += 1
        if amount:
            self._added[change.key] += amount
        self._written.setdefault(change.key, {}).update(dict.fromkeys(after))
        gone = dict.fromkeys(value for value in before if value not in after)
        superseded = self._superseded.setdefault(change.key, {})
        superseded.update(gone)
        for value in self._written[change.key] if context else ():
            if value not in after and covers(context or {}, value):
                if value not in superseded:
                    self._seen_elsewhere.setdefault(change.key, {})[value] = None
                superseded[value] = None

    def observe(self, life: str, effects: Sequence[Effect]) -> None:
        """To be called with the effects of every input of this life, after `wrote`. Raises
        BrokenLawError."""
        doubtful: dict[str, None] = {}
        for effect in effects:
            if type(effect) is Changed and is_typed(effect.new_record):
                self._changed(life, effect)
            elif type(effect) is MemberChanged:
                self._one_was_forgotten |= effect.new is None
            elif type(effect) is Rewritten:
                self._is_written(effect.key, _values(effect.record), effect.record)
            elif type(effect) is Quarantined and is_typed(effect.record):
                self._is_superseded(effect.key, _values(effect.record))
                doubtful[effect.key] = None
            elif type(effect) is Dropped and effect.key not in doubtful and is_typed(effect.record):
                self._go(life, effect.key, _values(effect.record))

    def _changed(self, life: str, change: Changed) -> None:
        key, before, after = change.key, _values(change.old_record), _values(change.new_record)
        self._is_written(key, after, change.new_record)
        gone = [value for value in before if value not in after]
        self._is_superseded(key, gone)
        left = self._gone.get((life, key), {})
        back = [value for value in after if value in left and len(value) > DOT_BYTES]
        require(not back, "what had left a record is back", life, key, back)
        self._go(life, key, gone)

    def _is_superseded(self, key: str, gone: Iterable[bytes]) -> None:
        superseded = self._superseded.get(key, {})
        require(
            all(value in superseded for value in gone if len(value) > DOT_BYTES),
            "a value was lost that no edit has superseded",
            key,
            gone,
        )

    def _is_written(self, key: str, values: Iterable[bytes], record: bytes) -> None:
        written = self._written.get(key, {})
        require(
            all(value in written for value in values),
            "a record holds a value that nobody wrote",
            key,
            record,
        )

    def _go(self, life: str, key: str, values: Iterable[bytes]) -> None:
        self._gone.setdefault((life, key), {}).update(dict.fromkeys(values))

    def check(self, records: Mapping[str, bytes]) -> None:
        """At the end, with what all nodes have. Raises BrokenLawError."""
        for key, written in self._written.items():
            superseded = self._superseded.get(key, {})
            held = [v for v in _values(records.get(key)) if len(v) > DOT_BYTES]
            live = sorted(v for v in written if v not in superseded and len(v) > DOT_BYTES)
            if self._one_was_forgotten:
                elsewhere = self._seen_elsewhere.get(key, {})
                held = [value for value in held if value not in elsewhere]
            require(held == live, "the edits do not come to what is held", key, held, live)
            if key in self._added and key in records:
                total = counter.total_of(held)
                require(
                    total == self._added[key],
                    "a counter is not the sum of its increments",
                    key,
                    total,
                    self._added[key],
                )


def contents(records: Mapping[str, bytes]) -> dict[str, bytes]:
    """By key, what readers see: of typed records without what they have seen, and without deletes,
    which go when nobody needs them any more."""
    return {key: shown(record) for key, record in records.items()}


def shown(record: bytes) -> bytes:
    """Of a typed record the version, and the values that are no deletes."""
    if not is_typed(record):
        return record
    return record[:HEAD_BYTES] + record[value_offset(record) :]


def _values(record: bytes | None) -> Mapping[bytes, None]:
    return {} if record is None or not is_typed(record) else decode(record).values
