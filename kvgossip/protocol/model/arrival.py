"""Arrival: how a message came."""

from __future__ import annotations

from typing import NamedTuple

from kvgossip.config import Address
from kvgossip.protocol.model.now import Now


class Arrival(NamedTuple):
    """The source and the time of a message, and whether it came by a frame of a TCP link
    (`reliable`) or by a datagram. `here`: the host of this node's end of that link; empty where
    that is not known. Every handler takes a message and its arrival."""

    source: Address
    now: Now
    reliable: bool
    here: str = ""
