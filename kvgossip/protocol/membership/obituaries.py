"""Obituaries: word that a member is gone - dead, left or pruned - from another one than itself.

    word that n3 is gone --> n3 hears it at once --> refutes, and answers whoever said so
                         --> believed; but of one that has refuted such a word lately:
                         --> ping of n3 --> ack: not believed
                                        --> nothing, twice: believed

Whoever has the key can say so of a member that lives, as often as he likes, and each time of a
later life. Law: **who answers is away for one round trip, and not again however often others say
so.**
- One that has come back by the same process has shown that such word of it is false, and so does
  each ack that it gives to a question of ours: within WARY_S after that it is asked first.
- So it is while it is taken for gone, if the word is of a later life: its answer to the word before
  would be too late for ever.
- A true word is believed two probe timeouts later then. A suspicion runs on meanwhile, and what a
  node says of itself, or this one concludes, waits for nobody.

One word that comes makes one go to its member, of the same length, and one ping in each probe
timeout: nothing goes to whoever a stranger names.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from kvgossip.protocol.membership.member_table import MemberTable
from kvgossip.protocol.membership.probing import MakePing, Probing, SendProbe
from kvgossip.protocol.membership.round_trip import RoundTrips
from kvgossip.protocol.model.arrival import Arrival
from kvgossip.protocol.model.member import Member, MemberState, is_of, life, rank
from kvgossip.protocol.model.newest import Newest
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.wire.message import Ack, Prune

WARY_S = 60.0
MEMBERS_MAX = 1024

Obituary = Member | Prune
_NEVER = 0, -math.inf


@dataclass(slots=True)
class Asked:
    """A word that waits for the answer of its member; the number of the pings, when nothing has
    come for too long, monotonic seconds, and whether it was asked again."""

    word: Obituary
    sequence: int
    due_s: float
    again: bool = False


class Obituaries:
    """`send` and `make_ping`: see probing.py."""

    def __init__(
        self,
        table: MemberTable,
        probing: Probing,
        round_trips: RoundTrips,
        *,
        send: SendProbe,
        make_ping: MakePing,
    ) -> None:
        self._table, self._probing, self._round_trips = table, probing, round_trips
        self._send, self._make_ping = send, make_ping
        #: by name, the site of a process that was taken for gone, and when, monotonic seconds
        self._gone: Newest[str, tuple[int, float]] = Newest(MEMBERS_MAX)
        #: by name, when it has shown last that it was taken for gone by mistake, monotonic seconds
        self._shown_s: Newest[str, float] = Newest(MEMBERS_MAX)
        self._asked: Newest[str, Asked] = Newest(MEMBERS_MAX)

    def taken(self, known: Member | None, heard: Member | None, now: Now) -> None:
        """Another record of a member is believed from now on; None: there is none."""
        if heard is None or not heard.reachable:
            if known is not None and known.reachable:
                self._gone[known.name] = known.site, now.monotonic_s
        elif self._gone.pop(heard.name, _NEVER)[0] == heard.site:
            self._shows(heard.name, now)

    def _shows(self, name: str, now: Now) -> None:
        self._shown_s.pop(name, None)
        self._shown_s[name] = now.monotonic_s

    def holds(self, word: Obituary, known: Member, now: Now) -> bool:
        """True if this word is not believed yet: then its member is asked first."""
        if not is_end_of(known, word) or self._table.is_blocked(known):
            return False
        name, shown_s = known.name, self._shown_s.get(known.name, -math.inf)
        _, gone_s = self._gone.get(name, _NEVER)
        if now.monotonic_s - max(shown_s, gone_s) >= WARY_S:
            return False
        asked, timeout_s = self._asked.get(name), self._round_trips.timeout_s(name)
        if asked is not None:
            asked.word = word
        elif now.monotonic_s - shown_s >= timeout_s:
            sequence, due_s = self._probing.next_sequence(), now.monotonic_s + timeout_s
            self._asked[name] = asked = Asked(word, sequence, due_s)
            self._ask(asked, known, now)
        return True

    def _ask(self, asked: Asked, known: Member, now: Now) -> None:
        """Over TCP too, where nothing has come: UDP may be blocked (lesson 13)."""
        ping = self._make_ping(asked.sequence, known.name, now)
        for reliable in (False, True) if asked.again else (False,):
            self._send(ping, known.address, known, reliable=reliable)

    def answered(self, ack: Ack, now: Now) -> None:
        """Whoever answers is not gone."""
        asked, known = self._asked.get(ack.sender), self._table.members.get(ack.sender)
        if (
            asked is not None
            and known is not None
            and asked.sequence == ack.sequence
            and is_of(known, ack.life)
        ):
            del self._asked[ack.sender]
            self._shows(ack.sender, now)

    def deadline(self) -> float:
        """The time at which something is due, monotonic seconds; infinite where nothing is."""
        return min(asked.due_s for asked in self._asked.values()) if self._asked else math.inf

    def overdue(self, now: Now) -> list[Obituary]:
        """The words that nobody has answered; they are asked for a second time before."""
        words = []
        for name, asked in list(self._asked.items()) if self._asked else ():
            known = self._table.members.get(name)
            if asked.due_s > now.monotonic_s:
                continue
            if asked.again or known is None:
                del self._asked[name]
                words.append(asked.word)
            else:
                asked.again = True
                asked.due_s = now.monotonic_s + self._round_trips.timeout_s(name)
                self._ask(asked, known, now)
        return words

    def contradict(self, word: Obituary, known: Member | None, arrival: Arrival) -> None:
        """This word has come, and was taken or not; `known` was believed before. Its member hears
        it; where that is this node itself, whoever sent it hears that it lives."""
        me = self._table.me
        if word.name == me.name:
            if is_gone(word) and not self._table.leaving and not is_end_of(me, word):
                teller = self._table.reachable_at(arrival.source)
                self._send(me, arrival.source, teller, reliable=arrival.reliable)
        elif (
            known is not None
            and is_end_of(known, word)
            and not self._table.speaks(known.name, arrival)
        ):
            now_known = self._table.members.get(word.name)
            self._send(word, known.address, now_known)


def is_gone(word: Obituary) -> bool:
    """True if this says of a member that it is gone."""
    return isinstance(word, Prune) or word.state >= MemberState.DEAD


def is_end_of(known: Member, word: Obituary) -> bool:
    """True if a member would be gone by this word, or gone in a later life than by what is
    known: then what it has answered to the word before would be too late."""
    if not known.reachable:
        return is_gone(word) and (word.generation, word.site) > life(known)
    if isinstance(word, Prune):
        return life(known) <= word.life
    return word.state >= MemberState.DEAD and rank(word) > rank(known)
