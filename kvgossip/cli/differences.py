"""The command `differences`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kvgossip.cli.arguments import Prefix
from kvgossip.cli.connection import DEFAULT_URL, Url, ask
from kvgossip.cli.errors import EXIT_CODES, CommandError
from kvgossip.cli.output import Format, Output, print_json, print_table, say

if TYPE_CHECKING:
    from kvgossip.client.client import Client

NOTHING = "nothing"
ABOUT = {"exact": "", "estimate": "about ", "at_least": "at least "}

Member = Annotated[str, typer.Argument(metavar="MEMBER", help="A member that is alive.")]
Limit = Annotated[
    int, typer.Option(metavar="N", min=1, max=1000, help="How many keys to list at most.")
]
Keep = Annotated[
    str | None,
    typer.Option(metavar="KEY", help="Write what the node has under this key again, as new."),
]
Take = Annotated[
    str | None,
    typer.Option(metavar="KEY", help="Write what the member has under this key, as new."),
]


def differences(
    member: Member,
    prefix: Prefix = "",
    limit: Limit = 100,
    keep: Keep = None,
    take: Take = None,
    url: Url = DEFAULT_URL,
    output: Output = Format.TABLE,
) -> None:
    """List the keys that differ between the node at --url and a member: which version each of the
    two has, and why the other one does not take the newer one, as far as the node knows.

    Nothing is repaired by that. `kvgossip exchange` repairs what can be; --keep and --take write
    one of the two again as a new version, which wins everywhere.

    Examples:

    - `kvgossip differences node-2`
    - `kvgossip differences node-2 cart/ --limit 1000 -o json`
    - `kvgossip differences node-2 --take cart/7`
    """
    if keep is not None and take is not None:
        raise CommandError("--keep and --take are two answers", "give one of them")
    if keep is not None:
        document = ask(url, lambda client: _keep(client, keep))
        return say(document, output, f"{keep} is stored again, version {document['version']}")
    if take is not None:
        document = ask(url, lambda client: _take(client, member, take))
        what = "deleted" if document.get("deleted") else "stored"
        return say(document, output, f"{take} is {what} as {member} has it")
    query = {"member": member, "prefix": prefix, "limit": str(limit)}
    document = ask(url, lambda client: client.document("/differences", **query))
    if output is Format.JSON:
        return print_json(document)
    here = document["asked"]
    print_table(
        ("key", here, "written", "by", member, "written", "by", "newer", "why not taken"),
        (_row(each, here, member) for each in document["differences"]),
    )
    print(_summary(document))


def _keep(client: Client, key: str) -> Any:
    reply = client.get(key)
    return client.put(key, reply.body, reply.headers.get("content-type"))


def _take(client: Client, member: str, key: str) -> Any:
    query = {"member": member, "prefix": key, "limit": "1"}
    found = client.document("/differences", **query)["differences"]
    if found and found[0]["key"] == key and (found[0]["there"] or {}).get("deleted"):
        return client.delete(key)
    reply = client.member_value(key, member)
    return client.put(key, reply.body, reply.headers.get("content-type"))


def _row(each: dict[str, Any], here: str, member: str) -> tuple[Any, ...]:
    newer = here if each["newer"] == "here" else member
    why = "" if each["why"] is None else f"{each['why']['text']}: {each['why']['hint']}"
    return each["key"], *_side(each["here"]), *_side(each["there"]), newer, why


def _side(side: dict[str, Any] | None) -> tuple[str, str, str]:
    if side is None:
        return NOTHING, "", ""
    written = datetime.fromtimestamp(side["written_ms"] / 1000, UTC)
    what = "deleted" if side["deleted"] else f"{side['bytes']:,} bytes"
    by = side["by"] or f"site {side['site']}"
    return what, written.isoformat(timespec="milliseconds"), by


def _summary(document: dict[str, Any]) -> str:
    listed, keys = len(document["differences"]), document["keys"]
    if document["whole"]:
        words = f"{listed:,} keys differ" if listed != 1 else "1 key differs"
    elif keys is None:
        words = f"{listed:,} keys that differ, and perhaps others: not all were looked at"
    else:
        words = f"{listed:,} of {ABOUT[document['precision']]}{keys:,} keys that differ"
    if document["unreadable"]:
        words += f"; {document['unreadable']:,} records cannot be read by this release"
    return "; ".join([words, *(each["text"] for each in document["why"])])


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Cluster", epilog=EXIT_CODES)(differences)
