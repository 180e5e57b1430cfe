"""Edits of keys whose writes are merged: the question, and what is said of the answer."""

from __future__ import annotations

import json
from typing import Any

from kvgossip.cli.connection import ask
from kvgossip.cli.output import Format, say


def edit(url: str, key: str, what: dict[str, Any], output: Format) -> None:
    """Ask for it, and say what the key has now, as far as that may be read."""
    document = ask(url, lambda client: client.edit(key, what))
    value = json.dumps(document["value"], ensure_ascii=False)
    state = "is written" if document["value"] is None else f"is {value}"
    version = document["version"]
    after = f"version {version}" if version else "nothing was to be done"
    say(document, output, f"{document['key']} {state}, {after}")


def in_field(what: dict[str, Any], field: str | None) -> dict[str, Any]:
    """The same in this field of a map."""
    return what if field is None else what | {"field": field}
