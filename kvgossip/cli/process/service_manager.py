"""ServiceManager: what systemd, or whoever else has set NOTIFY_SOCKET, is told of this process; see
sd_notify(3).

A message is one datagram of lines NAME=VALUE. The watchdog hears from the event loop: a loop that
hangs serves nobody, and systemd starts the process anew. A manager that does not listen never holds
or ends a node.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Mapping


class ServiceManager:
    """Of the process with this environment; it does nothing where that names no socket."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        # "@" stands for the null byte with which an abstract address begins
        self._address = environment.get("NOTIFY_SOCKET", "").replace("@", "\0", 1)
        self._watchdog_s = _watchdog_s(environment) if self._address else 0.0
        self._pulse: asyncio.Task[None] | None = None

    def ready(self, status: str) -> None:
        """The process serves, or goes on after `reloading`. `status`: a line for people."""
        self.tell("READY=1", f"STATUS={status}")
        if self._watchdog_s and self._pulse is None:
            self._pulse = asyncio.create_task(self._beat())

    def reloading(self) -> None:
        """Files are read anew; `ready` says that it is done."""
        now_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self.tell("RELOADING=1", f"MONOTONIC_USEC={now_us}")

    def stopping(self) -> None:
        self.tell("STOPPING=1", "STATUS=leaves")

    def tell(self, *lines: str) -> None:
        """One message of these lines."""
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as link:
            link.setblocking(False)
            try:
                link.sendto("\n".join(lines).encode(), self._address)
            except OSError:
                # it reads no more, or is gone: the next message may arrive
                return

    async def _beat(self) -> None:
        # half of the time leaves room for one message that is late
        while True:
            self.tell("WATCHDOG=1")
            await asyncio.sleep(self._watchdog_s / 2)


def _watchdog_s(environment: Mapping[str, str]) -> float:
    """How long the manager waits for a sign of life; 0: it does not, or of another process."""
    microseconds = environment.get("WATCHDOG_USEC", "")
    of_us = environment.get("WATCHDOG_PID", "") in ("", str(os.getpid()))
    return int(microseconds) / 1e6 if microseconds.isdecimal() and of_us else 0.0
