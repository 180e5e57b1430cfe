"""The command `set`."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from kvgossip.cli.arguments import Key
from kvgossip.cli.connection import DEFAULT_URL, Url
from kvgossip.cli.editing import edit
from kvgossip.cli.errors import EXIT_CODES, CommandError
from kvgossip.cli.output import Format, Output
from kvgossip.cli.write_concern import Timeout, Wait


def set_(
    key: Key,
    fields: Annotated[
        list[str],
        typer.Argument(
            metavar="FIELD=VALUE...",
            help="A number, true, false or null as JSON has them; anything else is text.",
        ),
    ],
    wait: Wait = None,
    timeout: Timeout = "5s",
    url: Url = DEFAULT_URL,
    output: Output = Format.TABLE,
) -> None:
    """Set fields of a map, on every node. Others may set other fields at the same time; of two
    writes to one field the last one wins.

    The first one makes the key a map. `kvgossip unset` takes fields out again; `kvgossip add
    --field` makes counters and sets in them.

    Examples:

    - `kvgossip set user/7 name=Ada admin=true`
    - `kvgossip set user/7 'zip="01067"'`: text that looks like a number
    """
    edit(url, key, {"set": dict(map(_field_of, fields))}, output, wait, timeout)


def _field_of(text: str) -> tuple[str, Any]:
    """Raises CommandError for what has no name."""
    field, equals, value = text.partition("=")
    if not field or not equals:
        raise CommandError(f"{text} sets no field", "write FIELD=VALUE, as in: theme=dark")
    try:
        parsed = json.loads(value, parse_constant=_text)
    except (ValueError, RecursionError):
        return field, value
    return field, value if isinstance(parsed, list | dict) else parsed


def _text(constant: str) -> str:
    """NaN and Infinity are no JSON."""
    return constant


def register(app: typer.Typer) -> None:
    app.command("set", rich_help_panel="Keys", epilog=EXIT_CODES)(set_)
