"""Loss: the share of packets of one link that are lost, and since when there are more of them.

Each packet adds the logarithm of how much likelier its fate is with MORE losses than with the usual
ones, and the sum is cut off at 0 (Page 1954):

    lost  log(p1 / p0)        came  log((1 - p1) / (1 - p0)), a little less than 0

p0 is the mean of the last day, no less than USUAL_MIN, and p1 = 3 p0 + MORE.

Of LIMIT a simulation decides, for losses come in whole numbers, and the bounds of the books are a
hundredfold too careful: with p0 = 0.001, all links of a node lose a packet by chance so often that
the sum is beyond LIMIT 0.05 times in a month of a probe a second. And 5 % are found within PACKETS
= 200 packets in 97 of 100 cases, as tests/trends shows.

**There, or back.** A ping and its ack are two packets: which one was lost the sum does not know.
But round robin lets the peer ping us as often as we ping it. So of a run, the packets since the sum
was 0, is known how many pings of the peer came, and should have. If as many are missing as acks
are, it is the way back; if none is, the way there. The shuffled order makes that uncertain by one
or two, so nothing is said of fewer than LOSSES_MIN; it becomes more certain as the run goes on.

Laws
- A packet counts that was answered, or whose member answered another way: who is dead loses none.
- It is over when the sum is 0: with p0 = 0.001 after 400 packets without a loss. What lasts for a
  day is no fault: then it is what is usual.
"""

from __future__ import annotations

import math
from enum import StrEnum
from struct import Struct

from kvgossip.trends.baseline import DAY_S

USUAL_MIN = 0.001
MORE = 0.027
LIMIT = 12.0
PACKETS = 200
"""5 % on a link that loses nothing else are found within so many."""
PRIOR = 1000.0
"""How many packets the guess counts for that USUAL_MIN are lost."""
THERE_MAX, BACK_MIN = 0.3, 0.6
"""The share of the losses of which as many pings of the peer are missing."""
LOSSES_MIN = 10
"""Of fewer the way is not known."""
_PACKED = Struct("<5f")
STATE_BYTES = _PACKED.size


class Way(StrEnum):
    """The way of the packets that are lost, from here."""

    THERE = "there"
    BACK = "back"
    UNKNOWN = "unknown"


class Loss:
    """Of one link."""

    __slots__ = ("_sum", "heard", "losses", "packets", "usual")

    def __init__(self) -> None:
        #: the mean
        self.usual = USUAL_MIN
        #: the sum, negative from the moment on at which it is beyond LIMIT
        self._sum = 0.0
        #: since the sum was 0: our pings, those that had no ack by a datagram, the peer's pings
        self.packets, self.losses, self.heard = 0.0, 0.0, 0.0

    @property
    def has_risen(self) -> bool:
        return self._sum < 0

    @property
    def share(self) -> float:
        """Of the packets since the sum was 0."""
        return self.losses / self.packets if self.packets else 0.0

    @property
    def way(self) -> Way:
        if self.losses < LOSSES_MIN:
            return Way.UNKNOWN
        missing = (self.packets - self.heard) / self.losses
        if missing <= THERE_MAX:
            return Way.THERE
        return Way.BACK if missing >= BACK_MIN else Way.UNKNOWN

    def add(self, *, lost: bool, heard: int, elapsed_s: float, count: float, judged: bool) -> None:
        """One more packet; since the last one, so many pings of the peer have come. `count`:
        packets of this link, before."""
        if judged:
            self._judge(lost, heard)
            since_s = self.packets * elapsed_s
            if self.has_risen and since_s >= DAY_S:
                # what lasts for a day is no fault
                self.usual, self._sum, self.packets = max(self.share, USUAL_MIN), 0.0, 0.0
                self.losses, self.heard = 0.0, 0.0
        if not self.has_risen and self._sum < LIMIT / 2:
            pace = max(1 / (count + PRIOR), min(elapsed_s, DAY_S) / DAY_S)
            self.usual += pace * (lost - self.usual)

    def _judge(self, lost: bool, heard: int) -> None:
        usual = min(max(self.usual, USUAL_MIN), 0.2)
        more = 3 * usual + MORE
        step = math.log(more / usual) if lost else math.log((1 - more) / (1 - usual))
        value = max(0.0, abs(self._sum) + step)
        if not value:
            self._sum = self.packets = self.losses = self.heard = 0.0
            return
        # two at most: an examination of a doctor pings some times more
        self.packets, self.losses = self.packets + 1, self.losses + lost
        self.heard += min(heard, 2)
        self._sum = -min(value, LIMIT) if self.has_risen or value > LIMIT else value

    def packed(self) -> bytes:
        return _PACKED.pack(self.usual, self._sum, self.packets, self.losses, self.heard)

    def unpack(self, data: bytes) -> None:
        """Go on from there. What makes no sense begins anew."""
        if len(data) != STATE_BYTES:
            return
        values = _PACKED.unpack(data)
        if all(map(math.isfinite, values)) and 0 <= values[0] <= 1 and min(values[2:]) >= 0:
            self.usual, self._sum, self.packets, self.losses, self.heard = values
