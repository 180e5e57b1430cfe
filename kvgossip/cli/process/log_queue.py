"""LogQueue: lines of the log on their way to whoever reads them, who may have stopped: a full pipe
holds a thread, and not the node. Lines that find no room are dropped, counted, and reported as soon
as somebody reads again.
"""

from __future__ import annotations

import io
import logging
import os
import queue
import select
import threading

LINES_MAX = 10_000
FLUSH_S = 1.0
"""How long the end of the process waits for lines that nobody reads."""


class LogQueue(logging.Handler):
    """`handler` writes, on a thread of this one, and is used by nobody else."""

    def __init__(self, handler: logging.Handler, lines_max: int = LINES_MAX) -> None:
        super().__init__()
        #: how many lines found no room
        self.lines_dropped = 0
        self._handler = handler
        self._lines: queue.Queue[logging.LogRecord] = queue.Queue(lines_max)
        # a daemon: it may never end
        threading.Thread(target=self._work, name="kvgossip-log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        # its arguments may mean something else by the time it is written
        record.msg, record.args = record.getMessage(), None
        try:
            self._lines.put_nowait(record)
        except queue.Full:
            self.lines_dropped += 1

    def _work(self) -> None:
        reported = 0
        while True:
            # not `handle`: its lock is taken at the end of the process, which must not wait
            self._handler.emit(self._lines.get())
            dropped = self.lines_dropped
            if dropped > reported:
                self._handler.emit(_dropped(dropped - reported))
                reported = dropped
            self._lines.task_done()

    def flush(self) -> None:
        lines = self._lines
        with lines.all_tasks_done:
            lines.all_tasks_done.wait_for(lambda: not lines.unfinished_tasks, FLUSH_S)


def _dropped(lines: int) -> logging.LogRecord:
    text = f"{lines} lines of the log were dropped, since nobody read them"
    return logging.LogRecord("kvgossip", logging.WARNING, "", 0, text, None, None)


class Stderr(io.TextIOBase):
    """The standard error without Python's buffer, whose lock the end of the process would wait
    for."""

    encoding = "utf-8"
    NUMBER = 2

    def write(self, text: str) -> int:
        data = text.encode(errors="backslashreplace")
        while data:
            try:
                data = data[os.write(self.NUMBER, data) :]
            except BlockingIOError:
                # somebody who shares it has made it so
                select.select([], [self.NUMBER], [])
        return len(text)

    def fileno(self) -> int:
        return self.NUMBER

    def isatty(self) -> bool:
        return os.isatty(self.NUMBER)
