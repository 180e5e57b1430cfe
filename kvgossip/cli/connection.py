"""The HTTP client by which a command speaks to a running node."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from kvgossip.cli.errors import REFUSED, CommandError
from kvgossip.cli.trust_options import given_trust

if TYPE_CHECKING:
    from kvgossip.api.client import Client

Result = TypeVar("Result")
Url = Annotated[
    str,
    typer.Option(
        "--url", envvar="KVGOSSIP_URL", metavar="URL", help="The HTTP address of any node."
    ),
]
DEFAULT_URL = "http://127.0.0.1:7480"


def ask(url: str, question: Callable[[Client], Awaitable[Result]]) -> Result:
    """Asks the node at `url`. A refusal becomes a CommandError with exit code 1, no answer one with
    2."""
    import asyncio

    from kvgossip.api.client import Client, RefusedError

    async def conversation() -> Result:
        async with Client(url, trust=given_trust()) as client:
            return await question(client)

    try:
        return asyncio.run(conversation())
    except RefusedError as error:
        raise CommandError(str(error), error.hint, REFUSED) from error
