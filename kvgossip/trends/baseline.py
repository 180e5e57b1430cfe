"""Baseline: where a measured number usually lies, and since when it lies elsewhere.

    number --> residual --> score --> two sums of Page and Hinkley --> risen, fallen
                 ^            ^
         median and MAD    mean and variance of the residuals, of the last day

**The baseline.** A day of probes has tens of thousands of numbers, and a link has 64 bytes. So no
number is kept: the median is a place that goes a step up for each number above it and a step down
for each one below (Robbins and Monro 1951), and the spread, the median of the distances from it,
likewise, by factors. A step is STEP / n of the spread, the one with the least error for normal
noise, until n is a day; after that a day is forgotten at the pace at which it passes. A number that
is wrong by a million moves either as far as one that is wrong by little. A sketch by buckets would
have the same error in ten times the room, and P-square forgets nothing.

**The score.** A residual is the distance from the median in units of 1.4826 MAD (that is a standard
deviation, of normal noise), cut off at RESIDUAL_MAX. Noise is skewed, or has tails: so a score is
the residual less the mean of the residuals, in units of their standard deviation, at least one.
Whatever the noise is, scores have the mean 0, the variance 1 at most, and an upper bound.

**The sums.** rise = max(0, rise + score - ALLOWANCE), and the other way for `fall` (Page 1954;
Hinkley 1971). The noise brings such a sum to LIMIT once in A numbers at the most, since by
Bennett's inequality E exp(T (score - ALLOWANCE)) <= 1, with variance 1 and bound SCORE_MAX, for
every T with

    exp(T SCORE_MAX) - 1 - T SCORE_MAX <= T ALLOWANCE SCORE_MAX^2       (TILT is the greatest)

and then A = exp(TILT LIMIT) (Lorden 1971). The budget is one false finding a node and month. A node
concludes a probe a second, over all of its links, and looks at eight numbers of its own each 5 s:
6.7 million numbers, each for two sums, so A is SUMS_A_MONTH. That holds for any noise that is
independent from number to number. Noise that hangs together is why ALLOWANCE is large: it must stay
more than three standard deviations away, for as long.

**The bound.** A change by s standard deviations adds a = E min(s + residual, RESIDUAL_MAX) a
number, less the mean and ALLOWANCE. Scarf's inequality says how little a may be at worst, given the
variance, and n numbers are within SURE sqrt(n) of n a in 95 of 100 cases: the n for which that is
LIMIT is the bound, `numbers_until`. Eight, of normal noise, where s is ten or more.

Laws
- Nothing is judged before WARM_S and NUMBERS_MIN: until then the sums stay 0.
- While a sum is beyond a quarter of LIMIT, where noise does not bring it, and until it is over, the
  baseline learns nothing: a change does not make itself usual. It is over when its sum is 0. What
  lasts for a day is no fault: then the baseline begins anew, where the number is.
- The state is STATE_BYTES as it is kept; a number that is not finite is no number.
"""

from __future__ import annotations

import math
from struct import Struct

DAY_S = 86_400.0
WARM_S = 300.0
NUMBERS_MIN = 30
RESIDUAL_MAX = 8.0
SCORE_MAX = 9.0
ALLOWANCE = 3.0
TILT = 0.548
SUMS_A_MONTH = 2 * 6_700_000
LIMIT = math.log(SUMS_A_MONTH) / TILT
"""30 standard deviations."""
SURE = 1.645
SIGMA = 1.4826
"""The standard deviation of normal noise, in units of its MAD."""
STEP, FACTOR = 1.86, 1.166
"""1 / (2 f), f the density of normal noise at its median, and of the logarithm of its distances."""
SLOWNESS = 0.75
GUESSES = 200
"""The first so many steps fall by this power of n, for the start was a guess; later ones as 1 / n,
lest a slow leak makes itself usual."""
PRIOR = 600.0
"""How many numbers the guess counts for that residuals have mean 0 and variance 1: without it the
first numbers after a change would make themselves usual."""
_PACKED = Struct("<10fb3x")
STATE_BYTES = _PACKED.size


