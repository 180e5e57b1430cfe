"""Edits of keys whose writes are merged: the question, and what is said of the answer."""

from __future__ import annotations

import json
from typing import Any

from kvgossip.cli.connection import ask
from kvgossip.cli.output import Format, say
from kvgossip.cli.write_concern import write_and_wait


def edit(
    url: str,
    key: str,
    what: dict[str, Any],
    output: Format,
    wait: str | None = None,
    timeout: str = "5s",
) -> None:
    """Ask for it, and say what the key has now, as far as that may be read; or who holds it, where
    it is to wait for others."""
    if wait is None:
        _say_edited(ask(url, lambda client: client.edit(key, what)), output)
        return
    write_and_wait(
        url,
        output,
        timeout,
        lambda client, timeout_s, show_ack: client.write_and_wait(
            key, what, None, wait, timeout_s, show_ack
        ),
        _say_edited,
    )


def _say_edited(document: Any, output: Format) -> None:
    value = json.dumps(document["value"], ensure_ascii=False)
    state = "is written" if document["value"] is None else f"is {value}"
    version = document["version"]
    after = f"version {version}" if version else "nothing was to be done"
    say(document, output, f"{document['key']} {state}, {after}")


def in_field(what: dict[str, Any], field: str | None) -> dict[str, Any]:
    """The same in this field of a map."""
    return what if field is None else what | {"field": field}
