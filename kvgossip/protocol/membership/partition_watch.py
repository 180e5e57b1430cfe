"""PartitionWatch: notices when most of the members are gone at once, which is rarely their own
doing (protocol.md section 2).

Losing more than half of the alive members, this node counted, inside one suspicion timeout is
reported as a suspected partition: two of three, three of five. The timeout meant is the longest
one, for a partition is found out one probe after the other, and by a node that doubts itself
slowly. The report stands until so many are back, or have left or been forgotten, that the missing
are no majority any more.
"""

from __future__ import annotations

import math

from kvgossip.config import Config
from kvgossip.protocol.model.member import Member, MemberState


class PartitionWatch:
    """Hears of every change of a member, and says when a partition is suspected, and is over."""

    __slots__ = ("_config", "_lost_s", "count", "since_s")

    def __init__(self, config: Config) -> None:
        self._config = config
        #: the time at which each member that is missing was lost, monotonic seconds
        self._lost_s: dict[str, float] = {}
        #: the time at which the partition was suspected, monotonic seconds; None while there is
        #: none
        self.since_s: float | None = None
        #: how many partitions were suspected
        self.count = 0

    @property
    def lost(self) -> list[str]:
        """The members that are missing since, sorted; empty while no partition is suspected."""
        return sorted(self._lost_s) if self.since_s is not None else []

    def concerns(self, new: Member | None) -> bool:
        """True if a change to this matters: somebody is missing, or is now. Else nobody needs to
        count who is alive."""
        return (
            bool(self._lost_s)
            or self.since_s is not None
            or (new is not None and new.state is MemberState.DEAD)
        )

    def changed(
        self, old: Member, new: Member | None, alive: int, stretch: int, now_s: float
    ) -> str | None:
        """A warning in words, if this change of a member begins or ends a suspicion; else None.

        `alive`: how many are left, this node counted. `stretch`: by how much this node's doubts in
        itself slow down its probes.
        """
        if new is None or new.state is not MemberState.DEAD:
            self._lost_s.pop(old.name, None)
        elif old.reachable:
            self._lost_s[new.name] = now_s
        if self.since_s is not None:
            return self._end(alive)
        since_s = now_s - stretch * self._window_s(alive + len(self._lost_s))
        self._lost_s = {name: lost_s for name, lost_s in self._lost_s.items() if lost_s >= since_s}
        return self._begin(alive, now_s)

    def _begin(self, alive: int, now_s: float) -> str | None:
        lost = len(self._lost_s)
        if lost <= alive:
            return None
        self.since_s = now_s
        self.count += 1
        return (
            f"lost {lost} of {alive + lost} members within one suspicion timeout: a partition is "
            "suspected. Look for what cuts this node "
            "off; it goes on alone and catches up by itself"
        )

    def _end(self, alive: int) -> str | None:
        if len(self._lost_s) > alive:
            return None
        self.since_s = None
        return (
            f"the suspected partition is over: {alive} members are alive, {len(self._lost_s)} "
            "are still missing"
        )

    def _window_s(self, members: int) -> float:
        config = self._config
        longest = (
            config.suspicion_multiplier * config.suspicion_max_multiplier * config.probe_interval_s
        )
        return longest * max(1.0, math.log10(max(1, members)))
