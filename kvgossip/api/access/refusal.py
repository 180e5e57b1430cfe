"""AccessError: a request that is refused for who sends it, or for how it came here."""

from __future__ import annotations

from kvgossip.errors import LocalError


class AccessError(LocalError):
    """`status` of its answer, and `head`, header lines that belong to it (each ends in CR LF)."""

    def __init__(self, status: int, message: str, hint: str, head: str = "") -> None:
        super().__init__(message, hint)
        self.status = status
        self.head = head
