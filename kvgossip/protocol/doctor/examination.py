"""Doctor: looks at the members of a pool from here, and lets them look at each other, for
`kvgossip doctor`.

    operator -> A   A --Ping--> B --Ack--> A        by datagrams, up to three
                    A ==Ping==> B ==Ack==> A        over the link
                    A ==Examine==> B ==Condition==> A, and B looks at those that A named, as A does
                    at B, then  B ==Sights==> A

Laws
- What is tried is what probes use: the same sockets, the same messages. Who answers none of them is
  unreachable for membership too.
- One level: whom we ask to look at others asks nobody in turn. Everything is bounded, so that a
  thousand members do not melt: at most SUBJECTS_MAX are looked at, a random sample where there are
  more, each by at most OBSERVERS_MAX others, a few at a time; a node looks at others for LOOKS_MAX
  askers at once, members of its pool, one look each, and tells the next one that it is busy.
- Only members that this node knows are looked at, at the addresses that it knows: nobody can make
  it knock at somebody else's door.
- A look ends when all has been answered, or in a time that is known before. It changes nothing that
  membership believes.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from kvgossip.config import Address, Config
from kvgossip.errors import LocalError, NotFoundError
from kvgossip.protocol.effect import DoctorReport, Examined
from kvgossip.protocol.membership.probing import MakePing
from kvgossip.protocol.membership.swim import Membership
from kvgossip.protocol.model.arrival import Arrival
from kvgossip.protocol.model.member import Member
from kvgossip.protocol.model.newest import Newest
from kvgossip.protocol.model.now import Now
from kvgossip.protocol.model.peer import PoolKind
from kvgossip.protocol.outbox import Outbox, SendPort
from kvgossip.protocol.wire.message import Ack, Condition, Examine, Sight, Sights

SUBJECTS_MAX = 64
OBSERVERS_MAX = 32
LOOKS_MAX = 4
ALL = ("", "")
BATCH = 16
TICK_S = 0.05
TRIES_S = (0.0, 0.4, 1.0)
LOOK_S = 2.0
MARGIN_S = 0.5


@dataclass(slots=True)
class Subject:
    """One member under examination. `to_see`: whom it is asked to look at; round trips are
    seconds."""

    member: Member
    to_see: tuple[str, ...] = ()
    began_s: float | None = None
    tries: int = 0
    udp_s: float | None = None
    tcp_s: float | None = None
    offset_ms: int = 0
    condition: Condition | None = None
    sights: Sights | None = None
    answers_as: str = ""
    refusal: str = ""

    @property
    def is_complete(self) -> bool:
        return None not in (self.udp_s, self.tcp_s, self.condition) and not self.owes_sights

    @property
    def owes_sights(self) -> bool:
        return bool(self.to_see) and self.condition is not None and self.sights is None


@dataclass(slots=True, eq=False)
class Look:
    """One examination under way; `done` takes it when it is over. `seen_s`: when all had their time
    to answer, `end_s`: the end for all.

    `asked`: what this node's operator asked for, as Examined tells it; None where a member, the
    `asker`, did.
    """

    subjects: dict[str, Subject]
    began_s: float
    seen_s: float
    end_s: float
    done: Callable[[Look, Now], None]
    asked: tuple[str, str] | None
    asker: str
    waiting: deque[str] = field(default_factory=deque)

    def is_over(self, now_s: float) -> bool:
        subjects = self.subjects.values()
        if now_s >= self.end_s or all(subject.is_complete for subject in subjects):
            return True
        return now_s >= self.seen_s and not any(subject.owes_sights for subject in subjects)


@dataclass(slots=True)
class Question:
    """What was asked under one number, and when."""

    look: Look
    subject: Subject
    sent_s: float


class Doctor:
    """`condition(sequence, now)` is this node's, `make_ping(sequence, target, now)` makes a
    ping."""

    def __init__(
        self,
        config: Config,
        kind: PoolKind,
        *,
        membership: Membership,
        send_port: SendPort,
        outbox: Outbox,
        condition: Callable[[int, Now], Condition],
        make_ping: MakePing,
    ) -> None:
        self._config, self._kind, self._membership = config, kind, membership
        self._send_port, self._outbox = send_port, outbox
        self._condition, self._make_ping = condition, make_ping
        self._rng = Random(membership.me.site)
        self._looks: list[Look] = []
        self._asked: dict[int, Question] = {}
        #: by name, when a ping of that member last came by a datagram, monotonic seconds
        self._heard_s: Newest[str, float] = Newest(config.members_max)
        self._tick_s: float | None = None

    # -- the one that an operator asked -----------------------------------------------------------

    def start(self, now: Now) -> None:
        """Look at all, or at a sample, and let them look at each other; Examined follows. While one
        is under way, no second one begins."""
        if any(look.asked == ALL for look in self._looks):
            return
        known = [*self._membership.reachable, *self._membership.dead()]
        sample = known if len(known) <= SUBJECTS_MAX else self._rng.sample(known, SUBJECTS_MAX)
        names = [self._membership.me.name, *(member.name for member in sample)]
        subjects = {
            member.name: Subject(member, self._others(names, member) if member.reachable else ())
            for member in sample
        }
        self._begin(
            subjects, now, lambda look, then: self._report(look, ALL, len(known), then), ALL
        )

    def ask(self, one: str, other: str, now: Now) -> None:
        """Let one member look at another one; Examined follows. Raises NotFoundError for an unknown
        name, LocalError while too many such questions are open."""
        for name in (one, other):
            if name not in self._membership.members:
                raise NotFoundError(
                    f"no member is named {name!r}", "`kvgossip members` shows who is known"
                )
        asked = (one, other)
        under_way = [look.asked for look in self._looks if look.asked is not None]
        if asked in under_way:
            return
        if len(under_way) >= LOOKS_MAX:
            raise LocalError(
                "this node is busy with other examinations", "ask again in some seconds"
            )
        subjects = {one: Subject(self._membership.members[one], (other,))}
        self._begin(subjects, now, lambda look, then: self._report(look, asked, 1, then), asked)

    def _others(self, names: list[str], member: Member) -> tuple[str, ...]:
        others = [name for name in names if name != member.name]
        return tuple(
            others if len(others) <= OBSERVERS_MAX else self._rng.sample(others, OBSERVERS_MAX)
        )

    def _report(self, look: Look, asked: tuple[str, str], known: int, now: Now) -> None:
        me, subjects = self._membership.me.name, look.subjects
        sights = {me: {sight.name: sight for sight in self._sights(look)}}
        answered = {
            name: subject.sights for name, subject in subjects.items() if subject.sights is not None
        }
        sights |= {
            name: {sight.name: sight for sight in answer.seen}
            for name, answer in answered.items()
            if not answer.busy
        }
        conditions = {
            name: subject.condition
            for name, subject in subjects.items()
            if subject.condition is not None
        }
        report = DoctorReport(
            observer=me,
            pool=self._kind.value,
            members={name: subject.member for name, subject in subjects.items()},
            known=known,
            sights=sights,
            conditions={me: self._condition(0, now), **conditions},
            answers_as={
                name: subject.answers_as for name, subject in subjects.items() if subject.answers_as
            },
            silent=tuple(
                name
                for name, subject in subjects.items()
                if subject.to_see and subject.tcp_s and name not in answered
            ),
            busy=tuple(name for name, answer in answered.items() if answer.busy),
            refusals={
                name: subject.refusal for name, subject in subjects.items() if subject.refusal
            },
            took_s=now.monotonic_s - look.began_s,
        )
        self._outbox.emit(Examined(asked, report, self._kind))

    # -- the ones that are asked ------------------------------------------------------------------

    def on_examine(self, question: Examine, arrival: Arrival) -> None:
        source, now, _ = arrival
        self._send_port.send(self._condition(question.sequence, now), source, reliable=True)
        members = self._membership.members
        if not question.subjects or question.sender not in members:
            return
        askers = [look.asker for look in self._looks if look.asker]
        if question.sender in askers or len(askers) >= LOOKS_MAX:
            self._send_port.send(
                Sights(question.sequence, self._membership.me.name, (), busy=True),
                source,
                reliable=True,
            )
            return
        names = dict.fromkeys(
            name for name in question.subjects if name != self._membership.me.name
        )
        unknown = tuple(Sight(name, -1) for name in names if name not in members)

        def done(look: Look, then: Now) -> None:
            seen = (*self._sights(look), *unknown)
            self._send_port.send(
                Sights(question.sequence, self._membership.me.name, seen), source, reliable=True
            )

        subjects = {name: Subject(members[name]) for name in names if name in members}
        self._begin(subjects, now, done, None, question.sender)

    def _sights(self, look: Look) -> list[Sight]:
        return [self._sight(name, subject, look) for name, subject in look.subjects.items()]

    def _sight(self, name: str, subject: Subject, look: Look) -> Sight:
        known = self._membership.members.get(name)
        return Sight(
            name,
            -1 if known is None else known.state,
            _microseconds(subject.udp_s),
            _microseconds(subject.tcp_s),
            self._heard_s.get(name, -math.inf) >= look.began_s,
            subject.offset_ms,
        )

    # -- what comes in ----------------------------------------------------------------------------

    def heard(self, name: str, now: Now) -> None:
        """A ping of this member came by a datagram: so that way is open, whether or not an answer
        gets back."""
        if name in self._membership.members:
            self._heard_s.pop(name, None)
            self._heard_s[name] = now.monotonic_s

    def on_ack(self, ack: Ack, arrival: Arrival) -> bool:
        """Whether this answers a ping of an examination."""
        _, now, reliable = arrival
        asked = self._asked.get(ack.sequence)
        if asked is None or ack.sender != asked.subject.member.name:
            return False
        subject, took_s = asked.subject, now.monotonic_s - asked.sent_s
        before_s = subject.tcp_s if reliable else subject.udp_s
        if before_s is None or took_s < before_s:
            if subject.udp_s is None or not reliable:
                subject.offset_ms = round(ack.wall_ms - now.wall_ms + 500 * took_s)
            if reliable:
                subject.tcp_s = took_s
            else:
                subject.udp_s = took_s
        self._end_if_over(asked.look, now)
        return True

    def on_condition(self, condition: Condition, arrival: Arrival) -> None:
        asked = self._asked.get(condition.sequence)
        if asked is None or asked.subject.condition is not None:
            return
        subject = asked.subject
        if condition.sender != subject.member.name:
            subject.answers_as = condition.sender
            return
        subject.condition = condition
        # the link is there now: this round trip is one of the link, and not of its making
        self._ping(asked.look, subject, arrival.now, reliable=True)
        self._end_if_over(asked.look, arrival.now)

    def on_sights(self, sights: Sights, arrival: Arrival) -> None:
        asked = self._asked.get(sights.sequence)
        if (
            asked is not None
            and sights.sender == asked.subject.member.name
            and asked.subject.sights is None
        ):
            asked.subject.sights = sights
            self._end_if_over(asked.look, arrival.now)

    def refused(self, source: Address, text: str) -> None:
        """Somebody says no: perhaps somebody who is looked at."""
        for look in self._looks:
            for subject in look.subjects.values():
                if subject.member.address == source:
                    subject.refusal = text

    # -- time -------------------------------------------------------------------------------------

    def deadline(self) -> float | None:
        return self._tick_s

    def tick(self, now: Now) -> None:
        if self._tick_s is None or now.monotonic_s < self._tick_s:
            return
        for look in list(self._looks):
            self._go_on(look, now)
            self._end_if_over(look, now)
        self._tick_s = now.monotonic_s + TICK_S if self._looks else None

    def _begin(
        self,
        subjects: dict[str, Subject],
        now: Now,
        done: Callable[[Look, Now], None],
        asked: tuple[str, str] | None,
        asker: str = "",
    ) -> None:
        pace_s = TICK_S * (len(subjects) // BATCH)
        seen_s = now.monotonic_s + pace_s + LOOK_S + self._config.probe_timeout_s
        rest_s = (
            TICK_S * (OBSERVERS_MAX // BATCH) + LOOK_S + self._config.probe_timeout_s + MARGIN_S
            if asked
            else 0.0
        )
        look = Look(
            subjects, now.monotonic_s, seen_s, seen_s + rest_s, done, asked, asker, deque(subjects)
        )
        self._looks.append(look)
        self._go_on(look, now)
        self._tick_s = now.monotonic_s + TICK_S
        self._end_if_over(look, now)

    def _go_on(self, look: Look, now: Now) -> None:
        """Some more subjects; and another datagram to those that have not answered the ones
        before."""
        for name in [look.waiting.popleft() for _ in range(min(BATCH, len(look.waiting)))]:
            subject = look.subjects[name]
            subject.began_s = now.monotonic_s
            examine = Examine(
                self._number(look, subject, now), self._membership.me.name, subject.to_see
            )
            self._ping(look, subject, now, reliable=True)
            self._send_port.send(examine, subject.member.address, reliable=True)
        for subject in look.subjects.values():
            if (
                subject.began_s is None
                or subject.udp_s is not None
                or subject.tries == len(TRIES_S)
            ):
                continue
            if now.monotonic_s >= subject.began_s + TRIES_S[subject.tries]:
                subject.tries += 1
                self._ping(look, subject, now, reliable=False)

    def _ping(self, look: Look, subject: Subject, now: Now, *, reliable: bool) -> None:
        ping = self._make_ping(self._number(look, subject, now), subject.member.name, now)
        self._send_port.send(ping, subject.member.address, reliable=reliable)

    def _number(self, look: Look, subject: Subject, now: Now) -> int:
        sequence = self._membership.next_sequence()
        self._asked[sequence] = Question(look, subject, now.monotonic_s)
        return sequence

    def _end_if_over(self, look: Look, now: Now) -> None:
        if look in self._looks and look.is_over(now.monotonic_s):
            self._looks.remove(look)
            self._asked = {
                sequence: asked for sequence, asked in self._asked.items() if asked.look is not look
            }
            look.done(look, now)


def _microseconds(seconds: float | None) -> int:
    return -1 if seconds is None else max(0, round(1e6 * seconds))
