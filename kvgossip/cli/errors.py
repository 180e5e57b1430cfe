"""The failures of commands: one line that names the mistake, a hint, and an exit code that a script
can rely on."""

from __future__ import annotations

import sys
from typing import Any

from kvgossip.errors import KVGossipError

REFUSED = 1
"""The node answered, and the answer is no: no such key, a value that is too large, a refused
join."""
UNUSABLE = 2
"""The command could not be carried out: wrong usage or configuration, a port in use, no node at the
URL."""

UNREAD = 141
"""Nobody reads the output any more: what a shell tells of a process that SIGPIPE has ended."""

_PYDANTICS = "Value error, "
"""What the library that reads options puts before its words."""

EXIT_CODES = (
    "Exit code: 0 done; 1 the node said no (no such key, refused); 2 wrong usage or "
    "configuration, or no node answers."
)


class CommandError(KVGossipError):
    """A failure that knows its exit code."""

    def __init__(self, message: str, hint: str = "", exit_code: int = UNUSABLE) -> None:
        super().__init__(message, hint)
        self.exit_code = exit_code


def complain(message: str, hint: str = "") -> None:
    """One line, and a hint, on stderr. Control characters of names and answers never reach the
    terminal."""
    print(f"kvgossip: {printable(message)}", file=sys.stderr)
    if hint:
        print(f"hint: {printable(hint)}", file=sys.stderr)


def printable(text: str) -> str:
    """The text with everything escaped that a terminal might obey."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode()
        for char in text
    )


def exit_code_of(error: KVGossipError) -> int:
    return error.exit_code if isinstance(error, CommandError) else UNUSABLE


def usage_hint(error: Any) -> str:
    """What to do about wrong usage."""
    context = getattr(error, "ctx", None)
    path = "kvgossip" if context is None else context.command_path
    command = sys.argv[1:2] if context is None else [path.rpartition(" ")[2]]
    if getattr(error, "option_name", "") and command in (["add"], ["put"]):
        path = f"kvgossip {command[0]}"
        return (
            f"a value that begins with '-' stands behind --, as in: {path} KEY -- -1; "
            f"{path} --help shows the options"
        )
    return f"{path} --help shows what there is"


def usage_message(error: Any) -> str:
    """The text of typer about wrong usage, in one line."""
    return " ".join(str(error.format_message()).split()).replace(_PYDANTICS, "")
