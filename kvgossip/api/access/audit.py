"""Audit: who did what, and who was refused, on the logger `kvgossip.audit`.

Laws
- A command is one line, whatever came of it. So is a refusal; but of many there is one line a
  second, which counts those since the last one: a stranger who is refused all the time fills no
  disk, and hides no command.
- No line holds a token or a key of a keyring, and what others have sent is one printable line.

Each record has the fields `who`, `address`, `what` and `outcome` beside its text: for handlers that
write JSON.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from typing import Any

from kvgossip.config.parameters import KEY_PATTERN

LOGGER = "kvgossip.audit"
PAUSE_S = 1.0
NAMES_MAX = 8
WHAT_MAX = 300
UNKNOWN = "unknown"

log = logging.getLogger(LOGGER)


class Audit:
    """Of one server. Call `close` at the end."""

    def __init__(self) -> None:
        #: How many were refused since the server began.
        self.refusals = 0
        #: Those that no line has named, by who and where.
        self._unlogged: Counter[str] = Counter()
        self._timer: asyncio.TimerHandle | None = None

    def command(self, who: str, address: str, what: str, status: int) -> None:
        """A command was given. `status`: of its answer."""
        level = logging.INFO if status < 400 else logging.WARNING
        _write(level, who, address, what, "done" if status < 400 else f"failed with {status}")

    def refused(self, who: str, address: str, what: str, status: int) -> None:
        """A request was refused, for who sent it."""
        self.refusals += 1
        if self._timer is not None:
            seen = f"{who or UNKNOWN} at {address}"
            if seen not in self._unlogged and len(self._unlogged) >= NAMES_MAX:
                seen = "others"
            self._unlogged[seen] += 1
            return
        _write(logging.WARNING, who, address, what, f"refused with {status}")
        self._timer = asyncio.get_running_loop().call_later(PAUSE_S, self._tell)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._tell()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tell(self) -> None:
        self._timer = None
        if self._unlogged:
            count, by_whom = (
                sum(self._unlogged.values()),
                ", ".join(f"{count} of {seen}" for seen, count in self._unlogged.most_common()),
            )
            self._unlogged.clear()
            _write(logging.WARNING, "several", "", f"{count} requests", f"refused: {by_whom}")
            self._timer = asyncio.get_running_loop().call_later(PAUSE_S, self._tell)


def described(command: object) -> str:
    """The fields of a command, in words, without what may be a key."""
    fields: dict[str, Any] = {
        name: getattr(command, name) for name in getattr(command, "__struct_fields__", ())
    }
    shown = {
        name: "a key" if isinstance(value, str) and KEY_PATTERN.search(value) else value
        for name, value in fields.items()
    }
    return ", ".join(f"{name}={value!r}" for name, value in shown.items())


def _write(level: int, who: str, address: str, what: str, outcome: str) -> None:
    what = "".join(char if char.isprintable() else "?" for char in what[:WHAT_MAX])
    facts = {"who": who or UNKNOWN, "address": address, "what": what, "outcome": outcome}
    where = f" at {address}" if address else ""
    log.log(level, "%s%s: %s: %s", facts["who"], where, what, outcome, extra=facts)
