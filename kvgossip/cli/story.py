"""The command `story`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from kvgossip.cli.arguments import seconds_of
from kvgossip.cli.connection import DEFAULT_URL, Url, ask
from kvgossip.cli.errors import EXIT_CODES, REFUSED, CommandError, printable
from kvgossip.cli.output import DASH, Format, Output, print_json, print_table

FOR_S_MAX = 86_400
KEEP_HINT = "`kvgossip story --keep PREFIX --for 10m` lets all members keep it from now on"

Key = Annotated[
    str, typer.Argument(metavar="[KEY]", help="The key. Left out: which stories are kept.")
]
Keep = Annotated[
    str | None,
    typer.Option(
        metavar="PREFIX",
        help="Let all members keep the story of the keys with this prefix, instead of another; '' "
        "is all keys.",
    ),
]
For = Annotated[
    str, typer.Option("--for", metavar="DURATION", help="How long: 30s, 10m or 24h at most.")
]
Share = Annotated[
    float,
    typer.Option(
        metavar="X", min=0.0, max=1.0, help="Only of this share of them, the same on all members."
    ),
]
Off = Annotated[
    bool, typer.Option("--off", help="Let all members keep no story any more, and forget it.")
]
Here = Annotated[
    bool, typer.Option("--here", help="Only the story of the node at --url, without asking others.")
]


def story(
    key: Key = "",
    keep: Keep = None,
    for_: For = "10m",
    share: Share = 1.0,
    off: Off = False,
    here: Here = False,
    url: Url = DEFAULT_URL,
    output: Output = Format.TABLE,
) -> None:
    """Tell what happened to a key on every member: when it heard of which version, from whom and
    how, and when it forgot.

    Nothing of that is kept unless you ask for it: first --keep a prefix for a while, then do what
    you wonder about, then ask for the key. Each member keeps the last 4,096 events in memory.
    --keep and --off need a token with the right admin.

    What happened is one of: write (a client of that node wrote it), rumor or exchange (the member
    named beside brought it, at once or by repair), disk (it was there when the node started),
    import, expired, revived, collected (it was forgotten), quarantined (the member beside said
    that it was deleted). Times are by the clock of the node at --url: those of the others, less
    what probes show that their clocks are ahead; `?` where no probe has shown it.

    Examples:

    - `kvgossip story --keep cart/ --for 10m`
    - `kvgossip story cart/7`
    - `kvgossip story`, to see who keeps what; `kvgossip story --off`
    """
    if (keep is not None) + off + bool(key) > 1:
        raise CommandError("KEY, --keep and --off are three commands", "give one of them")
    if not key:
        return _keep(keep, share, for_, off, url, output)
    document = ask(url, lambda client: client.story(key, not here))
    if output is Format.JSON:
        return print_json(document)
    _print_story(document)


def _keep(keep: str | None, share: float, for_: str, off: bool, url: str, output: Format) -> None:
    """An order for all members; or the question which they follow."""
    if off:
        document = ask(url, lambda client: client.keep_stories("", 1.0, 0))
    elif keep is not None:
        for_s = round(seconds_of("--for", for_, FOR_S_MAX))
        if not (for_s and share):
            raise CommandError(
                "a story of nothing cannot be kept", "give --for at least 1s, --share more than 0"
            )
        document = ask(url, lambda client: client.keep_stories(keep, share, for_s))
    else:
        document = ask(url, lambda client: client.document("/story"))
    if output is Format.JSON:
        return print_json(document)
    rows = ((each["name"], each["pool"], *_kept(each)) for each in document["members"])
    print_table(("node", "pool", "keeps", "share", "for"), rows)


def _kept(member: dict[str, Any]) -> tuple[str, str, str]:
    if member["silent"]:
        return f"({member['silent']})", "", ""
    keeps = member["keeps"]
    if keeps is None:
        return "nothing", "", ""
    return keeps["prefix"] or "all keys", f"{keeps['share']:g}", f"{keeps['left_s']} s"


def _print_story(document: dict[str, Any]) -> None:
    members = document["members"]
    versions = _Versions()
    events = sorted(
        (
            (step["at_ms"] - (member["clock_offset_ms"] or 0), place, member, step)
            for member in members
            if member["story"] is not None
            for place, step in enumerate(member["story"]["steps"])
        ),
        key=lambda event: event[0],
    )
    if events:
        print_table(
            ("time", "node", "clock", "what", "from", "version"),
            [
                (
                    _time(at_ms),
                    member["name"],
                    _ahead(member["clock_offset_ms"]),
                    step["what"],
                    step["peer"] or "",
                    versions.name(step),
                )
                for at_ms, _, member, step in events
            ],
        )
    for line in (*versions.lines(), *_remarks(document, versions)):
        print(printable(line))
    if not events and not any(map(_keeps, members)):
        raise typer.Exit(REFUSED)


class _Versions:
    """Short names of the versions of a key, in the order in which the story has them."""

    def __init__(self) -> None:
        self._steps: dict[str, dict[str, Any]] = {}

    def name(self, step: dict[str, Any]) -> str:
        self._steps.setdefault(step["version"], step)
        return self.short(step["version"]) + (" (delete)" if step["deleted"] else "")

    def short(self, version: str) -> str:
        """Its short name; itself where the story does not have it."""
        places = list(self._steps)
        return f"v{places.index(version) + 1}" if version in places else version

    def lines(self) -> Iterator[str]:
        for place, (version, step) in enumerate(self._steps.items(), start=1):
            written = datetime.fromtimestamp(step["written_ms"] / 1000, UTC)
            by = f", by {step['by']}" if step["by"] else ""
            yield f"v{place}  {version}, {written.isoformat(timespec='milliseconds')}{by}"


def _remarks(document: dict[str, Any], versions: _Versions) -> Iterator[str]:
    """What the table does not show: who has nothing to say, and from when on nothing is missing."""
    members = document["members"]
    silent = [f"{each['name']}: {each['silent']}" for each in members if each["silent"]]
    without = [each["name"] for each in members if not each["silent"] and not _keeps(each)]
    if without:
        yield f"no story of this key is kept by {', '.join(without)}: {KEEP_HINT}"
    for each in filter(_keeps, members):
        story = each["story"]
        since = _time(story["since_ms"] - (each["clock_offset_ms"] or 0))
        ended = story["until_ms"] < document["at_ms"] + (each["clock_offset_ms"] or 0)
        until = f", to {_time(story['until_ms'] - (each['clock_offset_ms'] or 0))}" if ended else ""
        has = "nothing" if story["holds"] is None else versions.short(story["holds"])
        has += " (delete)" if story["deleted"] else " (expired)" if story["expired"] else ""
        yield f"{each['name']} keeps it from {since}{until}; it has {has} now"
    yield from silent


def _keeps(member: dict[str, Any]) -> bool:
    return member["story"] is not None and member["story"]["since_ms"] is not None


def _ahead(offset_ms: int | None) -> str:
    return "?" if offset_ms is None else f"{offset_ms:+} ms" if offset_ms else DASH


def _time(at_ms: int) -> str:
    """The time of day, UTC."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%H:%M:%S.%f")[:-3]


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Keys", epilog=EXIT_CODES)(story)
