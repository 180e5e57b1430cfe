"""The command `demo`: a cluster to play with. Its processes are in `process/demo_processes.py`."""

from __future__ import annotations

from typing import Annotated

import typer

from kvgossip.cli.errors import EXIT_CODES


def demo(
    nodes: Annotated[int, typer.Option(min=1, max=50, help="How many nodes.")] = 3,
    free_ports: Annotated[
        bool, typer.Option("--free-ports", help="Free HTTP ports instead of 7480, 7482, 7484 ...")
    ] = False,
    log_level: Annotated[
        str, typer.Option(metavar="LEVEL", help="debug, info, warning or error.")
    ] = "info",
) -> None:
    """Start a cluster on this machine to play with. Ctrl-C stops all of it; nothing is kept.

    Examples:

    - `kvgossip demo --nodes 5`
    """
    from kvgossip.cli.process.demo_processes import PORTS_FROM, Demo
    from kvgossip.cli.settings import check_level
    from kvgossip.runtime.loop import run

    check_level(log_level)
    run(Demo(nodes, None if free_ports else PORTS_FROM, log_level).run())


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Nodes", epilog=EXIT_CODES)(demo)
