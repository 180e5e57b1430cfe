"""Nodes with both lanes of HTTP on loopback, and what must hold whatever arrives there:

1. Each request gets an answer, or the connection is closed; nobody waits for ever.
2. What is sent is answers of HTTP/1.1. None has a status of 500 or more, but those that are
   documented for a fault of none: 501, 503, 504 and 507.
3. Both lanes give one request the same answer: status, headers and body. Two nodes that were
   started alike get the same requests, one by the express lane, one by aiohttp's.
4. The log has no error and no traceback, and no callback of the event loop raises.
5. Afterwards no connection is left, little is held in memory, and an honest request is served.

A third node gets what is no request at all, or is one that no client would send; each on a
connection of its own, in any pieces. The nodes of a batch have tokens, or none.
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.fuzzing.answers import Answer, NotAnAnswerError, split, whole
from benchmarks.fuzzing.outcome import Outcome
from benchmarks.fuzzing.requests import Maker, Request
from benchmarks.fuzzing.victim import reach
from kvgossip import Config, Node
from kvgossip.api.access.token_file import add_section
from kvgossip.api.access.tokens import Token, hash_of
from kvgossip.api.listening import listen
from kvgossip.api.server import ApiServer
from kvgossip.config import Address
from kvgossip.protocol.model.now import Now
from kvgossip.runtime.loop import run
from kvgossip.sim.checks.violation import BrokenLawError, require

RECEIVERS = ("http-open", "http-tokens")
ANYWHERE = Address("127.0.0.1", 0)
CLIENTS = 64
"""Addresses of loopback that requests come from: one alone would run out of ports."""
TOKENS = (
    Token("reader", read=("app/",)),
    Token("writer", read=("app/", "a"), write=("app/", "a")),
    Token("admin", admin=True),
)
PATIENCE_S = 60.0
"""Nobody waits longer for an answer, or for the end of a connection."""
DOCUMENTED = (501, 503, 504, 507)
HOSTILE_SHARE = 0.4
HELD_BYTES_MAX = 32 * 2**20
"""With the last versions of a few keys, and the changes that are kept for watchers."""
WALL_MS = 1_700_000_000_000


class Log(logging.Handler):
    """Errors and tracebacks that were logged, as text."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.ERROR or record.exc_info:
            failed = record.exc_info and f"{record.exc_info[1]!r}: "
            self.found.append(f"{failed or ''}{logging.Formatter().format(record)}")

    def failed(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """The exception handler of the event loop."""
        self.found.append(f"{context.get('message')}: {context.get('exception')!r}")

    def check(self) -> None:
        if self.found:
            raise BrokenLawError(f"the log has an error: {self.found[0]}")


@contextmanager
def watched_log() -> Iterator[Log]:
    log, root = Log(), logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    # nothing else is to be printed: millions of lines would be
    root.handlers[:] = [log]
    root.setLevel(logging.WARNING)
    try:
        yield log
    finally:
        root.setLevel(level)
        root.handlers[:] = handlers


class Client:
    """Connections to one server, one after the other, each from another address. `was_reset`: the
    last one, and answers may be lost with it: it was closed while more was on its way."""

    def __init__(self, server: ApiServer) -> None:
        self.server, self.was_reset = server, False
        self._opened = 0
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is None:
            self._opened += 1
            source = f"127.0.0.{2 + self._opened % CLIENTS}"
            self._streams = await asyncio.open_connection(
                *self.server.address, local_addr=(source, 0)
            )
        return self._streams

    async def close(self) -> None:
        if self._streams is not None:
            _, writer = self._streams
            self._streams = None
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def ask(self, pieces: Sequence[bytes], methods: Sequence[str]) -> list[Answer]:
        """The answers to requests of these methods, fewer where the connection is closed. The next
        ones go over the same connection, if it stays."""
        reader, writer = await self._connected()
        data, answers = b"", list[Answer]()
        self.was_reset = False
        try:
            await _write(writer, pieces)
            while len(answers) < len(methods):
                part = await reader.read(2**18)
                data += part
                answers = whole(data, methods)
                if not part:
                    break
        except ConnectionError:
            self.was_reset = True
        if len(answers) < len(methods) or any(each.is_last for each in answers):
            await self.close()
        return answers

    async def end_with(self, pieces: Sequence[bytes]) -> bytes:
        """All that is answered to these bytes, behind which nothing comes, until the server closes
        the connection."""
        await self.close()
        reader, writer = await self._connected()
        data = b""
        try:
            await _write(writer, pieces)
            if not writer.is_closing():
                writer.write_eof()
            while part := await reader.read(2**18):
                data += part
        except (ConnectionError, OSError):
            # closed, with bytes on their way
            data = b""
        finally:
            await self.close()
        return data


async def _write(writer: asyncio.StreamWriter, pieces: Sequence[bytes]) -> None:
    for piece in pieces:
        writer.write(piece)
        # the server reads it before the next one comes
        await asyncio.sleep(0)


def pieces_of(data: bytes, rng: Random) -> list[bytes]:
    """These bytes as they may arrive."""
    if rng.random() < 0.7 or len(data) < 2:
        return [data]
    cuts = sorted(rng.randrange(1, len(data)) for _ in range(rng.randrange(1, 6)))
    return [data[one:other] for one, other in zip([0, *cuts], [*cuts, len(data)], strict=True)]


class Assault:
    """One batch, which follows from `seed` and `batch`."""

    def __init__(self, receiver: str, seed: int, batch: int) -> None:
        self.outcome, self.data = Outcome(receiver), b""
        self._rng = Random(f"HTTP {seed} {batch}")

    def run(self, requests: int) -> None:
        """Raises BrokenLawError."""
        with watched_log() as log:
            run(self._main(requests, log))
            log.check()

    async def _main(self, requests: int, log: Log) -> None:
        asyncio.get_running_loop().set_exception_handler(log.failed)
        with tempfile.TemporaryDirectory() as folder:
            secrets, file = self._tokens(Path(folder))
            self._maker = Maker(self._rng, secrets)
            async with AsyncExitStack() as stack:
                servers = [
                    await stack.enter_async_context(serving(name, file, seed))
                    for name, seed in (("n1", 1), ("n1", 1), ("n2", 2))
                ]
                express, general, target = clients = [Client(server) for server in servers]
                for client in clients:
                    stack.push_async_callback(client.close)
                while self.outcome.inputs < requests:
                    async with asyncio.timeout(PATIENCE_S):
                        if self._rng.random() < HOSTILE_SHARE:
                            await self._hostile(target)
                        else:
                            await self._compare(express, general)
                    log.check()
                for client in clients:
                    await self._check_rest(client)

    def _tokens(self, folder: Path) -> tuple[list[str], str]:
        """Secrets, and the file with their hashes; neither where this batch has no tokens."""
        if self.outcome.receiver == RECEIVERS[0]:
            return [], ""
        path, secrets = str(folder / "tokens"), ["kvgossip_nobodys"]
        for token in TOKENS:
            secrets.append(f"kvgossip_{self._rng.randbytes(32).hex()}")
            add_section(path, token._replace(hash=hash_of(secrets[-1].encode())))
        self._admin = secrets[-1]
        return secrets, path

    # -- both lanes -------------------------------------------------------------------------------

    async def _compare(self, express: Client, general: Client) -> None:
        rng = self._rng
        asked = self._maker.pipeline(self._maker.plain)
        self.data = b"".join(each.express for each in asked)
        self.outcome.inputs += 2 * len(asked)
        methods = [each.method for each in asked]
        one, two = [
            await client.ask(pieces_of(data, rng), methods)
            for client, data in (
                (express, self.data),
                (general, b"".join(each.general for each in asked)),
            )
        ]
        for request, here, there in zip(asked, one, two, strict=False):
            self.data = request.express
            here, there = here.timeless(), there.timeless()
            require(here == there, "the lanes answer differently", *_unlike(here, there))
        require(
            len(one) == len(two) or express.was_reset or general.was_reset,
            "one lane has closed the connection, the other one not",
            one,
            two,
        )
        _all_answered(express, one, len(asked))
        for request, answer in zip(asked, one, strict=False):
            self._take_note(request, answer)

    def _take_note(self, request: Request, answer: Answer) -> None:
        self._check(answer)
        key = request.express.split(b" ", 2)[1].removeprefix(b"/kv/").decode()
        if "etag" in answer.headers:
            self._maker.tags[key] = answer.headers["etag"]

    # -- what is no request -----------------------------------------------------------------------

    async def _hostile(self, target: Client) -> None:
        rng, maker = self._rng, self._maker
        if rng.random() < 0.4:
            asked = maker.pipeline(maker.odd)
            self.data = b"".join(each.express for each in asked)
            self.outcome.inputs += len(asked)
            answers = await target.ask(pieces_of(self.data, rng), [each.method for each in asked])
            _all_answered(target, answers, len(asked))
        else:
            self.data = maker.hostile()
            self.outcome.inputs += max(1, self.data.count(b" HTTP/1."))
            sent = await target.end_with(pieces_of(self.data, rng))
            try:
                answers = split(sent)
            except NotAnAnswerError as error:
                require(False, str(error))
        for answer in answers:
            self._check(answer)

    def _check(self, answer: Answer) -> None:
        self.outcome.counts[str(answer.status)] += 1
        require(
            answer.status < 500 or answer.status in DOCUMENTED,
            f"an answer with {answer.status}",
            answer,
        )
        require("traceback" not in str(answer.body).lower(), "a traceback in an answer", answer)

    # -- afterwards -------------------------------------------------------------------------------

    async def _check_rest(self, client: Client) -> None:
        """Nothing is left behind, and an honest request is served."""
        await client.close()
        server = client.server
        async with asyncio.timeout(PATIENCE_S):
            while server.statistics()["connections_open"]:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        held = reach(server, set())
        self.outcome.held_bytes = max(self.outcome.held_bytes, held)
        require(held <= HELD_BYTES_MAX, f"{held:,} bytes are held by node and server")
        token = f"Authorization: Bearer {self._admin}\r\n" if server._node.config.tokens else ""
        head = f"/kv/honest HTTP/1.1\r\nHost: n\r\n{token}"
        for method, body in (("PUT", b"1"), ("GET", b"")):
            self.data = f"{method} {head}Content-Length: {len(body)}\r\n\r\n".encode() + body
            (answer,) = await client.ask([self.data], [method])
            require(answer.status == 200, "an honest request is not served", answer)
        require(answer.body == b"1", "an honest value is another one", answer)
        await client.close()


def _all_answered(client: Client, answers: Sequence[Answer], asked: int) -> None:
    ended = client.was_reset or any(each.is_last for each in answers)
    if len(answers) < asked and not ended:
        require(False, "requests got no answer, and no word that the connection ends", answers)


def _unlike(one: Answer, other: Answer) -> list[object]:
    """Where two answers differ."""
    if (one.status, one.body) != (other.status, other.body):
        return [one.status, str(one.body), other.status, str(other.body)]
    return [sorted(set(one.headers.items()) ^ set(other.headers.items()))]


@asynccontextmanager
async def serving(name: str, tokens: str, seed: int) -> AsyncIterator[ApiServer]:
    """A node of this name with its server. Those with one seed give the same answers."""

    def clocks() -> Now:
        return Now(time.monotonic(), WALL_MS)

    listener = listen(ANYWHERE)
    config = Config(
        name=name,
        gossip=ANYWHERE,
        http=Address(*listener.getsockname()),
        value_bytes_max=2000,
        founding_s=0.0,
        tokens=tokens,
    )
    node = Node(config, found=True, _rng=Random(seed), _clocks=clocks)
    await node.start()
    server = ApiServer(node, listener)
    try:
        await server.start()
        yield server
    finally:
        await server.stop()
        await node.stop(leave=False)
