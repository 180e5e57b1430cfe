"""The command `token new`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kvgossip.cli.errors import EXIT_CODES, CommandError
from kvgossip.cli.output import Format, Output, print_json

Prefixes = list[str] | None
Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="A name that the file does not have yet; the audit log shows it.",
    ),
]
Read = Annotated[
    Prefixes,
    typer.Option(
        "--read",
        metavar="PREFIX",
        help='Keys with this prefix may be read; "" is every key. May be given several times.',
    ),
]
Write = Annotated[
    Prefixes,
    typer.Option("--write", metavar="PREFIX", help="The same for writes and deletes."),
]
Admin = Annotated[
    bool,
    typer.Option(
        "--admin", help="It may do all that an operator may, and read and write everything."
    ),
]
Metrics = Annotated[bool, typer.Option("--metrics", help="It may see metrics, status and members.")]
File = Annotated[
    Path | None,
    typer.Option(
        "--file",
        metavar="FILE",
        help="Add the section to this tokens file, which is made where there is none. Left out: "
        "the section is printed.",
    ),
]

token_app = typer.Typer(
    name="token",
    no_args_is_help=True,
    help="Make tokens, by which clients show a node who they are. What each may do stands in the "
    "tokens file of the nodes, `kvgossip agent --tokens FILE`; give all nodes the same one.",
)


@token_app.callback()
def _token() -> None:
    pass


@token_app.command("new", epilog=EXIT_CODES)
def new(
    name: Name,
    read: Read = None,
    write: Write = None,
    admin: Admin = False,
    metrics: Metrics = False,
    file: File = None,
    output: Output = Format.TABLE,
) -> None:
    """Make a token. Its secret is printed once, on the first line, and kept nowhere: the section
    has but its hash.

    Examples:

    - `kvgossip token new ops --admin --file /etc/kvgossip.tokens > ops.token`: the first one,
      for `kvgossip status --token-file ops.token`
    - `kvgossip token new ci --read "" --write app/`: print the secret, and the section to put
      into the file
    """
    from kvgossip.api.access.token_file import add_section, check_section
    from kvgossip.api.access.tokens import Token, hash_of, new_secret, section_of

    if not (read or write or admin or metrics):
        raise CommandError(
            "this token may do nothing",
            "say what it may: --read PREFIX, --write PREFIX, --metrics or --admin",
        )
    secret = new_secret()
    hashed = hash_of(secret.encode())
    token = Token(name, hashed, tuple(read or ()), tuple(write or ()), admin, metrics)
    check_section(token)
    if file is not None:
        add_section(str(file), token)
    section = section_of(token)
    if output is Format.JSON:
        where = {} if file is None else {"file": str(file)}
        return print_json({"name": name, "token": secret, "section": section, **where})
    print(secret)
    if file is None:
        print(f"\n{section}", end="")


def register(app: typer.Typer) -> None:
    app.add_typer(token_app, rich_help_panel="Cluster")
