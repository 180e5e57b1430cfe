"""Writes docs/commands.md from the command line itself: python -m tools.make_commands

Help texts are filled anew at 100 columns, so that line breaks of the source do not show in it. A
test compares the page with the command line.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from enum import Enum
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import typer

from kvgossip.cli import app
from kvgossip.cli.errors import EXIT_CODES

PAGE = Path(__file__).parent.parent / "docs" / "commands.md"
COLUMNS = 100
WORDS = {int: "N", float: "X", str: "TEXT"}
INTRODUCTION = """# Commands

This page is made from the command line itself (`python -m tools.make_commands`): every command,
with its arguments, its options, their environment variables and their defaults. In a terminal
`kvgossip COMMAND --help` shows the same.
"""


def commands(
    command: Any, path: tuple[str, ...] = ("kvgossip",)
) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command that is shown, with its words, `("kvgossip", "keyring", "use")`, a group before
    its own."""
    yield path, command
    shown = {
        name: child for name, child in getattr(command, "commands", {}).items() if not child.hidden
    }
    for name, child in shown.items():
        yield from commands(child, (*path, name))


@cache
def tree() -> Any:
    """The root of the tree of commands."""
    return typer.main.get_command(app)


def page() -> str:
    """The text of docs/commands.md."""
    root = tree()
    # what is said here of exit codes is not said again of each command
    parts = [INTRODUCTION, *_text(root.help), *_text(root.epilog)]
    panels: dict[str, list[str]] = {}
    for name, command in root.commands.items():
        sections = panels.setdefault(command.rich_help_panel, [])
        for path, each in commands(command, ("kvgossip", name)):
            sections += _section(path, each)
    for panel, sections in panels.items():
        parts += [f"## {panel}\n", *sections]
    return "\n".join(parts)


def _section(path: tuple[str, ...], command: Any) -> list[str]:
    parameters = command.get_params(typer.Context(command))
    arguments = [each for each in parameters if each.param_type_name == "argument"]
    options = [
        each
        for each in parameters
        if each.param_type_name == "option" and not each.hidden and each.name != "help"
    ]
    parts = [f"### {' '.join(path)}\n"]
    if not hasattr(command, "commands") or command.invoke_without_command:
        words = [*path, *(["[OPTIONS]"] if options else []), *map(_place, arguments)]
        parts.append(f"```text\n{' '.join(words)}\n```\n")
    parts += _text(command.help)
    kinds = get_type_hints(command.callback) if command.callback is not None else {}
    items = [_item(f"`{_place(each)}`", each.help) for each in arguments]
    items += [_item(_option(each, kinds[each.name]), _description(each)) for each in options]
    if items:
        named = {"arguments": arguments, "options": options}
        title = " and ".join(name for name, found in named.items() if found)
        parts += [f"{title.capitalize()}:\n", "\n".join(items) + "\n"]
    return [*parts, *(_text(command.epilog) if command.epilog != EXIT_CODES else [])]


def _place(argument: Any) -> str:
    word = str(argument.metavar)
    return word if argument.required or word.startswith("[") else f"[{word}]"


def _option(option: Any, kind: Any) -> str:
    names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    return names if option.is_flag else f"{names} `{option.metavar or _word(kind)}`"


def _word(kind: Any) -> str:
    """What stands for a value whose option names none: a number, text, or one of these words."""
    while get_origin(kind) in (Union, UnionType, list):
        kind = next(each for each in get_args(kind) if each is not type(None))
    if issubclass(kind, Enum):
        return "|".join(str(each.value) for each in kind)
    return WORDS[kind]


def _description(option: Any) -> str:
    parts = [option.help]
    default = option.default.value if isinstance(option.default, Enum) else option.default
    if default is not None and default is not False and default not in ("", (), []):
        parts.append(f"Default `{default}`.")
    if option.envvar:
        parts.append(f"Variable `{option.envvar}`.")
    return " ".join(parts)


def _text(text: str | None) -> list[str]:
    """The paragraphs and lists of a help text, filled."""
    return [_filled(block) + "\n" for block in (text or "").split("\n\n") if block.strip()]


def _filled(block: str) -> str:
    if not block.startswith("- "):
        return _wrapped(block)
    return "\n".join(_wrapped(item, "- ", "  ") for item in block.removeprefix("- ").split("\n- "))


def _item(head: str, text: str) -> str:
    return _wrapped(f"{head}: {text}", "- ", "  ")


def _wrapped(text: str, first: str = "", further: str = "") -> str:
    return textwrap.fill(
        " ".join(text.split()),
        COLUMNS,
        initial_indent=first,
        subsequent_indent=further,
        break_long_words=False,
        break_on_hyphens=False,
    )


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
