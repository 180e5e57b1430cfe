"""The HTTP client by which a command speaks to a running node.

Every command that has --url has --token-file beside it: it is added when the commands are
registered, so that none forgets it.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from kvgossip.cli.errors import REFUSED, CommandError
from kvgossip.cli.trust_options import asking, given_trust

if TYPE_CHECKING:
    from kvgossip.api.client import Client

Result = TypeVar("Result")
Url = Annotated[
    str,
    typer.Option(
        "--url",
        envvar="KVGOSSIP_URL",
        metavar="URL",
        help="The HTTP address of any node, or unix:PATH for a unix socket.",
    ),
]
DEFAULT_URL = "http://127.0.0.1:7480"


TOKEN_VARIABLE = "KVGOSSIP_TOKEN"
FILE_VARIABLE = "KVGOSSIP_TOKEN_FILE"
"""The weakest of the three: it is that of a container or a machine, the others of one command."""
TOKEN_FILE_BYTES_MAX = 4096


TokenFile = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        metavar="FILE",
        help=f"The file of the token that the node asks for. Default: the token in "
        f"{TOKEN_VARIABLE}, then the file of {FILE_VARIABLE}.",
    ),
]

_token_file: ContextVar[Path | None] = ContextVar("token_file", default=None)
"""That of the command that runs."""


def give_token_file(app: typer.Typer) -> None:
    """Give each command of this application that has --url a --token-file."""
    for command in asking(app):
        command.callback = _with_token_file(command.callback)


def _with_token_file(command: Callable[..., object]) -> Callable[..., object]:
    signature = inspect.signature(command, eval_str=True)
    parameters = list(signature.parameters.values())
    place = next(at for at, each in enumerate(parameters, 1) if each.name == "url")

    @wraps(command)
    def asks(*, token_file: Path | None, **given: Any) -> object:
        _token_file.set(token_file)
        return command(**given)

    by_name = inspect.Parameter.POSITIONAL_OR_KEYWORD
    option = inspect.Parameter("token_file", by_name, default=None, annotation=TokenFile)
    parameters.insert(place, option)
    asks.__annotations__ = {**command.__annotations__, "token_file": TokenFile}
    asks.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return asks


def token() -> str:
    """The token of the command that runs, from --token-file or the environment; empty where there
    is none. Raises CommandError for a file that has none."""
    path = _token_file.get()
    if path is None:
        found = _checked(os.environ.get(TOKEN_VARIABLE, ""), TOKEN_VARIABLE)
        named = os.environ.get(FILE_VARIABLE, "")
        return found if found or not named else _read(Path(named))
    return _read(path)


def _read(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            text = file.read(TOKEN_FILE_BYTES_MAX).decode("ascii", "replace")
    except OSError as error:
        raise CommandError(
            f"cannot read the token file {path}: {error.strerror}",
            "name the file that holds the one line that `kvgossip token new` has printed",
        ) from error
    found = _checked(text, f"the token file {path}")
    if not found:
        raise CommandError(f"the token file {path} is empty", "write the token into it")
    return found


def _checked(text: str, place: str) -> str:
    """Raises CommandError, which shows nothing of it, for what can be no token."""
    found = text.strip()
    if not (found.isascii() and (found.isprintable() and " " not in found)):
        raise CommandError(
            f"{place} has more than one token", "it takes one, in one line, and nothing else"
        )
    return found


def ask(url: str, question: Callable[[Client], Awaitable[Result]]) -> Result:
    """Asks the node at `url`. A refusal becomes a CommandError with exit code 1, no answer one with
    2."""
    import asyncio

    from kvgossip.api.client import Client, RefusedError

    secret = token()

    async def conversation() -> Result:
        async with Client(url, token=secret, trust=given_trust()) as client:
            return await question(client)

    try:
        return asyncio.run(conversation())
    except RefusedError as error:
        raise CommandError(str(error), error.hint, REFUSED) from error
