"""Arguments that several commands take."""

from __future__ import annotations

from typing import Annotated

import typer

Key = Annotated[
    str,
    typer.Argument(
        metavar="KEY",
        help="Any text up to 1,024 bytes; a '/' makes prefixes, '.' and '..' are no segments.",
    ),
]
Prefix = Annotated[str, typer.Argument(metavar="PREFIX", help="Only keys that start with this.")]
BlockTarget = Annotated[
    str,
    typer.Argument(
        metavar="NAME|CIDR",
        help="A member's name, an IP address, or a network such as 10.2.0.0/16.",
    ),
]
