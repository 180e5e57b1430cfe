"""The log while nobody reads it: it holds nobody, and says afterwards what it has dropped."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator

import pytest

from kvgossip.cli.process import log_queue
from kvgossip.cli.process.log_queue import LogQueue, Stderr

TIMEOUT_S = 30.0


class Reader(logging.Handler):
    """Takes lines while somebody reads."""

    def __init__(self) -> None:
        super().__init__()
        self.reads, self.came = threading.Event(), threading.Event()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.came.set()
        self.reads.wait(TIMEOUT_S)
        self.lines.append(record.getMessage())


@pytest.fixture
def reader() -> Iterator[Reader]:
    one = Reader()
    yield one
    one.reads.set()


def line(text: str, *arguments: object) -> logging.LogRecord:
    return logging.LogRecord("test", logging.INFO, "", 0, text, arguments, None)


def test_lines_that_nobody_reads_are_dropped_and_counted_and_told_of_when_somebody_does(
    reader: Reader,
) -> None:
    lines = LogQueue(reader, lines_max=2)
    lines.emit(line("%s", 0))
    assert reader.came.wait(TIMEOUT_S)
    for number in range(1, 6):
        lines.emit(line("%s", number))
    assert lines.lines_dropped == 3
    reader.reads.set()
    lines.flush()
    told = "3 lines of the log were dropped, since nobody read them"
    assert reader.lines == ["0", told, "1", "2"]


def test_a_line_says_what_its_arguments_were_when_it_was_written(reader: Reader) -> None:
    lines, names = LogQueue(reader), ["a"]
    lines.emit(line("%s", names))
    names.append("b")
    reader.reads.set()
    lines.flush()
    assert reader.lines == ["['a']"]


def test_the_end_of_a_process_does_not_wait_for_a_reader(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_queue, "FLUSH_S", 0.0)
    lines = LogQueue(reader)
    lines.emit(line("nobody reads"))
    lines.flush()
    lines.close()
    assert reader.lines == []


def test_stderr_writes_all_of_a_line_though_its_pipe_takes_it_in_pieces(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read_end, write_end = os.pipe()
    monkeypatch.setattr(Stderr, "NUMBER", write_end)
    os.set_blocking(write_end, False)
    text = "ç" * 100_000 + "\udc80\n"
    writer = threading.Thread(target=Stderr().write, args=(text,))
    writer.start()
    wanted, got = text.encode(errors="backslashreplace"), b""
    while len(got) < len(wanted):
        got += os.read(read_end, 65536)
    writer.join()
    assert got == wanted
    for end in (read_end, write_end):
        os.close(end)
