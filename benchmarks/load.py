"""Load: requests of PUT and GET to one node, by one thread that does little else, so that it can
offer more than a node can serve.

A *closed* load asks again on a connection as soon as that was answered: it finds out what a node
can serve. An *open* one starts its requests on schedule, whether or not earlier ones were answered:
each takes a connection that is idle, or dials a new one, as clients with a pool do. One in
PIPELINED_EVERY goes to one of a few connections that ask without waiting for answers, up to
PIPELINED_MAX of them.

Keys are numbered, and a number says what the value is. What becomes of every request is in a
`Ledger`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import select
import socket
import sys
import time
from array import array
from collections import Counter, deque
from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator
from contextlib import asynccontextmanager, suppress
from itertools import count
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

HANG_S = 30.0
"""A request without an answer, or an end of its connection, for so long hangs."""
GET_SHARE = 0.2
OPEN_MAX = 6000
CONNECT_S = 5.0
"""So long the kernels may take to connect. Where a node is offered more connections than it can
even refuse, its kernel ignores some, and theirs tries again after 1, 3, 7, 15 and 31 s: clients do
not wait for that.
"""
PIPELINED_EVERY, PIPELINES, PIPELINED_MAX = 10, 8, 256
STARTED_A_TURN = 32
SOURCES = 16
"""Loopback addresses to dial from, as ports of one would be used up."""
EXAMPLES = 10


@asynccontextmanager
async def beside(
    work: Iterable[Coroutine[Any, Any, None]],
) -> AsyncIterator[list[asyncio.Task[None]]]:
    """What goes on beside a load, and ends with it; more may be put into the list.

    A fault of any of it is raised.
    """
    tasks = [asyncio.create_task(each) for each in work]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
    for end in ends:
        if isinstance(end, Exception):
            raise end


def key_of(number: int) -> str:
    return f"load/{number:08d}"


def value_of(number: int) -> bytes:
    """100 bytes that are no other key's."""
    return (b"%08d " % number * 12)[:100]


class Asked(NamedTuple):
    """A request under way; `number` of a key, `due_s` when it was to start."""

    put: bool
    number: int
    due_s: float


class Connection:
    """`asked` is what was sent, or waits in `unsent`, and has no answer yet.

    `connected`: something could be sent.
    """

    __slots__ = ("asked", "connected", "dialled_s", "received", "socket", "unsent", "writing")

    def __init__(self, dialled: socket.socket, now_s: float) -> None:
        self.socket, self.dialled_s = dialled, now_s
        self.connected = False
        self.asked: deque[Asked] = deque()
        self.received, self.unsent = b"", b""
        self.writing = False


class Ledger:
    """`acked`: the versions of the numbers that were acknowledged.

    `wrong`: answers that may not be, some of them. Times in seconds.
    """

    def __init__(self) -> None:
        self.acked: dict[int, str] = {}
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.answered_s, self.refused_s, self.late_s = array("f"), array("f"), array("f")
        self.took_s = 0.0

    def break_law(self, kind: str, seen: object) -> None:
        self.counts[kind] += 1
        if len(self.wrong) < EXAMPLES:
            self.wrong.append(f"{kind}: {seen}")

    def as_json(self) -> dict[str, Any]:
        times = {"answered": self.answered_s, "refused": self.refused_s, "late": self.late_s}
        told = {
            f"{name}_{share}": _quantile(seen, share)
            for name, seen in times.items()
            for share in ("p50", "p99", "max")
        }
        return {
            "took_s": self.took_s,
            "answered": len(self.answered_s),
            "counts": self.counts,
            "wrong": self.wrong,
            "times_ms": told,
        }


