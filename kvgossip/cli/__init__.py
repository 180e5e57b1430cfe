"""The command `kvgossip`. One file a group of commands; what a command needs is imported when it
runs, so that --help is quick."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from kvgossip import __version__
from kvgossip.cli import (
    agent,
    backup,
    blocklist,
    cluster,
    config,
    converge,
    demo,
    doctor,
    history,
    keyring,
    keys,
    load_dump,
    quarantine,
    watch,
)
from kvgossip.cli.errors import EXIT_CODES, UNUSABLE, complain, exit_code_of, usage_message
from kvgossip.cli.output import Format, Output, say
from kvgossip.cli.sim import cluster as sim
from kvgossip.errors import KVGossipError

app = typer.Typer(
    name="kvgossip",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="A replicated key-value store that lives in every process that needs it.\n\n"
    "Start with\n\n- `kvgossip demo`: a cluster of three on this machine\n- `kvgossip put greeting "
    "hello`\n"
    "- `kvgossip get greeting --url http://127.0.0.1:7482`",
    epilog=EXIT_CODES,
)


def _print_version(asked: bool) -> None:
    if asked:
        print(f"kvgossip {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version and exit.", is_eager=True, callback=_print_version
        ),
    ] = False,
) -> None:
    pass


def version(output: Output = Format.TABLE) -> None:
    """Print the version of kvgossip."""
    say({"version": __version__}, output, f"kvgossip {__version__}")


agent.register(app)
config.register(app)
demo.register(app)
keys.register(app)
watch.register(app)
history.register(app)
load_dump.register(app)
converge.register(app)
cluster.register(app)
blocklist.register(app)
backup.register(app)
quarantine.register(app)
keyring.register(app)
doctor.register(app)
sim.register(app)
app.command(rich_help_panel="Nodes")(version)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and exits: 0 done, 1 the node said no, 2 wrong usage or no node."""
    sys.exit(_run(arguments))


def _run(arguments: Sequence[str] | None) -> int:
    try:
        code = app(args=arguments, prog_name="kvgossip", standalone_mode=False)
    except KVGossipError as error:
        complain(str(error), error.hint)
        return exit_code_of(error)
    except (typer.Abort, KeyboardInterrupt):
        return 130
    except Exception as error:
        # Which class says "wrong usage" differs between versions of typer, but all of them can say
        # what is wrong.
        if not hasattr(error, "format_message"):
            raise
        if message := usage_message(error):
            complain(message, "kvgossip --help, or kvgossip COMMAND --help, shows what there is")
        return UNUSABLE
    return code if isinstance(code, int) else 0
