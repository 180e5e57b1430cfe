"""The log goes to stderr, in colour where a person looks at it, and holds nobody who writes to
it."""

from __future__ import annotations

import logging
from typing import IO, cast

from kvgossip.api.access.audit import LOGGER
from kvgossip.cli.process.log_queue import LogQueue, Stderr
from kvgossip.cli.settings import check_level


def log_to_stderr(level: str) -> None:
    """Sends the log of this process to stderr. Raises ConfigError for an unknown level."""
    logging.basicConfig(level=check_level(level), handlers=[LogQueue(_handler(Stderr()))])
    # who did what is no chatter: it is logged at every level
    logging.getLogger(LOGGER).setLevel(logging.INFO)


def _handler(stderr: Stderr) -> logging.Handler:
    if not stderr.isatty():
        handler = logging.StreamHandler(stderr)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s"))
        return handler
    from rich.console import Console

    from kvgossip.cli.process.terminal import TerminalHandler

    return TerminalHandler(Console(file=cast("IO[str]", stderr)))
