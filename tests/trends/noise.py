"""Noises with tails, skew and two humps: what measurements of a busy machine look like."""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random

Noise = Callable[[], float]


def noises(rng: Random) -> dict[str, Noise]:
    """By name; about as wide as 1 each."""
    walk = [0.0]

    def hangs_together() -> float:
        walk[0] = 0.9 * walk[0] + rng.gauss(0, 0.4)
        return walk[0]

    return {
        "normal": lambda: rng.gauss(0, 1),
        "tails": lambda: rng.gauss(0, 1) / math.sqrt(rng.expovariate(1)),
        "cauchy": lambda: math.tan(math.pi * (rng.random() - 0.5)),
        "skewed": lambda: math.exp(rng.gauss(0, 1.5)),
        "two humps": lambda: rng.gauss(0, 1) + (50 if rng.random() < 0.3 else 0),
        "hiccups": lambda: rng.gauss(0, 1) + (100 if rng.random() < 0.02 else 0),
        "hangs together": hangs_together,
        "still": lambda: 0.0,
    }
