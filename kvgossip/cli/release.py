"""The commands `release`, `release status`, `promote` and `rollback`.

The node does each step; the trial itself - to wait, to look, to go back - is this process and
nothing else. Where it ends early, a canary stays a canary, and `release status` shows it.
"""

from __future__ import annotations

import json
import sys
import time
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer
from typer.core import TyperGroup

from kvgossip.cli.arguments import seconds_of
from kvgossip.cli.connection import DEFAULT_URL, Url, ask
from kvgossip.cli.errors import EXIT_CODES, REFUSED, CommandError, complain
from kvgossip.cli.json_lines import show_progress
from kvgossip.cli.output import DASH, Format, Output, print_json, print_table, say
from kvgossip.cli.streams import stdin_octets

if TYPE_CHECKING:
    from kvgossip.client.client import Client

PAUSE_S = 0.25
BAKE_MAX_S = 86_400.0
UNDECIDED = ("waiting", "silent")
STATUS_HINT = "`kvgossip release status` shows what each member has"

Prefix = Annotated[
    str,
    typer.Argument(metavar="PREFIX", help="The prefix whose values are released, such as shop/."),
]
Name = Annotated[str, typer.Argument(metavar="[NAME]", help="As `release status` lists it.")]
File = Annotated[
    str,
    typer.Argument(
        metavar="FILE|-",
        help="All values as one JSON object, names without the prefix: "
        '{"limits/rate": 20, "theme": "dark"}.',
    ),
]
NewName = Annotated[
    str, typer.Option("--name", metavar="NAME", help="Its name. Left out: the time.")
]
To = Annotated[
    str,
    typer.Option(
        "--to",
        metavar="TARGET",
        help="For these members first: zone=NAME, share=PART (0.1 is every tenth), member=NAME, or "
        "several with commas between, which means any of them.",
    ),
]
Bake = Annotated[
    str | None,
    typer.Option(
        "--bake",
        metavar="TIME",
        help="Watch it for so long: 60s, 10m. With --to: without a refusal it is for all then.",
    ),
]
Abort = Annotated[
    bool, typer.Option("--abort-on-refusal", help="At the first refusal, back to the old one.")
]
Timeout = Annotated[
    str,
    typer.Option("--timeout", metavar="TIME", help="How long to wait for members to apply it."),
]


class MakesByDefault(TyperGroup):
    """`kvgossip release PREFIX FILE` is `kvgossip release make PREFIX FILE`."""

    default_command = "make"

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in (*self.commands, *ctx.help_option_names):
            args = [self.default_command, *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    name="release",
    cls=MakesByDefault,
    no_args_is_help=True,
    help="Release a whole set of values under a prefix at once, to all members or to some first. A "
    "process with a cache of that prefix shows the old set or the new one, never a mixture.\n\n"
    "- `kvgossip release shop/ limits.json`: to all; the word `make` may be left out\n"
    "- `kvgossip release shop/ limits.json --to zone=paris,share=0.1 --bake 60s "
    "--abort-on-refusal`: to some for a minute, then to all, or back\n"
    "- `kvgossip release status shop/`: who has it, who refused it and why\n"
    "- `kvgossip release rollback shop/`: back to the one before\n\n"
    "While a prefix has a release, its other keys are ignored by caches.",
)


class Ending(Enum):
    """How a release ended, as far as this command goes."""

    MADE = "made"
    CANARY = "canary"
    PROMOTED = "promoted"
    WITHDRAWN = "withdrawn"


class Trial(NamedTuple):
    """How a release is looked at. `bake_s`: how long it must stand; None: until all have
    answered, or `timeout_s` are over."""

    bake_s: float | None
    timeout_s: float
    abort: bool
    is_canary: bool


class Seen(NamedTuple):
    """Members that are to have a release, as the last look shows them."""

    applied: list[str]
    refused: list[str]
    undecided: list[str]

    def __str__(self) -> str:
        return (
            f"{len(self.applied)} applied, {len(self.refused)} refused, "
            f"{len(self.undecided)} silent or on their way"
        )


