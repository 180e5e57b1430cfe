"""Objections: why an entry that one side of an exchange has would not be taken by the other one.

It is asked of entries that differ, and changes nothing. What Merging refuses stands in merging.py;
what is left out, in left_out.py. Of a member this node knows its clock, as probes have
shown it, and the longest frame that it takes.
"""

from __future__ import annotations

from typing import NamedTuple

from kvgossip.config import Config
from kvgossip.protocol.clock_guard import ClockGuard
from kvgossip.protocol.model.entry import HEAD_BYTES, is_typed, timestamp_in
from kvgossip.protocol.model.hlc import milliseconds_of
from kvgossip.protocol.model.member import Member
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.tombstones.tombstones import Tombstones
from kvgossip.protocol.wire.batching import room_of
from kvgossip.protocol.wire.message import Notice

RAISE_HINT = "give all nodes the same value_bytes_max and message_bytes_max"
CLOCK_HINT = "set the wrong clock right: the version is taken once its time has come"


class Objection(NamedTuple):
    """`code` for programs, `text` for people, and what to do."""

    code: str
    text: str
    hint: str


class Objections:
    """Of one replica."""

    def __init__(self, config: Config, clock_guard: ClockGuard, tombstones: Tombstones) -> None:
        self._config, self._clock_guard, self._tombstones = config, clock_guard, tombstones

    def here(self, key: str, offered: bytes | Notice, now: Now) -> Objection | None:
        """Why this node would not take what a member has; None: it would."""
        if isinstance(offered, Notice):
            return Objection(
                "too_long",
                f"its {offered.size:,} bytes are too long for this node, whose value_bytes_max is "
                f"{self._config.value_bytes_max:,}",
                RAISE_HINT,
            )
        timestamp = timestamp_in(offered)
        if not self._clock_guard.takes(timestamp, now):
            return _ahead("clock_ahead", timestamp, now.wall_ms, "this node's clock")
        if offered[1:HEAD_BYTES] in self._tombstones.drops.hearsay:
            return Objection(
                "in_doubt",
                "one member says that it was deleted, and a second one has not said so yet",
                "`kvgossip quarantine confirm` takes the word of the one",
            )
        if not is_typed(offered) and self._tombstones.refuses(key, offered):
            return Objection(
                "collected",
                "this node had it, and has collected it since: it was deleted, or has expired",
                "exchanges take it out there as well",
            )
        return None

    def there(self, record: bytes, member: Member, now: Now) -> Objection | None:
        """Why this member would not take what is here, as far as this node knows."""
        room = room_of(self._config, member)
        if not room.takes_together((("", record),)):
            return Objection(
                "too_long_there",
                f"its {len(record):,} bytes are too long for {member.name}",
                RAISE_HINT,
            )
        shown = self._clock_guard.shown_by(member.name, now)
        if shown is not None:
            their_ms = round(sum(shown) / 2)
            drift_ms = 1000 * self._config.clock_drift_max_s
            timestamp = timestamp_in(record)
            if milliseconds_of(timestamp) > their_ms + drift_ms:
                return _ahead("clock_behind_there", timestamp, their_ms, f"{member.name}'s clock")
        return None


def _ahead(code: str, timestamp: int, wall_ms: int, clock: str) -> Objection:
    ahead_s = (milliseconds_of(timestamp) - wall_ms) / 1000
    return Objection(code, f"its version is {ahead_s:,.1f} s ahead of {clock}", CLOCK_HINT)
