"""The commands `keyring install`, `use`, `remove` and `list`: the keys that seal gossip."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from kvgossip.cli.connection import DEFAULT_URL, Url, ask
from kvgossip.cli.errors import EXIT_CODES, REFUSED, CommandError
from kvgossip.cli.output import Format, Output, print_json, print_table

KeyId = Annotated[
    str,
    typer.Argument(
        metavar="ID", help="The 8 digits by which `kvgossip keyring list` shows the key."
    ),
]

keyring_app = typer.Typer(
    name="keyring",
    no_args_is_help=True,
    help="Change the keys of all nodes of all datacenters at once, while they run. In this order a "
    "key is replaced without downtime:\n\n"
    "- `kvgossip keygen new.key`, then `kvgossip keyring install new.key`: every node opens what "
    "it seals\n"
    "- `kvgossip keyring use ID`: every node seals with it\n"
    "- `kvgossip keyring remove OLD_ID`: the old key opens nothing any more\n\n"
    "Every node rewrites the file of its --keyring. One that is off meanwhile is refused later, "
    "and the refusal names the key to put there.",
)


@keyring_app.command(epilog=EXIT_CODES)
def install(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="The file of the key: its first one is installed."),
    ],
    url: Url = DEFAULT_URL,
    output: Output = Format.TABLE,
) -> None:
    """Give all nodes a further key. They open with it from then on, and do not seal with it before
    `use`.

    The key crosses HTTP in clear: ask a node on this machine. Between the nodes it is sealed with
    their primary key.
    """
    from kvgossip.runtime.disk.key_files import read_keys

    _order(url, output, "install", read_keys(str(file)).keys[0].hex())


@keyring_app.command(epilog=EXIT_CODES)
def use(key: KeyId, url: Url = DEFAULT_URL, output: Output = Format.TABLE) -> None:
    """Make all nodes seal with this key. Refused while a node that is alive lacks it, or does not
    answer."""
    _order(url, output, "use", key)


@keyring_app.command(epilog=EXIT_CODES)
def remove(key: KeyId, url: Url = DEFAULT_URL, output: Output = Format.TABLE) -> None:
    """Make all nodes forget a key. Refused while a node seals with it, or does not answer."""
    _order(url, output, "remove", key)


@keyring_app.command("list", epilog=EXIT_CODES)
def list_(url: Url = DEFAULT_URL, output: Output = Format.TABLE) -> None:
    """Show which node has which keys, and which did not answer. Keys are shown by their ids."""
    _order(url, output, "list", "")


def _order(url: str, output: Format, action: str, key: str) -> None:
    document = ask(url, lambda client: client.keyring(action, key))
    if output is Format.JSON:
        print_json(document)
    else:
        columns = ("name", "datacenter", "primary", "keys", "problem")
        print_table(columns, (_row(node) for node in document["nodes"]))
    failed = [node["name"] for node in document["nodes"] if node["problem"]]
    if failed:
        raise CommandError(
            f"not all is well with {', '.join(failed)}",
            "the last column has the reason; the command may be repeated",
            REFUSED,
        )


def _row(node: dict[str, Any]) -> tuple[Any, ...]:
    return (
        node["name"],
        node["datacenter"],
        node["primary"],
        " ".join(node["keys"]),
        node["problem"],
    )


def register(app: typer.Typer) -> None:
    app.add_typer(keyring_app, rich_help_panel="Cluster")
