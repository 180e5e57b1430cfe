"""Golden transcripts, in the manner of etcd's raft: a script, and under each of its lines
everything that was said and that happened.

A change here is a change of what nodes say to each other: read the difference, and if it is meant,
write it down with

    KVGOSSIP_REWRITE_TRANSCRIPTS=1 pytest tests/protocol/test_transcripts.py

    > start NAME [join NAME] [cluster CLUSTER]     > run SECONDS     > skip SECONDS (not written
                                                                     down)     > hide KIND...
    > put NAME KEY TEXT|SIZE     > fill NAME KEY COUNT     > delete NAME KEY     > leave NAME     >
                                                           crash NAME     > join NAME NAME
    > cut NAME NAME (both ways)     > deaf NAME (no datagram reaches it)     > heal     > accuse
                                    NAME OF (NAME hears that OF is suspect)
    > wait NAME KEY NEED SECONDS (for those that hold it, see write_concern.py)
    > survey NAME [PREFIX]     > examine NAME     > keep NAME PREFIX SECONDS (all keep the story of
                                                  keys)     > story NAME KEY (NAME asks all for it)
    > report NAME PROCESS PREFIX RELEASE [KEY...] (a process of NAME refused those keys)
    > block NAME OF     > unblock NAME OF     > prune NAME OF (NAME forces OF to leave, and prunes
                                              it)
    > show KEY     > count (entries)     > members

    1.500  a -> b   one datagram: its messages; a member in brackets: name, state, incarnation
    1.500  a => b   one frame of a TCP link; `x` instead of the name: it did not arrive
    1.501  b !      an effect
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from kvgossip.config import Config
from kvgossip.protocol.acks.applied import Report
from kvgossip.protocol.acks.write_concern import parse_write_concern
from kvgossip.protocol.anti_entropy.survey import Topic
from kvgossip.protocol.doctor.diagnosis import diagnose
from kvgossip.protocol.effect import (
    AckReceived,
    AppliedReported,
    Departed,
    Effect,
    Examined,
    Exchanged,
    Joined,
    JoinRefused,
    Log,
    MemberChanged,
    OverviewReported,
    Send,
    Settled,
    StoryReported,
    Surveyed,
    WriteConcernEnded,
)
from kvgossip.protocol.model.change import Changed
from kvgossip.protocol.model.entry import Entry
from kvgossip.protocol.model.member import Member, MemberState
from kvgossip.protocol.model.story import Step, Watch
from kvgossip.protocol.model.write import Writing
from kvgossip.protocol.wire import (
    exchange_messages,
    overview_messages,
    release_messages,
    story_messages,
)
from kvgossip.protocol.wire import message as wire_message
from kvgossip.protocol.wire.frame import HEADER_BYTES, Framing, frame_bytes_max
from kvgossip.protocol.wire.message import Message, Sight
from kvgossip.protocol.wire.unit import encode
from tests.protocol.net import LAN, STRANGER, Network, address_of

TRANSCRIPTS = sorted((Path(__file__).parent / "transcripts").glob("*.txt"))
REWRITE = "KVGOSSIP_REWRITE_TRANSCRIPTS"


def of_member(known: Member) -> str:
    accuser = f" by {known.accuser}" if known.accuser else ""
    return f"[{known.name} {known.state.name.lower()} {known.incarnation}{accuser}]"


def of_sight(seen: Sight) -> str:
    ways = [
        way
        for way, microseconds in (("udp", seen.udp_us), ("tcp", seen.tcp_us))
        if microseconds >= 0
    ]
    return f"{seen.name} by {'+'.join(ways) or 'nothing'}"


def of_entry(entry: Entry | None) -> str:
    if entry is None:
        return "nothing"
    return (
        "deleted"
        if entry.value is None
        else entry.value.decode()
        if len(entry.value) <= 20
        else f"{len(entry.value)} bytes"
    )


WORDS: dict[type, Callable[..., str]] = {
    Member: of_member,
    wire_message.Ping: lambda message: f"Ping {message.target}",
    wire_message.Prune: lambda message: f"Prune {message.name}",
    wire_message.Ack: lambda message: f"Ack of {message.sender}",
    wire_message.PingRequest: lambda message: f"PingRequest {message.target}",
    wire_message.Join: lambda message: f"Join {message.name}",
    wire_message.JoinReply: lambda message: f"JoinReply {message.sync_state.name.lower()}",
    wire_message.Refused: lambda message: f"Refused: {message.text}",
    wire_message.Gossip: lambda message: "Gossip direct" if message.direct else "Gossip",
    wire_message.Rumor: lambda message: f"Rumor {message.key}",
    wire_message.Notice: lambda message: f"Notice {message.key} of {message.size}",
    wire_message.Feedback: lambda message: f"Feedback {message.known.hex()}",
    wire_message.Fetch: lambda message: f"Fetch {' '.join(message.keys)}",
    wire_message.Bodies: lambda message: f"Bodies {' '.join(key for key, _ in message.entries)}",
    exchange_messages.Compare: lambda message: (
        f"Compare level {message.level}, {len(message.fingerprints) // 8} sums"
    ),
    exchange_messages.Differ: lambda message: f"Differ in {len(message.differing) // 4}",
    exchange_messages.Leaves: lambda message: (
        f"Leaves of {len(message.buckets) // 4}, {len(message.fingerprints) // 8} listed"
    ),
    exchange_messages.Sketch: lambda message: f"Sketch of {len(message.symbols) // 12}",
    exchange_messages.Symbols: lambda message: f"Symbols {len(message.symbols) // 12}",
    exchange_messages.Want: lambda message: f"Want {len(message.fingerprints) // 8}",
    exchange_messages.Decoded: lambda message: (
        f"Decoded {of_pairs(message.entries)}, {len(message.offered) // 8} offered, "
        f"{len(message.wanted) // 8} wanted"
    ),
    exchange_messages.Entries: lambda message: (
        f"Entries {of_pairs(message.entries)}, {len(message.wanted) // 8} wanted"
    ),
    wire_message.Enquire: lambda message: f"Enquire {message.key}",
    wire_message.Bundle: lambda message: f"Bundle {of_pairs(message.entries)}",
    wire_message.Measure: lambda message: f"Measure by {len(message.symbols) // 12} symbols",
    wire_message.Measured: lambda message: f"Measured {message.keys}",
    release_messages.AskApplied: lambda message: f"AskApplied {message.prefix}",
    release_messages.AppliedHere: lambda message: f"AppliedHere of {len(message.applied)}",
    overview_messages.Overview: lambda message: (
        f"Overview of {message.sender}, {message.keys} keys, suspects "
        f"{' '.join(message.suspects) or 'nobody'}"
    ),
    story_messages.AskStory: lambda message: (
        f"AskStory, to keep {message.watch.prefix} for {message.watch.for_s} s"
        if message.watch is not None
        else f"AskStory {message.key}"
    ),
    story_messages.StoryHere: lambda message: (
        f"StoryHere: {', '.join(map(of_step, message.steps)) or 'nothing'}"
    ),
    wire_message.Examine: lambda message: f"Examine {' '.join(message.subjects)}".rstrip(),
    wire_message.Condition: lambda message: f"Condition of {message.sender}",
    wire_message.Sights: lambda message: "Sights " + " ".join(map(of_sight, message.seen)),
    exchange_messages.Push: lambda message: f"Push {of_pairs(message.entries)}",
}


def of_step(step: Step) -> str:
    return f"{step.what} from {step.peer}" if step.peer else step.what


def of_pairs(pairs: tuple[tuple[str, bytes], ...]) -> str:
    return (
        " ".join(key for key, _ in pairs[:3])
        + ("" if len(pairs) <= 3 else f" and {len(pairs) - 3} more")
        if pairs
        else "none"
    )


def of_message(message: Message | Member) -> str:
    words = WORDS.get(type(message))
    return words(message) if words else type(message).__name__


def of_effect(effect: Effect) -> str:
    match effect:
        case Changed():
            return f"{effect.key}: {of_entry(effect.old)} -> {of_entry(effect.new)}"
        case MemberChanged():
            return " -> ".join(
                of_member(known) if known else "unknown" for known in (effect.old, effect.new)
            )
        case AckReceived():
            return f"wait {effect.ticket}: held by {effect.peer.name}"
        case WriteConcernEnded():
            lacking = "".join(
                f", not by {each.peer.name} ({'unknown' if each.state is None else each.state.name.lower()})"
                for each in effect.lacking
            )
            return (
                f"wait {effect.ticket} {'met' if effect.met else 'not met'}: "
                f"{' '.join(peer.name for peer in effect.held_by)}{lacking}"
            )
        case Surveyed():
            return f"{effect.peer.name} differs by {effect.keys}, {effect.precision.name.lower()}"
        case AppliedReported():
            return f"{effect.peer.name} has " + (
                ", ".join(
                    f"{each.release} in {each.processes}"
                    + "".join(f", {key} is {reason}" for key, reason in each.refused)
                    for each in effect.applied
                )
                or "nothing"
            )
        case OverviewReported():
            return f"{effect.peer.name} has told of itself"
        case StoryReported():
            return f"{effect.peer.name} has given its story"
        case Exchanged():
            ended = "completed" if effect.completed else "cut"
            return (
                f"exchange with {effect.peer.name} {ended}: {effect.trips} trips, "
                f"{effect.found} found"
            )
        case Joined():
            return f"joined {effect.name}"
        case JoinRefused() | Log():
            return f"{type(effect).__name__}: {effect.text}"
        case Examined():
            return (
                "  ".join(
                    f"Finding {finding.code}: {finding.text}" for finding in diagnose(effect.report)
                )
                or "examined: healthy"
            )
        case Settled() | Departed():
            return type(effect).__name__.lower()
    return ""


OTHER = Framing("other", "lan:dc1", frame_bytes_max(Config()))


def framing_of(data: bytes) -> Framing:
    """Whoever can read this frame."""
    return OTHER if data[:HEADER_BYTES] == OTHER.frame([])[:HEADER_BYTES] else LAN


class Stage:
    """Performs the lines of a script; `lines` is what is to be written under the present one."""

    def __init__(self) -> None:
        self.net = Network()
        self.lines: list[str] = []
        self._hidden: tuple[str, ...] = ()
        self._places: dict[str, int] = {}
        self._deaf: set[str] = set()
        self._shown: dict[str, int] = {}
        self._waits = 0
        self._reports: dict[str, dict[str, Report]] = {}
        self.net.watch = self._sent
        self.net.passes = lambda frm, to, reliable: reliable or to not in self._deaf

    def perform(self, line: str) -> list[str]:
        verb, *words = line.split()
        self.lines = []
        getattr(self, verb)(*words)
        self._take_effects()
        return self.lines

    def _sent(self, frm: str, to: str, sent: Send) -> None:
        self._take_effects()
        messages = framing_of(sent.data).open(sent.data, reliable=sent.reliable).messages
        if type(messages[0]).__name__ not in self._hidden:
            self._line(
                f"{frm} {'=>' if sent.reliable else '->'} {to or 'x'}",
                "  ".join(map(of_message, messages)),
            )

    def _line(self, who: str, what: str) -> None:
        self.lines.append(f"{self.net.time_s:7.3f}  {who:<6}  {what}")

    def _take_effects(self) -> None:
        for name, effects in self.net.effects.items():
            first = self._shown.get(name, 0)
            self._shown[name] = len(effects)
            for effect in effects[first:]:
                what = of_effect(effect) if type(effect).__name__ not in self._hidden else ""
                if what:
                    self._line(f"{name} !", what)

    # -- the verbs of a script --------------------------------------------------------------------

    def start(self, name: str, *words: str) -> None:
        place = self._places.setdefault(name, len(self._places))
        how = dict(zip(words[::2], words[1::2], strict=True))
        join = (str(address_of(self._places[how["join"]])),) if "join" in how else ()
        self.net.add(name, place, join=join, digest_levels=4, cluster=how.get("cluster", "default"))

    def run(self, seconds: str) -> None:
        before_s = self.net.time_s
        while self.net.time_s < before_s + float(seconds) - 1e-9:
            self.net.run(min(0.0005, before_s + float(seconds) - self.net.time_s))
            self._take_effects()

    def skip(self, seconds: str) -> None:
        self.net.run(float(seconds))
        self._take_effects()
        self.lines = []

    def hide(self, *kinds: str) -> None:
        self._hidden = kinds

    def put(self, name: str, key: str, value: str) -> None:
        self.net.put(name, key, b"v" * int(value) if value.isdigit() else value.encode())

    def fill(self, name: str, key: str, count: str) -> None:
        for number in range(int(count)):
            self.net.put(name, f"{key}{number}", b"v")
        self._shown[name] = len(self.net.effects[name])

    def join(self, name: str, other: str) -> None:
        self.net.join(name, str(address_of(self._places[other])))

    def wait(self, name: str, key: str, need: str, seconds: str) -> None:
        self._waits += 1
        replica, now = self.net.replicas[name], self.net.now(name)
        self.net.perform(
            name, replica.wait(self._waits, key, parse_write_concern(need), float(seconds), now)
        )

    def survey(self, name: str, prefix: str | None = None) -> None:
        replica, now = self.net.replicas[name], self.net.now(name)
        topic = Topic.DATA if prefix is None else Topic.APPLIED
        self.net.perform(name, replica.survey(0, now, topic, prefix or ""))

    def report(self, name: str, process: str, prefix: str, release: str, *refused: str) -> None:
        reports = self._reports.setdefault(name, {})
        reports[process] = Report(prefix, release, [(key, "bad") for key in refused])
        self.net.replicas[name].shell_report.applied.tell(reports.values())

    def batch(self, name: str, value: str, *keys: str) -> None:
        written = b"v" * int(value) if value.isdigit() else value.encode()
        self.net.perform(
            name,
            self.net.replicas[name]
            .batch([Writing(key, written) for key in keys], self.net.now(name))
            .effects,
        )

    def delete(self, name: str, key: str) -> None:
        self.net.delete(name, key)

    def leave(self, name: str) -> None:
        self.net.leave(name)

    def crash(self, name: str) -> None:
        self.net.crash(name)

    def cut(self, one: str, other: str) -> None:
        self.net.partition(one, other)

    def heal(self) -> None:
        self.net.heal()
        self._deaf.clear()

    def overview(self, name: str) -> None:
        self.net.perform(
            name, self.net.replicas[name].survey(0, self.net.now(name), Topic.OVERVIEW)
        )

    def story(self, name: str, key: str) -> None:
        self._ask_story(name, key)

    def keep(self, name: str, prefix: str, seconds: str) -> None:
        self._ask_story(name, Watch(prefix, for_s=int(seconds)))

    def _ask_story(self, name: str, subject: str | Watch) -> None:
        self.net.perform(
            name, self.net.replicas[name].survey(0, self.net.now(name), Topic.STORY, subject)
        )

    def deaf(self, name: str) -> None:
        self._deaf.add(name)

    def accuse(self, name: str, of: str) -> None:
        accused = msgspec.structs.replace(
            self.net.replicas[of].member, state=MemberState.SUSPECT, accuser="somebody"
        )
        self.net.perform(
            name,
            self.net.replicas[name].receive(
                LAN.frame([encode(accused)]), STRANGER, self.net.now(name)
            ),
        )

    def examine(self, name: str) -> None:
        self.net.perform(name, self.net.replicas[name].examine(self.net.now(name)))

    def block(self, name: str, of: str) -> None:
        self.net.perform(name, self.net.replicas[name].block(of, self.net.now(name)))

    def unblock(self, name: str, of: str) -> None:
        self.net.perform(name, self.net.replicas[name].unblock(of, self.net.now(name)))

    def prune(self, name: str, of: str) -> None:
        self.net.perform(
            name, self.net.replicas[name].force_leave(of, self.net.now(name), prune=True)
        )

    def show(self, key: str) -> None:
        self.lines += [
            f"{name}: {of_entry(replica.store.get(key))}"
            for name, replica in sorted(self.net.replicas.items())
        ]

    def count(self) -> None:
        self.lines += [
            f"{name}: {len(replica.store)}" for name, replica in sorted(self.net.replicas.items())
        ]

    def members(self) -> None:
        for name, replica in sorted(self.net.replicas.items()):
            self.lines.append(f"{name}: " + " ".join(map(of_member, replica.members())))


def performed(script: str) -> Iterator[str]:
    """The script again, with what happens now under each of its lines."""
    stage = Stage()
    for line in script.splitlines():
        if line.startswith("> "):
            yield line
            yield from stage.perform(line[2:])
        elif line.startswith("#") or not line.strip():
            yield line


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
def test_what_is_said_is_what_the_transcript_says(path: Path) -> None:
    now = "\n".join(performed(path.read_text())) + "\n"
    if os.environ.get(REWRITE):
        path.write_text(now)
    assert now.splitlines() == path.read_text().splitlines()


def test_every_kind_of_message_is_said_in_some_transcript() -> None:
    said = "\n".join(path.read_text() for path in TRANSCRIPTS)
    never = {"Pull", "Busy"}  # not part of the default policy
    never |= {
        "KeyringOrder",
        "KeyringReport",
    }  # said only where frames are sealed, see test_key_rotation.py
    never |= {"AskClocks", "ClocksHere"}  # said to gateways alone, see model/test_lag.py
    never.add("OtherPositions")  # while a cluster id is on its way, see test_positions.py
    assert {
        kind.__name__ for kind in Message.__subclasses__() if kind.__name__ not in said
    } <= never
