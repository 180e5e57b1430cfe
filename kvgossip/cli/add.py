"""The command `add`."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from kvgossip.cli.arguments import Key
from kvgossip.cli.connection import DEFAULT_URL, Url
from kvgossip.cli.editing import edit
from kvgossip.cli.errors import EXIT_CODES, CommandError
from kvgossip.cli.output import Format, Output

_NUMBER = re.compile(r"[+-]?[0-9]+")


def add(
    key: Key,
    what: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[N|ELEMENT...]",
            help="One whole number: to a counter; none is 1. Anything else: elements, to a set.",
        ),
    ] = None,
    elements: Annotated[
        bool, typer.Option("--elements", help="To a set, also what is a number.")
    ] = False,
    url: Url = DEFAULT_URL,
    output: Output = Format.TABLE,
) -> None:
    """Add to a counter, or to a set, on every node. What others add at the same time is added as
    well, also where nodes do not reach each other.

    The first one makes the key a counter, or a set. `kvgossip remove` takes elements out again; an
    element that somebody adds meanwhile stays.

    Examples:

    - `kvgossip add hits`
    - `kvgossip add hits 10`
    - `kvgossip add hits -- -3`
    - `kvgossip add tags red blue`
    - `kvgossip add floors 7 --elements`
    """
    edit(url, key, "add", _amount_of(what or [], elements), output)


def _amount_of(what: list[str], elements: bool) -> int | list[str]:
    """Raises CommandError where elements are announced, and there is none."""
    if elements and not what:
        raise CommandError("there is no element to add", "name at least one")
    if elements or len(what) > 1 or (what and not _NUMBER.fullmatch(what[0])):
        return what
    return int(what[0]) if what else 1


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Keys", epilog=EXIT_CODES)(add)