class Baseline:
    """One number. `floor`: the least standard deviation that matters, in the number's own unit:
    what differs by less is the same to an operator."""

    __slots__ = (
        "age_s",
        "count",
        "fall",
        "fall_s",
        "floor",
        "mean",
        "middle",
        "rise",
        "rise_s",
        "spread",
        "state",
        "variance",
    )

    def __init__(self, floor: float) -> None:
        self.floor = floor
        self._begin(0.0)

    def _begin(self, number: float) -> None:
        #: the median, and the MAD
        self.middle, self.spread = number, self.floor / SIGMA
        #: of the residuals
        self.mean, self.variance = 0.0, 1.0
        #: how long there are numbers, and how many
        self.age_s, self.count = 0.0, 0.0
        #: the two sums, and for how long each has not been 0
        self.rise, self.fall = 0.0, 0.0
        self.rise_s, self.fall_s = 0.0, 0.0
        #: 1: risen, -1: fallen, 0: as usual
        self.state = 0

    # -- what is known ----------------------------------------------------------------------------

    @property
    def is_judged(self) -> bool:
        return self.age_s >= WARM_S and self.count >= NUMBERS_MIN

    @property
    def has_risen(self) -> bool:
        return self.state > 0

    @property
    def has_fallen(self) -> bool:
        return self.state < 0

    @property
    def since_s(self) -> float:
        """For how long it has been elsewhere; 0 where it is as usual."""
        return self.rise_s if self.state > 0 else self.fall_s if self.state < 0 else 0.0

    @property
    def deviation(self) -> float:
        """What one standard deviation of the residuals is, in the number's own unit."""
        return max(SIGMA * self.spread, self.floor)

    def numbers_until(self, change: float) -> float:
        """Within how many numbers a rise by so much is found, in 95 of 100 cases; infinite:
        never."""
        beyond = change / self.deviation + self.mean - RESIDUAL_MAX
        cut = (math.hypot(math.sqrt(self.variance), beyond) - beyond) / 2
        wide = math.sqrt(max(self.variance, 1.0))
        a_number = (RESIDUAL_MAX - cut - self.mean) / wide - ALLOWANCE
        if a_number <= 0:
            return math.inf
        root = (SURE + math.sqrt(SURE**2 + 4 * a_number * LIMIT)) / (2 * a_number)
        return math.ceil(root**2)

    # -- numbers come -----------------------------------------------------------------------------

    def add(self, number: float, elapsed_s: float) -> None:
        """The next number, so long after the one before."""
        if not math.isfinite(number):
            return
        if not self.count:
            self._begin(number)
        elapsed_s = min(max(elapsed_s, 0.0), DAY_S)
        self.age_s, self.count = self.age_s + elapsed_s, self.count + 1
        residual = (number - self.middle) / self.deviation
        residual = min(max(residual, -RESIDUAL_MAX), RESIDUAL_MAX)
        if self.is_judged:
            self._judge((residual - self.mean) / math.sqrt(max(self.variance, 1.0)), elapsed_s)
            if self.since_s >= DAY_S:
                self._begin(number)
                return
        if not self.state and max(self.rise, self.fall) < LIMIT / 4:
            self._learn(number, residual, elapsed_s)

    def _judge(self, score: float, elapsed_s: float) -> None:
        self.rise = min(max(0.0, self.rise + score - ALLOWANCE), 2 * LIMIT)
        self.fall = min(max(0.0, self.fall - score - ALLOWANCE), 2 * LIMIT)
        self.rise_s = self.rise_s + elapsed_s if self.rise else 0.0
        self.fall_s = self.fall_s + elapsed_s if self.fall else 0.0
        if self.rise > LIMIT:
            self.state = 1
        elif self.fall > LIMIT:
            self.state = -1
        elif (self.state > 0 and not self.rise) or (self.state < 0 and not self.fall):
            self.state = 0

    def _learn(self, number: float, residual: float, elapsed_s: float) -> None:
        day = elapsed_s / DAY_S
        power = SLOWNESS if self.count <= GUESSES else 1.0
        pace = max(self.count**-power if self.age_s < DAY_S else 0.0, day)
        distance = abs(number - self.middle)
        if number != self.middle:
            step = STEP * pace * max(self.spread, self.floor / SIGMA)
            self.middle += math.copysign(min(step, distance), number - self.middle)
        self.spread *= math.exp(math.copysign(FACTOR * pace, distance - self.spread))
        # far below what matters it could not come back in time
        self.spread = max(self.spread, self.floor / (10 * SIGMA))
        share = max(1 / (self.count + PRIOR), day)
        self.variance += share * ((residual - self.mean) ** 2 - self.variance)
        self.mean += share * (residual - self.mean)

    # -- kept -------------------------------------------------------------------------------------

    def packed(self) -> bytes:
        return _PACKED.pack(
            self.middle,
            self.spread,
            self.mean,
            self.variance,
            self.age_s,
            self.count,
            self.rise,
            self.fall,
            self.rise_s,
            self.fall_s,
            int(self.state),
        )

    def unpack(self, data: bytes) -> None:
        """Go on from there. What makes no sense begins anew."""
        if len(data) != STATE_BYTES:
            return
        values = _PACKED.unpack(data)
        if not all(map(math.isfinite, values)) or values[1] <= 0 or min(values[3:10]) < 0:
            return
        self.middle, self.spread, self.mean, self.variance = values[:4]
        self.age_s, self.count, self.rise, self.fall = values[4:8]
        self.rise_s, self.fall_s, self.state = values[8:]
