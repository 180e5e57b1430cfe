"""The log goes to stderr, in colour where a person looks at it."""

from __future__ import annotations

import logging
import sys

from kvgossip.cli.settings import check_level


def log_to_stderr(level: str) -> None:
    """Sends the log of this process to stderr. Raises ConfigError for an unknown level."""
    logging.basicConfig(level=check_level(level), handlers=[_handler()])


def _handler() -> logging.Handler:
    if not sys.stderr.isatty():
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s"))
        return handler
    from rich.console import Console

    from kvgossip.cli.process.terminal import TerminalHandler

    return TerminalHandler(Console(stderr=True))
