"""Doctor: observes the members of a pool from here, and lets them observe each other, for
`kvgossip doctor`.

    operator -> A   A --Ping--> B --Ack--> A        by datagrams, up to three
                    A ==Ping==> B ==Ack==> A        over the link
                    A ==Examine==> B ==Condition==> A, and B observes those that A named, as A
                    does B, then  B ==Sights==> A

Laws
- An examination works as probes do: by the same sockets, the same messages. A member that answers
  none of them is unreachable for membership too.
- One level: a member that we ask to observe others asks nobody in turn. Everything is bounded, so
  that a thousand members do not melt: at most OBSERVED_MAX are observed, a random sample where
  there are more, each by at most OBSERVERS_MAX others, a few at a time; a node examines for
  EXAMINATIONS_MAX members of its pool at once, once for each, and answers the next one that it is
  busy.
- A node observes only members that it knows, at the addresses that it knows: nobody can make it
  knock at somebody else's door.
- An examination ends when all has been answered, or in a time that is known before. It changes
  nothing that membership believes.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from random import Random

from kvgossip.config import Address, Config
from kvgossip.errors import LocalError, NotFoundError
from kvgossip.protocol.doctor.observation import Examination, Observation, OpenQuestion, in_quotes
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

OBSERVED_MAX = 64
OBSERVERS_MAX = 32
EXAMINATIONS_MAX = 4
ALL = ("", "")
BATCH = 16
TICK_S = 0.05
TRIES_S = (0.0, 0.4, 1.0)
FRESH_LINK_S = 1.0
EXAMINATION_S = 2.0
MARGIN_S = 0.5


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
        #: those under way
        self._examinations: list[Examination] = []
        #: by sequence number
        self._open: dict[int, OpenQuestion] = {}
        #: by name, when a ping of that member last came by a datagram, monotonic seconds
        self._heard_s: Newest[str, float] = Newest(config.members_max)
        self._tick_s: float | None = None

    # -- the one that an operator asked -----------------------------------------------------------

    def start(self, now: Now) -> None:
        """Observe all, or a sample, and let them observe each other; Examined follows. While one
        examination is under way, no second one begins."""
        if any(examination.asked == ALL for examination in self._examinations):
            return
        known = [*self._membership.reachable, *self._membership.table.dead()]
        sample = known if len(known) <= OBSERVED_MAX else self._rng.sample(known, OBSERVED_MAX)
        names = [self._membership.me.name, *(member.name for member in sample)]
        observations = {
            member.name: Observation(
                member, self._others(names, member) if member.reachable else ()
            )
            for member in sample
        }
        self._begin(
            observations,
            now,
            lambda examination, then: self._report(examination, ALL, len(known), then),
            ALL,
        )

    def ask(self, one: str, other: str, now: Now) -> None:
        """Let one member observe another one; Examined follows. Raises NotFoundError for an
        unknown name, LocalError while too many such questions are open."""
        for name in (one, other):
            if name not in self._membership.members:
                raise NotFoundError(
                    f"no member is named {name!r}", "`kvgossip members` shows who is known"
                )
        asked = (one, other)
        under_way = [
            examination.asked for examination in self._examinations if examination.asked is not None
        ]
        if asked in under_way:
            return
        if len(under_way) >= EXAMINATIONS_MAX:
            raise LocalError(
                "this node is busy with other examinations", "ask again in some seconds"
            )
        observations = {one: Observation(self._membership.members[one], (other,))}
        self._begin(
            observations,
            now,
            lambda examination, then: self._report(examination, asked, 1, then),
            asked,
        )

    def _others(self, names: list[str], member: Member) -> tuple[str, ...]:
        others = [name for name in names if name != member.name]
        return tuple(
            others if len(others) <= OBSERVERS_MAX else self._rng.sample(others, OBSERVERS_MAX)
        )

    def _report(
        self, examination: Examination, asked: tuple[str, str], known: int, now: Now
    ) -> None:
        me, observations = self._membership.me.name, examination.observations
        sights = {me: {sight.name: sight for sight in self._sights(examination)}}
        answered = {
            name: observation.sights
            for name, observation in observations.items()
            if observation.sights is not None
        }
        sights |= {
            name: {sight.name: sight for sight in answer.seen}
            for name, answer in answered.items()
            if not answer.busy
        }
        conditions = {
            name: observation.condition
            for name, observation in observations.items()
            if observation.condition is not None
        }
        report = DoctorReport(
            observer=me,
            pool=self._kind.value,
            members={name: observation.member for name, observation in observations.items()},
            known=known,
            sights=sights,
            conditions={me: self._condition(0, now), **conditions},
            answers_as={
                name: observation.answers_as
                for name, observation in observations.items()
                if observation.answers_as
            },
            silent=tuple(
                name
                for name, observation in observations.items()
                if observation.to_see and observation.tcp_s and name not in answered
            ),
            busy=tuple(name for name, answer in answered.items() if answer.busy),
            refusals={
                name: observation.refusal
                for name, observation in observations.items()
                if observation.refusal
            },
            took_s=now.monotonic_s - examination.began_s,
        )
        self._outbox.emit(Examined(asked, report, self._kind))

    # -- the ones that are asked ------------------------------------------------------------------

    def on_examine(self, question: Examine, arrival: Arrival) -> None:
        source, now, *_ = arrival
        self._send_port.send(self._condition(question.sequence, now), source, reliable=True)
        members = self._membership.members
        if not question.subjects or question.sender not in members:
            return
        askers = [examination.asker for examination in self._examinations if examination.asker]
        if question.sender in askers or len(askers) >= EXAMINATIONS_MAX:
            self._send_port.send(
                Sights(
                    sequence=question.sequence, sender=self._membership.me.name, seen=(), busy=True
                ),
                source,
                reliable=True,
            )
            return
        names = dict.fromkeys(
            name for name in question.subjects if name != self._membership.me.name
        )
        unknown = tuple(Sight(name=name, state=-1) for name in names if name not in members)

        def done(examination: Examination, then: Now) -> None:
            seen = (*self._sights(examination), *unknown)
            self._send_port.send(
                Sights(sequence=question.sequence, sender=self._membership.me.name, seen=seen),
                source,
                reliable=True,
            )

        observations = {name: Observation(members[name]) for name in names if name in members}
        self._begin(observations, now, done, None, question.sender)

    def _sights(self, examination: Examination) -> list[Sight]:
        return [
            self._sight(name, observation, examination)
            for name, observation in examination.observations.items()
        ]

    def _sight(self, name: str, observation: Observation, examination: Examination) -> Sight:
        known = self._membership.members.get(name)
        return Sight(
            name=name,
            state=-1 if known is None else known.state,
            udp_us=_microseconds(observation.udp_s),
            tcp_us=_microseconds(observation.tcp_s),
            heard=self._heard_s.get(name, -math.inf) >= examination.began_s,
            offset_ms=observation.offset_ms,
        )

    # -- messages that come in --------------------------------------------------------------------

    def heard(self, name: str, now: Now) -> None:
        """A ping of this member came by a datagram: so that way is open, whether or not an answer
        gets back."""
        if name in self._membership.members:
            self._heard_s.pop(name, None)
            self._heard_s[name] = now.monotonic_s

    def on_ack(self, ack: Ack, arrival: Arrival) -> bool:
        """True if this answers a ping of an examination."""
        _, now, reliable, _ = arrival
        asked = self._open.get(ack.sequence)
        if asked is None or ack.sender != asked.observation.member.name:
            return False
        observation, took_s = asked.observation, now.monotonic_s - asked.sent_s
        before_s = observation.tcp_s if reliable else observation.udp_s
        if before_s is None or took_s < before_s:
            if observation.udp_s is None or not reliable:
                observation.offset_ms = round(ack.wall_ms - now.wall_ms + 500 * took_s)
            if reliable:
                observation.tcp_s = took_s
            else:
                observation.udp_s = took_s
        self._end_if_over(asked.examination, now)
        return True

    def on_condition(self, condition: Condition, arrival: Arrival) -> None:
        asked = self._open.get(condition.sequence)
        if asked is None or asked.observation.condition is not None:
            return
        observation = asked.observation
        if condition.sender != observation.member.name:
            observation.answers_as = condition.sender
            return
        observation.condition = in_quotes(condition)
        # the link is there now: this round trip is one of the link, and not of its making
        self._ping(asked.examination, observation, arrival.now, reliable=True)
        self._end_if_over(asked.examination, arrival.now)

    def on_sights(self, sights: Sights, arrival: Arrival) -> None:
        asked = self._open.get(sights.sequence)
        if (
            asked is not None
            and sights.sender == asked.observation.member.name
            and asked.observation.sights is None
        ):
            asked.observation.sights = sights
            self._end_if_over(asked.examination, arrival.now)

    def refused(self, source: Address, text: str) -> None:
        """A node refuses our frames: perhaps one that is observed."""
        for examination in self._examinations:
            for observation in examination.observations.values():
                if observation.member.address == source:
                    observation.refusal = text

    # -- time -------------------------------------------------------------------------------------

    def deadline(self) -> float | None:
        return self._tick_s

    def tick(self, now: Now) -> None:
        if self._tick_s is None or now.monotonic_s < self._tick_s:
            return
        for examination in list(self._examinations):
            self._go_on(examination, now)
            self._end_if_over(examination, now)
        self._tick_s = now.monotonic_s + TICK_S if self._examinations else None

    def _begin(
        self,
        observations: dict[str, Observation],
        now: Now,
        done: Callable[[Examination, Now], None],
        asked: tuple[str, str] | None,
        asker: str = "",
    ) -> None:
        pace_s = TICK_S * (len(observations) // BATCH)
        seen_s = now.monotonic_s + pace_s + EXAMINATION_S + self._config.probe_timeout_s
        rest_s = (
            TICK_S * (OBSERVERS_MAX // BATCH)
            + EXAMINATION_S
            + self._config.probe_timeout_s
            + MARGIN_S
            if asked
            else 0.0
        )
        examination = Examination(
            observations,
            now.monotonic_s,
            seen_s,
            seen_s + rest_s,
            done,
            asked,
            asker,
            deque(observations),
        )
        self._examinations.append(examination)
        self._go_on(examination, now)
        self._tick_s = now.monotonic_s + TICK_S
        self._end_if_over(examination, now)

    def _go_on(self, examination: Examination, now: Now) -> None:
        """Ask some more members; and send another datagram to those that have not answered the ones
        before."""
        for name in [
            examination.waiting.popleft() for _ in range(min(BATCH, len(examination.waiting)))
        ]:
            observation = examination.observations[name]
            observation.began_s = now.monotonic_s
            self._ask_by_link(examination, observation, now)
        for observation in examination.observations.values():
            if observation.is_silent(now, FRESH_LINK_S):
                observation.has_fresh_link = True
                self._ask_by_link(examination, observation, now)
            if (
                observation.began_s is None
                or observation.udp_s is not None
                or observation.tries == len(TRIES_S)
            ):
                continue
            if now.monotonic_s >= observation.began_s + TRIES_S[observation.tries]:
                observation.tries += 1
                self._ping(examination, observation, now, reliable=False)

    def _ask_by_link(self, examination: Examination, observation: Observation, now: Now) -> None:
        """A second time over a new link: TCP is not blocked where a firewall forgot the old one."""
        examine = Examine(
            sequence=self._number(examination, observation, now),
            sender=self._membership.me.name,
            subjects=observation.to_see,
        )
        self._ping(examination, observation, now, reliable=True)
        self._send_port.send(examine, observation.member.address, reliable=True)

    def _ping(
        self, examination: Examination, observation: Observation, now: Now, *, reliable: bool
    ) -> None:
        ping = self._make_ping(
            self._number(examination, observation, now), observation.member.name, now
        )
        fresh = observation.has_fresh_link and observation.tcp_s is None
        self._send_port.send(ping, observation.member.address, reliable=reliable, fresh=fresh)

    def _number(self, examination: Examination, observation: Observation, now: Now) -> int:
        sequence = self._membership.probing.next_sequence()
        self._open[sequence] = OpenQuestion(examination, observation, now.monotonic_s)
        return sequence

    def _end_if_over(self, examination: Examination, now: Now) -> None:
        if examination in self._examinations and examination.is_over(now.monotonic_s):
            self._examinations.remove(examination)
            self._open = {
                sequence: asked
                for sequence, asked in self._open.items()
                if asked.examination is not examination
            }
            examination.done(examination, now)


def _microseconds(seconds: float | None) -> int:
    return -1 if seconds is None else max(0, round(1e6 * seconds))
