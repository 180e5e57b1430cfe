"""Hybrid logical clock (Kulkarni et al. 2014): time that never goes back and stays near the wall
clock.

A timestamp is one integer of 64 bits, 48 of milliseconds since 1970 and 16 of counter, so that
comparing integers compares times.

Laws: `tick` returns more than everything returned or observed before; `observe` never lowers the
clock. Deviation from the paper: the counter overflows into the milliseconds instead of waiting,
which keeps `tick` total. It does so after COUNTER_MAX, so that `index_of` tells all timestamps
apart that were ever drawn, in numbers that JavaScript can hold.
"""

from __future__ import annotations

from kvgossip.errors import RemoteError

COUNTER_BITS = 16
COUNTER_MASK = (1 << COUNTER_BITS) - 1
INDEX_COUNTER_BITS = 11
COUNTER_MAX = (1 << INDEX_COUNTER_BITS) - 1
"""So many timestamps are drawn of one millisecond, but for the first one."""
TIMESTAMP_MAX = 2**64 - 1


def timestamp_of(wall_ms: int) -> int:
    """The smallest timestamp of this millisecond."""
    return max(wall_ms, 0) << COUNTER_BITS


def milliseconds_of(timestamp: int) -> int:
    return timestamp >> COUNTER_BITS


def index_of(timestamp: int) -> int:
    """A timestamp as a number below 2**53, until the year 2109: the same order in fewer bits.

    Only those that are no `tick`, whose counter is beyond COUNTER_MAX, share a number.
    """
    counter = timestamp & COUNTER_MASK
    return ((timestamp >> COUNTER_BITS) << INDEX_COUNTER_BITS) | (
        counter if counter < COUNTER_MAX else COUNTER_MAX
    )


class HybridLogicalClock:
    """`drift_max_ms`: how far ahead of this node's clock a heard timestamp may be.

    The wall clock may be set back: then this clock stays where it was, and so do those of other
    nodes whose clocks were set back as well. So what is heard is compared with the latest time that
    the own wall clock has ever shown: such nodes go on with each other. What others have said does
    not count, or timestamps could lead each other into the future, step by step.
    """

    __slots__ = ("drift_max_ms", "latest", "shown_ms")

    def __init__(self, drift_max_ms: int) -> None:
        self.drift_max_ms = drift_max_ms
        self.latest = 0
        #: the latest time that the own wall clock has shown, as far as that is known
        self.shown_ms = 0

    def tick(self, wall_ms: int) -> int:
        """A timestamp for something that happens here now: greater than all before."""
        now, latest = wall_ms << COUNTER_BITS, self.latest
        if now > latest:
            self.latest = now
        elif latest & COUNTER_MASK < COUNTER_MAX:
            self.latest = latest + 1
        else:
            self.latest = ((latest >> COUNTER_BITS) + 1) << COUNTER_BITS
        return self.latest

    def observe(self, timestamp: int, wall_ms: int) -> None:
        """Take over a heard timestamp, so that whatever is written here later is greater.

        Raises RemoteError("clock_ahead") when it lies too far in the future: one bad clock must not
        own every key.
        """
        if timestamp > self.latest:
            if timestamp >> COUNTER_BITS > wall_ms and self.is_too_late(timestamp, wall_ms):
                raise RemoteError(
                    "clock_ahead",
                    f"a version is {(timestamp >> COUNTER_BITS) - wall_ms} ms ahead of this "
                    "node's clock",
                )
            self.latest = timestamp

    def is_too_late(self, timestamp: int, wall_ms: int) -> bool:
        """True if this lies too far in the future to be true."""
        return (timestamp >> COUNTER_BITS) > max(wall_ms, self.shown_ms) + self.drift_max_ms

    def ahead_ms(self, wall_ms: int) -> int:
        """How far it is ahead of the wall clock, which it never lags behind."""
        return max((self.latest >> COUNTER_BITS) - wall_ms, 0)
