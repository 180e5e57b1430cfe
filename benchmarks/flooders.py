"""Flooders: what a hostile peer or client sends to a node, for a bounded time, at a bounded rate.

    python -m benchmarks.flooders KIND --gossip HOST:PORT --http HOST:PORT --keyring FILE
        [--cluster floods] [--seconds 15]

Prints a line once it begins, and one with the number of things that it sent at its end. The node is
one of this machine: other addresses are refused. What needs a key of the cluster has it: its sender
is no member, but could be one.

complaints   1,500 sources send frames that are not sealed, and of an unknown format
reflections  datagrams that are answered to somebody else, or by more than they have
units        frames that become a megabyte of units, unknown, broken and true ones
sketches     made-up sketches in which each round finds a single fingerprint
partials     links with frames that never end, and new links all the time
members      datagrams full of members that do not exist
ghosts       four members that answer pings, and each question of an exchange as late as can be
clients      lists that nobody reads, values that never end, silent connections, large imports
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import socket
import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from operator import xor
from pathlib import Path
from typing import Any, NamedTuple

from kvgossip.cli.process.open_files import raise_file_limit
from kvgossip.config import Address, Config
from kvgossip.errors import RemoteError
from kvgossip.protocol.anti_entropy.difference import parities
from kvgossip.protocol.model.member import Member, MemberState, SyncState
from kvgossip.protocol.store.digest import DigestTree
from kvgossip.protocol.store.symbols import STEP, SYMBOL_BYTES, checksum, places
from kvgossip.protocol.wire.batching import pack, unpack
from kvgossip.protocol.wire.exchange_messages import (
    Compare,
    Decoded,
    Differ,
    Entries,
    Leaves,
    Sketch,
    Symbols,
    Want,
)
from kvgossip.protocol.wire.frame import Framing, frame_bytes_max
from kvgossip.protocol.wire.keyring import Keyring
from kvgossip.protocol.wire.message import (
    Ack,
    Enquire,
    Gossip,
    Join,
    JoinReply,
    Message,
    Nack,
    Ping,
    PingRequest,
    Pull,
    Rumor,
)
from kvgossip.protocol.wire.unit import encode
from kvgossip.runtime.disk.key_files import read_keys

POOL = "lan:dc1"
SOURCES = 1500
LEVELS = 4
LINK_TIMEOUT_S, READY_S = 5.0, 20.0
ELSEWHERE = "127.9.9.9"
"""An address of this machine that no honest client has."""


class Target(NamedTuple):
    """The node, and for how long it is flooded."""

    cluster: str
    keyring: Keyring
    gossip: Address
    http: Address
    seconds: float

    def begin(self) -> float:
        """Says that the flood begins; when it ends, monotonic seconds. Once for each flood."""
        print("begins", flush=True)
        return time.monotonic() + self.seconds

    def framing(self, *, sealed: bool = True) -> Framing:
        framing = Framing(self.cluster, POOL, frame_bytes_max(Config()))
        if sealed:
            framing.seal_with(self.keyring, random.getrandbits(63), generation(), 64)
        return framing

    def pace(self, per_s: float) -> Iterator[int]:
        """Numbers from 0 on, so many a second, until it is over. What is late is left out: a flood
        is never faster, later on, than its rate."""
        ends_s = self.begin()
        number, began_s = 0, time.monotonic()
        while (now_s := time.monotonic()) < ends_s:
            if (due_s := began_s + number / per_s) > now_s:
                time.sleep(min(due_s, ends_s) - now_s)
                continue
            if now_s - due_s > 1.0:
                began_s = now_s - number / per_s
            yield number
            number += 1


def generation() -> int:
    return int(time.time() * 1000)


def fake(name: str, host: str, port: int, site: int = 0) -> Member:
    site = site or random.getrandbits(63)
    return Member(name, host, port, MemberState.ALIVE, generation(), 0, site, "dc1")


class Link:
    """A TCP link to the node, made anew where it was closed."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._socket: socket.socket | None = None
        self.framing = target.framing()

    def send(self, frame: bytes) -> bool:
        """False where the node does not take it now."""
        try:
            if self._socket is None:
                self._socket = socket.create_connection(self._target.gossip, LINK_TIMEOUT_S)
            self._socket.sendall(len(frame).to_bytes(4, "big") + frame)
        except OSError:
            self.close()
            return False
        return True

    def ask(self, *units: Message | Member) -> list[Any]:
        """The messages of the next frame that comes; none where none comes."""
        if not self.send(self.framing.frame(map(encode, units), reliable=True)):
            return []
        try:
            return self.framing.open(
                self._exactly(int.from_bytes(self._exactly(4), "big")), reliable=True
            ).messages
        except (OSError, EOFError, RemoteError):
            self.close()
            return []

    def _exactly(self, count: int) -> bytes:
        assert self._socket is not None
        data = b""
        while len(data) < count:
            more = self._socket.recv(count - len(data))
            if not more:
                raise EOFError
            data += more
        return data

    def exchange(self) -> int:
        """The number of an exchange about where the node places its keys: whoever may join is told
        by which seed."""
        me = fake("sketcher", "127.0.0.1", 1)
        for answer in self.ask(Join(me.name, me.site), me):
            if isinstance(answer, JoinReply):
                return DigestTree(1, answer.cluster_id.seed).numbered(1)
        raise RuntimeError("the node takes nobody in")

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def datagrams(host: str = "127.0.0.1") -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind((host, 0))
    made.setblocking(False)
    return made


