"""Does a change reach every worker of the servers that people have, and is nothing left behind when
workers come and go?

    python -m benchmarks.servers [--only gunicorn uvicorn celery runserver fork spawn]
        [--changes 50] [--restarts 20] [--json]

The programs of examples/ under their real servers, as their own heads say, and four processes of
multiprocessing, beside one agent. They are a copy, whose configuration has one more line: a process
that hears of a change says when (servers_process.py).

p50, max ms          from the begin of a PUT to the agent until the last worker has heard of it
members              that the host has, whatever its workers do: at most so many, at any look
restarts             of one worker after the other, which is told to end and killed in turn; of
                     runserver by its own reload, after a file was touched; of Celery by its
                     --max-tasks-per-child, since who kills one may kill the lock of all with it
dead names, waiting tombstones
                     at the agent, once both are gone, or after CALM_S; a key is deleted beside each
                     restart

`manage.py check` runs once: the agent hears of nobody.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from benchmarks.agents import PATIENCE_S, ROOT, Agent, AgentError
from benchmarks.embedded import environment_in
from benchmarks.http import Redis
from benchmarks.report import Report, Row, Table, finish, is_there
from benchmarks.servers_process import HEARD, WORKERS

EXAMPLES = ROOT / "examples"
ADDED = """
from benchmarks.servers_process import tell
config.on_change("moment")(tell)
"""
ARRIVAL_S = 2.0
"""How long a change is waited for before it counts as missed."""
RELOAD_S = 5.0
GATHER_S = 0.5
CALM_S = 60.0
PAUSE_S = 0.02
POLL_S = 0.002
AT_ONCE = 4 * WORKERS
"""Requests: one worker that has nothing to do takes all that come one by one."""
SERVES = re.compile(rb"http://127\.0\.0\.1:[1-9]\d*")
MEDIAN_MS = 100.0
BROKER = "redis-server", "redis-server"
"""Of Celery: the command, and the Debian package that has it."""
CHECK = "manage.py check joins nothing"
TASKS = f"""
import sys
from celery import group
from celery_app import quote
for line in sys.stdin:
    group(quote.s(3) for _ in range({AT_ONCE})).delay().get(timeout={PATIENCE_S})
    print("done", flush=True)
