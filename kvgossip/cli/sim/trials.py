"""Trials: the same experiment many times, on one process or several, with a bar that shows how far
it is."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress

T = TypeVar("T")


def run_trials(trials: Sequence[Callable[[], T]], jobs: int | None, label: str) -> list[T]:
    """The results of the trials in their order, whatever `jobs` is; None: one a processor. Trials
    are pickled, so they are no closures.

    The bar is on stderr, only if that is a terminal, and leaves no trace.
    """
    with _bar() as bar:
        workers = min(jobs or os.cpu_count() or 1, len(trials))
        return list(bar.track(_outcomes(trials, workers), total=len(trials), description=label))


def _outcomes(trials: Sequence[Callable[[], T]], workers: int) -> Iterator[T]:
    if workers == 1:
        for trial in trials:
            yield trial()
        return
    # Spawned, not forked: the bar has a thread, and a fork copies its locks.
    spawn = get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=spawn, initializer=_end_at_ctrl_c) as pool:
        yield from pool.map(_run, trials, chunksize=max(1, min(64, len(trials) // (8 * workers))))


def _end_at_ctrl_c() -> None:
    """A terminal sends it to all processes: a worker of the pool would take it for the failure of
    one trial, and begin the next one, while the command waits for it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _run(trial: Callable[[], T]) -> T:
    return trial()


def _bar() -> Progress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    return Progress(
        *columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()
    )
