"""The process of an agent: one node and its HTTP server, until a signal, a `leave` or the end of
its parent."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import json
import logging
import os
import signal
import socket
from collections.abc import Callable, Coroutine
from contextlib import suppress
from importlib import import_module
from typing import Any, NamedTuple

from kvgossip.api.access.token_file import TokenFile
from kvgossip.api.listening import PortInUseError, close_listener, listen, listen_unix
from kvgossip.api.server import ApiServer
from kvgossip.api.tls.certificates import Certificates
from kvgossip.cli.output import Format
from kvgossip.cli.process.memory import shorten_collections
from kvgossip.cli.process.service_manager import ServiceManager
from kvgossip.cli.settings import DEFAULT_HTTP
from kvgossip.config import HTTP_PORT, Address, Config, parse_address
from kvgossip.config.exposure import OPEN_DOORS, PROTECTED, WAYS_OUT, bars_others, open_doors
from kvgossip.config.unix_socket import is_unix
from kvgossip.errors import ConfigError
from kvgossip.runtime.daemon_threads import DaemonThreads
from kvgossip.runtime.node import FOUNDING_GRACE_S, Node

LEAVE_GRACE_S = 10.0
"""How long the farewell may take before the process ends without it."""

_stdout = DaemonThreads("kvgossip-stdout", 1)
"""Whoever reads it may have stopped."""

log = logging.getLogger("kvgossip.agent")


class Start(NamedTuple):
    """What holds for one start alone; see the options of these names."""

    free_port: bool
    stop_on_eof: bool
    rebuild: bool
    found: bool


async def serve(
    config: Config, output: Format, start: Start, reload: Callable[[Node], None]
) -> None:
    shorten_collections()
    # Reading the disk makes millions of objects and no garbage that counting does not free.
    gc.disable()
    # a server has the room, and its first bulk load shall not wait for that
    with suppress(ImportError):
        import_module("numpy")
    stop = _stop_event(start.stop_on_eof)
    tokens = TokenFile(config.tokens) if config.tokens else None
    # before the port is open: a certificate that nobody takes serves nobody
    certificates = Certificates.of(config)
    # The socket first: its port is announced to members, and until the server starts, connections
    # wait in it.
    listeners = _listen(config, start.free_port)
    node = Node(
        dataclasses.replace(config, http=_announced_address(config, listeners)),
        rebuild=start.rebuild,
        found=start.found,
    )
    try:
        await node.start()
        await _until_founded(node, stop)
        server = ApiServer(node, *listeners, tokens=tokens, certificates=certificates)
        await server.start()
    except BaseException:
        for each in listeners:
            close_listener(each)
        await node.stop(leave=False)
        raise
    # All that lives now is there to stay: the garbage collector need not visit it again.
    gc.collect()
    gc.freeze()
    gc.enable()
    manager = ServiceManager(os.environ)
    asyncio.get_running_loop().add_signal_handler(
        signal.SIGHUP, _reload, node, server, reload, manager
    )
    _tell_of_doors(node)
    _announce(node, server, output)
    manager.ready(_condition(node, server))
    try:
        await _until_stopped(node, server, stop, output, manager)
    finally:
        manager.stopping()
        await _close(node, server)


def _reload(
    node: Node, server: ApiServer, reload: Callable[[Node], None], manager: ServiceManager
) -> None:
    manager.reloading()
    reload(node)
    # a mistake in one file keeps nobody from taking the other
    server.reload_tokens()
    server.reload_certificates()
    manager.ready(_condition(node, server))


def _condition(node: Node, server: ApiServer) -> str:
    """The node in a line."""
    catches_up = "" if node.settled else ", and catches up"
    return f"serves {' and '.join(server.urls)}{catches_up}"


async def _until_founded(node: Node, stop: asyncio.Event) -> None:
    """Who joins nobody knows within `founding_s` whether there is a cluster that knows it. Clients
    that come meanwhile wait for as long, and get an answer instead of a 503."""
    if node.config.join or node.config.join_wan:
        return
    timeout_s = node.config.founding_s + FOUNDING_GRACE_S
    await _first_of(node.wait_settled(), stop.wait(), timeout_s=timeout_s)


async def _until_stopped(
    node: Node,
    server: ApiServer,
    stop: asyncio.Event,
    output: Format,
    manager: ServiceManager,
) -> None:
    settled = asyncio.create_task(_announce_settled(node, server, output, manager))
    await _first_of(stop.wait(), server.left.wait())
    settled.cancel()
    await asyncio.gather(settled, return_exceptions=True)


async def _first_of(*waits: Coroutine[Any, Any, object], timeout_s: float | None = None) -> None:
    """Returns when the first of them ends, whichever way, or after so long; the others are
    cancelled."""
    tasks = [asyncio.create_task(wait) for wait in waits]
    await asyncio.wait(tasks, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _close(node: Node, server: ApiServer) -> None:
    log.info("%s leaves", node.name)
    try:
        async with asyncio.timeout(LEAVE_GRACE_S):
            await server.stop()
            await node.stop()
    except TimeoutError:
        log.warning("%s ends without having said goodbye to everybody", node.name)


async def _announce_settled(
    node: Node, server: ApiServer, output: Format, manager: ServiceManager
) -> None:
    await node.wait_settled()
    # The data that it has taken over from its peers is there to stay, too. To freeze takes no time.
    gc.freeze()
    log.info("%s has settled: it answers reads", node.name)
    manager.tell(f"STATUS={_condition(node, server)}")
    if output is Format.JSON:
        _print_line(json.dumps({"event": "settled"}))


def _announce(node: Node, server: ApiServer, output: Format) -> None:
    wan = str(node.wan_address) if node.wan_address is not None else None
    if output is Format.JSON:
        document = {
            "event": "serving",
            "name": node.name,
            "url": server.urls[0],
            "urls": server.urls,
            "gossip": str(node.address),
            "wan": wan,
            "cluster": node.config.cluster,
        }
        return _print_line(json.dumps(document))
    where = f"gossip {node.address}{f', WAN {wan}' if wan else ''}"
    return _print_line(
        f"{node.name} serves {' and '.join(server.urls)}, {where}, cluster {node.config.cluster}"
    )


def _tell_of_doors(node: Node) -> None:
    if bars_others(node.config):
        # who listens for others meant to be reached by them, as an image does
        log.info("%s: HTTP is %s; %s", node.name, PROTECTED, WAYS_OUT)
    opened = open_doors(node.config)
    if opened:
        log.warning("%s: %s", node.name, "; ".join(OPEN_DOORS[door] for door in opened))


def _print_line(line: str) -> None:
    _stdout.run(lambda: print(line, flush=True))


def _stop_event(stop_on_eof: bool) -> asyncio.Event:
    """Set by SIGTERM, SIGINT or the end of standard input; a second signal ends the process at
    once."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()

    def stop_or_quit() -> None:
        if stop.is_set():
            os._exit(130)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop_or_quit)
    if stop_on_eof:
        _watch_stdin(loop, stop.set)
    return stop


