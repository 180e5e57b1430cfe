"""Conflicts: what replicas report of lost writes, against what the oracle knows of who had seen
what.

Laws, for every step
- A conflict that is reported is real: the writer of what is kept had never had what was lost.
  Where its node had collected the key in between it may have had it, long ago, and has perhaps
  written over something older that came back; and where what was lost went to a quarantine on a
  false word, it may have written after that.
- A live value that is replaced here by a write of another site is reported, unless the writer of
  that had seen it, or something newer of another site. What expires is left out: clocks differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kvgossip.protocol.effect import Dropped, Effect, Quarantined
from kvgossip.protocol.model.change import Changed, Conflict
from kvgossip.protocol.model.entry import is_dead, may_expire, parent_in
from kvgossip.sim.checks.ledger import version_bytes
from kvgossip.sim.checks.violation import require

_SITE = slice(8, 16)
"""Of a version."""


class ConflictCheck:
    """`had`: by a write's version, the versions that its writer's host had ever had of the key, as
    far as that is known."""

    def __init__(self, had: Mapping[bytes, Mapping[bytes, None]]) -> None:
        self._had = had
        #: What each life has reported, as keys and versions.
        self._reported: dict[tuple[str, str, bytes], None] = {}
        #: Keys that were collected somewhere.
        self._collected: dict[str, None] = {}
        #: Keys and versions that went to a quarantine somewhere.
        self._quarantined: dict[tuple[str, bytes], None] = {}
        #: How many were reported.
        self.count = 0

    def observe(self, life: str, effects: Sequence[Effect]) -> None:
        """To be called with the effects of every input of this life. Raises BrokenLawError."""
        for effect in effects:
            if type(effect) is Dropped:
                self._collected[effect.key] = None
            elif type(effect) is Quarantined:
                self._quarantined[effect.key, version_bytes(effect.record)] = None
            elif type(effect) is Conflict:
                self._is_real(effect)
                self._reported[life, effect.key, version_bytes(effect.lost_record)] = None
                self.count += 1
        for effect in effects:
            if type(effect) is Changed and effect.old_record is not None:
                self._is_reported(life, effect.key, effect.new_record, effect.old_record)

    def _is_real(self, conflict: Conflict) -> None:
        key, lost, kept = conflict
        seen = version_bytes(lost) in self._had.get(version_bytes(kept), {})
        anew = key in self._collected and (not parent_in(kept) or is_dead(lost))
        anew |= (key, version_bytes(lost)) in self._quarantined
        require(
            not seen or anew,
            "a conflict with what its writer had seen was reported",
            key,
            lost,
            kept,
        )

    def _is_reported(self, life: str, key: str, kept: bytes, lost: bytes) -> None:
        version, site = version_bytes(lost), version_bytes(kept)[_SITE]
        had = self._had.get(version_bytes(kept))
        if had is None or version[_SITE] == site or is_dead(lost) or may_expire(lost):
            return
        newest = max((each for each in had if each[_SITE] != site), default=b"")
        if version not in had and version > newest:
            require(
                (life, key, version) in self._reported,
                "a write was lost, its writer unseen by the other's, and nobody hears of it",
                key,
                lost,
                kept,
            )
