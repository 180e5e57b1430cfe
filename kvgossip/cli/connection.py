"""The HTTP client by which a command speaks to a running node."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from kvgossip.cli.errors import REFUSED, CommandError
from kvgossip.cli.node_options import (
    FILE_VARIABLE,
    TOKEN_VARIABLE,
    given_token_file,
    given_trust,
)

if TYPE_CHECKING:
    from kvgossip.client.client import Client

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

TOKEN_FILE_BYTES_MAX = 4096


def token() -> str:
    """The token of the command that runs, from --token-file or the environment; empty where there
    is none. Raises CommandError for a file that has none."""
    path = given_token_file()
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


def ask(url: str, question: Callable[[Client], Result]) -> Result:
    """Asks the node at `url`. A refusal becomes a CommandError with exit code 1, no answer one with
    2."""
    from kvgossip.client.client import Client
    from kvgossip.client.failures import RefusedError

    try:
        with Client(url, token=token(), trust=given_trust()) as client:
            return question(client)
    except RefusedError as error:
        raise CommandError(str(error), error.hint, REFUSED) from error


def ask_each(
    url: str, questions: Iterable[Callable[[Client], Result]], at_a_time: int
) -> Iterator[Result]:
    """The answers in the order of the questions, of which so many are asked at a time. The first
    refusal ends it, as in `ask`."""
    from concurrent.futures import ThreadPoolExecutor
    from queue import SimpleQueue

    from kvgossip.client.client import Client
    from kvgossip.client.failures import RefusedError

    idle: SimpleQueue[Client] = SimpleQueue()

    def answer(question: Callable[[Client], Result]) -> Result:
        client = idle.get()
        try:
            return question(client)
        finally:
            idle.put(client)

    with ExitStack() as stack:
        secret, trust = token(), given_trust()
        for _ in range(at_a_time):
            idle.put(stack.enter_context(Client(url, token=secret, trust=trust)))
        threads = ThreadPoolExecutor(at_a_time)
        stack.callback(threads.shutdown, cancel_futures=True)
        try:
            yield from threads.map(answer, questions)
        except RefusedError as error:
            raise CommandError(str(error), error.hint, REFUSED) from error
