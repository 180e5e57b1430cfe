"""The command `agent`: its options. Its process is in `process/agent_process.py`."""

from __future__ import annotations

import logging
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from kvgossip.cli.errors import EXIT_CODES
from kvgossip.cli.output import Format, Output

if TYPE_CHECKING:
    from kvgossip.cli.settings import Sources

_MORE = (
    "Every other parameter is set in the file of --config, as `probe_interval_s = 2.0`, or as "
    "KVGOSSIP_PROBE_INTERVAL_S. The command line wins over the environment, that over the file, "
    "that over the profile."
)
_ADDRESS = "HOST:PORT"


def _option(name: str, metavar: str | None = None) -> Any:
    """The option of a parameter, whose help AgentCommand takes from the declaration; its name is
    without the unit of seconds."""
    option = f"--{name.removesuffix('_s').replace('_', '-')}"
    return typer.Option(option, envvar=f"KVGOSSIP_{name.upper()}", metavar=metavar)


class AgentCommand(TyperCommand):
    """The command, which reads the declarations of the parameters only when it runs or helps."""

    def get_params(self, ctx: Any) -> list[Any]:
        from kvgossip.config import PARAMETERS

        options: list[Any] = super().get_params(ctx)
        for option in options:
            if option.name in PARAMETERS:
                option.help = PARAMETERS[option.name].help
        return options


Profile = Annotated[
    str | None,
    typer.Option(envvar="KVGOSSIP_PROFILE", metavar="lan|wan|local", help="Timing; default lan."),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option(envvar="KVGOSSIP_CONFIG", metavar="FILE.toml", help="A file with any parameters."),
]
LogLevel = Annotated[
    str | None,
    typer.Option(
        envvar="KVGOSSIP_LOG_LEVEL",
        metavar="LEVEL",
        help="debug, info, warning or error; default info.",
    ),
]
LogFormat = Annotated[
    str | None,
    typer.Option(
        envvar="KVGOSSIP_LOG_FORMAT",
        metavar="text|json",
        help="The lines of the log on stderr: text for people, or JSON for programs; default text.",
    ),
]
# On the command line alone: a variable that stays would throw away good data at every restart.
Rebuild = Annotated[
    bool,
    typer.Option(
        "--rebuild",
        help="Move what is in --data-dir aside, and fetch everything from the peers of --join.",
    ),
]
# As above: a variable that stays would let every restart found a cluster of its own.
Found = Annotated[
    bool,
    typer.Option(
        "--found",
        help="There is nobody to wait for: found a cluster, with what this node has.",
    ),
]
FreePort = Annotated[
    bool,
    typer.Option("--free-port", help="Take a free HTTP port when the wanted one is in use."),
]
StopOnEof = Annotated[
    bool,
    typer.Option("--stop-on-eof", help="Stop when standard input ends: for parent processes."),
]


