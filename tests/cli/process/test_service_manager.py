"""What an agent tells systemd, on a socket as systemd's: a real agent, a real datagram socket."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from kvgossip.cli.process.service_manager import ServiceManager
from tests.cli.test_cli import PATIENCE_S, agent

Message = Mapping[str, str]


@contextmanager
def listening(address: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address.replace("@", "\0", 1))
        manager.settimeout(PATIENCE_S)
        yield manager


def heard(manager: socket.socket, name: str) -> Message:
    """The next message that has this name; those of the watchdog come in between."""
    while True:
        lines = manager.recv(4096).decode().split("\n")
        message = {name: value for name, _, value in (line.partition("=") for line in lines)}
        if name in message:
            return message


@pytest.mark.parametrize("abstract", [False, True])
def test_an_agent_says_that_it_is_ready_lives_reloads_goes_on_and_stops(
    abstract: bool, tmp_path: Path
) -> None:
    address = f"@kvgossip{tmp_path}" if abstract else str(tmp_path / "notify")
    asks = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "200000"}
    with listening(address) as manager, agent("--name", "n1", **asks) as process:
        url = process.event("serving")["url"]
        ready = heard(manager, "READY")
        assert ready["READY"] == "1"
        assert ready["STATUS"].startswith(f"serves {url}")
        for _ in range(3):
            assert heard(manager, "WATCHDOG") == {"WATCHDOG": "1"}
        process.popen.send_signal(signal.SIGHUP)
        assert int(heard(manager, "RELOADING")["MONOTONIC_USEC"]) > 0
        assert heard(manager, "READY")["STATUS"] == f"serves {url}"
        process.popen.terminate()
        assert heard(manager, "STOPPING")["STOPPING"] == "1"
        assert process.end()[0] == 0


async def test_a_manager_that_is_gone_reads_nothing_or_asks_for_nothing_holds_nobody(
    tmp_path: Path,
) -> None:
    address = str(tmp_path / "notify")
    with listening(address) as manager:
        telling = ServiceManager(
            {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1"}
        )
        for number in range(10_000):
            telling.tell(f"STATUS={number}")
        telling.ready("serves")
        assert heard(manager, "STATUS") == {"STATUS": "0"}
    telling.stopping()
    ServiceManager({}).ready("serves")
