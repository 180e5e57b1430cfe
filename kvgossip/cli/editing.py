"""Edits of counters, sets and maps: the question, and what is said of the answer."""

from __future__ import annotations

from typing import Any

from kvgossip.cli.connection import ask
from kvgossip.cli.output import Format, say


def edit(url: str, key: str, verb: str, what: Any, output: Format) -> None:
    """Ask for it, and say what the key has now."""
    document = ask(url, lambda client: client.edit(key, {verb: what}))
    say(document, output, f"{document['key']} is written, version {document['version']}")
