"""Listener: takes TCP connections from a listening socket.

Not loop.create_server, for a connection that arrives just when asyncio's server closes is lost with
its socket open (the task that was to greet it fails on the closed server). Here closing first stops
accepting and then waits for those that are being greeted.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import Counter
from collections.abc import Callable

from kvgossip.config import Address

ACCEPTED_A_TURN = 64
TURNED_AWAY_A_TURN = 1024
# the rest after too many open files of the process: until some may have been closed
REST_S = 0.5
LOG_INTERVAL_S = 60.0

log = logging.getLogger("kvgossip")


def name_of(listener: socket.socket) -> str:
    """For a human: HOST:PORT, or the path of a unix socket."""
    name = listener.getsockname()
    return str(Address(*name[:2])) if isinstance(name, tuple) else str(name)


def _nobody(connection: socket.socket) -> bool:
    return False


class Listener:
    """Makes a protocol with `factory` for each connection of `listener`, a non-blocking socket of
    TCP or unix that stays its owner's.

    But not for one of which `turns_away` says that it has closed it.
    """

    def __init__(
        self,
        listener: socket.socket,
        factory: Callable[[], asyncio.Protocol],
        counts: Counter[str],
        turns_away: Callable[[socket.socket], bool] = _nobody,
    ) -> None:
        self._listener, self._factory, self._counts, self._turns_away = (
            listener,
            factory,
            counts,
            turns_away,
        )
        self._loop = asyncio.get_running_loop()
        self._greetings: set[asyncio.Task[None]] = set()
        self._rest: asyncio.TimerHandle | None = None
        self._closed = False
        #: when the next failure is worth a line
        self._tell_s = 0.0
        self._listen()

    async def close(self) -> None:
        """Accept no more; returns when every connection that was accepted has its protocol.
        Harmless when repeated."""
        if self._rest is not None:
            self._rest.cancel()
        elif not self._closed:
            self._loop.remove_reader(self._listener)
        self._closed = True
        if self._greetings:
            # never cancelled: a greeting takes a turn or two, and half of one would leave its
            # socket open
            await asyncio.wait(self._greetings)

    def _listen(self) -> None:
        self._rest = None
        self._loop.add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        accepted = 0
        for _ in range(TURNED_AWAY_A_TURN):
            try:
                connection, _ = self._listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                self._counts["accepts_failed"] += 1
                self._tell(error)
                self._loop.remove_reader(self._listener)
                self._rest = self._loop.call_later(REST_S, self._listen)
                return
            connection.setblocking(False)
            if self._turns_away(connection):
                continue
            task = self._loop.create_task(self._greet(connection))
            self._greetings.add(task)
            task.add_done_callback(self._greetings.discard)
            accepted += 1
            if accepted == ACCEPTED_A_TURN:
                return

    def _tell(self, error: OSError) -> None:
        """A line each LOG_INTERVAL_S, however often it fails."""
        now_s = self._loop.time()
        if now_s >= self._tell_s:
            self._tell_s = now_s + LOG_INTERVAL_S
            log.warning(
                "no connection is taken on %s: %s; close some, or give the process more files "
                "(ulimit -n)",
                name_of(self._listener),
                error.strerror or error,
            )

    async def _greet(self, connection: socket.socket) -> None:
        try:
            if connection.family != socket.AF_UNIX:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await self._loop.connect_accepted_socket(self._factory, connection)
        except OSError:
            # the peer has hung up already
            connection.close()
