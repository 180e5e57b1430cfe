"""EditCheck: typed records against all edits that were acknowledged. It knows nothing of causal
contexts, and joins nothing.

A value is a dot with its payload. An edit brings some, and supersedes those that its writer had,
or its client had seen elsewhere, and that its record has no more. The laws, for every step and for
the end:

- No record holds a value that nobody has written. A node that takes over subtotals of its former
  lives changes no sum; that write was acknowledged to nobody, so a crash may take it.
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
from kvgossip.protocol.typed.body import decode, type_in
from kvgossip.protocol.typed.typed_record import DOT_BYTES, Seen, covers, version_of_dot
from kvgossip.sim.checks.violation import require


class EditCheck:
    def __init__(self) -> None:
        #: How many edits were acknowledged.
        self.count = 0
        #: By key, the values that were written, and those that an edit has superseded.
        self._written: dict[str, dict[bytes, None]] = {}
        self._superseded: dict[str, dict[bytes, None]] = {}
        #: By key and value that a node has written to take over others: of those what no other edit
        #: has superseded.
        self._adopted: dict[str, dict[bytes, dict[bytes, None]]] = {}
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
        self.count += 1
        if amount:
            self._added[change.key] += amount
        before, after = _values(change.old_record), _values(change.new_record)
        self._written.setdefault(change.key, {}).update(dict.fromkeys(after))
        gone = dict.fromkeys(value for value in before if value not in after)
        superseded = self._superseded.setdefault(change.key, {})
        superseded.update(gone)
        for adopted in self._adopted.get(change.key, {}).values():
            for value in gone:
                adopted.pop(value, None)
        for value in self._written[change.key] if context else ():
            if value not in after and covers(context or {}, value):
                if value not in superseded:
                    self._seen_elsewhere.setdefault(change.key, {})[value] = None
                superseded[value] = None

    def observe(self, life: str, site: int, effects: Sequence[Effect]) -> None:
        """To be called with the effects of every input of this life, the site of its writes, after
        `wrote`. Raises BrokenLawError."""
        doubtful: dict[str, None] = {}
        for effect in effects:
            if type(effect) is Changed and is_typed(effect.new_record):
                self._adopt(site, effect)
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

    def _adopt(self, site: int, change: Changed) -> None:
        """Nobody has asked for it where it is a write of this site that is unknown."""
        written = self._written.get(change.key, {})
        before, after = _values(change.old_record), _values(change.new_record)
        new = [value for value in after if value not in written]
        if not new or any(version_of_dot(value).site != site for value in new):
            return
        require(
            counter.total_of(before) == counter.total_of(after),
            "a node that takes over subtotals has changed the sum",
            change,
        )
        written.update(dict.fromkeys(new))
        superseded = self._superseded.setdefault(change.key, {})
        gone = {v: None for v in before if v not in after and v not in superseded}
        superseded.update(gone)
        for value in new:
            self._adopted.setdefault(change.key, {})[value] = gone

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
            self._undo_what_a_crash_took(key, records.get(key))
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

    def _undo_what_a_crash_took(self, key: str, record: bytes | None) -> None:
        """Of what nodes took over. What they have written later was committed with it."""
        written, superseded, held = self._written[key], self._superseded[key], _values(record)
        for value, gone in reversed(self._adopted.get(key, {}).items()):
            if value not in held and value not in superseded:
                del written[value]
                for each in gone:
                    del superseded[each]


def contents(records: Mapping[str, bytes]) -> dict[str, bytes]:
    """By key, what readers see: of typed records without what they have seen, and without deletes,
    which go when nobody needs them any more; of counters the sum."""
    return {
        key: _sum(record) if type_in(record) == counter.TYPE else shown(record)
        for key, record in records.items()
    }


def shown(record: bytes) -> bytes:
    """Of a typed record the version, and the values that are no deletes."""
    if not is_typed(record):
        return record
    return record[:HEAD_BYTES] + record[value_offset(record) :]


def _sum(record: bytes) -> bytes:
    return b"%d" % counter.total_of(decode(record).live)


def _values(record: bytes | None) -> Mapping[bytes, None]:
    return {} if record is None or not is_typed(record) else decode(record).values
