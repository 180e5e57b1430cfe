"""Now: both clocks of a machine, read once an input."""

from __future__ import annotations

from typing import NamedTuple


class Now(NamedTuple):
    """Both clocks, read once an input: `monotonic_s` (seconds, any origin) for timers, `wall_ms`
    (ms since 1970) for the HLC."""

    monotonic_s: float
    wall_ms: int
