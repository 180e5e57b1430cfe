"""The command `ready`: the health check of an agent on this machine, for Docker and scripts.

It asks at the address that the agent serves, wherever that was set: by the environment, the file of
KVGOSSIP_CONFIG, or, in a container, whose process 1 it is, its command line. It shows no token,
since the two routes need none, and believes any certificate: it speaks to its own machine. An agent
that asks its clients for certificates is asked on a unix socket, which it serves without.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kvgossip.cli.errors import EXIT_CODES, REFUSED, CommandError
from kvgossip.cli.output import Format, Output, say

if TYPE_CHECKING:
    from kvgossip.config import Config

TIMEOUT_S = 4.0
FIRST_PROCESS = Path("/proc/1/cmdline")
ANYWHERE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}
"""By the host that is listened on, the one to ask."""

Alive = Annotated[
    bool,
    typer.Option(
        "--alive", help="Ask only whether it lives (/healthz), not whether it has caught up."
    ),
]


def ready(alive: Alive = False, output: Output = Format.TABLE) -> None:
    """Ask the agent of this machine or container whether it is ready to be asked (/readyz), at the
    address that its variables, its file or, in a container, its command line set. Exit code 0: it
    is.

    Examples:

    - `kvgossip ready`
    - `docker run --health-cmd 'kvgossip ready || exit 1' kvgossip`
    """
    config = _config_of_the_agent()
    link, where = _link_to(config)
    try:
        link.request("GET", "/healthz" if alive else "/readyz")
        answer = link.getresponse()
        document = json.loads(answer.read())
    except (OSError, ValueError, http.client.HTTPException) as error:
        text = f"no agent answers at {where}: {getattr(error, 'strerror', None) or error}"
        raise CommandError(text, "its log says where it serves") from error
    finally:
        link.close()
    if answer.status != 200:
        raise CommandError(str(document["error"]), str(document["hint"]), REFUSED)
    what = "alive" if alive else "ready"
    say({"where": where, **document}, output, f"the agent at {where} is {what}")


def _config_of_the_agent() -> Config:
    from kvgossip.cli.agent import given_options
    from kvgossip.cli.settings import Sources

    context = _context_of(_arguments_of_first_process())
    return Sources(given_options(context), os.environ, context.params["config"]).read().config


def _arguments_of_first_process() -> Sequence[str]:
    """What follows `agent` on the command line of process 1; nothing where that is another
    program, as on a machine that is no container."""
    try:
        words = FIRST_PROCESS.read_bytes().decode(errors="surrogateescape").split("\0")[:-1]
    except OSError:
        return ()
    for place, (program, command) in enumerate(pairwise(words)):
        if (Path(program).name, command) == ("kvgossip", "agent"):
            return words[place + 2 :]
    return ()


def _context_of(arguments: Sequence[str]) -> Any:
    """The options of an agent with these arguments, and the environment."""
    from kvgossip.cli import app

    command = typer.main.get_command(app).commands["agent"]  # type: ignore[attr-defined]
    return command.make_context("agent", list(arguments))


def _link_to(config: Config) -> tuple[http.client.HTTPConnection, str]:
    """A link that is not open yet, and its address in words: of a unix socket where there is one,
    since no certificate of a client is needed there."""
    from kvgossip.config.unix_socket import is_unix, unix_path

    for text in config.http_also:
        if is_unix(text):
            return _UnixConnection(unix_path(text)), text
    assert config.http is not None, "an agent serves something"
    host, port = ANYWHERE.get(config.http.host, config.http.host), config.http.port
    shown = f"[{host}]" if ":" in host else host
    if not config.tls_cert:
        return http.client.HTTPConnection(host, port, TIMEOUT_S), f"http://{shown}:{port}"
    import ssl

    trust = ssl.create_default_context()
    # whom the certificate names matters to those who come from elsewhere
    trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
    link = http.client.HTTPSConnection(host, port, timeout=TIMEOUT_S, context=trust)
    return link, f"https://{shown}:{port}"


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT_S)
        self.sock.connect(self._path)


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Cluster", epilog=EXIT_CODES)(ready)
