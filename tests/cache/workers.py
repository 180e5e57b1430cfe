"""Processes of tests/cache/process.py in the hands of a test."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.cache.sinks import PATIENCE_S

ROOT = Path(__file__).parent.parent.parent


class Worker:
    """One of them, and what its sink has heard."""

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self.table: dict[str, str] = {}
        self.state: dict[str, Any] = {}
        #: what it said, but for tables and states
        self.said: list[dict[str, Any]] = []
        #: the values that some key had and lost
        self.lost: list[str] = []
        self._rest = b""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.cache.process", str(folder), json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def do(self, *words: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(" ".join(words).encode() + b"\n")
        self._process.stdin.flush()

    def until(self, so: Callable[[Worker], object]) -> Worker:
        """Returns once it is so, by what the process says."""
        while not so(self):
            self._hear(self._next_line())
        return self

    def kill(self) -> None:
        self._process.kill()
        self.end()

    def stop(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        self.do("close")
        self.until(lambda worker: {"closed": True} in worker.said)
        self.end()

    def end(self) -> int:
        """Wait for its end."""
        code = self._process.wait(PATIENCE_S)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        return code

    @property
    def has_ended(self) -> bool:
        return self._process.returncode is not None

    def last(self, word: str) -> Any:
        """What it said last of this; None: nothing."""
        return next((each[word] for each in reversed(self.said) if word in each), None)

    def _hear(self, document: dict[str, Any]) -> None:
        if "state" in document:
            self.state = document["state"]
        elif "replaced" in document:
            self.lost += sorted(self.table.keys() - document["replaced"].keys())
            self.table = document["replaced"]
        elif "changed" in document:
            for key, value in document["changed"].items():
                if value is None:
                    self.lost.append(key)
                    self.table.pop(key, None)
                else:
                    self.table[key] = value
        else:
            self.said.append(document)

    def _next_line(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        with selectors.DefaultSelector() as waiting:
            waiting.register(descriptor, selectors.EVENT_READ)
            while b"\n" not in self._rest:
                assert waiting.select(PATIENCE_S), (self.table, self.state, self.said)
                data = os.read(descriptor, 65536)
                assert data, f"the process has ended: {self.said}"
                self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        document: dict[str, Any] = json.loads(line)
        return document


Start = Callable[..., Worker]


@contextmanager
def workers(folder: Path) -> Iterator[Start]:
    """A function that starts workers of one host, which are killed at the end. `settings` are those
    of the member's Config."""
    started: list[Worker] = []

    def start(**settings: Any) -> Worker:
        worker = Worker(folder, {"name": "host", "founding_s": 0.0, **settings})
        started.append(worker)
        return worker.until(lambda each: each.last("opened"))

    try:
        yield start
    finally:
        for worker in started:
            if not worker.has_ended:
                worker.kill()
