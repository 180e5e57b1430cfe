"""The options of all commands that ask a node: --token-file, and --ca, --cert and --cert-key for
TLS.

They belong to all commands with a --url, so no command names them, and none forgets them:
`add_node_options` gives them to each, and `connection.ask` finds here what was given.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from kvgossip.client.trust import Trust

TOKEN_VARIABLE = "KVGOSSIP_TOKEN"
FILE_VARIABLE = "KVGOSSIP_TOKEN_FILE"
"""The weakest of the three: it is that of a container or a machine, the others of one command."""

_PANEL = "TLS"
_OPTIONS: dict[str, Any] = {
    "token_file": Annotated[
        str | None,
        typer.Option(
            "--token-file",
            metavar="FILE",
            help=f"The file of the token that the node asks for. Default: the token in "
            f"{TOKEN_VARIABLE}, then the file of {FILE_VARIABLE}.",
        ),
    ],
    "tls_ca": Annotated[
        str | None,
        typer.Option(
            "--ca",
            envvar="KVGOSSIP_CA",
            metavar="FILE",
            rich_help_panel=_PANEL,
            help="The CA of the node's certificate, in PEM format. Left out: those of this "
            "machine.",
        ),
    ],
    "tls_cert": Annotated[
        str | None,
        typer.Option(
            "--cert",
            envvar="KVGOSSIP_CERT",
            metavar="FILE",
            rich_help_panel=_PANEL,
            help="A certificate to show, to a node with --tls-client-ca.",
        ),
    ],
    "tls_cert_key": Annotated[
        str | None,
        typer.Option(
            "--cert-key",
            envvar="KVGOSSIP_CERT_KEY",
            metavar="FILE",
            rich_help_panel=_PANEL,
            help="The key of --cert. Left out: it is in the same file.",
        ),
    ],
}
_NOTHING: Mapping[str, Any] = dict.fromkeys(_OPTIONS)
_given: ContextVar[Mapping[str, Any]] = ContextVar("_given", default=_NOTHING)
"""Those of the command that runs, by name."""


def given_token_file() -> Path | None:
    """What --token-file of the command that runs says."""
    given = _given.get()["token_file"]
    return None if given is None else Path(given)


def given_trust() -> Trust:
    """What its options for TLS say."""
    from kvgossip.client.trust import Trust

    given = _given.get()
    return Trust(*(given[name] or "" for name in ("tls_ca", "tls_cert", "tls_cert_key")))


def add_node_options(app: typer.Typer) -> None:
    """To all commands of `app` with a --url."""
    for command in commands_of(app):
        if command.callback is not None and "url" in inspect.signature(command.callback).parameters:
            command.callback = _with_options(command.callback)


def commands_of(app: typer.Typer) -> Iterator[Any]:
    """What typer knows of the commands of `app`, those of its groups among them."""
    yield from app.registered_commands
    for group in app.registered_groups:
        if group.typer_instance is not None:
            yield from commands_of(group.typer_instance)


def _with_options(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def command(**values: Any) -> Any:
        token = _given.set({name: values.pop(name) for name in _OPTIONS})
        try:
            return function(**values)
        finally:
            _given.reset(token)

    signature = inspect.signature(function, eval_str=True)
    parameters = list(signature.parameters.values())
    beside, *last = (
        inspect.Parameter(
            name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=None, annotation=option
        )
        for name, option in _OPTIONS.items()
    )
    parameters.insert(1 + list(signature.parameters).index("url"), beside)
    command.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[*parameters, *last]
    )
    command.__annotations__ = {**function.__annotations__, **_OPTIONS}
    return command
