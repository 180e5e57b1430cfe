"""The standard streams of a command: closed ones, those of another locale, and bytes."""

from __future__ import annotations

import os
import sys
from io import TextIOWrapper

from kvgossip.cli.errors import CommandError, printable


def prepare_streams() -> None:
    """What the locale has no character for is escaped, in place of an exception in the middle. A
    stream that is closed is that of nobody: else the next socket would get its number, and
    whatever is printed."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def discard_output() -> None:
    """What is still in the buffer of standard output would fail once more at the end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def stdin_octets() -> bytes:
    """All of standard input. Raises CommandError where it is closed."""
    if sys.stdin is None:
        raise CommandError("standard input is closed", "'-' reads what comes through a pipe")
    return sys.stdin.buffer.read()


def print_octets(octets: bytes) -> None:
    """As they are; at a terminal, what it might obey is escaped."""
    if sys.stdout.isatty():
        lines = octets.decode("utf-8", "backslashreplace").split("\n")
        print("\n".join(map(printable, lines)), end="")
    else:
        sys.stdout.buffer.write(octets)
    sys.stdout.flush()
