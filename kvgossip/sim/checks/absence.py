"""Absence: a live value goes into quarantine only where somebody may have missed its delete."""

from __future__ import annotations

from collections.abc import Callable

from kvgossip.protocol.effect import MemberChanged, Quarantined
from kvgossip.protocol.model.member import MemberState
from kvgossip.sim.checks.violation import require


class AbsenceCheck:
    """A node that collects tombstones waits for all that it knows. So only a node that was away, or
    was thought to have gone, can have missed a delete.

    But a record that a hostile one has made up, as one of another's life, lies perhaps below what
    that life has told of its writes: then nodes say in good faith that they have collected it.
    Where it has superseded a value before it is dropped for that, the value goes, as by any write.
    """

    def __init__(
        self, all_stayed: Callable[[], bool], is_forged: Callable[[str, bytes], bool]
    ) -> None:
        #: True of a record under a key that a hostile one has made up, or superseded so.
        self._is_forged = is_forged
        #: True if every host is still in its first life.
        self._all_stayed = all_stayed
        #: True if some member was ever forgotten, or taken to have left.
        self._one_went = False

    def member_changed(self, effect: MemberChanged) -> None:
        self._one_went |= effect.new is None or effect.new.state is MemberState.LEFT

    def quarantined(self, effect: Quarantined) -> None:
        """Raises BrokenLawError."""
        require(
            self._one_went or self._is_forged(effect.key, effect.record) or not self._all_stayed(),
            "a value is put into quarantine although nobody was ever away",
            effect.key,
        )
