"""The log goes to stderr: as text, in colour where a person looks at it, or as JSON for programs.
It holds nobody who writes to it."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import IO, cast

from kvgossip.api.access.audit import LOGGER
from kvgossip.cli.process.log_queue import LogQueue, Stderr


def log_to_stderr(level: str, form: str) -> None:
    """Sends the log of this process to stderr. `level` and `form`: `log_level` and
    `log_format` of settings."""
    logging.basicConfig(level=level.upper(), handlers=[LogQueue(_handler(Stderr(), form))])
    # who did what is no chatter: it is logged at every level
    logging.getLogger(LOGGER).setLevel(logging.INFO)


def _handler(stderr: Stderr, form: str) -> logging.Handler:
    if form == "json" or not stderr.isatty():
        handler = logging.StreamHandler(stderr)
        handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
        return handler
    from rich.console import Console

    from kvgossip.cli.process.terminal import TerminalHandler

    return TerminalHandler(Console(file=cast("IO[str]", stderr)))


def rfc3339(seconds: float) -> str:
    """A time of Unix in the time zone of this machine, with its offset."""
    return datetime.fromtimestamp(seconds, UTC).astimezone().isoformat(timespec="milliseconds")


class TextFormatter(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
        return rfc3339(record.created)


class JsonFormatter(logging.Formatter):
    """One object a line, ASCII alone, so that no reader's encoding matters."""

    def format(self, record: logging.LogRecord) -> str:
        document = {
            "time": rfc3339(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            document["exception"] = self.formatException(record.exc_info)
        return json.dumps(document)
