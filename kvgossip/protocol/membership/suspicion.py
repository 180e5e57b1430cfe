"""Suspicion and Awareness: the additions of Lifeguard to SWIM (Dadgar, Phillips, Currey 2018), as
values without timers."""

from __future__ import annotations

import math
from itertools import islice

from kvgossip.config import Config
from kvgossip.protocol.model.member import Member

CONFIRMATIONS = 3
OVERDUE_AT_ONCE = 64


class Suspicion:
    """How long a suspect has to refute: long while one node alone suspects it, shorter with each
    that agrees (Lifeguard 4.2).

    With too few other members to confirm anything the shortest time holds from the start, as in
    memberlist.
    """

    __slots__ = ("_accusers", "_expected", "_max_s", "_min_s", "_since_s")

    def __init__(self, config: Config, members: int, accuser: str, now_s: float) -> None:
        #: the time at which it began, monotonic seconds
        self._since_s = now_s
        self._accusers = {accuser}
        #: the shortest and the longest time to refute, seconds
        self._min_s = (
            config.suspicion_multiplier
            * max(1.0, math.log10(max(1, members)))
            * config.probe_interval_s
        )
        #: how many confirmations make the time the shortest; 0: it is that from the start
        self._expected = CONFIRMATIONS if members - 2 >= CONFIRMATIONS else 0
        self._max_s = (
            self._min_s * config.suspicion_max_multiplier if self._expected else self._min_s
        )

    def confirm(self, accuser: str) -> bool:
        """True if this accuser is a new one that counts: then others should hear of it too."""
        if not accuser or accuser in self._accusers or len(self._accusers) > self._expected:
            return False
        self._accusers.add(accuser)
        return True

    @property
    def deadline_s(self) -> float:
        if not self._expected:
            return self._since_s + self._min_s
        share = math.log(len(self._accusers)) / math.log(self._expected + 1)
        return self._since_s + max(self._min_s, self._max_s - (self._max_s - self._min_s) * share)


class Suspicions:
    """The suspicions that are open, one a name at most. Whoever can send a datagram can open
    thousands: so they are not looked through at every input, and not all of them end in one."""

    __slots__ = ("_config", "_first_s", "_open")

    def __init__(self, config: Config) -> None:
        self._config = config
        self._open: dict[str, Suspicion] = {}
        #: none is overdue before, monotonic seconds
        self._first_s = math.inf

    def __contains__(self, name: str) -> bool:
        return name in self._open

    def begin(self, suspect: Member, members: int, now_s: float) -> None:
        """`members`: how many are reachable, this node counted; monotonic seconds."""
        suspicion = Suspicion(self._config, members, suspect.accuser, now_s)
        self._open[suspect.name] = suspicion
        self._first_s = min(self._first_s, suspicion.deadline_s)

    def confirm(self, suspect: Member) -> bool:
        """True if the accuser of this record is a new one that counts."""
        suspicion = self._open.get(suspect.name)
        if suspicion is None or not suspicion.confirm(suspect.accuser):
            return False
        self._first_s = min(self._first_s, suspicion.deadline_s)
        return True

    def end(self, name: str) -> None:
        """Harmless where there is none."""
        self._open.pop(name, None)

    def deadline(self) -> float:
        """The time at which to ask who is overdue, monotonic seconds; infinite where there is
        none."""
        return self._first_s if self._open else math.inf

    def overdue(self, now_s: float) -> list[str]:
        """The names of the suspects that have not refuted in time: OVERDUE_AT_ONCE at most, the
        rest when this is asked again."""
        if now_s < self._first_s:
            return []
        overdue = (name for name, each in self._open.items() if each.deadline_s <= now_s)
        names = list(islice(overdue, OVERDUE_AT_ONCE))
        if not names:
            deadlines_s = (each.deadline_s for each in self._open.values())
            self._first_s = min(deadlines_s, default=math.inf)
        return names


class Awareness:
    """How much this node doubts itself: 0 is healthy. Its probe times are stretched by `factor`
    (Lifeguard 4.1)."""

    __slots__ = ("_score_max", "score")

    def __init__(self, score_max: int) -> None:
        self._score_max = score_max
        self.score = 0

    @property
    def factor(self) -> int:
        return self.score + 1

    def add(self, points: int) -> None:
        self.score = min(max(self.score + points, 0), self._score_max)
