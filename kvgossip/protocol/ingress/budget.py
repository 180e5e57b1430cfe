"""Budget: how much work one frame may ask for. The event loop, and so every client, waits for it.

A frame is small for what it can ask: each of thousands of units may be an entry to merge or a
member to judge. So every message has a cost, of about 20 microseconds, and what is beyond COST_MAX
is dropped and counted. Nodes say no more than that in one frame (PoolOutbox, packets.py,
batching.py), and what an older one says beyond it comes by an exchange.

What a question costs to answer is no matter of its length, and is bounded where it is answered
(anti_entropy/answering.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kvgossip.protocol.model.member import Member
from kvgossip.protocol.wire.exchange_messages import Decoded, Entries, Push
from kvgossip.protocol.wire.message import Bodies, Bundle, KeyringReport, Message, Prune

COST_MAX = 1024
"""About 20 ms. A batch of BATCH_ENTRIES_MAX entries fits: it is merged at once or not at all."""
_ENTRY, _MEMBER, _PRUNE, _UNIT = 2, 6, 16, 3
_COSTS: Mapping[type, Callable[[Any], int]] = {
    Member: lambda _: _MEMBER,
    Prune: lambda _: _PRUNE,
    Bundle: lambda bundle: len(bundle.entries),
    Bodies: lambda bodies: _ENTRY * len(bodies.entries),
    Push: lambda push: _ENTRY * (len(push.entries) + len(push.left_out)),
    Entries: lambda answer: _ENTRY * (len(answer.entries) + len(answer.left_out)),
    Decoded: lambda answer: _ENTRY * (len(answer.entries) + len(answer.left_out)),
    KeyringReport: lambda report: len(report.found),
}


def affordable(messages: Sequence[Message | Member]) -> Sequence[Message | Member]:
    """These messages, up to the first one that is too much."""
    if len(messages) * _UNIT <= COST_MAX and _COSTS.keys().isdisjoint(map(type, messages)):
        return messages  # as nearly always: nothing in it costs more than a unit does
    spent = 0
    for place, message in enumerate(messages):
        cost = _COSTS.get(type(message))
        spent += _UNIT if cost is None else cost(message)
        if spent > COST_MAX:
            return messages[:place]
    return messages
