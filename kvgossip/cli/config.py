"""The command `config`: the effective parameters of an agent and where each is from; the schema and
a sample of its file, and a check of one."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from kvgossip.cli.agent import agent, given_options
from kvgossip.cli.errors import EXIT_CODES
from kvgossip.cli.output import DASH, Format, Output, print_json, print_table, say

if TYPE_CHECKING:
    from kvgossip.cli.settings import Settings

OF_ONE_START = ("context", "rebuild", "found", "free_port", "stop_on_eof", "output")
"""Parameters of the command `agent` that say nothing of its configuration."""
OWN = ("schema", "sample", "output", "help")


class ConfigGroup(TyperGroup):
    """The command, whose help does not repeat what that of `agent` says."""

    def get_params(self, ctx: Any) -> list[Any]:
        options: list[Any] = super().get_params(ctx)
        for option in options:
            option.hidden = option.name not in OWN
        return options


Schema = Annotated[
    bool,
    typer.Option(
        "--schema",
        help="Print the JSON schema of the file, with which editors complete and check it.",
    ),
]
Sample = Annotated[
    bool,
    typer.Option(
        "--sample", help="Print a file with every parameter, its description and its default."
    ),
]


def config(
    context: typer.Context,
    schema: Schema = False,
    sample: Sample = False,
    output: Output = Format.TABLE,
    **options: Any,
) -> None:
    """Show what an agent with the same options, environment and file would go by: each parameter,
    its value, and where that is from. It takes the options of `kvgossip agent`. No node is needed,
    and no secret is shown.

    Examples:

    - `kvgossip config --config /etc/kvgossip/agent.toml --profile wan`
    - `kvgossip config -o json`
    - `kvgossip config --sample > agent.toml`
    - `kvgossip config --schema > kvgossip.schema.json`
    """
    if context.invoked_subcommand is not None:
        return
    from kvgossip.cli.settings import Sources
    from kvgossip.config import config_sample, config_schema, written

    if schema:
        return print_json(config_schema())
    if sample:
        return print(config_sample(), end="")
    settings = Sources(given_options(context), os.environ, options["config"]).read()
    rows = list(_rows(settings))
    if output is Format.JSON:
        keys = ("value", "from")
        return print_json({name: dict(zip(keys, row, strict=True)) for name, *row in rows})
    print_table(
        ("parameter", "value", "from"),
        [(name, written(value) or DASH, origin) for name, value, origin in rows],
    )


def _rows(settings: Settings) -> Iterator[tuple[str, Any, str]]:
    """Name, value and origin of everything that the file may say."""
    from kvgossip.config import PARAMETERS, plain

    for name, text in settings.own.items():
        yield name, text, settings.origin(name)
    for name, parameter in PARAMETERS.items():
        value = getattr(settings.config, name)
        if name == "wan_parameters":
            value = dict(value)
        elif parameter.extra("secret") and isinstance(value, tuple) and value:
            value = f"{len(value)} {'key' if len(value) == 1 else 'keys'}, not shown"
        yield name, plain(value), settings.origin(name)


def _with_options_of_an_agent(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with those options of `kvgossip agent` that say how it is configured."""
    own = inspect.signature(function, eval_str=True).parameters
    agents = inspect.signature(agent, eval_str=True).parameters
    added = [each for name, each in agents.items() if name not in {*OF_ONE_START, *own}]
    *before, _ = own.values()
    function.__signature__ = inspect.Signature([*before, *added])  # type: ignore[attr-defined]
    function.__annotations__ = {each.name: each.annotation for each in (*before, *added)}
    return function


config_app = typer.Typer(name="config", cls=ConfigGroup, invoke_without_command=True)
config_app.callback(epilog=EXIT_CODES)(_with_options_of_an_agent(config))


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


@config_app.command(hidden=True)
def schema() -> None:
    """Print the JSON schema of the configuration file: as `kvgossip config --schema`."""
    from kvgossip.config import config_schema

    print_json(config_schema())


def register(app: typer.Typer) -> None:
    app.add_typer(config_app, rich_help_panel="Nodes")
