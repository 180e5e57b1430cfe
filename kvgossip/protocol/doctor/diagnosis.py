"""Diagnosis: findings in words, of the faults of a cluster, from the observations of an examination
(see examination.py).

A pair of members is judged by the observations of both. A datagram that was answered proves both
ways; one that was not leaves the question which way is closed, and there the other one's word
helps: a member whose pings it has heard by datagrams meanwhile reaches it. A member that nobody
reaches is one finding and not one for each pair, and so is one that has no UDP with anybody.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from kvgossip.protocol.doctor.alike import alike
from kvgossip.protocol.doctor.clocks import wrong_clocks
from kvgossip.protocol.doctor.finding import Finding, listed
from kvgossip.protocol.effect import DoctorReport
from kvgossip.protocol.model.member import MemberState, SyncState
from kvgossip.protocol.wire.message import Condition, Sight


def diagnose(report: DoctorReport) -> list[Finding]:
    """The faults of this pool, the gravest first. Empty: there are none."""
    return [
        *_reachability(report),
        *wrong_clocks(clock_offsets_ms(report), report.pool),
        *_conditions(report),
        *alike(
            {name: each.keys for name, each in report.conditions.items()},
            {name: each.tokens for name, each in report.conditions.items()},
            report.observer,
            report.pool,
        ),
        *_gateways(report),
        *_incomplete(report),
    ]


# -- reachability ----------------------------------------------------------------------------


class Pairs:
    """The observations between any two members, whichever of them looked."""

    def __init__(self, report: DoctorReport) -> None:
        self._sights = report.sights
        looked = [(observer, name) for observer, seen in report.sights.items() for name in seen]
        self.all = list(dict.fromkeys((min(pair), max(pair)) for pair in looked))

    def sight(self, frm: str, to: str) -> Sight | None:
        return self._sights.get(frm, {}).get(to)

    def udp(self, one: str, other: str) -> bool:
        return any(
            sight is not None and sight.udp_us >= 0
            for sight in (self.sight(one, other), self.sight(other, one))
        )

    def tcp(self, frm: str, to: str) -> bool | None:
        """True if a link from the one to the other works; None where nobody tried."""
        sight = self.sight(frm, to)
        return None if sight is None or sight.state < 0 else sight.tcp_us >= 0

    def any_tcp(self, one: str, other: str) -> bool:
        return bool(self.tcp(one, other) or self.tcp(other, one))

    def hears(self, one: str, other: str) -> bool:
        """True if datagrams of the other one reach the one."""
        sight = self.sight(one, other)
        return sight is not None and sight.heard

    def reached_by(self, name: str) -> list[str]:
        seen = [
            (observer, sight)
            for observer, sights in self._sights.items()
            if (sight := sights.get(name)) is not None
        ]
        return [observer for observer, sight in seen if sight.udp_us >= 0 or sight.tcp_us >= 0]

    def heard_of(self, name: str) -> list[str]:
        """The members that have had a datagram of this one since the examination began: what came
        before it says nothing of now."""
        return [observer for observer in self._sights if self.hears(observer, name)]


def _reachability(report: DoctorReport) -> Iterator[Finding]:
    pairs = Pairs(report)
    lost = [name for name in report.members if not pairs.reached_by(name)]
    for name in lost:
        yield _lost(report, pairs, name)
    for name, member in report.members.items():
        if member.state is MemberState.DEAD and name not in lost:
            text = (
                f"{name} at {member.address} answers, but is taken for dead: it is coming "
                "back, or others do not reach it"
            )
            yield Finding("dead_but_answers", report.pool, (name,), text)
    between = [
        (one, other)
        for one, other in pairs.all
        if one not in lost and other not in lost and _known(pairs, one, other)
    ]
    yield from _udp(report, pairs, between)
    yield from _tcp(report, pairs, between)
    for one, other in between:
        if not pairs.udp(one, other) and not pairs.any_tcp(one, other):
            text = (
                f"{one} and {other} do not reach each other, neither by UDP nor by TCP, while "
                "others reach both"
            )
            yield Finding("unreachable", report.pool, (one, other), text, _look(one, other))


def _look(one: str, other: str) -> str:
    """The command that measures this way again."""
    return f"kvgossip rtt {one} {other}"


def _known(pairs: Pairs, one: str, other: str) -> bool:
    """True if anybody of the two knew where to find the other."""
    return any(
        sight is not None and sight.state >= 0
        for sight in (pairs.sight(one, other), pairs.sight(other, one))
    )


def _lost(report: DoctorReport, pairs: Pairs, name: str) -> Finding:
    """Reached by nobody: it is down, or it names an address that is not its own (lesson 30)."""
    member, hearers = report.members[name], pairs.heard_of(name)
    if name in report.answers_as:
        who = report.answers_as[name]
        text = (
            f"at the address that {name} tells, {member.address}, {who} answers: give {name} "
            "its own with --advertise HOST:PORT"
        )
        return Finding("wrong_address", report.pool, (name, who), text)
    if hearers:
        text = (
            f"nobody reaches {name} at {member.address}, the address that it tells, though its "
            f"packets arrive at {listed(hearers)}: it is "
            "reached elsewhere, or a firewall lets nothing in; give it the address that others "
            "reach with --advertise HOST:PORT"
        )
        return Finding("wrong_address", report.pool, (name,), text)
    if member.state is MemberState.DEAD:
        text = (
            f"{name} at {member.address} is dead: if it will not come back, `kvgossip "
            f"force-leave {name}`"
        )
        return Finding("dead", report.pool, (name,), text, f"kvgossip force-leave {name}")
    refusal = report.refusals.get(name)
    text = f"nobody reaches {name} at {member.address}, by UDP or by TCP" + (
        f"; it says: {refusal}" if refusal else ": is it running?"
    )
    return Finding("unreachable_by_all", report.pool, (name,), text)


def _udp(
    report: DoctorReport, pairs: Pairs, between: Sequence[tuple[str, str]]
) -> Iterator[Finding]:
    blocked = [pair for pair in between if not pairs.udp(*pair) and pairs.any_tcp(*pair)]
    judged: list[tuple[str, str]] = []
    for name in dict.fromkeys(name for pair in blocked for name in pair):
        mine = [pair for pair in blocked if name in pair]
        if len(mine) >= 2 and len(mine) == sum(name in pair for pair in between):
            others = [other for pair in mine for other in pair if other != name]
            yield Finding(
                "udp_blocked", report.pool, (name, *others), _udp_text_of_one(pairs, name, others)
            )
            judged += mine
    for one, other in blocked:
        if (one, other) not in judged:
            text = _udp_text(pairs, one, other)
            yield Finding("udp_blocked", report.pool, (one, other), text, _look(one, other))


def _udp_text_of_one(pairs: Pairs, name: str, others: Sequence[str]) -> str:
    if all(pairs.hears(other, name) for other in others):
        return (
            f"UDP from all others ({listed(others)}) to {name} is blocked, what it sends "
            "arrives, TCP works: open its UDP port"
        )
    return (
        f"UDP is blocked between {name} and all others ({listed(others)}), TCP works: open its "
        "UDP port in both directions"
    )


def _udp_text(pairs: Pairs, one: str, other: str) -> str:
    there, back = pairs.hears(other, one), pairs.hears(one, other)
    if there != back:
        frm, to = (other, one) if there else (one, other)
        return f"UDP from {frm} to {to} is blocked, from {to} to {frm} it passes, TCP works"
    return f"UDP is blocked between {one} and {other}, TCP works"


def _tcp(
    report: DoctorReport, pairs: Pairs, between: Sequence[tuple[str, str]]
) -> Iterator[Finding]:
    ways = [way for one, other in between for way in ((one, other), (other, one))]
    closed = [
        (frm, to)
        for frm, to in ways
        if pairs.tcp(frm, to) is False and (pairs.udp(frm, to) or pairs.any_tcp(frm, to))
    ]
    effect = "exchanges, joins and large entries cannot pass"
    for to in dict.fromkeys(to for _, to in closed):
        froms = [frm for frm, closed_to in closed if closed_to == to]
        if len(froms) >= 2 and len(froms) == sum(
            pairs.tcp(frm, to) is not None for frm, way_to in ways if way_to == to
        ):
            yield Finding(
                "tcp_blocked",
                report.pool,
                (to, *froms),
                f"{to} answers no TCP from all others ({listed(froms)}): it is blocked, or {to} is "
                f"too busy; {effect}",
            )
            continue
        for frm in froms:
            works = "UDP works" if pairs.udp(frm, to) else f"from {to} to {frm} it works"
            yield Finding(
                "tcp_blocked",
                report.pool,
                (frm, to),
                f"{to} answers no TCP from {frm}, {works}: it is blocked, or {to} is too busy; "
                f"{effect}",
            )


# -- clocks --------------------------------------------------------------------------------------


def clock_offsets_ms(report: DoctorReport) -> dict[str, int]:
    """By how much each clock is ahead of the observer's. A member that was not reached from here is
    judged by one that reached it."""
    offsets_ms = {report.observer: 0}
    for observer, seen in report.sights.items():
        base_ms = offsets_ms.get(observer)
        for name, sight in seen.items():
            if (
                base_ms is not None
                and name not in offsets_ms
                and (sight.udp_us >= 0 or sight.tcp_us >= 0)
            ):
                offsets_ms[name] = base_ms + sight.offset_ms
    return offsets_ms


# -- conditions ---------------------------------------------------------


def _conditions(report: DoctorReport) -> Iterator[Finding]:
    newest = max((condition.formats[1] for condition in report.conditions.values()), default=0)
    for name, condition in report.conditions.items():
        for code, text in _condition(name, condition, newest):
            yield Finding(code, report.pool, (name,), text)


def _condition(name: str, condition: Condition, newest: int) -> Iterator[tuple[str, str]]:
    if condition.sync_state is not SyncState.SETTLED:
        text = "it answers no reads until it has caught up, or after `kvgossip settle`"
        yield "not_settled", f"{name} has not settled: {text}"
    if condition.lost:
        yield "partition", f"{name} suspects a partition: it lost {condition.lost} members at once"
    if condition.rival:
        text = (
            f"the name {name} is used twice, by another live node at {condition.rival} too: give "
            "one of them another --name"
        )
        yield "name_twice", text
    for code, reason in condition.not_ready:
        yield code, f"{name} is not ready: {reason}"
    if condition.left_out:
        text = (
            f"{name} lacks {condition.left_out} entries that are too long for it, such as "
            f"{listed([repr(key) for key in condition.left_out_keys])}: give all nodes the same "
            "value_bytes_max and message_bytes_max, and restart it"
        )
        yield "left_out", text
    if condition.clock and not condition.not_ready:
        yield "clock_trouble", f"{name} says: {condition.clock}"
    if condition.disk:
        yield "disk", f"the data directory of {name}: {condition.disk}"
    if condition.gap_s:
        lasts = f"for {condition.gap_s} s at most, or until it has exchanged with all members"
        yield "context_gap", f"{name} collects no tombstones: its context has a gap, {lasts}"
    yield from ((code, f"{name}: {notice}") for code, notice in condition.notices)
    if condition.formats[1] < newest:
        others = f"others up to {newest}: it runs an older release"
        yield "format", f"{name} speaks frame formats up to {condition.formats[1]}, {others}"


def _gateways(report: DoctorReport) -> Iterator[Finding]:
    alive: Counter[str] = Counter()
    gone: Counter[str] = Counter()
    for condition in report.conditions.values():
        for datacenter, living, lost in condition.datacenters:
            alive[datacenter] = max(alive[datacenter], living)
            gone[datacenter] = max(gone[datacenter], lost)
    for datacenter in sorted(gone):
        if not alive[datacenter]:
            text = (
                f"no gateway of the datacenter {datacenter} is alive, {gone[datacenter]} are "
                "gone: its data and the others' do not meet"
            )
            yield Finding("gateway_missing", report.pool, (), text)


def _incomplete(report: DoctorReport) -> Iterator[Finding]:
    for name, who in report.answers_as.items():
        if name not in {
            member for member in report.members if not Pairs(report).reached_by(member)
        }:
            text = (
                f"at the address that {name} tells, {report.members[name].address}, {who} "
                "answers too"
            )
            yield Finding("wrong_address", report.pool, (name, who), text)
    for name in report.silent:
        text = (
            f"{name} did not tell what it sees of the others: it runs an older release, or is "
            "overloaded"
        )
        yield Finding("silent", report.pool, (name,), text)
    for name in report.busy:
        yield Finding(
            "busy",
            report.pool,
            (name,),
            f"{name} was busy with other examinations: ask again in some seconds",
        )
    for observer, seen in report.sights.items():
        strangers = [name for name, sight in seen.items() if sight.state < 0]
        if strangers:
            text = (
                f"{observer} does not know {listed(strangers)}: its table of members differs "
                f"from that of {report.observer}"
            )
            yield Finding("unknown", report.pool, (observer, *strangers), text)
