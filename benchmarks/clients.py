"""Clients: connections of one process, each of which asks again as soon as it was answered. For
servers that wrk cannot load.

The same few lines of Python ask HTTP of kvgossip and JetStream of NATS, in its own protocol,
without a client library: what is compared is the servers. How many requests this makes in a second
is bounded by Python; the server's processor time for each is not.

    python -m benchmarks.clients kvgossip|nats --port P --method GET|PUT [--seconds 3]
        [--connections 64] [--keys 1000]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import sys
import time
from array import array
from collections.abc import Callable
from typing import cast

from kvgossip.runtime.loop import run

VALUE = b"x" * 100
BUCKET = "bench"
_HTTP_LENGTH = re.compile(rb"\r\nContent-Length: (\d+)\r\n", re.IGNORECASE)

Taken = tuple[int, bytes | None]
"""How many bytes were taken from the front, and the answer in them; 0: there is no whole one yet,
None: they were none.
"""


class Client(asyncio.Protocol):
    """One connection: `hello` once, then requests in turn; `took_s` gets how long each took."""

    def __init__(
        self,
        hello: bytes,
        requests: list[bytes],
        take: Callable[[bytes], Taken],
        good: bytes,
        took_s: array[float],
    ) -> None:
        self._hello, self._requests, self._take, self._good, self._took_s = (
            hello,
            requests,
            take,
            good,
            took_s,
        )
        self._received = b""
        self._next = 0
        self._asked_s = 0.0
        self.wrong = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(self._hello)
        self._ask()

    def _ask(self) -> None:
        self._asked_s = time.perf_counter()
        self.transport.write(self._requests[self._next])
        self._next = (self._next + 1) % len(self._requests)

    def data_received(self, data: bytes) -> None:
        self._received += data
        while self._received:
            size, answer = self._take(self._received)
            if not size:
                return
            self._received = self._received[size:]
            if answer is not None:
                if self._good not in answer:
                    # to raise here would end nothing: the event loop only logs it
                    self.wrong = answer
                    self.transport.abort()
                    return
                self._took_s.append(time.perf_counter() - self._asked_s)
                self._ask()


# -- what servers speak --------------------------------------------------------------------------


def take_http(data: bytes) -> Taken:
    end = data.find(b"\r\n\r\n") + 4
    length = _HTTP_LENGTH.search(data, 0, end)
    size = end + (int(length[1]) if length else 0)
    return (size, data[:size]) if end > 3 and len(data) >= size else (0, None)


def take_nats(data: bytes) -> Taken:
    line = data.find(b"\r\n") + 2
    if line == 1:
        return 0, None
    if not data.startswith((b"MSG ", b"HMSG ")):
        # INFO, +OK or PING: a load is over before a server would mind that nobody answers it
        return line, data[:line] if data.startswith(b"-ERR") else None
    size = line + int(data[:line].split()[-1]) + 2
    return (size, data[:size]) if len(data) >= size else (0, None)


def nats_hello(inbox: str) -> bytes:
    """The start of a connection whose answers come to this subject."""
    options = '{"verbose":false,"headers":true,"no_responders":true,"protocol":1}'
    return f"CONNECT {options}\r\nSUB {inbox} 1\r\n".encode()


def nats_request(subject: str, inbox: str, payload: bytes) -> bytes:
    return f"PUB {subject} {inbox} {len(payload)}\r\n".encode() + payload + b"\r\n"


def nats_put(key: str, inbox: str, value: bytes) -> bytes:
    """As the client libraries write to a bucket."""
    return nats_request(f"$KV.{BUCKET}.{key}", inbox, value)


def nats_bucket(inbox: str, replicas: int) -> bytes:
    """Makes the bucket, in memory, as the client libraries do."""
    config = {
        "name": f"KV_{BUCKET}",
        "subjects": [f"$KV.{BUCKET}.>"],
        "max_msgs_per_subject": 1,
        "discard": "new",
        "allow_rollup_hdrs": True,
        "deny_delete": True,
        "allow_direct": True,
        "storage": "memory",
        "retention": "limits",
        "num_replicas": replicas,
    }
    return nats_request(f"$JS.API.STREAM.CREATE.KV_{BUCKET}", inbox, json.dumps(config).encode())


def _http(method: str, key: str) -> bytes:
    body = VALUE if method == "PUT" else b""
    length = f"Content-Length: {len(body)}\r\n" if body else ""
    return f"{method} /kv/{key} HTTP/1.1\r\nHost: n\r\n{length}\r\n".encode() + body


def _nats(method: str, key: str, inbox: str) -> bytes:
    if method == "PUT":
        return nats_put(key, inbox, VALUE)
    return nats_request(f"$JS.API.DIRECT.GET.KV_{BUCKET}.$KV.{BUCKET}.{key}", inbox, b"")


def client_of(system: str, method: str, keys: int, number: int, took_s: array[float]) -> Client:
    names = [f"key-{(number * 37 + place) % keys}" for place in range(keys)]
    if system == "kvgossip":
        return Client(
            b"", [_http(method, name) for name in names], take_http, b"HTTP/1.1 200 ", took_s
        )
    inbox = f"_INBOX.{number}"
    good = b'"seq":' if method == "PUT" else VALUE
    return Client(
        nats_hello(inbox), [_nats(method, name, inbox) for name in names], take_nats, good, took_s
    )


async def load(
    system: str, port: int, method: str, seconds: float, connections: int, keys: int
) -> dict[str, float]:
    """How many requests there were, how many a second, and latencies in ms."""
    took_s = array("d")
    loop = asyncio.get_running_loop()
    made = [client_of(system, method, keys, number, took_s) for number in range(connections)]
    started_s = time.perf_counter()
    for client in made:
        await loop.create_connection(lambda client=client: client, "127.0.0.1", port)  # type: ignore[misc]
    await asyncio.sleep(seconds)
    spent_s = time.perf_counter() - started_s
    for client in made:
        client.transport.abort()
    for wrong in filter(None, (client.wrong for client in made)):
        sys.exit(f"the load saw {wrong!r}")
    if not took_s:
        sys.exit(f"{system} answered nothing")
    ordered = sorted(took_s)
    return {
        "requests": len(ordered),
        "requests_per_s": len(ordered) / spent_s,
        "p50_ms": 1000 * ordered[len(ordered) // 2],
        "p99_ms": 1000 * ordered[len(ordered) * 99 // 100],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("system", choices=("kvgossip", "nats"))
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--method", choices=("GET", "PUT"), default="GET")
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--keys", type=int, default=1000)
    told = parser.parse_args()
    print(
        json.dumps(
            run(
                load(told.system, told.port, told.method, told.seconds, told.connections, told.keys)
            )
        )
    )


if __name__ == "__main__":
    main()
