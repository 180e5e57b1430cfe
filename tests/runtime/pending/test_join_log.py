"""What the log says of joins that fail."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from kvgossip import Node
from kvgossip.config import Config
from kvgossip.runtime.pending.join_log import JoinLog
from tests.api.serving import ANYWHERE, NOBODY


def lines_of(failures: list[tuple[float, str]]) -> list[tuple[int, str]]:
    lines: list[tuple[int, str]] = []
    log = JoinLog(lambda level, text: lines.append((level, text)))
    for at_s, subject in failures:
        log.failed(subject, f"no answer from {subject}", at_s)
    return lines


def test_the_first_failure_is_told_at_once_and_then_a_line_a_minute_counts() -> None:
    dead = [f"10.0.{number // 256}.{number % 256}:7481" for number in range(200)]
    failures = [(0.3 * number, dead[number % 200]) for number in range(400)]
    assert lines_of(failures) == [
        (logging.INFO, "no answer from 10.0.0.0:7481"),
        (
            logging.WARNING,
            "could not join at 200 addresses, 200 times in 60 s; the last one: no answer from "
            "10.0.0.0:7481",
        ),
    ]


def test_after_a_minute_of_failures_somebody_has_to_look_also_where_it_is_but_one_address() -> None:
    assert lines_of([(0.0, "n:1"), (30.0, "n:1"), (61.0, "n:1"), (90.0, "n:1")])[1:] == [
        (
            logging.WARNING,
            "could not join at 1 address, 2 times in 61 s; the last one: no answer from n:1",
        )
    ]


def test_each_name_that_cannot_be_resolved_is_told_once_at_once() -> None:
    lines: list[tuple[int, str]] = []
    log = JoinLog(lambda level, text: lines.append((level, text)))
    log.failed("n:1", "no answer from n:1", 0.0)
    for _ in range(3):
        for name in ("one", "two"):
            log.unresolved(name, 1.0)
    assert lines == [
        (logging.INFO, "no answer from n:1"),
        (logging.WARNING, "the join address one cannot be resolved; it will be tried again"),
        (logging.WARNING, "the join address two cannot be resolved; it will be tried again"),
    ]


@pytest.mark.parametrize(
    ("target", "words"),
    [(NOBODY, f"no answer from {NOBODY}"), ("nobody.invalid:7481", "cannot be resolved")],
)
async def test_a_node_that_finds_nobody_says_so_once(
    target: str, words: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO, "kvgossip")
    thrice, count, failed = asyncio.Event(), 0, JoinLog.failed

    def counted(self: JoinLog, *failure: Any) -> None:
        nonlocal count
        count += 1
        failed(self, *failure)
        if count == 3:
            thrice.set()

    monkeypatch.setattr(JoinLog, "failed", counted)
    node = Node(Config(name="n1", gossip=ANYWHERE, join=(target,), join_retry_s=0.01))
    await node.start()
    try:
        async with asyncio.timeout(30):
            await thrice.wait()
    finally:
        await node.stop(leave=False)
    lines = [record.getMessage() for record in caplog.records if words in record.getMessage()]
    assert len(lines) == 1
