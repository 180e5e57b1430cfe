"""The command `doctor`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kvgossip.cli.connection import DEFAULT_URL, Result, Url, ask
from kvgossip.cli.errors import REFUSED, CommandError, printable
from kvgossip.cli.output import DASH, Format, Output, print_json, print_table, shown_ms

if TYPE_CHECKING:
    from kvgossip.client.client import Client

EXIT_CODES = (
    "Exit code: 0 healthy, or nothing differs; 1 there are findings; 2 wrong usage, or no node "
    "answers."
)

Review = Annotated[
    bool,
    typer.Option(
        "--config",
        help="Compare how the members are set up, instead of looking at the network.",
    ),
]
Against = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.toml",
        help="With --config: the configuration file that all members should have, instead of what "
        "most have.",
    ),
]
Ignore = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME",
        help="With --config: a parameter that may differ. It may be given several times.",
    ),
]


def doctor(
    config: Review = False,
    against: Against = None,
    ignore: Ignore = None,
    url: Url = DEFAULT_URL,
    output: Output = Format.TABLE,
) -> None:
    """Find the faults of a cluster, and say them in words.

    The node at the URL looks at all members over its gossip sockets, by UDP and by TCP, and lets
    them look at each other: which reach each other, how long it takes, whose clock is wrong, which
    have not settled, which keys they use, which datacenter has no gateway, which address nobody
    reaches. A healthy cluster answers at once; where something does not answer it takes some
    seconds. Of more than 64 members a random sample is looked at.

    With --config it asks all members how they are set up, and names each difference that matters,
    with what it costs: parameters, releases, extras, how many files may be open, clocks, tokens and
    keys by their fingerprints, room on the disk. Names, addresses and paths are each node's own.

    Examples:

    - `kvgossip doctor --url http://10.0.0.5:7480`
    - `kvgossip doctor -o json | jq -r '.findings[].text'`
    - `kvgossip doctor --config --ignore store_bytes_max`
    - `kvgossip doctor --config --against /etc/kvgossip.toml`
    """
    if config:
        return _review(against, ignore or [], url, output)
    if against is not None or ignore:
        raise CommandError(
            "--against and --ignore are about how members are set up", "add --config"
        )
    document = _with_progress(
        f"examining the cluster through {url}, which may take some seconds",
        url,
        lambda client: client.doctor(),
    )
    if output is Format.JSON:
        print_json(document)
    else:
        _print_report(document)
    if not document["healthy"]:
        raise typer.Exit(REFUSED)


def _review(against: Path | None, ignore: list[str], url: str, output: Format) -> None:
    parameters = _parameters_of(against, ignore)
    try:
        document = ask(url, lambda client: client.review(parameters, ignore))
    except CommandError as error:
        # 1 is a difference, to a script that asks every night
        raise CommandError(str(error), error.hint) from error
    if output is Format.JSON:
        print_json(document)
    else:
        _print_review(document)
    if not document["alike"]:
        raise typer.Exit(REFUSED)


def _parameters_of(file: Path | None, ignore: list[str]) -> dict[str, str] | None:
    """What a node of this file would say. Raises ConfigError, and CommandError for a name that is
    no parameter's."""
    from kvgossip.cli.settings import load_config
    from kvgossip.config import OF_WAN, PARAMETERS, alike_parameters
    from kvgossip.config.description import did_you_mean

    for name in ignore:
        if name.removeprefix(OF_WAN) not in PARAMETERS:
            problem = f"no parameter is named {name!r}{did_you_mean(name, PARAMETERS)}"
            raise CommandError(problem, "`kvgossip config` lists them all")
    if file is None:
        return None
    return alike_parameters(load_config({}, {}, file, None), everything=True)


def _print_review(document: dict[str, Any]) -> None:
    columns = ("name", "pool", "release", "clock", "files", "disk left", "tokens", "key", "extras")
    print_table(columns, map(_reviewed_row, document["members"]), spare=2)
    print()
    for finding in document["findings"]:
        print(printable(f"! {finding['text']}"))
    count = len(document["findings"])
    print("nothing differs" if document["alike"] else _counted(count))


def _reviewed_row(member: dict[str, Any]) -> list[Any]:
    head = [member["name"], member["pool"]]
    if not member["answered"]:
        return [*head, "no answer", *6 * [DASH]]
    offset_ms, free = member["clock_offset_ms"], member["disk_free_bytes"]
    said = bool(member["parameters"])
    return [
        *head,
        member["release"] or DASH,
        DASH if offset_ms is None else f"{offset_ms / 1000:+.3f} s",
        (f"{member['files_max']:,}" if member["files_max"] else "any") if said else DASH,
        DASH if free < 0 else f"{free / 2**30:,.1f} GiB",
        member["tokens"] or DASH,
        next(iter(member["keyring"]), DASH),
        (" ".join(member["extras"]) or "none") if said else DASH,
    ]


def _with_progress(text: str, url: str, question: Callable[[Client], Result]) -> Result:
    """To a terminal alone, on stderr: a pipe gets the answer and nothing else."""
    if not sys.stderr.isatty():
        return ask(url, question)
    from rich.console import Console

    with Console(stderr=True).status(printable(text)):
        return ask(url, question)


def _print_report(document: dict[str, Any]) -> None:
    columns = ("name", "pool", "state", "udp", "tcp", "clock", "standing", "gateway")
    print_table(columns, map(_member_row, document["members"]))
    print()
    for finding in document["findings"]:
        where = " (WAN pool)" if finding["pool"] == "wan" else ""
        print(printable(f"! {finding['text']}{where}"))
    for pool in document["pools"]:
        print(printable(_summary(pool)))
    count = len(document["findings"])
    print("healthy" if document["healthy"] else _counted(count))


def _counted(count: int) -> str:
    return f"{count} finding{'s' if count > 1 else ''}"


def _member_row(member: dict[str, Any]) -> list[Any]:
    offset_s, gateway = member["clock_offset_s"], member["gateway"]
    ways = (
        ["(this node)", ""]
        if member["self"]
        else [shown_ms(member["udp_ms"]), shown_ms(member["tcp_ms"])]
    )
    clock = DASH if offset_s is None else f"{offset_s:+.3f} s"
    return [
        member["name"],
        member["pool"],
        member["state"],
        *ways,
        clock,
        member["standing"] or DASH,
        "yes" if gateway else "",
    ]


def _summary(pool: dict[str, Any]) -> str:
    whole = pool["examined"] == pool["known"]
    share = (
        f"all {pool['known']} members"
        if whole
        else f"a sample of {pool['examined']} of {pool['known']} members"
    )
    return (
        f"{pool['pool']}: looked at {share}, through the eyes of {pool['observers']}, in "
        f"{pool['took_s']:.1f} s"
    )


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Cluster", epilog=EXIT_CODES)(doctor)
