"""The log at a terminal."""

from __future__ import annotations

import logging
from io import StringIO

from rich.console import Console

from kvgossip.cli.process.terminal import TerminalHandler


def test_progress_is_a_bar_that_moves_and_is_gone_when_the_next_line_comes() -> None:
    screen = StringIO()
    handler = TerminalHandler(Console(file=screen, force_terminal=True, width=100))
    log = logging.Logger("test")
    log.addHandler(handler)

    def shown() -> str:
        text = screen.getvalue()
        screen.seek(0)
        screen.truncate()
        return text

    log.info("read %s entries", "250", extra={"progress": (250, 1000)})
    first = shown()
    assert "read 250 entries" in first
    assert "25%" in first
    log.info("read %s entries", "1,200", extra={"progress": (1200, 1000)})
    second = shown()
    assert "read 1,200 entries" in second
    assert "100%" in second, "the total was an estimate"
    assert "\n" not in second
    log.info("read all of them")
    last = shown()
    assert "read all of them" in last
    assert "entries" not in last.split("read all of them")[1]
    assert last.endswith("\n")
    log.info("a line")
    line = shown()
    assert "%" not in line
    assert line.count("INFO") == 1
    log.info("again", extra={"progress": (1, 2)})
    handler.close()
    assert "50%" in shown()
