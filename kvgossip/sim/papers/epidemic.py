"""Epidemics in synchronous cycles, as Demers et al. (1987) define and measure them: rumor mongering
(section 1.4), anti-entropy (1.3).

The `RumorPolicy` that ships decides what a site does after a contact; here are only the cycles
around it.

Rules of a cycle of rumor mongering
- push: every infective site contacts one uniform other site. pull and push-pull: every site does.
- At most one copy of the update crosses in a conversation: a site does not send back what it was
  sent.
- A site that is infected in cycle c is infective from c + 1 on; the epidemic ends when no site is
  infective.
- A contact is judged on the state at the start of the cycle, as news or as unnecessary: of two
  sites that send to the same one at once, both have sent news.
- All contacts of a site in one cycle give one judgement: if any contact was news the policy hears
  of news, else of one contact that knew (the footnote of Table 3: a site that serves several
  requests in one cycle resets if any needed the update, else adds one).
- push: only the sender judges. push-pull: both do, for both have sent and received.
- With a connection limit sites call in random order. A refused call sends nothing and is not
  judged; hunting calls somebody else.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from random import Random

from kvgossip.errors import ConfigError
from kvgossip.protocol.rumors.policy import Mode, RumorPolicy

SUSCEPTIBLE, FRESH, INFECTIVE, REMOVED = range(4)
UNMET, UNNECESSARY, NEWS = range(3)

Partner = Callable[[int, Random], int]
"""The site that a site contacts: never itself."""


@dataclass(frozen=True, slots=True)
class RumorOutcome:
    """The outcome of one rumor."""

    #: Share of the sites that were never reached.
    residue: float
    #: Updates sent, over the number of sites.
    traffic: float
    #: Calls that a connection limit refused, over the number of sites.
    refused: float
    #: Cycles until a site that was ever reached heard it, the origin not counted: the mean, and
    #: the last one.
    t_average: float
    t_last: int
    #: Cycles until no site was infective.
    cycles: int


@dataclass(frozen=True, slots=True)
class AntiEntropyOutcome:
    """`residue[c]`: share of the sites that lack the update after c cycles, from (n-1)/n down to 0.
    `cycles`: until all know."""

    cycles: int
    residue: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over runs and its standard error (0 where there is only one run)."""

    mean: float
    error: float


def estimate(values: Iterable[float]) -> Estimate:
    """Raises ZeroDivisionError if there are none."""
    listed = [float(value) for value in values]
    mean = math.fsum(listed) / len(listed)
    squares = math.fsum((value - mean) ** 2 for value in listed)
    return Estimate(mean, math.sqrt(squares / max(len(listed) - 1, 1) / len(listed)))


def other_than(site: int, sites: int, rng: Random) -> int:
    """A uniform site other than this one."""
    other = int(rng.random() * (sites - 1))
    return other + (other >= site)


def spread_rumor(
    sites: int, policy: RumorPolicy, rng: Random, *, judged_at_start: bool = True
) -> RumorOutcome:
    """One rumor from one site until nobody spreads it any more. Raises ConfigError for fewer than
    two sites.

    `judged_at_start` False: a contact is judged on the state of that moment, so that only the first
    to reach a site has sent news. The differential equations of section 1.4 describe that, but it
    does not fit the paper's Table 1.
    """
    return _RumorEpidemic(sites, policy, rng, INFECTIVE if judged_at_start else FRESH).run()


