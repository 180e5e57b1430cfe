"""The examples as users run them: a process of their own, in their folder, and a node to join."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import tempfile
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from kvgossip.protocol.model.member import MemberState
from kvgossip.runtime.node import Node
from tests.runtime.test_node import TIMEOUT_S, configured

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
SERVES = re.compile(r"http://127\.0\.0\.1:([1-9]\d*)")


@asynccontextmanager
async def shop(**values: str) -> AsyncIterator[Node]:
    """The node that all examples join, with these values."""
    async with Node(configured("agent", cluster="shop")) as node:
        for name, value in values.items():
            await node.put(f"shop/{name}", value)
        yield node


@contextmanager
def environment(node: Node) -> Iterator[dict[str, str]]:
    """Of a process that joins this node. What processes of one host meet in is nobody else's."""
    with tempfile.TemporaryDirectory() as folder:  # short, since it is part of a socket's path
        yield {
            **{name: value for name, value in os.environ.items() if not name.startswith("SHOP_")},
            "SHOP_JOIN": str(node.address),
            "XDG_RUNTIME_DIR": folder,
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
        }


async def start(env: dict[str, str], *command: str) -> Process:
    """`python COMMAND`, whose errors are among what it prints."""
    return await asyncio.create_subprocess_exec(
        sys.executable, *command, cwd=EXAMPLES, env=env, stdout=PIPE, stderr=STDOUT
    )


async def run(env: dict[str, str], *command: str) -> str:
    """What the program prints. Fails where it does."""
    process = await start(env, *command)
    try:
        output, _ = await asyncio.wait_for(process.communicate(), 2 * TIMEOUT_S)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, output.decode()
    return output.decode()


@asynccontextmanager
async def served(
    env: dict[str, str], *command: str, says: re.Pattern[str] = SERVES
) -> AsyncIterator[str]:
    """A server; what it says of where it serves. It ends as a service does, by SIGTERM, and has
    not failed then."""
    process = await start(env, *command)
    lines: list[str] = []
    told: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def read() -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            lines.append(line.decode())
            if not told.done() and (found := says.search(lines[-1])):
                told.set_result(found[0])
        if not told.done():
            told.set_exception(AssertionError("".join(lines)))

    reading = asyncio.create_task(read())
    try:
        yield await asyncio.wait_for(told, 2 * TIMEOUT_S)
        process.terminate()
        await asyncio.wait_for(process.wait(), TIMEOUT_S)
    except BaseException as error:
        error.add_note("".join(lines))
        raise
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await reading
    output = "".join(lines)
    assert "Traceback" not in output, output


async def get(url: str) -> Any:
    """What it answers, once it does: some servers say where they serve before they do."""
    while True:
        try:
            return await asyncio.to_thread(_get, url)
        except URLError as error:
            if not isinstance(error.reason, ConnectionRefusedError):
                raise


def _get(url: str) -> Any:
    with urlopen(url, timeout=TIMEOUT_S) as answer:
        return json.load(answer)


async def until_all(url: str, says: dict[str, Any], workers: int = 1) -> set[int]:
    """Ask until so many workers have said this, and nobody says anything else any more. Many at a
    time, since one worker that has nothing to do takes all that come one by one."""
    agreeing: set[int] = set()
    last: dict[int, Any] = {}
    try:
        async with asyncio.timeout(2 * TIMEOUT_S):
            while len(agreeing) < workers:
                answers = await asyncio.gather(*(get(url) for _ in range(4 * workers)))
                last |= {answer["worker"]: answer for answer in answers}
                if all(says.items() <= answer.items() for answer in answers):
                    agreeing |= {answer["worker"] for answer in answers}
                else:
                    agreeing.clear()
    except TimeoutError as error:
        # whether one says something else, or is never heard
        error.add_note(f"what each worker has said last: {last}")
        raise
    return agreeing


def alive(node: Node) -> int:
    """How many other members are alive."""
    return sum(
        member.state is MemberState.ALIVE and member.name != node.name for member in node.members()
    )
