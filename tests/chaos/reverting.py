"""A node whose memory can be set back, as a virtual machine is that is reverted to a snapshot.

    python -m tests.chaos.reverting NAME HOST JOIN...

SIGUSR1 forks a copy that stands still, and prints its process id. To revert: kill the node, and
continue the copy with SIGCONT.
"""

from __future__ import annotations

import asyncio
import logging
import os
import selectors
import signal
import sys
import threading

from kvgossip.api.listening import listen
from kvgossip.api.server import ApiServer
from kvgossip.config import Address, Config
from kvgossip.runtime import resident
from kvgossip.runtime.node import Node

from .agent import GOSSIP_PORT
from .http_client import HTTP_PORT


def snapshot(loop: asyncio.AbstractEventLoop) -> None:
    copy = os.fork()
    if copy:
        print(f"snapshot {copy}", flush=True)
        return
    os.kill(os.getpid(), signal.SIGSTOP)
    # asyncio holds that no loop runs in a process that was forked, and a node that it is not at home
    # there; a machine that is set back knows of neither
    asyncio._set_running_loop(loop)
    for each in resident._residents:
        each.thread = threading.get_ident()


def new_loop() -> asyncio.AbstractEventLoop:
    """With poll(): the kernel's state of an epoll would be shared with the copy, and is no part of
    a machine's memory."""
    return asyncio.SelectorEventLoop(selectors.PollSelector())


async def main(name: str, host: str, *join: str) -> None:
    http, gossip = Address(host, HTTP_PORT), Address(host, GOSSIP_PORT)
    listener = listen(http)
    node = Node(
        Config(name=name, cluster="chaos", gossip=gossip, http=http, join=join, open_http=True)
    )
    await node.start()
    await ApiServer(node, listener).start()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, snapshot, loop)
    await asyncio.Event().wait()


if __name__ == "__main__":
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main(*sys.argv[1:]))