class _RumorEpidemic:
    """The sites as bytes, so that 100,000 of them are a few megabytes."""

    __slots__ = (
        "_accepted",
        "_both",
        "_counts",
        "_cycle",
        "_delays",
        "_fresh",
        "_infective",
        "_known_from",
        "_met",
        "_order",
        "_policy",
        "_pulls",
        "_pushes",
        "_refused",
        "_rng",
        "_sent",
        "_sites",
        "_state",
        "_t_last",
    )

    def __init__(self, sites: int, policy: RumorPolicy, rng: Random, known_from: int) -> None:
        _check(sites)
        self._sites, self._policy, self._rng, self._known_from = sites, policy, rng, known_from
        self._pushes, self._pulls = policy.mode.pushes, policy.mode.pulls
        self._both = self._pushes and self._pulls
        #: SUSCEPTIBLE, FRESH, INFECTIVE or REMOVED, and the policy's counter, of each site.
        self._state = bytearray(sites)
        self._counts = array("Q", bytes(8 * sites))
        #: The judgement of each site in this cycle: UNMET, UNNECESSARY or NEWS.
        self._met = bytearray(sites)
        #: How many calls each site has accepted in this cycle, where there is a limit.
        self._accepted = array("Q")
        #: In which order the sites call, where there is a limit.
        self._order: list[int] = (
            list(range(sites)) if self._pulls and policy.connection_limit else []
        )
        self._cycle = self._sent = self._refused = self._delays = self._t_last = 0
        #: The sites that were infected in this cycle, and those that are infective in it.
        self._fresh = [0]
        self._infective: list[int] = []

    def run(self) -> RumorOutcome:
        self._admit()
        while self._infective:
            self._cycle += 1
            self._call()
            self._judge()
            self._admit()
        unreached = self._state.count(SUSCEPTIBLE)
        reached = self._sites - unreached - 1
        return RumorOutcome(
            residue=unreached / self._sites,
            traffic=self._sent / self._sites,
            refused=self._refused / self._sites,
            t_average=self._delays / max(reached, 1),
            t_last=self._t_last,
            cycles=self._cycle,
        )

    def _call(self) -> None:
        rng, sites = self._rng, self._sites
        if not self._policy.connection_limit:
            for caller in range(sites) if self._pulls else self._infective:
                self._converse(caller, other_than(caller, sites, rng))
            return
        callers = self._order if self._pulls else self._infective
        rng.shuffle(callers)
        self._accepted = array("Q", bytes(8 * sites))
        for caller in callers:
            partner = self._hunt(caller)
            if partner is not None:
                self._converse(caller, partner)

    def _hunt(self, caller: int) -> int | None:
        for _ in range(1 + self._policy.hunt):
            partner = other_than(caller, self._sites, self._rng)
            if self._accepted[partner] < self._policy.connection_limit:
                self._accepted[partner] += 1
                return partner
            self._refused += 1
        return None

    def _converse(self, caller: int, partner: int) -> None:
        if self._pushes and self._state[caller] == INFECTIVE:
            self._send(caller, partner)
        elif self._pulls and self._state[partner] == INFECTIVE:
            self._send(partner, caller)

    def _send(self, sender: int, receiver: int) -> None:
        self._sent += 1
        was = self._state[receiver]
        if was == SUSCEPTIBLE:
            self._state[receiver] = FRESH
            self._fresh.append(receiver)
        if was < self._known_from:
            self._met[sender] = NEWS
            return
        # Both know it. The count of a site that has lost interest is k: it reached that, or would
        # have.
        mine, theirs = (
            self._counts[sender],
            self._counts[receiver] if was == INFECTIVE else self._policy.k,
        )
        if self._policy.counts(mine, theirs):
            self._met[sender] = self._met[sender] or UNNECESSARY
        if self._both and was == INFECTIVE and self._policy.counts(theirs, mine):
            self._met[receiver] = self._met[receiver] or UNNECESSARY

    def _judge(self) -> None:
        hot = []
        for site in self._infective:
            met = self._met[site]
            self._met[site] = UNMET
            count = (
                self._counts[site]
                if met == UNMET
                else self._policy.after(self._counts[site], met == UNNECESSARY, self._rng)
            )
            if count is None:
                self._state[site] = REMOVED
            else:
                self._counts[site] = count
                hot.append(site)
        self._infective = hot

    def _admit(self) -> None:
        """The sites that were infected in this cycle are infective from the next one on; `k` 0
        spreads nothing."""
        for site in self._fresh:
            self._state[site] = INFECTIVE if self._policy.k else REMOVED
        if self._fresh:
            self._delays += self._cycle * len(self._fresh)
            self._t_last = self._cycle
        if self._policy.k:
            self._infective += self._fresh
        self._fresh = []


def spread_by_anti_entropy(
    sites: int, mode: Mode, rng: Random, partner: Partner | None = None, origin: int = 0
) -> AntiEntropyOutcome:
    """One update from `origin` until all have it: in each cycle each site resolves its differences
    with one other (section 1.3).

    `partner` names the other site, a uniform one by default. Raises ConfigError for fewer than two
    sites. Never ends if some sites cannot be reached by `partner`.
    """
    _check(sites)
    knows = bytearray(sites)
    knows[origin] = 1
    lacking, residue = sites - 1, [(sites - 1) / sites]
    while lacking:
        for site in _learners(knows, mode, rng, partner):
            lacking -= not knows[site]
            knows[site] = 1
        residue.append(lacking / sites)
    return AntiEntropyOutcome(len(residue) - 1, tuple(residue))


def _learners(knows: bytearray, mode: Mode, rng: Random, partner: Partner | None) -> Sequence[int]:
    """The sites that hear of the update in one cycle, by the state at its start. Conversations that
    cannot carry it are not played."""
    sites = len(knows)
    learners = []
    for caller in range(sites):
        if knows[caller]:
            if mode.pushes:
                other = partner(caller, rng) if partner else other_than(caller, sites, rng)
                if not knows[other]:
                    learners.append(other)
        elif mode.pulls:
            other = partner(caller, rng) if partner else other_than(caller, sites, rng)
            if knows[other]:
                learners.append(caller)
    return learners


def _check(sites: int) -> None:
    if sites < 2:
        raise ConfigError(f"an epidemic needs at least 2 sites, not {sites}", "the paper has 1000")
