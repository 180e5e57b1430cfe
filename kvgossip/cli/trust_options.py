"""The options --ca, --cert and --cert-key of every command that asks a node: what it believes, and
what it shows, over TLS.

They belong to all commands with a --url, so no command names them: `add_trust_options` gives them
to each, and `connection.ask` finds here what was given.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from kvgossip.api.tls.trust import Trust

_PANEL = "TLS"
_OPTIONS = {
    "tls_ca": typer.Option(
        "--ca",
        envvar="KVGOSSIP_CA",
        metavar="FILE",
        rich_help_panel=_PANEL,
        help="The CA of the node's certificate, in PEM format. Left out: those of this machine.",
    ),
    "tls_cert": typer.Option(
        "--cert",
        envvar="KVGOSSIP_CERT",
        metavar="FILE",
        rich_help_panel=_PANEL,
        help="A certificate to show, to a node with --tls-client-ca.",
    ),
    "tls_cert_key": typer.Option(
        "--cert-key",
        envvar="KVGOSSIP_CERT_KEY",
        metavar="FILE",
        rich_help_panel=_PANEL,
        help="The key of --cert. Left out: it is in the same file.",
    ),
}
_given: ContextVar[tuple[str, str, str]] = ContextVar("_given", default=("", "", ""))


def given_trust() -> Trust:
    """What the options of the command that runs say."""
    from kvgossip.api.tls.trust import Trust

    return Trust(*_given.get())


def add_trust_options(app: typer.Typer) -> None:
    """To all commands of `app` with a --url."""
    for command in asking(app):
        command.callback = _with_options(command.callback)


def asking(app: typer.Typer) -> Iterator[Any]:
    """The commands of `app` with a --url, those of its groups among them."""
    for command in app.registered_commands:
        if command.callback is not None and "url" in inspect.signature(command.callback).parameters:
            yield command
    for group in app.registered_groups:
        if group.typer_instance is not None:
            yield from asking(group.typer_instance)


def _with_options(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def command(**values: Any) -> Any:
        token = _given.set(tuple(values.pop(name) or "" for name in _OPTIONS))  # type: ignore[arg-type]
        try:
            return function(**values)
        finally:
            _given.reset(token)

    signature = inspect.signature(function, eval_str=True)
    options = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[str | None, option],
        )
        for name, option in _OPTIONS.items()
    ]
    parameters = [*signature.parameters.values(), *options]
    command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {
        **function.__annotations__,
        **{option.name: option.annotation for option in options},
    }
    return command
