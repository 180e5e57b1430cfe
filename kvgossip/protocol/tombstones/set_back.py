"""SetBack: this machine goes on from an earlier memory of the same life, as a virtual machine does
that is set back to a snapshot.

It does not know so, and has lost what it wrote since. What others hold of that shows it: a version
of its own site that it has not written, or more of its context than there is (causal_context.py).
Then a new life begins, with another site and a later generation, as after a restart; nothing more
is taken from the exchange that showed it, and all exchanges start again. So what was lost comes
back as another site's, and what the old life had confirmed counts no more.

Whoever can reach this node can make such a record up. So there is at most one new life in
PAUSE_S; what else would begin one meanwhile is refused, and the node says who it is that tells it
so.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from random import Random

from kvgossip.protocol.model.now import Now
from kvgossip.protocol.outbox import Outbox
from kvgossip.protocol.readiness import Reason

PAUSE_S = 60.0
HINT = (
    "look whether this machine is restored again and again, and whether that peer is one of yours: "
    "`kvgossip block` ends what it says"
)


BeginLife = Callable[[int, int, str, Now], None]
"""`(site, lost, peer, now)`: from now on this is the life `site`; the life before has lost what it
wrote at the time `lost`, and this peer holds it."""


class SetBack:
    def __init__(
        self, begin_life: BeginLife, rng: Random, outbox: Outbox, counters: Counter[str]
    ) -> None:
        self._begin_life, self._rng, self._outbox = begin_life, rng, outbox
        self._counters = counters
        #: when the last new life began, monotonic seconds
        self._began_s = -math.inf
        self._problem = ""

    def found(self, lost: int, peer: str, now: Now) -> None:
        """A peer has what this life wrote at that time, and does not know."""
        who = f"{peer!r}" if peer else "a peer, or a backup,"
        if now.monotonic_s - self._began_s < PAUSE_S:
            self._counters["set_backs_refused"] += 1
            if not self._problem:
                self._problem = (
                    f"{who} shows again that this machine was set back to an earlier memory, within"
                    f" {PAUSE_S:.0f} s of its new life"
                )
                self._outbox.log("ERROR", f"{self._problem}: {HINT}")
            return
        self._began_s, self._problem = now.monotonic_s, ""
        self._counters["set_backs"] += 1
        self._outbox.log(
            "WARNING",
            f"{who} has what this node wrote, and does not know: this machine was set back to an "
            "earlier memory. A new life begins; what was lost comes back from peers that have it",
        )
        self._begin_life(self._rng.getrandbits(64), lost, peer, now)

    def not_ready(self, now: Now) -> list[Reason]:
        """Who asks for another new life already."""
        if not self._problem or now.monotonic_s - self._began_s >= PAUSE_S:
            return []
        return [Reason("set_back", self._problem, HINT)]
