"""The commands for the keys that seal gossip: keygen, and keyring install, use, remove and list."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from kvgossip.cli.connection import DEFAULT_URL, Url, ask
from kvgossip.cli.errors import EXIT_CODES, REFUSED, CommandError
from kvgossip.cli.output import Format, Output, print_json, print_table, say

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
    "and told which key to put there.",
)


def keygen(
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE", help="A new file, for its owner alone. None: print the key."
        ),
    ] = None,
    output: Output = Format.TABLE,
) -> None:
    """Make a new random key: the keyring of a new cluster, or the next key of a running one.

    Examples:

    - `kvgossip keygen /etc/kvgossip.keys`: copy it to every node, and start them with `--keyring
      /etc/kvgossip.keys`
    - `kvgossip keygen new.key`, then `kvgossip keyring install new.key`: the first step of a
      rotation
    """
    import secrets

    from kvgossip.config import KEY_BYTES
    from kvgossip.protocol.wire.keyring import key_id
    from kvgossip.runtime.disk.key_files import write_keys

    key = secrets.token_bytes(KEY_BYTES)
    if file is None:
        return say({"id": key_id(key), "key": key.hex()}, output, key.hex())
    try:
        write_keys(str(file), [key], new=True)
    except FileExistsError:
        raise CommandError(
            f"{file} exists already", "it may hold keys that a cluster needs: name a new file"
        ) from None
    except OSError as error:
        raise CommandError(
            f"cannot write {file}: {error.strerror}",
            "name a file in a directory that you may write to",
        ) from None
    say({"id": key_id(key), "file": str(file)}, output, f"the key {key_id(key)} is in {file}")


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
    """Show which node has which keys, and who did not answer. Keys are shown by their ids."""
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
            "the last column says what; the command may be repeated",
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
    app.command(rich_help_panel="Cluster", epilog=EXIT_CODES)(keygen)
    app.add_typer(keyring_app, rich_help_panel="Cluster")
