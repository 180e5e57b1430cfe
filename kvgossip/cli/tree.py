"""The tree of commands: a command is imported when it is asked for, and no more than it needs.

A script that runs `kvgossip get` a thousand times pays for each start. So the root knows the names
of all commands and imports one; `--help` and completion ask for all of them.

A value that is of its type already is not converted. typer would ask pydantic, whose import takes
as long as all else that `kvgossip get` does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from enum import EnumMeta
from functools import cache, partial
from importlib import import_module
from typing import Any, Final

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_group

from kvgossip.cli.errors import UNREAD
from kvgossip.cli.node_options import add_node_options, commands_of
from kvgossip.cli.streams import discard_output

MODULES = (
    "agent", "config", "demo", "get", "put", "delete", "add", "remove", "set_", "unset", "list_",
    "watch", "history", "conflicts", "rollback", "story", "release", "load", "dump", "converge",
    "differences", "exchange", "members", "status", "ready", "join", "leave", "settle", "block",
    "unblock", "force_leave", "export", "import_", "quarantine",
    "keygen", "keyring", "token_", "tls", "doctor", "rtt", "sim", "version",
)  # fmt: skip
"""In the order of the help. A word of Python's has an underscore at its end."""
MARKUP: Final = "markdown"


class Command(TyperCommand):
    """A command whose values are converted only where they must be."""

    def get_params(self, ctx: Any) -> list[Any]:
        return convert_lazily(super().get_params(ctx))

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            # typer would call it a failure of the command
            discard_output()
            raise typer.Exit(UNREAD) from None


class Root(TyperGroup):
    """`kvgossip` itself."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.commands: Any = Commands()

    def get_params(self, ctx: Any) -> list[Any]:
        return convert_lazily(super().get_params(ctx))


class Commands(Mapping[str, Any]):
    """The commands by their names, in the order of the help."""

    def __init__(self) -> None:
        self._modules = {module.rstrip("_").replace("_", "-"): module for module in MODULES}

    def __getitem__(self, name: str) -> Any:
        return _load(name, self._modules[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __len__(self) -> int:
        return len(self._modules)


@cache
def _load(name: str, module: str) -> Any:
    app = typer.Typer(rich_markup_mode=MARKUP, pretty_exceptions_enable=False)
    import_module(f"kvgossip.cli.{module}").register(app)
    add_node_options(app)
    for each in commands_of(app):
        each.cls = Command if each.cls in (None, TyperCommand) else each.cls
    return get_group(app).commands[name]


def convert_lazily(parameters: list[Any]) -> list[Any]:
    """The same ones. A version of typer that converts otherwise goes on doing so."""
    for each in parameters:
        kind = getattr(getattr(each, "type_descriptor", None), "annotation", None)
        if isinstance(kind, type) and "get_runtime_param" not in vars(each):
            each.get_runtime_param = partial(_Conversion, kind, each.get_runtime_param)
    return parameters


class _Conversion:
    """To values of this type, where need be by the converter of typer."""

    def __init__(self, kind: type, of_typer: Callable[[], Any]) -> None:
        self._kind, self._of_typer = kind, of_typer

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        if value is None or isinstance(value, self._kind):
            return value
        if isinstance(self._kind, EnumMeta):
            members: Mapping[str, Any] = self._kind.__members__
            by_value = {each.value: each for each in members.values()}
            if value in by_value:
                return by_value[value]
        return self._of_typer().coerce(value, param=param, ctx=ctx)