"""


# -- servers ---------------------------------------------------------------------------------------


class Server:
    """One server with its workers, and what these have heard. `command`: the words after `python`.
    `workers`: the processes that read. Methods raise AgentError."""

    title: str
    command: tuple[str, ...]
    workers = WORKERS

    def __init__(self, agent: Agent, folder: Path) -> None:
        self._agent = agent
        self.shop = folder / "shop"
        shutil.copytree(EXAMPLES, self.shop)
        with open(self.shop / "shop_config.py", "a") as config:
            config.write(ADDED)
        self._heard_file = folder / "heard"
        self._heard_file.touch()
        self._read = 0
        #: by the number of a change and the process: seconds
        self._heard: dict[int, dict[int, float]] = {}
        self._changes = 0
        #: the workers that have ended
        self._gone: set[int] = set()
        self.environment = environment_in(folder) | {
            "SHOP_JOIN": agent.gossip,
            "SHOP_BROKER_DIR": str(folder / "broker"),
            "PYTHONUNBUFFERED": "1",
            HEARD: str(self._heard_file),
        }
        self.log = folder / "log"
        self._process: subprocess.Popen[bytes] | None = None

    def run(self, *command: str) -> None:
        """Another program of the shop, to its end."""
        done = subprocess.run(
            [sys.executable, *command],
            cwd=self.shop,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise AgentError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr}")

    def start(self) -> None:
        with open(self.log, "wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, *self.command],
                cwd=self.shop,
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def end(self) -> None:
        """By SIGTERM; what is left of it after that is killed."""
        if self._process is not None:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(PATIENCE_S)
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def poke(self) -> None:
        """Makes workers read. Some read by themselves."""

    def end_worker(self, worker: int, number: int) -> None:
        """One of them ends; `number`: of this restart."""
        os.kill(worker, signal.SIGKILL if number % 2 else signal.SIGTERM)

    # -- changes ----------------------------------------------------------------------------------

    def change(self, patience_s: float) -> dict[int, float]:
        """One change: how many seconds it took to each worker, as soon as all have heard of it, or
        when the time is up."""
        self._changes += 1
        begun_s = time.monotonic()
        _call(self._agent, "PUT", "/kv/shop/moment", [self._changes, begun_s])
        while True:
            self._listen()
            heard = self._heard.get(self._changes, {})
            heard = {pid: took_s for pid, took_s in heard.items() if pid not in self._gone}
            if len(heard) >= self.workers or time.monotonic() - begun_s > patience_s:
                return heard
            time.sleep(POLL_S)

    def _listen(self) -> None:
        with open(self._heard_file, "rb") as file:
            file.seek(self._read)
            for line in file:
                self._read += len(line)
                pid, number, took_s = line.split()
                self._heard.setdefault(int(number), {})[int(pid)] = float(took_s)

    def all_workers(self) -> list[int]:
        """Those that read, once they are as many as there should be."""
        end_s = time.monotonic() + PATIENCE_S
        while len(heard := self.change(GATHER_S)) < self.workers:
            if self._process is not None and (code := self._process.poll()) is not None:
                raise AgentError(f"{self.title} ended with {code}: {self.last_words()}")
            if time.monotonic() > end_s:
                raise AgentError(
                    f"{self.title}: of {self.workers} workers {len(heard)} hear of changes after "
                    f"{PATIENCE_S:.0f} s: {self.last_words()}"
                )
            self.poke()
        return sorted(heard)

    def restart(self, number: int) -> None:
        """One worker ends, and another one comes for it."""
        parent = None if self._process is None else self._process.pid
        workers = [worker for worker in self.all_workers() if worker != parent]
        worker = workers[number % len(workers)]
        self.end_worker(worker, number)
        # it may hear of one more change
        self._gone.add(worker)
        self.all_workers()

    def last_words(self) -> str:
        return self.log.read_text(errors="replace")[-2000:]


class Http(Server):
    def poke(self) -> None:
        served = SERVES.findall(self.log.read_bytes())
        if served:
            url = served[-1].decode()
            with ThreadPoolExecutor(AT_ONCE) as pool:
                list(pool.map(_get, [url] * AT_ONCE))


class Gunicorn(Http):
    title = "gunicorn --workers 4 --preload"
    command = (
        *("-m", "gunicorn", "--bind", "127.0.0.1:0"),
        *("--workers", "4", "--preload", "flask_app:app"),
    )


class Uvicorn(Http):
    title = "uvicorn --workers 4"
    command = ("-m", "uvicorn", "--port", "0", "--workers", "4", "fastapi_app:app")


class Runserver(Http):
    title = "manage.py runserver"
    command = ("django_app.py", "runserver", "127.0.0.1:0")
    workers = 1

    _touched_s = math.inf

    def end_worker(self, worker: int, number: int) -> None:
        os.utime(self.shop / "shop_config.py")
        self._touched_s = time.monotonic()

    def poke(self) -> None:
        # what was touched before the first look of a reloader that has just started is no news
        if time.monotonic() - self._touched_s > RELOAD_S:
            self.end_worker(0, 0)
        super().poke()


class Celery(Server):
    """Its broker is a Redis of its own: that of files, which the example has, now and then reads a
    message of which half is written. Processes of its pool may take long to come up: on a machine
    that is busy Celery would kill each of them after 4 s, for ever."""

    title = "celery worker --concurrency 4"
    command = (
        *("-m", "celery", "--app", "celery_app", "worker"),
        *("--concurrency", "4", "--max-tasks-per-child", str(2 * AT_ONCE)),
    )
    _broker: Redis | None = None
    _client: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._broker = Redis()
        url = f"redis://127.0.0.1:{self._broker.port}/0"
        self.environment |= {"CELERY_BROKER_URL": url, "CELERY_RESULT_BACKEND": url}
        with open(self.shop / "celery_app.py", "a") as program:
            program.write(f"app.conf.worker_proc_alive_timeout = {PATIENCE_S}\n")
        super().start()

    def poke(self) -> None:
        if self._client is None:
            self._client = subprocess.Popen(
                [sys.executable, "-c", TASKS],
                cwd=self.shop,
                env=self.environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
        assert self._client.stdin is not None
        assert self._client.stdout is not None
        self._client.stdin.write(b"\n")
        self._client.stdin.flush()
        if not self._client.stdout.readline():
            raise AgentError(f"no task can be sent: {self.last_words()}")

    def end_worker(self, worker: int, number: int) -> None:
        while os.path.exists(f"/proc/{worker}"):
            self.poke()

    def end(self) -> None:
        super().end()
        if self._client is not None:
            self._client.communicate()
        if self._broker is not None:
            self._broker.stop()


class Forked(Server):
    title = "multiprocessing, fork"
    command = ("-m", "benchmarks.servers_process", "fork")
    workers = WORKERS + 1


class Spawned(Server):
    title = "multiprocessing, spawn"
    command = ("-m", "benchmarks.servers_process", "spawn")


SERVERS: dict[str, type[Server]] = {
    "gunicorn": Gunicorn,
    "uvicorn": Uvicorn,
    "celery": Celery,
    "runserver": Runserver,
    "fork": Forked,
    "spawn": Spawned,
}


def _get(url: str) -> None:
    # a worker that is just ending answers nothing, and is not to be counted
    with suppress(OSError), urlopen(url, timeout=PATIENCE_S) as answer:
        answer.read()


def _call(agent: Agent, method: str, path: str, value: object = None) -> Any:
    body = None if value is None else json.dumps(value).encode()
    head = {"Content-Type": "application/json"}
    with urlopen(Request(agent.url + path, body, head, method=method)) as answer:
        return json.load(answer)


# -- measuring -------------------------------------------------------------------------------------


def states(agent: Agent) -> dict[str, str]:
    """What the agent believes of all others, by name."""
    members = _call(agent, "GET", "/members")["members"]
    return {each["name"]: each["state"] for each in members if not each["self"]}


def waiting(agent: Agent) -> int:
    return int(_call(agent, "GET", "/status")["statistics"]["certificates_waiting"])


def measure(kind: type[Server], changes: int, restarts: int) -> Row:
    """One server. Raises AgentError."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        agent = Agent("agent", cluster="shop")
        stack.callback(agent.stop)
        agent.start()
        agent.settle()
        server = kind(agent, folder)
        stack.callback(server.end)
        server.start()
        server.all_workers()
        heard = []
        for _ in range(changes):
            time.sleep(PAUSE_S)
            heard.append(server.change(ARRIVAL_S))
        members = [len(states(agent))]
        for number in range(restarts):
            server.restart(number)
            _call(agent, "PUT", "/kv/shop/gone", number)
            _call(agent, "DELETE", "/kv/shop/gone")
            members.append(len(states(agent)))
        dead, tombstones = when_calm(agent)
    return row_of(kind, heard, members, restarts, dead, tombstones)


