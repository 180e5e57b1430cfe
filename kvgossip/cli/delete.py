"""The command `delete`."""

from __future__ import annotations

import typer

from kvgossip.cli.arguments import Context, Key
from kvgossip.cli.connection import DEFAULT_URL, Url, ask
from kvgossip.cli.errors import EXIT_CODES
from kvgossip.cli.output import Format, Output, say
from kvgossip.cli.write_concern import Timeout, Wait, write_and_wait


def delete(
    key: Key,
    context: Context = None,
    wait: Wait = None,
    timeout: Timeout = "5s",
    url: Url = DEFAULT_URL,
    output: Output = Format.TABLE,
) -> None:
    """Delete a key, on every node. Exit code 1 when there is no such key. --wait as for `put`.

    With --context those values of the key go that the context has seen; others stay.
    """
    if wait is not None:
        return write_and_wait(
            url,
            output,
            timeout,
            lambda client, timeout_s, show_ack: client.write_and_wait(
                key, None, None, wait, timeout_s, show_ack, context=context
            ),
        )
    document = ask(url, lambda client: client.delete(key, context))
    what = "is deleted" if document["deleted"] else "keeps what the context has not seen"
    say(document, output, f"{document['key']} {what}, version {document['version']}")


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Keys", epilog=EXIT_CODES)(delete)
