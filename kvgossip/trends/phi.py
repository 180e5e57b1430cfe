"""Phi: how sure one may be that a member is gone, by how long it has been silent (Hayashibara
2004).

Phi is the negative decimal logarithm of the chance that a silence as long as this one, or longer,
is an accident: 1 is wrong one time in 10, 8 one time in 100 million. It stands beside the verdict
of SWIM, which asks helpers, and does not change it: an operator sees by it how unusual the silence
of a member is.

The paper measures the silences; here they follow from the round robin. A member is probed once in a
round, in an order that is shuffled each time: so from one probe to the next a round passes on
average, at most two, and the deviation is ROUND_DEVIATION of a round. Nothing is kept for it but
when the last probe that was answered went out.
"""

from __future__ import annotations

import math

ROUND_DEVIATION = 1 / math.sqrt(6)
"""Of the time between two places in two rounds, which is triangular, over its mean."""
PHI_MAX = 100.0
_FAR = 5.0


def phi(silent_s: float, round_s: float) -> float:
    """From 0 to PHI_MAX, for a silence since the last probe that was answered."""
    return min(surprise((silent_s / round_s - 1) / ROUND_DEVIATION), PHI_MAX)


def surprise(score: float) -> float:
    """The negative decimal logarithm of the chance that a normal number is so many deviations above
    its mean, or more."""
    if score < _FAR:
        return -math.log10(math.erfc(score / math.sqrt(2)) / 2)
    # the tail, where the chance itself would be 0 some time (Abramowitz and Stegun 26.2.12)
    ratio = 1 - 1 / score**2 + 3 / score**4
    natural = score**2 / 2 + math.log(score * math.sqrt(2 * math.pi)) - math.log(ratio)
    return natural / math.log(10)