def when_calm(agent: Agent) -> tuple[int, int]:
    """Names that are not alive, and tombstones, once both are gone or CALM_S are over."""
    end_s = time.monotonic() + CALM_S
    while True:
        dead = sum(state != "alive" for state in states(agent).values())
        tombstones = waiting(agent)
        if not (dead or tombstones) or time.monotonic() > end_s:
            return dead, tombstones
        time.sleep(GATHER_S)


def row_of(
    server: type[Server],
    heard: Sequence[dict[int, float]],
    members: Sequence[int],
    restarts: int,
    dead: int,
    tombstones: int,
) -> Row:
    all_ms = [1000 * max(times.values()) for times in heard if len(times) >= server.workers]
    return {
        "server": server.title,
        "processes": server.workers,
        "changes": len(heard),
        "missed": len(heard) - len(all_ms),
        "p50 ms": statistics.median(all_ms) if all_ms else None,
        "max ms": max(all_ms, default=None),
        "members": max(members),
        "restarts": restarts,
        "dead names": dead,
        "waiting tombstones": tombstones,
    }


def check_joins_nothing() -> bool:
    """Whether an agent has heard of nobody while `manage.py check` ran."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        agent = Agent("agent", cluster="shop")
        stack.callback(agent.stop)
        agent.start()
        agent.settle()
        Runserver(agent, folder).run("django_app.py", "check")
        # who joined and left would be known as one that has left
        return not states(agent)


# -- report ----------------------------------------------------------------------------------------


def report(rows: Sequence[Row], laws: dict[str, bool], skipped: Sequence[str] = ()) -> Report:
    targets = {}
    for row in rows:
        title = row["server"]
        p50_ms = row["p50 ms"]
        targets[f"{title}: all workers, p50 at most {MEDIAN_MS:.0f} ms"] = (
            p50_ms is not None and p50_ms <= MEDIAN_MS
        )
        laws[f"{title}: every change reaches every worker"] = not row["missed"]
        laws[f"{title}: one member"] = row["members"] == 1
        laws[f"{title}: no dead name and no tombstone is left"] = not (
            row["dead names"] or row["waiting tombstones"]
        )
    table = Table("until all workers see a change, and after they were restarted", rows)
    return Report("servers", [table], laws, targets, skipped)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=tuple(SERVERS), default=tuple(SERVERS))
    parser.add_argument("--changes", type=int, default=50)
    parser.add_argument("--restarts", type=int, default=20, help="of a worker, of each server")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    rows, skipped = list[Row](), list[str]()
    only = [name for name in options.only if name != "celery" or is_there(*BROKER, skipped)]
    try:
        laws = {CHECK: check_joins_nothing()}
    except AgentError as error:
        sys.exit(str(error))
    for kind in (SERVERS[name] for name in only):
        try:
            rows.append(measure(kind, options.changes, options.restarts))
            print(rows[-1], file=sys.stderr, flush=True)
        except AgentError as error:
            laws[f"{kind.title}: it runs to the end"] = False
            print(error, file=sys.stderr, flush=True)
    finish(report(rows, laws, skipped), json=options.json)


if __name__ == "__main__":
    main()