def agent(
    context: typer.Context,
    name: Annotated[str | None, _option("name", "NAME")] = None,
    cluster: Annotated[str | None, _option("cluster", "NAME")] = None,
    datacenter: Annotated[str | None, _option("datacenter", "NAME")] = None,
    http: Annotated[list[str] | None, _option("http", "HOST:PORT|unix:PATH")] = None,
    http_hosts: Annotated[list[str] | None, _option("http_hosts", "NAME")] = None,
    open_http: Annotated[bool, _option("open_http")] = False,
    no_ui: Annotated[bool, _option("no_ui")] = False,
    gossip: Annotated[str | None, _option("gossip", _ADDRESS)] = None,
    advertise: Annotated[str | None, _option("advertise", _ADDRESS)] = None,
    join: Annotated[list[str] | None, _option("join", _ADDRESS)] = None,
    keyring: Annotated[str | None, _option("keyring", "FILE")] = None,
    data_dir: Annotated[str | None, _option("data_dir", "DIR")] = None,
    rebuild: Rebuild = False,
    found: Found = False,
    identity: Annotated[str | None, _option("identity", "FILE")] = None,
    tokens: Annotated[str | None, _option("tokens", "FILE")] = None,
    require_identity: Annotated[bool, _option("require_identity")] = False,
    tls_cert: Annotated[str | None, _option("tls_cert", "FILE")] = None,
    tls_key: Annotated[str | None, _option("tls_key", "FILE")] = None,
    tls_client_ca: Annotated[str | None, _option("tls_client_ca", "FILE")] = None,
    forget_after_s: Annotated[str | None, _option("forget_after_s", "SECONDS")] = None,
    ephemeral: Annotated[bool, _option("ephemeral")] = False,
    gateway: Annotated[bool, _option("gateway")] = False,
    wan: Annotated[str | None, _option("wan", _ADDRESS)] = None,
    advertise_wan: Annotated[str | None, _option("advertise_wan", _ADDRESS)] = None,
    join_wan: Annotated[list[str] | None, _option("join_wan", _ADDRESS)] = None,
    profile: Profile = None,
    config: ConfigFile = None,
    log_level: LogLevel = None,
    log_format: LogFormat = None,
    free_port: FreePort = False,
    stop_on_eof: StopOnEof = False,
    output: Output = Format.TABLE,
) -> None:
    """Run a node. It prints one line when it serves; SIGTERM and Ctrl-C make it leave gracefully,
    SIGHUP makes it read its keyring file, its tokens file, its certificate and its log level anew.

    Examples:

    - `kvgossip agent --http 127.0.0.1:7482 --gossip 127.0.0.1:7485 --join 127.0.0.1:7481`
    - `kvgossip agent --http 127.0.0.1:7480 --http unix:/run/kvgossip/http.sock`
    - `kvgossip agent --keyring /etc/kvgossip.keys`: encrypt gossip, as all its peers do
    - `kvgossip agent --tls-cert kv1.pem --tls-key kv1.key`: serve HTTPS
    - `kvgossip agent --data-dir /var/lib/kvgossip`: keep what was acknowledged over a crash
    - `kvgossip agent --data-dir /var/lib/kvgossip --rebuild --join 10.0.0.5:7481`: after
      damage to the disk
    - `kvgossip agent --datacenter paris --gateway`: a first datacenter, and its gateway
    - `kvgossip agent --datacenter tokyo --gateway --join-wan gw.paris.example:7483`: a second
    """
    # a terminal that closes must not end it: from the first moment on
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    from kvgossip.cli.settings import Sources

    sources = Sources(given_options(context), os.environ, config)
    switches = {"free_port": free_port, "stop_on_eof": stop_on_eof}
    _run(sources, output, **switches, rebuild=rebuild, found=found)


def _run(sources: Sources, output: Format, **switches: bool) -> None:
    from kvgossip.cli.process.agent_process import Start, serve

    # whatever this process makes is for its user alone
    os.umask(0o077)
    from kvgossip.cli.process.logs import log_to_stderr
    from kvgossip.cli.process.memory import return_large_blocks
    from kvgossip.cli.process.open_files import raise_file_limit
    from kvgossip.cli.process.reload import Reload
    from kvgossip.cli.settings import nearest_variable, unknown_variables
    from kvgossip.runtime.loop import run

    settings = sources.read()
    log_to_stderr(settings.own["log_level"], settings.own["log_format"])
    for variable in unknown_variables(os.environ):
        text = f"{variable} means nothing to this version and is ignored"
        logging.getLogger("kvgossip.agent").warning("%s%s", text, nearest_variable(variable))
    raise_file_limit()
    return_large_blocks()
    run(serve(settings.config, output, Start(**switches), Reload(sources, settings)))


def given_options(context: typer.Context) -> dict[str, str | bool]:
    """What the command line itself gives of what a file could say, too; text of `--join` may hold
    several."""
    from kvgossip.cli.settings import AGENTS_OWN
    from kvgossip.config import PARAMETERS

    # A switch that is not given is False: no option switches off what the file switches on.
    values = {
        name: value
        for name, value in context.params.items()
        if value and (name in PARAMETERS or name in AGENTS_OWN) and _is_typed(context, name)
    }
    return {
        name: ",".join(value) if isinstance(value, list) else value
        for name, value in values.items()
    }


def _is_typed(context: typer.Context, name: str) -> bool:
    """True if the option is of the command line, and not of its variable."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def register(app: typer.Typer) -> None:
    app.command(cls=AgentCommand, rich_help_panel="Nodes", epilog=f"{_MORE} {EXIT_CODES}")(agent)
