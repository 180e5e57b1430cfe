"""BurstWindow: how many frames of rumors may be under way to a peer over its link.

A link delivers, so a peer that is slow, or hangs, would find all that was sent meanwhile waiting
for it, most of it old by then. So a peer that has not answered the last bursts gets datagrams
again, which are lost where nobody takes them, until it answers or `patience_s` have passed.
"""

from __future__ import annotations

UNANSWERED_MAX = 8


class BurstWindow:
    """Of each peer, by name: the sequence numbers of the bursts that it has not answered, and when
    they left (monotonic seconds)."""

    __slots__ = ("_patience_s", "_unanswered")

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._unanswered: dict[str, dict[int, float]] = {}

    def may_leave(self, peer: str, now_s: float) -> bool:
        """True if this peer may be sent another one at this time (monotonic seconds)."""
        unanswered = self._unanswered.get(peer)
        if not unanswered or len(unanswered) < UNANSWERED_MAX:
            return True
        if now_s - next(reversed(unanswered.values())) < self._patience_s:
            return False
        self.forget(peer)
        return True

    def left(self, peer: str, sequence: int, now_s: float) -> None:
        """A burst with this sequence number leaves for the peer now."""
        self._unanswered.setdefault(peer, {})[sequence] = now_s

    def answered(self, peer: str, sequence: int) -> None:
        """The peer has answered a packet, perhaps a burst."""
        unanswered = self._unanswered.get(peer)
        if unanswered is not None and unanswered.pop(sequence, None) is not None and not unanswered:
            del self._unanswered[peer]

    def forget(self, peer: str) -> None:
        """Its link broke, or it is no peer any more."""
        self._unanswered.pop(peer, None)
