"""Arrival: how a message came."""

from __future__ import annotations

from typing import NamedTuple

from kvgossip.config import Address
from kvgossip.protocol.model.now import Now


class Arrival(NamedTuple):
    """The source and the time of a message, and whether it came by a frame of a TCP link
    (`reliable`) or by a datagram. Every handler takes a message and its arrival."""

    source: Address
    now: Now
    reliable: bool
