"""The commands for the configuration file of an agent: config check and config schema."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kvgossip.cli.errors import EXIT_CODES
from kvgossip.cli.output import Format, Output, print_json, say

config_app = typer.Typer(
    name="config",
    no_args_is_help=True,
    help="Check the file of `kvgossip agent --config`, or print what it may hold.",
)


@config_app.command(epilog=EXIT_CODES)
def check(
    file: Annotated[Path, typer.Argument(metavar="FILE.toml", help="The configuration file.")],
    output: Output = Format.TABLE,
) -> None:
    """Check a configuration file: print ok, or the first mistake in it. No node is needed.

    Examples:

    - `kvgossip config check /etc/kvgossip.toml`
    """
    from kvgossip.cli.settings import load_config

    load_config({}, {}, file, None)
    say({"file": str(file), "ok": True}, output, "ok")


@config_app.command(epilog=EXIT_CODES)
def schema() -> None:
    """Print the JSON schema of the configuration file, with which editors complete and check it.

    Examples:

    - `kvgossip config schema > kvgossip.schema.json`
    """
    from kvgossip.config import config_schema

    print_json(config_schema())


def register(app: typer.Typer) -> None:
    app.add_typer(config_app, rich_help_panel="Nodes")