def _watch_stdin(loop: asyncio.AbstractEventLoop, on_end: Callable[[], None]) -> None:
    def read() -> None:
        if not os.read(0, 4096):
            loop.remove_reader(0)
            on_end()

    try:
        loop.add_reader(0, read)
    except OSError as error:
        raise ConfigError(
            f"cannot wait for the end of standard input: {error.strerror}",
            "--stop-on-eof needs a pipe there",
        ) from error


def _listen(config: Config, free_port: bool) -> list[socket.socket]:
    """The sockets of HTTP, that of `http` first. Raises ConfigError, and leaves none open then."""
    wanted = config.http or (None if config.http_also else DEFAULT_HTTP)
    listeners: list[socket.socket] = []
    try:
        if wanted is not None:
            listeners.append(_listen_somewhere(wanted) if free_port else listen(wanted))
        for text in config.http_also:
            listeners.append(
                listen_unix(text) if is_unix(text) else listen(parse_address(text, HTTP_PORT))
            )
    except BaseException:
        for each in listeners:
            close_listener(each)
        raise
    return listeners


def _listen_somewhere(wanted: Address) -> socket.socket:
    try:
        return listen(wanted)
    except PortInUseError:
        return listen(wanted._replace(port=0))


def _announced_address(config: Config, listeners: list[socket.socket]) -> Address | None:
    """The HTTP address that members have of this node: an empty host stands for the one that peers
    see, None for a node that nobody reaches over the network."""
    name = listeners[0].getsockname()
    if isinstance(name, str):
        return None
    host, port = name[:2]
    if host in ("0.0.0.0", "::"):
        host = config.advertise.host if config.advertise else ""
    return Address(host, port)
