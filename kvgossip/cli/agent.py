"""The command `agent`: its options. Its process is in `process/agent_process.py`."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Annotated

import typer

from kvgossip.cli.errors import EXIT_CODES
from kvgossip.cli.output import Format, Output

_MORE = (
    "Every other parameter is set in the file of --config, as `probe_interval_s = 2.0`, or as "
    "KVGOSSIP_PROBE_INTERVAL_S. "
    "The command line wins over the environment, that over the file, that over the profile."
)

Join = Annotated[
    list[str] | None,
    typer.Option(
        envvar="KVGOSSIP_JOIN",
        metavar="HOST:PORT",
        help="A member to join; repeatable; DNS names use every record. None: found a cluster.",
    ),
]
KeyringFile = Annotated[
    str | None,
    typer.Option(
        envvar="KVGOSSIP_KEYRING",
        metavar="FILE",
        help="Seal all frames with the keys in it; kvgossip keygen makes one.",
    ),
]
DataDir = Annotated[
    str | None,
    typer.Option(
        envvar="KVGOSSIP_DATA_DIR",
        metavar="DIR",
        help="Keep the data here; without it, it lives in memory only.",
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
IdentityFile = Annotated[
    str | None,
    typer.Option(
        envvar="KVGOSSIP_IDENTITY",
        metavar="FILE",
        help="This node's own key, made when missing: its name is refused to others.",
    ),
]
RequireIdentity = Annotated[
    bool,
    typer.Option(
        "--require-identity",
        envvar="KVGOSSIP_REQUIRE_IDENTITY",
        help="Refuse members without an identity.",
    ),
]
Gateway = Annotated[
    bool,
    typer.Option(
        "--gateway",
        envvar="KVGOSSIP_GATEWAY",
        help="Connect this datacenter with others: be in the WAN pool too.",
    ),
]
Wan = Annotated[
    str | None,
    typer.Option(
        envvar="KVGOSSIP_WAN",
        metavar="HOST:PORT",
        help="A gateway listens for gateways here; default 0.0.0.0:7483.",
    ),
]
AdvertiseWan = Annotated[
    str | None,
    typer.Option(
        envvar="KVGOSSIP_ADVERTISE_WAN",
        metavar="HOST:PORT",
        help="Where gateways reach it, if they see another address.",
    ),
]
JoinWan = Annotated[
    list[str] | None,
    typer.Option(
        envvar="KVGOSSIP_JOIN_WAN",
        metavar="HOST:PORT",
        help="A gateway to join; repeatable. The first datacenter: none.",
    ),
]


def agent(
    name: Annotated[
        str | None,
        typer.Option(
            envvar="KVGOSSIP_NAME", metavar="NAME", help="Unique; default: host name and port."
        ),
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option(
            envvar="KVGOSSIP_CLUSTER", metavar="NAME", help="Nodes of other clusters are refused."
        ),
    ] = None,
    datacenter: Annotated[
        str | None, typer.Option(envvar="KVGOSSIP_DATACENTER", metavar="NAME", help="Default dc1.")
    ] = None,
    http: Annotated[
        str | None,
        typer.Option(
            envvar="KVGOSSIP_HTTP",
            metavar="HOST:PORT",
            help="Serve HTTP here; default 127.0.0.1:7480, port 0: a free one.",
        ),
    ] = None,
    gossip: Annotated[
        str | None,
        typer.Option(
            envvar="KVGOSSIP_GOSSIP",
            metavar="HOST:PORT",
            help="Listen for peers here, UDP and TCP; default 0.0.0.0:7481.",
        ),
    ] = None,
    advertise: Annotated[
        str | None,
        typer.Option(
            envvar="KVGOSSIP_ADVERTISE",
            metavar="HOST:PORT",
            help="Where peers reach it, if they see another address.",
        ),
    ] = None,
    join: Join = None,
    keyring: KeyringFile = None,
    data_dir: DataDir = None,
    rebuild: Rebuild = False,
    identity: IdentityFile = None,
    require_identity: RequireIdentity = False,
    gateway: Gateway = False,
    wan: Wan = None,
    advertise_wan: AdvertiseWan = None,
    join_wan: JoinWan = None,
    profile: Annotated[
        str | None,
        typer.Option(
            envvar="KVGOSSIP_PROFILE", metavar="lan|wan|local", help="Timing; default lan."
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            envvar="KVGOSSIP_CONFIG", metavar="FILE.toml", help="A file with any parameters."
        ),
    ] = None,
    log_level: Annotated[
        str,
        typer.Option(
            envvar="KVGOSSIP_LOG_LEVEL", metavar="LEVEL", help="debug, info, warning or error."
        ),
    ] = "info",
    free_port: Annotated[
        bool,
        typer.Option("--free-port", help="Take a free HTTP port when the wanted one is in use."),
    ] = False,
    stop_on_eof: Annotated[
        bool,
        typer.Option("--stop-on-eof", help="Stop when standard input ends: for parent processes."),
    ] = False,
    output: Output = Format.TABLE,
) -> None:
    """Run a node. It prints one line when it serves; SIGTERM and Ctrl-C make it leave gracefully.

    Examples:

    - `kvgossip agent`
    - `kvgossip agent --http 127.0.0.1:7482 --gossip 127.0.0.1:7485 --join 127.0.0.1:7481`
    - `kvgossip agent --keyring /etc/kvgossip.keys`: encrypt and authenticate all gossip, as all its
      peers do
    - `kvgossip agent --data-dir /var/lib/kvgossip`: what was acknowledged survives a crash and a
      power cut
    - `kvgossip agent --data-dir /var/lib/kvgossip --rebuild --join 10.0.0.5:7481`: after damage to
      the disk
    - `kvgossip agent --datacenter paris --gateway`: a first datacenter, and the node that connects
      it with others
    - `kvgossip agent --datacenter tokyo --gateway --join-wan gateway.paris.example:7483`: a second
      one
    """
    from kvgossip.cli.process.agent_process import open_standard_streams, serve
    from kvgossip.cli.process.logs import log_to_stderr
    from kvgossip.cli.process.memory import return_large_blocks
    from kvgossip.cli.process.open_files import raise_file_limit
    from kvgossip.cli.settings import load_config, unknown_variables
    from kvgossip.runtime.loop import run

    options = {
        "name": name, "cluster": cluster, "datacenter": datacenter, "http": http, "gossip": gossip,
        "advertise": advertise, "join": ",".join(join or ()), "data_dir": data_dir,
        "keyring": keyring, "identity": identity, "require_identity": require_identity or None,
        "gateway": gateway or None, "wan": wan, "advertise_wan": advertise_wan,
        "join_wan": ",".join(join_wan or ()),
    }  # fmt: skip
    settings = load_config(options, os.environ, config, profile)
    log_to_stderr(log_level)
    for variable in unknown_variables(os.environ):
        logging.getLogger("kvgossip.agent").warning(
            "%s means nothing to this version and is ignored", variable
        )
    open_standard_streams()
    raise_file_limit()
    return_large_blocks()
    run(serve(settings, output, free_port=free_port, stop_on_eof=stop_on_eof, rebuild=rebuild))


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Nodes", epilog=f"{_MORE} {EXIT_CODES}")(agent)
