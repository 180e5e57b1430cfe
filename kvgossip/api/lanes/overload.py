"""Door: refuses clients for which there is no room, before they are connections of ours.

A node that is asked for twice as much as it can serve spends its time on those that it serves. So a
client too many costs it a few system calls, and no protocol, no task and no buffer; and nobody
waits for long where connections queue until they are accepted.

Laws
- A client that has sent a request gets 503 with Retry-After, and is closed at once. /healthz alone
  is answered: a node that is busy lives, and a supervisor that restarts nodes that do not answer
  must not take the busy ones away, which leaves more to the others.
- Over TLS, where a request costs a handshake, as few are let in to be refused; the others get an
  alert.
- Clients leave FILES_SPARED files of the process to others (files.py), whoever makes room for whom.
- A client that has sent nothing yet is let in, as long as few are, and refused by the express lane
  once it has, or LINGER_S later.
"""

from __future__ import annotations

import socket
from contextlib import suppress

from kvgossip.api.http.errors import too_many_connections
from kvgossip.api.http.response import Answers
from kvgossip.api.lanes.connections import Connections
from kvgossip.api.lanes.files import FILES_SPARED, files_for, open_files

LOOK_BYTES = 64 * 1024
"""So much of a request is read, to be dropped: the kernel answers what is left unread with a reset,
which may overtake our answer."""
HEALTH = (b"GET /healthz ", b"HEAD /healthz ")
ALIVE = {"status": "ok"}
ALERT = b"\x15\x03\x03\x00\x02\x02\x50"
"""Of TLS 1.2 and 1.3: fatal, internal error. There is none that says "too many"."""


class Door:
    """Before the connections of one server."""

    def __init__(self, connections: Connections, answers: Answers, *, tls: bool = False) -> None:
        self._connections, self._answers, self._is_tls = connections, answers, tls
        self._files_max = files_for(FILES_SPARED)

    def turns_away(self, connection: socket.socket) -> bool:
        """Refuses this connection, which was just accepted and is non-blocking, and closes it;
        False if it may come in."""
        connections = self._connections
        has_file = self._has_file(connection)
        if connections.has_room() if has_file else connections.makes_room():
            return False
        with suppress(OSError):
            # what a client of TLS asks is seen after the handshake alone: some are let in for that
            request = b"" if self._is_tls else _sent(connection)
            if not request and has_file and connections.may_refuse:
                return False
            if self._is_tls:
                _sent(connection)
            connection.send(ALERT if self._is_tls else refusal_of(self._answers, request))
        connections.counts["connections_turned_away"] += 1
        connection.close()
        return True

    def _has_file(self, connection: socket.socket) -> bool:
        """True if the process has files enough for one client more."""
        beyond = self._connections.beyond
        beyond[:] = [each for each in beyond if each.fileno() >= 0]
        if connection.fileno() >= self._files_max:
            beyond.append(connection)
            return False
        # whoever made room for one beyond has left a gap, by which alone nobody may come in
        return not beyond or open_files() <= self._files_max


def refusal_of(answers: Answers, request: bytes) -> bytes:
    """The answer to a client for which there is no room, which has sent this so far."""
    if request.startswith(HEALTH):
        return answers.json(200, ALIVE).render(False, head_only=request.startswith(b"HEAD"))
    return answers.failure(too_many_connections(), "", "").render(False, head_only=False)


def _sent(connection: socket.socket) -> bytes:
    """All that the client has sent so far."""
    try:
        return connection.recv(LOOK_BYTES)
    except BlockingIOError:
        return b""
