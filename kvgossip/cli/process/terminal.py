"""The log as a person at a terminal sees it: lines in colour, and one bar that moves where a file
would get a line each second."""

from __future__ import annotations

import logging

from rich.console import Console
from rich.logging import RichHandler
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn


class TerminalHandler(RichHandler):
    """A record with `progress` (`extra={"progress": (done, total)}`) moves the bar; the next one
    without it ends the bar."""

    def __init__(self, console: Console) -> None:
        super().__init__(
            console=console,
            show_path=False,
            omit_repeated_times=False,
            markup=False,
            highlighter=None,
        )
        # the level has a column of its own
        self.setFormatter(logging.Formatter("%(message)s"))
        self._progress: Progress | None = None

    def emit(self, record: logging.LogRecord) -> None:
        progress: tuple[int, int] | None = getattr(record, "progress", None)
        if progress is None:
            self._end()
            super().emit(record)
            return
        if self._progress is None:
            columns = (
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                TaskProgressColumn(),
                TimeRemainingColumn(),
            )
            self._progress = Progress(
                *columns, console=self.console, transient=True, auto_refresh=False
            )
            self._progress.add_task("")
            self._progress.start()
        done, total = progress
        # a total is an estimate here
        self._progress.update(
            self._progress.task_ids[0],
            description=record.getMessage(),
            completed=done,
            total=max(done, total),
        )
        self._progress.refresh()

    def _end(self) -> None:
        progress, self._progress = self._progress, None
        if progress is not None:
            progress.stop()

    def close(self) -> None:
        self._end()
        super().close()
