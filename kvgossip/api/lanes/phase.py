"""The states of a connection on the express lane (fast.py), and all changes between them, as a
table.

    NEW --------- the transport is made --------> IDLE, UNWELCOME or CLOSING
    IDLE -> HEAD -> IDLE -> BODY -> IDLE          one request after the other
    IDLE -> LEAVING -> GONE                       the other lane serves it from now on
    IDLE -> LAST -> ...                           its last answer waits for those before it
    ... -> LINGERING or CLOSING -> GONE           its last answer is written

No other change can happen: a lane that tries one has a bug, and gets a KeyError. Beside its phase a
connection has four properties that any phase may have, each with a cause of its own: see the
attributes of fast.Lane.
"""

from __future__ import annotations

from enum import IntEnum


class Phase(IntEnum):
    """The thing that a connection waits for. Integers, as they are looked up for every request."""

    NEW = 0
    """Its transport."""
    IDLE = 1
    """The next request, of which nothing has arrived."""
    HEAD = 2
    """The rest of a head."""
    BODY = 3
    """The rest of a body."""
    LEAVING = 4
    """The answers before a request that the other lane shall serve."""
    UNWELCOME = 5
    """A request, to refuse it: there are too many connections."""
    LAST = 6
    """The answers before its last one."""
    LINGERING = 7
    """Its client, which may take a moment to read why it was refused."""
    CLOSING = 8
    """The end of its transport."""
    GONE = 9
    """Nothing: it is lost, or the other lane's."""


class Event(IntEnum):
    """An event in the life of a connection."""

    WELCOMED = 0
    REFUSED = 1
    CUT_OFF = 2
    HEAD_BEGAN = 3
    HEAD_ENDED = 4
    BODY_BEGAN = 5
    BODY_ENDED = 6
    LEFT = 7
    """A request has come that is not for this lane."""
    TAKEN_OVER = 8
    LAST_QUEUED = 9
    LINGERS = 10
    """A refusal is written, the last answer of its connection."""
    CLOSES = 11
    """The transport is closed, once it has sent all that was written."""
    LOST = 12


_ENDS = {Event.LINGERS: Phase.LINGERING, Event.CLOSES: Phase.CLOSING, Event.LOST: Phase.GONE}
TRANSITIONS: dict[Phase, dict[Event, Phase]] = {
    Phase.NEW: {
        Event.WELCOMED: Phase.IDLE,
        Event.REFUSED: Phase.UNWELCOME,
        Event.CUT_OFF: Phase.CLOSING,
    },
    Phase.IDLE: {
        Event.HEAD_BEGAN: Phase.HEAD,
        Event.BODY_BEGAN: Phase.BODY,
        Event.LEFT: Phase.LEAVING,
        Event.LAST_QUEUED: Phase.LAST,
        **_ENDS,
    },
    Phase.HEAD: {Event.HEAD_ENDED: Phase.IDLE, **_ENDS},
    Phase.BODY: {Event.BODY_ENDED: Phase.IDLE, **_ENDS},
    Phase.LEAVING: {Event.TAKEN_OVER: Phase.GONE, Event.LOST: Phase.GONE},
    Phase.UNWELCOME: _ENDS,
    Phase.LAST: _ENDS,
    Phase.LINGERING: {Event.LOST: Phase.GONE},
    Phase.CLOSING: {Event.LOST: Phase.GONE},
    Phase.GONE: {},
}

REQUESTING = frozenset((Phase.IDLE, Phase.HEAD, Phase.BODY))
"""Requests are read and served."""
LISTENING = REQUESTING | {Phase.LEAVING}
"""All that the client sends is kept."""
ENDING = frozenset((Phase.LAST, Phase.LINGERING, Phase.CLOSING, Phase.GONE))
"""All that the client sends is dropped."""
