"""A wall clock of one agent, or of several, that is wrong (libfaketime)."""

from __future__ import annotations

from pathlib import Path

from .machine import faketime_library


class FakeClock:
    """`env` is the environment of the agents that have this clock. Their monotonic clock is right.
    The clock is looked up every second: a change takes so long. Raises UnavailableError."""

    def __init__(self, folder: Path, name: str, offset_s: float = 0.0) -> None:
        self._file = folder / f"{name}.clock"
        self.env = {
            "LD_PRELOAD": faketime_library(),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }
        self.set(offset_s)

    def set(self, offset_s: float) -> None:
        """How far it is ahead of the true time; behind where negative."""
        self._file.write_text(f"{offset_s:+f}\n")
