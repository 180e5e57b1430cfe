"""What does membership cost and how soon does it notice a crash: kvgossip beside serf, as many
agents of each, on this machine?

    python -m benchmarks.membership [--agents 5 50] [--systems kvgossip serf] [--idle-s 20]
        [--kills 3] [--json]

serf is that of the Debian package `serf`, or any other in the PATH, and is measured where it is
installed. Both use their LAN profile, without encryption. One system runs after the other, each in
network and process namespaces of its own (`unshare`, util-linux) with nothing but `lo`: so its
counters hold every packet of the system, with the headers of IP, UDP, TCP and the 14 bytes of an
Ethernet frame, the same way for both; and whatever happens, no process outlives the benchmark.

idle      cpu: of one processor, by /proc/PID/stat; bytes and packets sent a second; memory: the
          proportional set size (smaps_rollup). All is of one agent, in the mean, over --idle-s
          seconds in which nothing happens.
crash     kill -9 of one agent; `first` and `all`: seconds until the first, and until the last of
          the other agents has logged that it failed. Then it starts again under its name, and the
          next one follows when everybody knows it.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import selectors
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from benchmarks.agents import ROOT, cpu_s, environment, pss_bytes
from benchmarks.report import Report, Table, finish, is_there

GROUP = 5
GOSSIP_PORT = 10_000
SERVICE_PORT = 20_000
START_S = 240.0
DETECT_S = 120.0
POLL_S = 0.02

Figures = dict[str, Any]


@dataclass(frozen=True)
class System:
    """How an agent is started, how its log says who failed, and who is there: its log as well, or
    `GET /members`, where None.

    Numbers are places in the cluster.
    """

    command: Callable[[int], Sequence[str]]
    alive: re.Pattern[bytes] | None
    failed: re.Pattern[bytes]


def kvgossip_command(place: int) -> Sequence[str]:
    return [
        *(
            sys.executable,
            "-m",
            "kvgossip",
            "agent",
            "--name",
            f"n{place}",
            "--cluster",
            "bench",
            "--profile",
            "lan",
        ),
        *(
            "--gossip",
            f"127.0.0.1:{GOSSIP_PORT + place}",
            "--http",
            f"127.0.0.1:{SERVICE_PORT + place}",
        ),
        *(("--join", f"127.0.0.1:{GOSSIP_PORT}") if place else ()),
    ]


def serf_command(place: int) -> Sequence[str]:
    return [
        *("serf", "agent", "-node", f"n{place}", "-profile", "lan", "-log-level", "info"),
        *(
            "-bind",
            f"127.0.0.1:{GOSSIP_PORT + place}",
            "-rpc-addr",
            f"127.0.0.1:{SERVICE_PORT + place}",
        ),
        *(("-retry-join", f"127.0.0.1:{GOSSIP_PORT}", "-retry-interval", "1s") if place else ()),
    ]


SYSTEMS = {
    "kvgossip": System(
        kvgossip_command,
        None,  # of a crowd that comes, its log names a part
        re.compile(rb": (n\d+) at \S+ is dead"),
    ),
    "serf": System(
        serf_command,
        re.compile(rb"EventMemberJoin: (n\d+) "),
        re.compile(rb"EventMemberFailed: (n\d+) "),
    ),
}


# -- in the namespaces ---------------------------------------------------------------------------


@dataclass
class Agent:
    """A process, and who it has said is there.

    `failed_s`: when it said that a member had failed.
    """

    process: subprocess.Popen[bytes]
    there: set[str] = field(default_factory=set)
    failed_s: dict[str, float] = field(default_factory=dict)


class Agents:
    """The agents of one system, and a thread that reads what they log as it comes."""

    def __init__(self, system: System, count: int) -> None:
        self._system, self._count = system, count
        self._agents: dict[int, Agent] = {}
        self._selector = selectors.DefaultSelector()
        threading.Thread(target=self._listen, daemon=True).start()

    def start_all(self) -> None:
        """In groups: all at once they would starve each other."""
        for first in range(0, self._count, GROUP):
            last = min(first + GROUP, self._count)
            for place in range(first, last):
                self.start(place)
            _until(
                partial(self._known_to_all, range(last)),
                START_S,
                "the agents have not found each other",
            )

    def start(self, place: int) -> None:
        process = subprocess.Popen(
            self._system.command(place),
            cwd=ROOT,
            env=environment(ROOT, {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        agent = self._agents[place] = Agent(process)
        self._selector.register(process.stdout, selectors.EVENT_READ, (agent, bytearray()))

    def _listen(self) -> None:
        while True:
            for key, _ in self._selector.select(0.2):
                agent, pending = key.data
                read = os.read(key.fd, 65536)
                if not read:
                    self._selector.unregister(key.fileobj)
                    continue
                pending += read
                *lines, rest = pending.split(b"\n")
                pending[:] = rest
                for line in lines:
                    self._heard(agent, line, time.monotonic())

    def _heard(self, agent: Agent, line: bytes, at_s: float) -> None:
        if self._system.alive and (found := self._system.alive.search(line)):
            agent.there.add(found[1].decode())
        elif found := self._system.failed.search(line):
            agent.there.discard(found[1].decode())
            agent.failed_s[found[1].decode()] = at_s

    def _known_to_all(self, places: Sequence[int]) -> bool:
        names = {place: f"n{place}" for place in places}
        for place in places:
            code = self._agents[place].process.poll()
            if code is not None:
                raise SystemExit(
                    f"agent n{place} has ended with code {code}: run its command by hand to see why"
                )
        return all(set(names.values()) - {names[place]} <= self._there(place) for place in places)

    def _there(self, place: int) -> set[str]:
        """Whom this agent holds for alive."""
        agent = self._agents[place]
        if self._system.alive is None:
            agent.there |= members_alive(SERVICE_PORT + place)
        return agent.there

    # -- figures --

    def idle(self, seconds: float) -> Figures:
        began_s, cpu_s, (octets, packets) = time.monotonic(), self._cpu_s(), loopback()
        time.sleep(seconds)
        lasted_s, used_s, (octets_after, packets_after) = (
            time.monotonic() - began_s,
            self._cpu_s() - cpu_s,
            loopback(),
        )
        share = lasted_s * self._count
        memory = [pss_bytes(agent.process.pid) for agent in self._agents.values()]
        return {
            "cpu_percent": 100 * used_s / share,
            "bytes_a_s": (octets_after - octets) / share,
            "packets_a_s": (packets_after - packets) / share,
            "pss_mb": statistics.fmean(memory) / 1e6,
        }

    def _cpu_s(self) -> float:
        return sum(cpu_s(agent.process.pid) for agent in self._agents.values())

    def crash(self, place: int) -> Figures:
        """Kills this agent, waits until all others know, starts it again, waits until all know
        that.
        """
        name = f"n{place}"
        others = [agent for other, agent in self._agents.items() if other != place]
        for agent in others:
            agent.failed_s.pop(name, None)
        killed_s = time.monotonic()
        os.kill(self._agents[place].process.pid, signal.SIGKILL)
        self._agents[place].process.wait()
        _until(
            lambda: all(name in agent.failed_s for agent in others),
            DETECT_S,
            f"the crash of {name} was not noticed by all",
        )
        times_s = [agent.failed_s[name] - killed_s for agent in others]
        self.start(place)
        _until(
            lambda: self._known_to_all(range(self._count)), DETECT_S, f"{name} has not come back"
        )
        return {"first_s": min(times_s), "all_s": max(times_s)}

    def stop(self) -> None:
        for agent in self._agents.values():
            agent.process.kill()
        for agent in self._agents.values():
            agent.process.wait()


def _until(met: Callable[[], bool], seconds: float, otherwise: str) -> None:
    end_s = time.monotonic() + seconds
    while not met():
        if time.monotonic() > end_s:
            raise SystemExit(f"{otherwise} within {seconds:.0f} s")
        time.sleep(POLL_S)


def members_alive(port: int) -> set[str]:
    """Their names, as this agent of kvgossip tells them; none while it does not answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10.0)
    try:
        connection.request("GET", "/members")
        told = json.loads(connection.getresponse().read())
    except OSError:
        return set()
    finally:
        connection.close()
    return {member["name"] for member in told["members"] if member["state"] == "alive"}


