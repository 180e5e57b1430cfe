"""The messages about clocks of other datacenters, as message.py has the others (see model/lag.py).

    A ==AskClocks==> gateway ==ClocksHere==> A    the clocks of those whom A cannot probe

A gateway tells other gateways of its own datacenter, and the members of that of the others. A node
that does not know the question is silent.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from kvgossip.protocol.model.lag import FAR_MAX, FarClock
from kvgossip.protocol.model.member import Name
from kvgossip.protocol.wire.message import Message


class AskClocks(Message, frozen=True):
    """What do the clocks show of those whom you know, and I do not?"""

    kind = 91
    question = True
    needs_link = True
    sender: Name


class ClocksHere(Message, frozen=True):
    """This, beside the wall clock of `sender`."""

    kind = 92
    sender: Name
    clocks: Annotated[tuple[FarClock, ...], Meta(max_length=FAR_MAX)] = ()