@app.command("make", epilog=EXIT_CODES)
def make(
    prefix: Prefix,
    file: File,
    name: NewName = "",
    to: To = "",
    bake: Bake = None,
    abort_on_refusal: Abort = False,
    timeout: Timeout = "5s",
    url: Url = DEFAULT_URL,
    output: Output = Format.TABLE,
) -> None:
    """Write a release: the whole set of values under the prefix, which replaces the one before on
    every member at once, or on those of --to.

    A release is written once: the same name with other values is refused. A member that cannot
    use a value refuses the release, keeps what it has, and says why: then this exits with 1 and
    names it. Without --bake a canary stays one until `promote` or `rollback`; so it does when this
    command is interrupted.

    Examples:

    - `kvgossip release shop/ limits.json`
    - `kvgossip release shop/ limits.json --name 2026-11-30.1 --to share=0.1`
    - `kvgossip release shop/ limits.json --to zone=paris --bake 60s --abort-on-refusal`
    """
    values = _values_in(file)
    trial = Trial(
        None if bake is None else seconds_of("--bake", bake, BAKE_MAX_S),
        seconds_of("--timeout", timeout, BAKE_MAX_S),
        abort_on_refusal,
        bool(to),
    )
    document, seen, end = ask(
        url, lambda client: _conduct(client, prefix, values, {"name": name, "to": to}, trial)
    )
    made, hits = document["made"], ", ".join(document["hits"])
    sentence = {
        Ending.MADE: f"{made} is released",
        Ending.CANARY: f"{made} is a canary for {hits}",
        Ending.PROMOTED: f"{made} is released to all",
        Ending.WITHDRAWN: f"{made} is taken back",
    }[end]
    result = {"prefix": prefix, "release": made, "outcome": end.value, **seen._asdict()}
    say(result, output, f"{sentence}: {seen}")
    if seen.refused:
        raise CommandError(
            f"{made} was refused: {'; '.join(seen.refused)}",
            "mend the values, and release them by a new name"
            if end is Ending.WITHDRAWN
            else "go back with `kvgossip release rollback`, or release other values by a new name",
            REFUSED,
        )
    if seen.undecided:
        complain(f"not yet applied by {', '.join(seen.undecided)}", STATUS_HINT)
    if end is Ending.CANARY and trial.bake_s is not None:
        raise CommandError(
            f"nobody has applied {made}, so it is not for all",
            f"is there a process with a cache of {prefix!r}? {STATUS_HINT}",
            REFUSED,
        )


@app.command("status", epilog=EXIT_CODES)
def status(prefix: Prefix, url: Url = DEFAULT_URL, output: Output = Format.TABLE) -> None:
    """Show which release is for all and which for whom, and what each member made of the one that
    it is to have.

    STATE is `applied`; `refused`, with the key and the reason; `waiting` for one that has not come
    that far; `silent` for a member that did not answer; `unused` for one where no process uses the
    prefix.
    """
    document = ask(url, lambda client: client.releases("GET", prefix))
    if output is Format.JSON:
        return print_json(document)
    canary = document["canary"]
    print(f"for all: {document['release'] or 'the loose keys'}")
    if canary is not None:
        print(f"canary: {canary['release']} for {canary['to']}")
    print(f"before: {', '.join(each or 'the loose keys' for each in document['before']) or DASH}")
    print(f"releases: {', '.join(document['releases']) or DASH}\n")
    print_table(
        ("node", "release", "state", "why"),
        (
            (each["node"], each["release"] or DASH, each["state"], each["why"])
            for each in document["members"]
        ),
    )


@app.command("promote", epilog=EXIT_CODES)
def promote(
    prefix: Prefix, name: Name = "", url: Url = DEFAULT_URL, output: Output = Format.TABLE
) -> None:
    """Make the canary the release for all. With a NAME, only if it is that one.

    Examples:

    - `kvgossip release promote shop/`
    """
    _step(url, output, prefix, "promote", name)


