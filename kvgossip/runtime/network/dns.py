"""DNS names, looked up off the event loop and remembered for a while, so that a member may be known
by a name.

A name that was found once is used on while it is looked up again: a name server that is away must
not look like a peer that is. Nor may it hold a node that stops: see daemon_threads.py.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass, field

from kvgossip.config import Address
from kvgossip.protocol.model.newest import Newest
from kvgossip.runtime.daemon_threads import DaemonThreads
from kvgossip.runtime.network.sockets import is_numeric

FRESH_S = 30.0
RETRY_S = 2.0
NAMES_MAX = 8192
CALLERS_MAX = 64
THREADS_MAX = 16

_threads = DaemonThreads("kvgossip-dns", THREADS_MAX)

Caller = Callable[[str | None], None]


async def look_up(host: str, port: int, family: socket.AddressFamily) -> list[Address]:
    """Every address of this family (AF_UNSPEC: both) under `host`, once each, in the resolver's
    order. Empty when there is none."""
    if is_numeric(host):
        # nothing to ask: an answer at once, without a thread
        own = socket.AF_INET6 if ":" in host else socket.AF_INET
        return [Address(host, port)] if family in (own, socket.AF_UNSPEC) else []
    try:
        found = await _threads.run(
            lambda: socket.getaddrinfo(host, port, family, socket.SOCK_DGRAM)
        )
    except (OSError, ValueError):
        # ValueError: a host that cannot be a DNS name at all
        return []
    return list(dict.fromkeys(Address(str(name[0]), port) for _, _, _, _, name in found))


@dataclass(slots=True)
class _Known:
    host: str | None = None
    fresh_until_s: float = float("-inf")
    asked: bool = False
    callers: list[Caller] = field(default_factory=list)


class DnsCache:
    """The numeric host behind each DNS name that datagrams go to. `family`: of the addresses that
    are of use."""

    def __init__(self, family: socket.AddressFamily) -> None:
        self._family = family
        self._loop = asyncio.get_running_loop()
        #: names that were asked for, the oldest first
        self._names: Newest[str, _Known] = Newest(NAMES_MAX)
        self._tasks: set[asyncio.Task[None]] = set()

    def find(self, name: str, caller: Caller) -> None:
        """Call `caller` with the numeric host: at once when it is known, else after the look-up;
        with None when there is none.

        Of more than CALLERS_MAX that wait for one name, the later ones are never called: they hold
        datagrams, which may get lost.
        """
        known = self._names.get(name) or self._add(name)
        if not known.asked and known.fresh_until_s < self._loop.time():
            known.asked = True
            task = self._loop.create_task(self._ask(name, known))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        if known.host is not None or not known.asked:
            caller(known.host)
        elif len(known.callers) < CALLERS_MAX:
            known.callers.append(caller)

    async def close(self) -> None:
        """Give up all look-ups; nobody is called any more."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _add(self, name: str) -> _Known:
        known = self._names[name] = _Known()
        return known

    async def _ask(self, name: str, known: _Known) -> None:
        found = await look_up(name, 0, self._family)
        known.asked = False
        known.host = found[0].host if found else known.host
        known.fresh_until_s = self._loop.time() + (FRESH_S if found else RETRY_S)
        callers, known.callers = known.callers, []
        for caller in callers:
            caller(known.host)
