"""The clocks of the machine: the only place that reads them for a replica."""

from __future__ import annotations

import time

from kvgossip.protocol.model.now import Now


def read_clocks() -> Now:
    """Both clocks, to be read once an input."""
    return Now(time.monotonic(), time.time_ns() // 1_000_000)
