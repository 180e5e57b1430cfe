"""RumorPolicy: the variants of rumor mongering as one value (Demers et al. 1987, section 1.4).

A site that spreads a rumor judges its contacts and loses interest:

    feedback   only a contact that already knew the rumor counts      blind    every contact counts
    counter    after k contacts that count                            coin     at each one that
               counts, with probability 1/k

Two rules that the paper leaves open were settled by fitting its Table 1: a contact to which the
rumor was news sets the counter back, and in one synchronous cycle what a contact knew is judged by
the state at the cycle's start.

    push / pull / push-pull    who asks whom
    connection_limit           how many conversations a site accepts a cycle; 0: any number
    hunt                       how many other peers a refused site tries
    minimization               push-pull, both know it: only the side with the smaller counter
                               counts the contact
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from random import Random

from kvgossip.errors import ConfigError


class Mode(Enum):
    PUSH = "push"
    PULL = "pull"
    PUSH_PULL = "push-pull"

    @property
    def pushes(self) -> bool:
        return self is not Mode.PULL

    @property
    def pulls(self) -> bool:
        return self is not Mode.PUSH


@dataclass(frozen=True, slots=True)
class RumorPolicy:
    """How rumors spread and cool. Raises ConfigError for values that make no sense; `k` 0 spreads
    none."""

    k: int = 3
    mode: Mode = Mode.PUSH
    feedback: bool = True
    counter: bool = True
    connection_limit: int = 0
    hunt: int = 0
    minimization: bool = False

    def __post_init__(self) -> None:
        if self.k < 0 or self.connection_limit < 0 or self.hunt < 0:
            raise ConfigError(
                "a rumor policy's numbers are not negative",
                "k, connection_limit and hunt start at 0",
            )
        if self.minimization and self.mode is not Mode.PUSH_PULL:
            raise ConfigError(
                "minimization needs push-pull", "only where both sides tell can both know"
            )
        if self.minimization and not self.counter:
            raise ConfigError(
                "minimization needs counters",
                "it compares the counters of both sides; a coin has none",
            )

    def after(self, count: int, knew: bool, rng: Random) -> int | None:
        """The count after one more contact, which `knew` the rumor or not; None: interest is
        lost."""
        if self.feedback and not knew:
            return 0
        if not self.counter:
            return None if rng.random() * self.k < 1 else count
        return count + 1 if count + 1 < self.k else None

    def counts(self, mine: int, theirs: int) -> bool:
        """True if a conversation between two sites that both know the rumor counts for the one with
        the counter `mine`."""
        return not self.minimization or mine <= theirs