@app.command("rollback", epilog=EXIT_CODES)
def rollback(
    prefix: Prefix, name: Name = "", url: Url = DEFAULT_URL, output: Output = Format.TABLE
) -> None:
    """Go back: end a canary where there is one, else return to the release before. With a NAME,
    return to that one.

    Examples:

    - `kvgossip release rollback shop/`
    - `kvgossip release rollback shop/ 2026-11-29.3`
    """
    _step(url, output, prefix, "rollback", name)


def _step(url: str, output: Format, prefix: str, what: str, name: str) -> None:
    document = ask(url, lambda client: client.releases("POST", prefix, {what: name}))
    say(document, output, f"{document['release'] or 'no release'} is for all under {prefix}")


def _conduct(
    client: Client, prefix: str, values: Any, query: dict[str, str], trial: Trial
) -> tuple[Any, Seen, Ending]:
    """The release, what became of it, and how it ended."""
    given = {key: value for key, value in query.items() if value}
    document = client.releases("PUT", prefix, given, {"values": values})
    name = document["made"]
    seen = _watch(client, prefix, name, trial, trial.bake_s)
    if seen.refused and trial.abort:
        client.releases("POST", prefix, {"withdraw": name})
        return document, seen, Ending.WITHDRAWN
    if not trial.is_canary:
        return document, seen, Ending.MADE
    if trial.bake_s is None or seen.refused or not seen.applied:
        # a trial on nobody proves nothing
        return document, seen, Ending.CANARY
    client.releases("POST", prefix, {"promote": name})
    return document, _watch(client, prefix, name, trial, None), Ending.PROMOTED


def _watch(client: Client, prefix: str, name: str, trial: Trial, bake_s: float | None) -> Seen:
    """The last look at a release: when it is refused and that ends the trial, when it has baked,
    or, where it need not, when all have answered or the time is up."""
    start_s = time.monotonic()
    lasts_s = trial.timeout_s if bake_s is None else bake_s
    while True:
        seen = _seen(client.releases("GET", prefix), name)
        passed_s = time.monotonic() - start_s
        show_progress(f"{name}: {seen}; {passed_s:.0f} of {lasts_s:.0f} s ")
        is_over = not seen.undecided if bake_s is None else bool(seen.refused and trial.abort)
        if is_over or passed_s >= lasts_s:
            if sys.stderr.isatty():
                print(file=sys.stderr)
            return seen
        time.sleep(min(PAUSE_S, lasts_s - passed_s))


def _seen(document: Any, name: str) -> Seen:
    canary = document["canary"]
    if name not in (document["release"], canary and canary["release"]):
        raise CommandError(
            f"{name} is not the newest release any more: another one was made, or this one was "
            "taken back",
            STATUS_HINT,
            REFUSED,
        )
    members = [each for each in document["members"] if each["release"] == name]
    return Seen(
        [each["node"] for each in members if each["state"] == "applied"],
        [f"{each['node']}: {each['why']}" for each in members if each["state"] == "refused"],
        [each["node"] for each in members if each["state"] in UNDECIDED],
    )


def _values_in(file: str) -> Any:
    """The object in this file. Raises CommandError."""
    try:
        octets = stdin_octets() if file == "-" else Path(file).read_bytes()
        values = json.loads(octets)
    except OSError as error:
        raise CommandError(
            f"cannot read {file}: {error.strerror}", "name a file of JSON, or '-' for stdin"
        ) from error
    except (ValueError, RecursionError) as error:
        raise CommandError(f"{file} is not JSON: {error}", "nothing was released") from None
    if not isinstance(values, dict):
        raise CommandError(
            f"{file} has no names", 'write all values as one object: {"theme": "dark"}'
        )
    return values


def register(parent: typer.Typer) -> None:
    parent.add_typer(app, rich_help_panel="Keys")