def loopback() -> tuple[int, int]:
    """Bytes and packets that `lo` of this namespace has carried."""
    with open("/proc/net/dev") as told:
        line = next(line for line in told if line.strip().startswith("lo:"))
    received = line.split(":")[1].split()
    return int(received[0]), int(received[1])


def measure(system: str, count: int, idle_s: float, kills: int, calm_s: float) -> Figures:
    """Of one system, in the namespaces of this process."""
    agents = Agents(SYSTEMS[system], count)
    try:
        agents.start_all()
        time.sleep(calm_s)
        found = agents.idle(idle_s)
        crashes = []
        for number in range(kills):
            # never the first, which all join
            crashes.append(agents.crash(1 + number * 7 % (count - 1)))
            time.sleep(calm_s / 2 if number + 1 < kills else 0.0)
    finally:
        agents.stop()
    return {
        "system": system,
        "agents": count,
        "idle_s": idle_s,
        **found,
        "crashes": crashes,
        **_of_crashes(crashes),
    }


def _of_crashes(crashes: Sequence[Figures]) -> Figures:
    if not crashes:
        return {}
    first, last = [crash["first_s"] for crash in crashes], [crash["all_s"] for crash in crashes]
    return {
        "first_s_median": statistics.median(first),
        "first_s_max": max(first),
        "all_s_median": statistics.median(last),
        "all_s_max": max(last),
    }