def _quantile(times_s: array[float], share: str) -> float | None:
    ordered = sorted(times_s)
    place = {"p50": len(ordered) // 2, "p99": len(ordered) * 99 // 100, "max": -1}[share]
    return round(1000 * ordered[place], 1) if ordered else None


class Load:
    """Requests to `address` that write the keys of these numbers, and read some of what was
    acknowledged. Call `close` at the end.
    """

    def __init__(
        self,
        address: tuple[str, int],
        numbers: Iterator[int],
        get_share: float = GET_SHARE,
        seed: int = 1,
    ) -> None:
        self.ledger = Ledger()
        self._address, self._numbers, self._get_share, self._rng = (
            address,
            numbers,
            get_share,
            Random(seed),
        )
        self._epoll = select.epoll()
        self._open: dict[int, Connection] = {}
        self._idle: dict[Connection, None] = {}
        self._pipelines: list[Connection | None] = [None] * PIPELINES
        self._readable: list[int] = []
        self._dialling: deque[Connection] = deque()
        self._dials = 0
        self._again = False

    def closed(self, connections: int, seconds: float) -> Ledger:
        """Until the time is up, or the numbers are."""
        started_s = time.monotonic()
        ends_s = started_s + seconds
        self._again = True
        for _ in range(connections):
            self._ask(self._dial(), started_s)
        while self._again and time.monotonic() < ends_s:
            self._poll(0.1)
        self._again = False
        self.ledger.took_s = time.monotonic() - started_s
        self._drain()
        return self.ledger

    def open(self, rate: float, seconds: float) -> Ledger:
        """So many requests a second, on schedule."""
        started_s = time.monotonic()
        started = 0
        while (now_s := time.monotonic()) < started_s + seconds:
            due = int((now_s - started_s) * rate) - started
            for place in range(min(due, STARTED_A_TURN)):
                due_s = started_s + (started + place) / rate
                self.ledger.late_s.append(now_s - due_s)
                self._start(started + place, due_s)
            started += min(due, STARTED_A_TURN)
            self._poll(0.0 if due > 0 else 0.001)
        self.ledger.took_s = time.monotonic() - started_s
        self._drain()
        return self.ledger

    def close(self) -> None:
        for connection in list(self._open.values()):
            connection.socket.close()
        self._epoll.close()

    # -- requests ---------------------------------------------------------------------------------

    def _start(self, place: int, due_s: float) -> None:
        pipeline = (
            None
            if place % PIPELINED_EVERY
            else self._pipeline(place // PIPELINED_EVERY % PIPELINES)
        )
        if pipeline is not None:
            self._ask(pipeline, due_s)
        elif self._idle:
            self._ask(self._idle.popitem()[0], due_s)
        elif len(self._open) < OPEN_MAX:
            self._ask(self._dial(), due_s)
        else:
            self.ledger.counts["not_started"] += 1

    def _pipeline(self, number: int) -> Connection | None:
        """One of those that do not wait; None where it has as many requests under way as a client
        should have.
        """
        connection = self._pipelines[number]
        if connection is None:
            connection = self._pipelines[number] = self._dial()
        return connection if len(connection.asked) < PIPELINED_MAX else None

    def _ask(self, connection: Connection, due_s: float) -> None:
        if self._readable and self._rng.random() < self._get_share:
            asked = Asked(False, self._rng.choice(self._readable), due_s)
            request = f"GET /kv/{key_of(asked.number)} HTTP/1.1\r\nHost: n\r\n\r\n".encode()
        else:
            number = next(self._numbers, None)
            if number is None:
                self._again = False
                return
            asked, value = Asked(True, number, due_s), value_of(number)
            head = f"PUT /kv/{key_of(number)} HTTP/1.1\r\nHost: n\r\nContent-Length: {len(value)}"
            request = f"{head}\r\n\r\n".encode() + value
        self.ledger.counts["puts" if asked.put else "gets"] += 1
        connection.asked.append(asked)
        connection.unsent += request
        self._send(connection)

    def _dial(self) -> Connection:
        self._dials += 1
        dialled = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        dialled.setblocking(False)
        dialled.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._address[0].startswith("127."):
            dialled.bind((f"127.0.1.{1 + self._dials % SOURCES}", 0))
        connection = Connection(dialled, time.monotonic())
        self._dialling.append(connection)
        self._open[dialled.fileno()] = connection
        self._epoll.register(dialled.fileno(), select.EPOLLIN)
        self.ledger.counts["dials"] += 1
        dialled.connect_ex(self._address)
        return connection

    def _send(self, connection: Connection) -> None:
        try:
            connection.unsent = connection.unsent[connection.socket.send(connection.unsent) :]
            connection.connected = True
        except BlockingIOError:
            pass
        except OSError:
            # the end of the connection is read, after the answers that may stand before it
            connection.unsent = b""
        if bool(connection.unsent) != connection.writing:
            connection.writing = not connection.writing
            self._epoll.modify(
                connection.socket.fileno(),
                select.EPOLLIN | (select.EPOLLOUT if connection.writing else 0),
            )

    # -- answers ----------------------------------------------------------------------------------

    def _give_up(self) -> None:
        """Those that have tried to connect for too long."""
        due_s = time.monotonic() - CONNECT_S
        while self._dialling and (
            self._dialling[0].connected or self._dialling[0].dialled_s < due_s
        ):
            connection = self._dialling.popleft()
            if (
                not connection.connected
                and self._open.get(connection.socket.fileno()) is connection
            ):
                self.ledger.counts["not_connected"] += len(connection.asked)
                connection.asked.clear()
                self._lost(connection)

    def _poll(self, timeout_s: float) -> None:
        self._give_up()
        for number, events in self._epoll.poll(timeout_s):
            connection = self._open[number]
            if events & select.EPOLLOUT:
                self._send(connection)
            if events & ~select.EPOLLOUT:
                self._receive(connection)

    def _receive(self, connection: Connection) -> None:
        try:
            data = connection.socket.recv(256 * 1024)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            return self._lost(connection)
        connection.received = data = connection.received + data
        at = 0
        while (end := data.find(b"\r\n\r\n", at) + 4) > 3:
            head = data[at:end]
            length = int(_field(head, b"Content-Length") or 0)
            if len(data) < end + length:
                break
            at = end + length
            if not self._answered(connection, head, data[end:at]):
                return self._lost(connection)
        connection.received = data[at:]

    def _answered(self, connection: Connection, head: bytes, body: bytes) -> bool:
        """Whether the connection goes on."""
        status = head[9:12]
        if not connection.asked:
            self.ledger.break_law("not_asked", head)
            return False
        asked = connection.asked.popleft()
        took_s = time.monotonic() - asked.due_s
        self._judge(asked, status, head, body)
        (self.ledger.answered_s if status == b"200" else self.ledger.refused_s).append(took_s)
        if took_s > HANG_S:
            self.ledger.break_law("hung", f"{asked} was answered after {took_s:.0f} s")
        if b"\r\nConnection: close" in head:
            return False
        if not connection.asked and connection not in self._pipelines:
            if self._again:
                self._ask(connection, time.monotonic())
            else:
                self._idle[connection] = None
        return True

    def _judge(self, asked: Asked, status: bytes, head: bytes, body: bytes) -> None:
        ledger = self.ledger
        if status == b"200" and asked.put:
            ledger.acked[asked.number] = (_field(head, b"KV-Version") or b"").decode()
            self._readable.append(asked.number)
        elif status == b"200":
            ledger.counts["read"] += 1
            if body != value_of(asked.number):
                ledger.break_law("wrong_value", (asked, body))
        elif status == b"503" and _field(head, b"Retry-After"):
            ledger.counts["refused"] += 1
        else:
            ledger.break_law("wrong_answer", (asked, head, body))

    def _lost(self, connection: Connection) -> None:
        """What has no answer yet gets none: it may have been written, or not."""
        self.ledger.counts["closed"] += len(connection.asked)
        if connection in self._pipelines:
            self._pipelines[self._pipelines.index(connection)] = None
        self._idle.pop(connection, None)
        del self._open[connection.socket.fileno()]
        connection.socket.close()

    def _drain(self) -> None:
        """Until every request has an answer, or its connection has ended; those that have none by
        then hang.
        """
        ends_s = time.monotonic() + HANG_S
        while (
            any(connection.asked for connection in self._open.values())
            and time.monotonic() < ends_s
        ):
            self._poll(0.1)
        for connection in self._open.values():
            for asked in connection.asked:
                self.ledger.break_law("hung", asked)


def _field(head: bytes, name: bytes) -> bytes | None:
    start = head.find(b"\r\n" + name + b": ")
    return None if start < 0 else head[start + len(name) + 4 : head.index(b"\r\n", start + 2)]


def go_first() -> None:
    """A load that waits for a processor offers less than it shall."""
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, -10)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("address", help="HOST:PORT")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument(
        "--rate",
        type=float,
        help="requests a second of an open load; without it the load is closed",
    )
    parser.add_argument("--connections", type=int, default=64, help="of a closed load")
    parser.add_argument("--first", type=int, default=0, help="the first number")
    parser.add_argument(
        "--acked",
        type=Path,
        help="write the acknowledged numbers, with their versions, to this file",
    )
    parser.add_argument(
        "--numbers", type=Path, help="write the numbers of such a file, and no others"
    )
    options = parser.parse_args()
    host, _, port = options.address.rpartition(":")
    numbers = (
        map(int, json.loads(options.numbers.read_text()))
        if options.numbers
        else count(options.first)
    )
    go_first()
    load = Load((host, int(port)), iter(numbers), 0.0 if options.numbers else GET_SHARE)
    ledger = (
        load.closed(options.connections, options.seconds)
        if options.rate is None
        else load.open(options.rate, options.seconds)
    )
    load.close()
    if options.acked:
        options.acked.write_text(json.dumps(ledger.acked))
    json.dump(ledger.as_json(), sys.stdout)


if __name__ == "__main__":
    main()
