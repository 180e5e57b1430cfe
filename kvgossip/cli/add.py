"""The command `add`."""

from __future__ import annotations

import json
import math
import re
from enum import StrEnum
from typing import Annotated, Any

import typer

from kvgossip.cli.arguments import Field, Key
from kvgossip.cli.connection import DEFAULT_URL, Url
from kvgossip.cli.editing import edit, in_field
from kvgossip.cli.errors import EXIT_CODES, CommandError
from kvgossip.cli.output import Format, Output
from kvgossip.cli.write_concern import Timeout, Wait

_WHOLE = re.compile(r"[+-]?[0-9]+")


class Kind(StrEnum):
    COUNTER = "counter"
    SET = "set"
    MAX = "max"
    MIN = "min"


def add(
    key: Key,
    what: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[N|ELEMENT...]",
            help="One whole number: to a counter; none is 1. Anything else: elements, to a set.",
        ),
    ] = None,
    to: Annotated[
        Kind | None,
        typer.Option(
            help="Say what the key is: a set also for what is a number, or the greatest or least "
            "of all numbers.",
            show_choices=True,
        ),
    ] = None,
    field: Field = None,
    wait: Wait = None,
    timeout: Timeout = "5s",
    url: Url = DEFAULT_URL,
    output: Output = Format.TABLE,
) -> None:
    """Add to a counter or a set, on every node, and show what it is then. What others add at the
    same time is added as well, also where nodes do not reach each other.

    The first one makes the key a counter, or a set. `kvgossip remove` takes elements out again; an
    element that somebody adds meanwhile stays.

    Examples:

    - `kvgossip add hits`
    - `kvgossip add hits 10 --wait majority`
    - `kvgossip add hits -- -3`
    - `kvgossip add tags red blue`
    - `kvgossip add floors 7 --to set`
    - `kvgossip add load 97.5 --to max`
    - `kvgossip add cart/7 2 --field apples`
    """
    edit(url, key, in_field(_asked(what or [], to), field), output, wait, timeout)


def _asked(what: list[str], to: Kind | None) -> dict[str, Any]:
    """What to ask a node for. Raises CommandError."""
    if to is None:
        to = Kind.SET if len(what) > 1 or not all(map(_WHOLE.fullmatch, what)) else Kind.COUNTER
    if to is Kind.SET:
        if not what:
            raise CommandError("there is no element to add", "name at least one")
        return {"add": what}
    if to is Kind.COUNTER and not what:
        return {"add": 1}
    if len(what) != 1:
        raise CommandError(f"a {to.value} takes one number", f"write it as in: {to.value} 7")
    verb = "add" if to is Kind.COUNTER else to.value
    return {verb: _number_of(what[0], to)}


def _number_of(text: str, to: Kind) -> int | float:
    if _WHOLE.fullmatch(text):
        return int(text)
    try:
        number = json.loads(text)
    except (ValueError, RecursionError):
        number = None
    if to is Kind.COUNTER or type(number) is not float or not math.isfinite(number):
        raise CommandError(f"{text} is no number for a {to.value}", "write it as in: 7")
    return number


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Keys", epilog=EXIT_CODES)(add)
