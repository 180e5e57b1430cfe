"""Claims: news that puts a name where another member lives, or a member where it has not been.

    news: ghost is at n3's address --> ping of ghost, to that address --> nothing: no word of it
    news: n4 is at n3's address    --> ping of n4, to that address    --> ack: n4 lives there now

Whoever can send one datagram can say that: so both are believed once that name has answered there
(proofs.py), or once the member whose place it would take is not reachable any more. While
nobody answers, the news is not taken, and not passed on: the member that lives there does not leave
for a moment, as by the rule that the later life wins alone (lesson 11). An honest node that was
renamed, or has moved, answers at once; where the answer is lost it is asked again, with the next
packet that tells of it.

While most names that are known, and more than CROWD_MIN, have never answered, a node is new in a
large cluster, or somebody invents names. Then nobody is believed to be there by being named:
- A new name is pinged when it is heard of, and passed on only when it has answered: else tables
  that are full of inventions would tell each other of them for ever.
- Failure detection and gossip are for those that have answered: else both would be spent on
  inventions, and neither a dead member be noticed, nor news be heard.
- The others are pinged, ASKS_A_PERIOD at most, again where the answer is lost, and forgotten where
  they do not answer within PATIENCE_PERIODS. One that lives comes back: whoever it pings says that
  it is a stranger there.

- What is said of this node's own address needs no question: nobody else answers here. An earlier
  life of this machine under another name, one that is not known to be elsewhere, is no claim: it
  has left (member_table.py).
- One that has to give way and comes back is believed: it was a member (member_table.py).
- A member that has never answered may be an invention, or one that has just joined: so it stays
  until another name answers at its address, and gives way then. Where it is itself, anybody says.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from kvgossip.config import Address, Config
from kvgossip.protocol.membership.member_table import MemberTable
from kvgossip.protocol.membership.probing import MakePing, Probing, SendProbe
from kvgossip.protocol.model.member import Member, is_of, life
from kvgossip.protocol.model.newest import Newest
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.wire.message import Ack

ASKED_MAX = 1024
ASKS_A_PERIOD = 64
PATIENCE_PERIODS = 5
AGAIN_MAX = 3


@dataclass(slots=True)
class Asked:
    """The newest record of a name at an address; the number and time of the last question, and the
    time of the first, monotonic seconds; and how many there were."""

    record: Member
    sequence: int
    asked_s: float
    began_s: float
    count: int = 1


class Claims:
    """`send` and `make_ping`: see probing.py."""

    def __init__(
        self,
        config: Config,
        table: MemberTable,
        probing: Probing,
        *,
        send: SendProbe,
        make_ping: MakePing,
    ) -> None:
        self._again_s = config.probe_timeout_s
        self._patience_s = PATIENCE_PERIODS * config.probe_interval_s
        #: how many names of a crowd may still be asked in this period
        self._asks_left = ASKS_A_PERIOD
        self._table, self._probing = table, probing
        self._send, self._make_ping = send, make_ping
        #: by name and address; and those two by the number of the question
        self._asked: Newest[tuple[str, Address], Asked] = Newest(ASKED_MAX)
        self._places: Newest[int, tuple[str, Address]] = Newest(ASKED_MAX)
        #: how many names were asked for so
        self.count = 0
        #: the name and address of a newcomer in whose place nobody has answered
        self._let_in: tuple[str, Address] | None = None
        #: when some of a crowd are asked again, monotonic seconds
        self.due_s = math.inf

    def introduce(self, heard: Member, now: Now) -> bool:
        """True if others may hear of this new name at once; else it is asked first. So are those
        that may become a crowd: a node that is new in a large cluster soon knows who is there."""
        counts = self._table.proofs.counts(heard.name)
        if self._asks_left and (not counts or self._table.proofs.is_crowding):
            self._asks_left -= 1
            self.ask(heard, now)
            self.due_s = min(self.due_s, now.monotonic_s + self._again_s)
        return counts

    def period(self, now: Now) -> list[str]:
        """A period of failure detection begins: the names of a crowd that have not answered, and
        are to be forgotten."""
        self._asks_left = ASKS_A_PERIOD
        silent: list[str] = []
        if not self._table.proofs.is_crowded:
            return silent
        for name in self._table.proofs.lacking:
            record = self._table.members[name]
            asked = self._asked.get((name, record.address))
            if asked is not None:
                if now.monotonic_s - asked.began_s > self._patience_s:
                    silent.append(name)
            elif self._asks_left:
                self._asks_left -= 1
                self.ask(record, now)
            else:
                break
        return silent

    def tick(self, now: Now) -> None:
        """Ask those again that may become a crowd and have not answered: one that is just joining
        does not take what comes before the answer to its Join."""
        if now.monotonic_s < self.due_s:
            return
        self.due_s = math.inf
        for (name, address), asked in list(self._asked.items()):
            record = self._table.members.get(name)
            if (
                record is None
                or record.address != address
                or asked.count > AGAIN_MAX
                or not self._table.proofs.lacks(name)
            ):
                continue
            self.due_s = now.monotonic_s + self._again_s
            if not self._asks_left:
                return
            if now.monotonic_s - asked.asked_s >= self._again_s:
                self._asks_left -= 1
                self.ask(record, now)

    def is_claim(self, heard: Member, known: Member | None) -> bool:
        """True if this news is not believed yet. `known`: the record of this name, if there is
        one."""
        table, address = self._table, heard.address
        if not heard.reachable or not heard.host or table.came_back(heard):
            return False
        is_reachable = known is not None and known.reachable
        if address == table.me.address:
            return is_reachable or life(heard) > life(table.me)
        if table.proofs.is_at(heard.name, address) or self._let_in == (heard.name, address):
            return False
        if known is not None and is_reachable and known.address == address:
            return False
        if table.name_at(address):
            return True
        return known is not None and known.reachable and table.proofs.at(known.address) is known

    def unproven_at(self, address: Address) -> Member | None:
        """The member that is there, if it has not answered yet."""
        member = self._table.reachable_at(address)
        return None if member is None or self._table.proofs.proves(member) else member

    def let_in(self, newcomer: Member | None) -> None:
        """Nobody has answered under the name that is at its address, so it is believed there, until
        this is called with None."""
        self._let_in = None if newcomer is None else (newcomer.name, newcomer.address)

    def hold(self, heard: Member, known: Member | None, now: Now) -> bool:
        """True if this news is not believed yet: then it is asked for at the address."""
        if not self.is_claim(heard, known):
            return False
        if heard.address == self._table.me.address:
            self._table.shared.append((self._table.me, heard))
        else:
            self.ask(heard, now)
        return True

    def ask(self, heard: Member, now: Now) -> None:
        """Ping this name there, unless that has just been done; over TCP too, where it has been
        done before: UDP may be blocked (lesson 13)."""
        place = (heard.name, heard.address)
        before = self._asked.pop(place, None)
        if before is not None and now.monotonic_s - before.asked_s < self._again_s:
            before.record = heard
            self._asked[place] = before
            return
        self.count += before is None
        sequence = self._probing.next_sequence()
        began_s, count = (now.monotonic_s, 0) if before is None else (before.began_s, before.count)
        self._asked[place] = Asked(heard, sequence, now.monotonic_s, began_s, count + 1)
        self._places[sequence] = place
        ping = self._make_ping(sequence, heard.name, now)
        for reliable in (False, True) if before is not None else (False,):
            self._send(ping, heard.address, None, reliable=reliable)

    def answered(self, ack: Ack) -> Member | None:
        """The record that is believed now, None if this ack answers none of these questions."""
        place = self._places.get(ack.sequence)
        asked = self._asked.get(place) if place is not None else None
        if (
            place is None
            or asked is None
            or (asked.sequence, place[0]) != (ack.sequence, ack.sender)
            or not is_of(asked.record, ack.life)
        ):
            return None
        del self._places[ack.sequence], self._asked[place]
        return asked.record
