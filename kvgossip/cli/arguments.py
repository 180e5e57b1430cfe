"""Arguments that several commands take."""

from __future__ import annotations

from typing import Annotated

import typer

from kvgossip.cli.errors import CommandError
from kvgossip.errors import KVGossipError

Key = Annotated[
    str,
    typer.Argument(
        metavar="KEY",
        help="Any text up to 1,024 bytes; a '/' makes prefixes, '.' and '..' are no segments.",
    ),
]
Prefix = Annotated[str, typer.Argument(metavar="PREFIX", help="Only keys that start with this.")]
Context = Annotated[
    str | None,
    typer.Option(
        "--context",
        metavar="CONTEXT",
        help="Of siblings, those that you have seen: as `kvgossip get KEY --siblings` shows it.",
    ),
]
Field = Annotated[
    str | None,
    typer.Option("--field", metavar="FIELD", help="Of the counter or set in this field of a map."),
]
BlockTarget = Annotated[
    str,
    typer.Argument(
        metavar="NAME|CIDR",
        help="A member's name, an IP address, or a network such as 10.2.0.0/16.",
    ),
]


def check_ttl(ttl: str | None) -> None:
    """Raises CommandError for what is no time to live: no node need be asked."""
    if ttl is None:
        return
    from kvgossip.protocol.model.entry import TTL_S_MAX, TTL_S_MIN

    if seconds_of("--ttl", ttl, TTL_S_MAX) < TTL_S_MIN:
        raise CommandError(
            f"--ttl = {ttl!r} is shorter than a millisecond", "write 500ms, 30s or 2m"
        )


def seconds_of(option: str, text: str, longest_s: float) -> float:
    """The seconds of a duration. Raises CommandError for what is none."""
    from kvgossip.api.http.duration import duration_s

    try:
        return duration_s(option, text, longest_s)
    except KVGossipError as error:
        raise CommandError(str(error), error.hint) from error