# -- datagrams -------------------------------------------------------------------------------------


def complaints(target: Target) -> int:
    raise_file_limit()
    clear = target.framing(sealed=False)
    other = bytearray(clear.frame([]))
    other[2] = 99
    sources = [datagrams(f"127.{20 + at // 250}.1.{at % 250 + 1}") for at in range(SOURCES)]
    sent = 0
    for number in target.pace(1500):
        frame = clear.frame([]) if number // SOURCES % 2 == 0 else bytes(other)
        sources[number % SOURCES].sendto(frame, target.gossip)
        sent += 1
    return sent


def reflections(target: Target) -> int:
    framing, asking, victim = target.framing(), datagrams(), datagrams(ELSEWHERE)
    host, port = victim.getsockname()
    asking.sendto(framing.frame([encode(fake("victim", host, port))]), target.gossip)
    record = b"\x10" + bytes(16) + b"v" * 1000
    kinds: list[Callable[[int], list[Message]]] = [
        lambda at: [Ping(at, "x", "n1", 0, 0, SyncState.SETTLED)],
        lambda at: [Gossip(at, "x"), Rumor(f"reflected/{at}", record)],
        lambda at: [Enquire(at, f"reflected/{at}", 0, 0, 0)],
        lambda at: [PingRequest(at, "x", "t", host, port, False)],
        lambda at: [Pull("victim")],
    ]
    sent = 0
    for number in target.pace(1500):
        asked = kinds[number % len(kinds)](number)
        with suppress(BlockingIOError):
            asking.sendto(framing.frame([encode(each) for each in asked]), target.gossip)
            sent += 1
    return sent


def members(target: Target) -> int:
    framing, asking, sent = target.framing(), datagrams(), 0
    for number in target.pace(250):
        made = [
            fake(f"x{at}", f"127.77.{at >> 8 & 255}.{at & 255}", 1 + at % 60_000)
            for at in range(12 * number, 12 * number + 12)
        ]
        with suppress(BlockingIOError):
            asking.sendto(framing.frame([encode(each) for each in made]), target.gossip)
            sent += 1
    return sent


# -- links -----------------------------------------------------------------------------------------