# -- outside -------------------------------------------------------------------------------------


def missing() -> str:
    """What is needed and not there, with what to do; empty if all is."""
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        return "needs the commands unshare and ip: apt-get install util-linux iproute2"
    if os.geteuid() != 0:
        return "needs root, for network namespaces of its own"
    if subprocess.run([*NAMESPACES, "true"], capture_output=True, check=False).returncode:
        return "this machine allows no new namespaces (in a container: run it with --privileged)"
    return ""


NAMESPACES = ("unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc")


def measure_apart(system: str, count: int, options: argparse.Namespace) -> Figures:
    """In fresh namespaces."""
    inside = [
        sys.executable,
        "-m",
        "benchmarks.membership",
        "--inside",
        system,
        "--agents",
        str(count),
    ]
    inside += [
        "--idle-s",
        str(options.idle_s),
        "--kills",
        str(options.kills),
        "--calm-s",
        str(options.calm_s),
    ]
    command = [*NAMESPACES, "sh", "-c", 'ip link set lo up && exec "$@"', "sh", *inside]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        told = child.stdout.read()
    if child.returncode:
        raise SystemExit(child.returncode)
    found: Figures = json.loads(told)
    return found


def end_with_parent() -> None:
    """The parent's end closes standard input; the end of this process, the first one of its
    namespace, ends all agents.
    """
    sys.stdin.read()
    os._exit(1)


COLUMNS = {
    "cpu_percent": "cpu, % of a processor",
    "bytes_a_s": "bytes a second",
    "packets_a_s": "packets a second",
    "pss_mb": "memory (PSS), MB",
    "first_s_median": "crash to first, s: median",
    "first_s_max": "max",
    "all_s_median": "crash to all, s: median",
    "all_s_max": "max ",
}
TARGETS = ("bytes_a_s", "all_s_median")


def report(found: Sequence[Figures], skipped: Sequence[str] = ()) -> Report:
    """What is meant to be no more than serf's is a target."""
    rows = [
        {"agents": each["agents"], "system": each["system"]}
        | {title: each[name] for name, title in COLUMNS.items() if name in each}
        for each in found
    ]
    targets = {}
    for count in dict.fromkeys(each["agents"] for each in found):
        systems = {each["system"]: each for each in found if each["agents"] == count}
        for name in TARGETS:
            if len(systems) == 2 and all(name in each for each in systems.values()):
                target = f"{count} agents: {COLUMNS[name]} is no more than serf's"
                targets[target] = systems["kvgossip"][name] <= systems["serf"][name]
    return Report("membership", [Table("each agent", rows)], targets=targets, skipped=skipped)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--agents", type=int, nargs="+", default=[5, 50])
    parser.add_argument("--systems", nargs="+", choices=list(SYSTEMS), default=list(SYSTEMS))
    parser.add_argument("--idle-s", type=float, default=20.0)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument(
        "--calm-s",
        type=float,
        default=10.0,
        help="rest after the start, and half of it after a crash",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--inside", choices=list(SYSTEMS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if min(options.agents) < 3:
        parser.error("--agents: at least 3")
    if options.inside:
        threading.Thread(target=end_with_parent, daemon=True).start()
        (count,) = options.agents
        found = measure(options.inside, count, options.idle_s, options.kills, options.calm_s)
        json.dump(found, sys.stdout)
        return
    lacking = missing()
    if lacking:
        sys.exit(f"this benchmark {lacking}")
    skipped: list[str] = []
    systems = [
        name for name in options.systems if name != "serf" or is_there("serf", "serf", skipped)
    ]
    rows = [measure_apart(system, count, options) for count in options.agents for system in systems]
    finish(report(rows, skipped), json=options.json)


if __name__ == "__main__":
    main()
