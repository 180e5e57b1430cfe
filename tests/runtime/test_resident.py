"""A node is at home on one thread of one process: elsewhere every method of it says so, and says
what to do instead."""

from __future__ import annotations

import inspect
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from kvgossip.errors import ForkedError, LocalError
from kvgossip.runtime.node import Node
from kvgossip.runtime.resident import Resident, check_home
from tests.runtime.test_node import TIMEOUT_S, configured

PURE = {"config", "name", "address", "wan_address", "waits_among"}
"""They tell what the node was given, or what peers have said of it."""
SPECIAL = {"__getitem__", "__contains__", "__len__", "__iter__"}


def public() -> list[str]:
    names = [name for name in dir(Node) if not name.startswith("_") and name != "start"]
    return sorted({*names, *SPECIAL} - PURE)


def use(node: Node, name: str) -> None:
    """Call this method with anything, or read this property."""
    if isinstance(inspect.getattr_static(Node, name), property):
        getattr(node, name)
        return
    method = getattr(node, name)
    needed = [
        parameter
        for parameter in inspect.signature(method).parameters.values()
        if parameter.default is parameter.empty and parameter.kind is not parameter.VAR_POSITIONAL
    ]
    result = method(*["x"] * len(needed))
    if inspect.isawaitable(result):
        assert inspect.iscoroutine(result)
        try:
            result.send(None)
        finally:
            result.close()


def elsewhere(work: Callable[[], object]) -> BaseException | None:
    """What this raises on another thread."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return raised[0] if raised else None


async def test_every_method_of_a_node_is_refused_on_another_thread_and_changes_nothing() -> None:
    async with Node(configured()) as node:
        await node.put("k", b"v")
        before, names = (node.root, node.members()), public()
        assert {"get", "put", "watch", "stop", "settled", "piggyback", "__len__"} <= set(names)
        for name in names:
            error = elsewhere(lambda name=name: use(node, name))  # type: ignore[misc]
            assert isinstance(error, LocalError), (name, error)
            assert "thread" in str(error), (name, error)
            assert "run_coroutine_threadsafe" in error.hint
            assert "ConfigCache" in error.hint
        assert (node.root, node.members()) == before
        assert node["k"] == b"v"


async def test_lesson_24_watching_from_another_thread_is_refused_with_what_to_do_instead() -> None:
    async with Node(configured()) as node:
        for watch in (node.watch, node.watch_sets, node.watch_members):
            error = elsewhere(watch)
            assert isinstance(error, LocalError)
            assert "run_coroutine_threadsafe" in error.hint
        assert len(node.feed.watches) == 0
        for stream in (node.watch(), node.watch_sets(), node.watch_members()):
            error = elsewhere(partial(stream.__anext__().send, None))
            assert isinstance(error, LocalError), "nobody would wake it there"


async def test_what_a_node_was_given_is_told_on_every_thread() -> None:
    async with Node(configured()) as node:
        for name in sorted(PURE):
            assert elsewhere(lambda name=name: getattr(node, name)) is None  # type: ignore[misc]


async def test_who_is_not_running_says_so_on_every_thread() -> None:
    node = Node(configured())
    error = elsewhere(lambda: node.get("k"))
    assert "does not run" in str(error)
    assert not node.settled


def test_to_be_at_home_is_one_comparison_and_to_be_forked_is_to_have_no_thread() -> None:
    resident = Resident()
    check_home(resident)
    assert resident.thread == threading.get_ident()
    resident.thread = 0
    with pytest.raises(ForkedError):
        check_home(resident)
    assert issubclass(ForkedError, LocalError)


FORK = """
import asyncio, os, sys
from kvgossip import Address, Config, ForkedError, Node

LOCAL = Address("127.0.0.1", 0)
DATA = sys.argv[1]

def config(name, **more):
    return Config(name=name, gossip=LOCAL, founding_s=0.0, **more)

def refused(node, changes):
    "In the child: all that a program may do to the node that it has inherited."
    coroutines = [node.put("k", b"child"), node.stop(), node.stop(leave=False), node.leave()]
    coroutines.append(changes.__anext__())
    for step in [
        lambda: node.get("k"), lambda: node["k"], lambda: len(node), lambda: node.settled,
        lambda: node.watch(), lambda: node.status(), lambda: node.piggyback(100),
        *(lambda work=work: work.send(None) for work in coroutines),
    ]:
        try:
            step()
        except ForkedError as error:
            assert "forked" in str(error) and "new Node" in error.hint, error
        else:
            return False
    return node.name == "parent"

async def own_node(seed):
    async with Node(config("child", join=(seed,))) as node:
        await node.wait_settled(30)
        value = node["k"]
        await node.put("from", b"child")
        return value == b"parent"

async def forks():
    async with Node(config("parent", data_dir=DATA)) as node:
        await node.put("k", b"parent")
        changes = node.watch()
        seed = str(node.address)
        child = os.fork()
        if not child:
            code = 1
            try:
                if refused(node, changes):
                    code = 0 if asyncio.run(own_node(seed)) else 3
            finally:
                os._exit(code)
        _, status = await asyncio.to_thread(os.waitpid, child, 0)
        assert os.waitstatus_to_exitcode(status) == 0, status
        # the parent has not noticed
        async with asyncio.timeout(30):
            assert (await anext(changes)).new.value == b"child"
        assert node["k"] == b"parent"
        await node.put("after", b"1")
    assert len(asyncio.all_tasks()) == 1

asyncio.run(forks())
print("fine")
"""


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="there is no fork")
@pytest.mark.parametrize("durable", [False, True])
def test_in_a_forked_process_the_node_is_refused_and_the_parents_goes_on(
    durable: bool, tmp_path: Path
) -> None:
    arguments: list[Any] = ["-W", "error", "-c", FORK, str(tmp_path) if durable else ""]
    if durable and sys.version_info >= (3, 12):
        # a data directory has threads, and that is warned of at each fork
        arguments[0:2] = ["-W", "error", "-W", "ignore::DeprecationWarning"]
    done = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S * 2,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("fine\n", 0), done.stderr