def units(target: Target) -> int:
    link, sent = Link(target), 0
    room = frame_bytes_max(Config()) - 200
    gossip = encode(Gossip(1, "x"))
    alike = [
        b"\x63" + bytes(4),
        b"\x01\x00\x00\x00\x01\xc0",
        encode(Nack(1)),
        encode(fake("mm", "127.0.0.1", 1)),
        encode(Rumor("a", b"\x10" + bytes(16))),
    ]
    bodies = [[gossip, unit * (room // len(unit))] for unit in alike]
    # such as zstd cannot make 32 times smaller
    bodies.append([encode(Nack(random.getrandbits(60))) for _ in range(4000)])
    for number in target.pace(30):
        frame = link.framing.frame(bodies[number % len(bodies)], reliable=True)
        sent += link.send(frame)
    link.close()
    return sent


def partials(target: Target) -> int:
    raise_file_limit()
    limit, waiting, sent = frame_bytes_max(Config()), list[socket.socket](), 0
    whole = (limit - 5).to_bytes(4, "big") + b"kv" + bytes(limit - 20)
    begun = (1000).to_bytes(4, "big") + b"k"
    for number in target.pace(60):
        try:
            made = socket.create_connection(target.gossip, 1.0)
            made.setblocking(False)
            sent += 1
            waiting.append(made)
            made.send(whole if number % 4 == 0 else begun)
        except OSError:
            pass
        for old in waiting[:-400]:
            old.close()
        waiting = waiting[-400:]
        for each in waiting[:: 1 + len(waiting) // 10]:
            with suppress(OSError):
                each.send(b"x")
    return sent


def chain(length: int, rounds: int) -> list[tuple[int, list[int]]]:
    """Fingerprints of which each shares a symbol with the one before, and has else none below the
    next: so that peeling finds one a round. With the symbols that hold them."""
    import numpy as np

    inverse, mask = pow(STEP, -1, 2**64), 2**64 - 1
    rng, found, at = np.random.default_rng(1), list[tuple[int, list[int]]](), 40
    while at < length - 2 and len(found) < rounds:
        # states whose first step ends at this symbol
        most, least = (1.5 / (at + 0.5)) ** 2, (1.5 / (at + 1.5)) ** 2
        states = ((least + (most - least) * rng.random(4000)) * 2.0**64).astype(np.uint64)
        after = states * np.uint64(STEP)
        first = np.ceil(1.5 * (2.0**32 / np.sqrt(states.astype(float) + 1.0) - 1.0))
        second = at + np.ceil((at + 1.5) * (2.0**32 / np.sqrt(after.astype(float) + 1.0) - 1.0))
        good = np.flatnonzero((first == at) & (second > at) & (second < length))
        if not len(good):
            break
        best = int(good[np.argmin(second[good])])
        fingerprint = int(states[best]) * inverse & mask
        held = list(places(fingerprint, length))
        if held[1] == at:
            found.append((fingerprint, held))
            at = held[2]
    return found


def made_up(links: list[tuple[int, list[int]]], length: int) -> tuple[list[int], list[int]]:
    """The symbols in which this chain is found link by link, and nothing is left that ends it."""
    rng = random.Random(2)
    sums = [rng.getrandbits(64) | 1 for _ in range(length)]
    checks = [rng.getrandbits(32) for _ in range(length)]
    before = {held[1]: [0, 0] for _, held in links}
    for fingerprint, held in links:
        one, other = before.pop(held[1])
        sums[held[1]], checks[held[1]] = fingerprint ^ one, checksum(fingerprint) ^ other
        for place in held[2:]:
            if place in before:
                before[place][0] ^= fingerprint
                before[place][1] ^= checksum(fingerprint)
    return sums, checks


def sketches(target: Target) -> int:
    link, sent = Link(target), 0
    number, nothing = link.exchange(), parities(DigestTree(LEVELS, 0))

    def symbols_of_node() -> tuple[array[int], array[int]]:
        # who seems to have nothing at all is told the symbols of all that the node has
        question = Sketch(number, 1, LEVELS, nothing, b"\1" * SYMBOL_BYTES, 0, "x")
        for each in link.ask(question):
            if isinstance(each, Symbols) and each.symbols:
                at = len(each.symbols) // SYMBOL_BYTES * 8
                return unpack("Q", each.symbols[:at]), unpack("I", each.symbols[at:])
        return unpack("Q", b""), unpack("I", b"")

    # how many it tells of changes with its keys, and any first ones of them will do
    length, patience_s = 0, time.monotonic() + READY_S
    while not length and time.monotonic() < patience_s:
        time.sleep(0.1)  # until it has worked in what was written last
        length = len(symbols_of_node()[0]) * 9 // 10
    sums, checks = made_up(chain(length, 1000), length)
    for _ in target.pace(20):
        ours, controls = symbols_of_node()
        if length and len(ours) >= length:
            symbols = pack("Q", map(xor, sums, ours)) + pack("I", map(xor, checks, controls))
            sent += bool(link.ask(Sketch(number, 1, LEVELS, nothing, symbols, 0, "x")))
    link.close()
    return sent


# -- members that answer late ----------------------------------------------------------------------


class Ghost(asyncio.DatagramProtocol):
    """A member that answers every ping, and says of every exchange that there is more to come."""

    def __init__(self, target: Target, name: str) -> None:
        self._framing, self._name = target.framing(), name
        self._site = random.getrandbits(63)
        self.questions = 0

    async def begin(self, target: Target) -> asyncio.Server:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        loop = asyncio.get_running_loop()
        await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", port))
        record = fake(self._name, "127.0.0.1", port, self._site)
        self._transport.sendto(self._framing.frame([encode(record)]), target.gossip)
        return server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def datagram_received(self, data: bytes, source: Any) -> None:
        with suppress(RemoteError):
            for message in self._framing.open(data, reliable=False).messages:
                if isinstance(message, Ping) and message.target == self._name:
                    self._transport.sendto(
                        self._framing.frame([encode(self._ack(message))]), source
                    )

    def _ack(self, ping: Ping) -> Ack:
        return Ack(ping.sequence, self._name, 12345, generation(), SyncState.SETTLED)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, EOFError, RemoteError, asyncio.CancelledError):
            while True:
                size = int.from_bytes(await reader.readexactly(4), "big")
                frame = await reader.readexactly(size)
                for message in self._framing.open(frame, reliable=True).messages:
                    answer = await self._answer(message)
                    if answer is not None:
                        data = self._framing.frame([encode(answer)], reliable=True)
                        writer.write(len(data).to_bytes(4, "big") + data)
        writer.close()

    async def _answer(self, message: Any) -> Message | None:
        if isinstance(message, Ping):
            return self._ack(message)
        self.questions += isinstance(message, (Sketch, Compare, Want, Leaves))
        if isinstance(message, Sketch):
            wanted = pack("Q", (random.getrandbits(64) for _ in range(300)))
            settled = SyncState.SETTLED
            return Decoded(message.exchange, message.request, 4, (), wanted, b"", 0, settled)
        if isinstance(message, Compare):
            deeper = (16 * each for each in unpack("I", message.parents))
            differing = pack("I", deeper if message.level else [0])
            return Differ(
                message.exchange, message.request, 4, differing, 0, SyncState.SETTLED, self._site
            )
        if isinstance(message, (Want, Leaves)):
            await asyncio.sleep(8.0)
            return Entries(message.exchange, message.request, 1, (), b"")
        return None


def ghosts(target: Target) -> int:
    return asyncio.run(_haunt(target))


async def _haunt(target: Target) -> int:
    made = [Ghost(target, f"ghost{number}") for number in range(4)]
    servers = [await each.begin(target) for each in made]
    await asyncio.sleep(target.begin() - time.monotonic())
    for server in servers:
        server.close()
    return sum(each.questions for each in made)


# -- clients ---------------------------------------------------------------------------------------


def clients(target: Target) -> int:
    raise_file_limit()
    sent = 0
    with suppress(OSError, HTTPException):
        for number in range(20):
            ask(target, "PUT", f"/kv/big/{number}", os.urandom(1 << 20))
        rows = [{"put": f"imported/{at}", "value": "x" * 100} for at in range(5000)]
        for start in range(0, len(rows), 250):
            ask(target, "POST", "/batch", json.dumps({"operations": rows[start:][:250]}).encode())
    everything = b""
    with suppress(OSError, HTTPException):
        everything = ask(target, "GET", "/export?prefix=imported/", b"")
    half = b"PUT /kv/half HTTP/1.1\r\nHost: n\r\nContent-Length: 1048576\r\n\r\n" + bytes(1_000_000)
    unread = [
        b"GET /v1/kv/big/?recurse HTTP/1.1\r\nHost: n\r\n\r\n",
        b"GET /kv/big/1 HTTP/1.1\r\nHost: n\r\n\r\n",
        half,
        b"",
    ]
    waiting: list[socket.socket] = []
    for number in target.pace(50):
        with suppress(OSError, HTTPException):
            if number % 50 == 0 and everything:
                ask(target, "POST", "/import", everything)
            else:
                waiting.append(connect(target, unread[number % len(unread)]))
            sent += 1
        for old in waiting[:-300]:
            old.close()
        waiting = waiting[-300:]
    return sent


def connect(target: Target, first: bytes) -> socket.socket:
    """A connection that has sent this, and will not read."""
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    made.bind((ELSEWHERE, 0))
    made.settimeout(1.0)
    made.connect(target.http)
    made.setblocking(False)
    with suppress(BlockingIOError):
        made.send(first)
    return made


def ask(target: Target, method: str, path: str, body: bytes) -> bytes:
    connection = HTTPConnection(*target.http, timeout=LINK_TIMEOUT_S, source_address=(ELSEWHERE, 0))
    try:
        connection.request(method, path, body)
        return connection.getresponse().read()
    finally:
        connection.close()


FLOODS: dict[str, Callable[[Target], int]] = {
    flood.__name__: flood
    for flood in (complaints, reflections, units, sketches, partials, members, ghosts, clients)
}


def loopback(text: str) -> Address:
    host, _, port = text.rpartition(":")
    if not host.startswith("127.") or not port.isdecimal():
        raise argparse.ArgumentTypeError(f"{text} is no address of this machine: it is not flooded")
    return Address(host, int(port))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kind", choices=tuple(FLOODS))
    parser.add_argument("--gossip", type=loopback, required=True)
    parser.add_argument("--http", type=loopback, required=True)
    parser.add_argument("--keyring", type=Path, required=True)
    parser.add_argument("--cluster", default="floods")
    parser.add_argument("--seconds", type=float, default=15.0)
    options = parser.parse_args()
    # the honest clients share its processor, and are what is measured
    os.nice(10)
    keyring = read_keys(str(options.keyring))
    target = Target(options.cluster, keyring, options.gossip, options.http, options.seconds)
    print(FLOODS[options.kind](target), flush=True)


if __name__ == "__main__":
    main()
