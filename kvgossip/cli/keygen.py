"""The command `keygen`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kvgossip.cli.errors import EXIT_CODES, CommandError
from kvgossip.cli.output import Format, Output, say


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

    from kvgossip.config import KEY_BYTES, check_no_key
    from kvgossip.protocol.wire.keyring import key_id
    from kvgossip.runtime.disk.key_files import write_keys

    key = secrets.token_bytes(KEY_BYTES)
    if file is None:
        return say({"id": key_id(key), "key": key.hex()}, output, key.hex())
    check_no_key("FILE", str(file))
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


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Cluster", epilog=EXIT_CODES)(keygen)
