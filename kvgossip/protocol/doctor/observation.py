"""Observations: the sight that a node has of other members while an examination is under way."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from msgspec.structs import replace

from kvgossip.protocol.model.member import Member
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.model.plain_text import plain, quoted
from kvgossip.protocol.wire.message import Condition, Sights


@dataclass(slots=True)
class Observation:
    """One member, as it is seen from here."""

    member: Member
    #: the members that it is asked to observe
    to_see: tuple[str, ...] = ()
    #: the time at which it was asked first, monotonic seconds
    began_s: float | None = None
    #: how many datagrams went out to it
    tries: int = 0
    #: it was asked again over a new link, since nothing had come by the present one
    has_fresh_link: bool = False
    #: the shortest round trips, seconds
    udp_s: float | None = None
    tcp_s: float | None = None
    #: by how much its wall clock is ahead of ours
    offset_ms: int = 0
    condition: Condition | None = None
    sights: Sights | None = None
    #: the name of another member that answers at its address
    answers_as: str = ""
    #: why it refuses our frames
    refusal: str = ""

    def is_silent(self, now: Now, seconds: float) -> bool:
        """True if it was asked so long ago, has answered by datagrams and not over TCP, and was not
        asked again over a new link."""
        return (
            self.began_s is not None
            and now.monotonic_s >= self.began_s + seconds
            and self.udp_s is not None
            and self.tcp_s is None
            and not self.has_fresh_link
        )

    @property
    def is_complete(self) -> bool:
        return None not in (self.udp_s, self.tcp_s, self.condition) and not self.owes_sights

    @property
    def owes_sights(self) -> bool:
        return bool(self.to_see) and self.condition is not None and self.sights is None


@dataclass(slots=True, eq=False)
class Examination:
    """One examination under way."""

    #: by name
    observations: dict[str, Observation]
    #: monotonic seconds
    began_s: float
    #: the time at which all had their time to answer
    seen_s: float
    #: the end, whatever is missing
    end_s: float
    #: takes it when it is over
    done: Callable[[Examination, Now], None]
    #: the examination that this node's operator asked for, as Examined says it; None where a member
    #: asked
    asked: tuple[str, str] | None
    #: the member that asked
    asker: str
    #: the names of those that were not asked yet
    waiting: deque[str] = field(default_factory=deque)

    def is_over(self, now_s: float) -> bool:
        observations = self.observations.values()
        if now_s >= self.end_s or all(each.is_complete for each in observations):
            return True
        return now_s >= self.seen_s and not any(each.owes_sights for each in observations)


@dataclass(slots=True)
class OpenQuestion:
    """A question that went out under one number, and when."""

    examination: Examination
    observation: Observation
    sent_s: float


def in_quotes(condition: Condition) -> Condition:
    """With the words of the other node in quotes."""
    return replace(
        condition,
        keys=tuple(map(plain, condition.keys)),
        rival=plain(condition.rival),
        not_ready=tuple((code, quoted(text)) for code, text in condition.not_ready),
        clock=quoted(condition.clock),
        disk=quoted(condition.disk),
    )
