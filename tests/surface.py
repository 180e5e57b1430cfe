"""The surface of kvgossip: all that users can name.

It is read from what users meet, and as little as possible from the modules behind it.

    python -m tests.surface            print what is missing or another, as test_surface.py does
    python -m tests.surface --write    record the present surface anew: users rely on what was there

A surface is dicts within dicts, down to texts, numbers and lists. A name may be added to a dict, as
users who do not know it do not miss it. Every other difference is a change: a name that is gone, a
text or number that is another one, any change of a list.
"""

from __future__ import annotations

import argparse
import asyncio
import inspect
import json
import tempfile
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from enum import Enum, EnumType
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import typer.main
from prometheus_client.parser import text_string_to_metric_families as families

import kvgossip
import kvgossip.errors
from kvgossip.api.routes.metric_families import PREFIX
from kvgossip.api.routes.metrics import COUNTERS, GAUGES
from kvgossip.cli import app
from kvgossip.config import config_from
from kvgossip.protocol.model.member import Member
from kvgossip.protocol.wire.frame import FORMAT
from kvgossip.protocol.wire.unit import MEMBER_KIND
from tests.api.serving import Served, serving
from tests.protocol.strategies import KINDS

Surface = dict[str, Any]

RECORD = Path(__file__).with_name("surface.json")
TIMEOUT_S = 30.0
PROFILES = ("lan", "wan", "local")
EVENTUAL = {"last_exchange_age_seconds", "clock_ahead_seconds", "frames_dropped"}
"""Metrics that a node has as soon as something has happened."""
OCCASIONAL = {"commits_inline"}
"""Counters of /status that may have counted nothing yet, and are not there then."""
LATER = "later"
"""No field of a member, but what newer releases have in its place: it moves with every new one."""
NO_METHOD = "PATCH"
COLUMNS_MAX = 100


def differences(before: Any, now: Any, place: str = "") -> Iterator[str]:
    """What users of `before` would miss in `now`, a line for each."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for name, known in before.items():
            where = f"{place} > {name}" if place else name
            if name in now:
                yield from differences(known, now[name], where)
            else:
                yield f"{where} is missing"
    elif before != now:
        yield f"{place} has changed: it was {before!r}, and is {now!r}"


async def surface() -> Surface:
    """All that users can name at present, ready for JSON."""
    found = {
        "python": _python(),
        "cli": _command(typer.main.get_command(app)),
        "wire": _wire(),
        **await _serving(),
    }
    ready: Surface = json.loads(json.dumps(found))
    return ready


# -- python ----------------------------------------------------------------------------------------


def _python() -> Surface:
    errors = {name: kind for name, kind in vars(kvgossip.errors).items() if isinstance(kind, type)}
    public = {name: getattr(kvgossip, name) for name in kvgossip.__all__}
    return {
        "kvgossip": {
            name: _class(value) if isinstance(value, type) else _callable(value)
            for name, value in public.items()
        },
        "kvgossip.errors": {name: _class(kind) for name, kind in errors.items()},
        "defaults": {profile: _defaults(profile) for profile in PROFILES},
    }


def _defaults(profile: str) -> Surface:
    config = config_from({}, profile)
    return {
        name: repr(getattr(config, name)) for name in inspect.signature(kvgossip.Config).parameters
    }


def _class(kind: type) -> Surface:
    if isinstance(kind, EnumType):
        members: Iterable[Enum] = kind
        return {"members": {member.name: member.value for member in members}}
    inherited = {
        name
        for base in kind.__mro__
        if base.__module__ in ("builtins", "msgspec")
        for name in vars(base)
    }
    names = [name for name in dir(kind) if not name.startswith("_") and name not in inherited]
    return {
        "bases": [
            base.__name__
            for base in kind.__mro__[1:-1]
            if base.__module__ == "builtins" or base.__name__ in kvgossip.__all__
        ],
        "made by": _callable(kind),
        "has": {name: _member(getattr(kind, name)) for name in names},
    }


def _member(member: Any) -> Surface | str:
    return _callable(member) if callable(member) else "attribute"


def _callable(function: Any) -> Surface | str:
    """What it takes: annotations are left out, since they name types within, and so are parameters
    that only tests give."""
    if not callable(function):
        return type(function).__name__
    taken = [
        parameter
        for name, parameter in inspect.signature(function).parameters.items()
        if name not in ("self", LATER) and not name.startswith("_")
    ]
    return {
        "awaited": inspect.iscoroutinefunction(function),
        "takes": {
            parameter.name: _parameter(parameter, place) for place, parameter in enumerate(taken)
        },
        "needs": [
            parameter.name
            for parameter in taken
            if parameter.default is parameter.empty and parameter.kind not in _ANY
        ],
    }


_ANY = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def _parameter(parameter: inspect.Parameter, place: int) -> str:
    by_name = parameter.kind in (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_KEYWORD)
    where = "by name" if by_name else f"in place {place}"
    how = f"any number, {where}" if parameter.kind in _ANY else where
    return how if parameter.default is parameter.empty else f"{how}, default {parameter.default!r}"


# -- command line ----------------------------------------------------------------------------------


def _command(command: Any) -> Surface:
    told: Surface = {
        "takes": {_title(parameter): _option(parameter) for parameter in command.params},
        "needs": [_title(parameter) for parameter in command.params if parameter.required],
    }
    if commands := getattr(command, "commands", {}):
        told["commands"] = {name: _command(inner) for name, inner in commands.items()}
    return told


def _title(parameter: Any) -> str:
    return str(parameter.opts[0])


def _option(parameter: Any) -> Surface:
    annotation = getattr(getattr(parameter, "type_descriptor", None), "annotation", None)
    choices: Iterable[Enum] = annotation if isinstance(annotation, EnumType) else ()
    return {
        "kind": parameter.param_type_name,
        "names": dict.fromkeys((*parameter.opts, *parameter.secondary_opts), True),
        "variable": parameter.envvar,
        "default": str(getattr(parameter.default, "value", parameter.default)),
        "values": {choice.value: True for choice in choices},
        "many": parameter.nargs != 1 or getattr(parameter, "multiple", False),
        "flag": getattr(parameter, "is_flag", False),
    }


# -- wire ------------------------------------------------------------------------------------------


def _wire() -> Surface:
    """The shape of every message by its number.

    The names of messages and fields are no part of it: the wire does not carry them.
    """
    kinds: dict[int, type[msgspec.Struct]] = {
        MEMBER_KIND: Member,
        **{kind.kind: kind for kind in KINDS},
    }
    return {
        "format": FORMAT,
        "messages": {str(number): _fields(kind) for number, kind in sorted(kinds.items())},
    }


def _fields(kind: type[msgspec.Struct]) -> Surface:
    """Type and default by place: a field that comes later may be added, as old peers ignore it, and
    that of a member is passed on."""
    return {
        str(place): {
            "type": _type(field.type),
            "default": "none" if field.required else repr(_plain(field.default)),
        }
        for place, field in enumerate(msgspec.structs.fields(kind))
        if field.name != LATER
    }


def _plain(default: Any) -> Any:
    return default.value if hasattr(default, "value") else default


def _type(annotation: Any) -> Any:
    """As msgspec understands it, with the names of classes resolved to what they hold."""
    return _told(msgspec.inspect.type_info(annotation))


def _told(kind: msgspec.inspect.Type) -> Any:
    match kind:
        case msgspec.inspect.EnumType(cls=cls):
            members: Iterable[Enum] = cls
            return {"enum": {str(member.value): True for member in members}}
        case msgspec.inspect.StructType(cls=cls):
            return _fields(cls)
        case msgspec.inspect.NamedTupleType(cls=cls):
            return len(cls.__annotations__)
        case msgspec.inspect.VarTupleType(item_type=item):
            return {"each": _told(item)}
        case msgspec.inspect.TupleType(item_types=items):
            return [_told(item) for item in items]
    return str(kind)


# -- served ----------------------------------------------------------------------------------------


async def _serving() -> Surface:
    """Of a node with a data directory, a peer and an entry, which has counted something."""
    with tempfile.TemporaryDirectory() as folder:
        async with serving() as start, asyncio.timeout(TIMEOUT_S):
            settings = {
                "probe_interval_s": 0.1,
                "probe_timeout_s": 0.05,
                "push_pull_interval_s": 0.05,
            }
            one = await start("n1", data_dir=folder, **settings)
            two = await start("n2", join=(str(one.node.address),), **settings)
            await two.node.wait_settled()
            assert (
                await one.call("PUT", "/kv/a?wait=all", b"1", content_type="text/plain")
            ).status == 200
            async with _garbage_to(one):
                metrics = await _metrics(one, two)
            return {
                "http": await _http(one),
                "answers": {
                    path: _keys((await one.call("GET", path)).json)
                    for path in ("/status", "/members")
                },
                "metrics": metrics,
                "files": {"directory": _directory(Path(folder)), "export": await _export(one)},
            }


@asynccontextmanager
async def _garbage_to(server: Served) -> AsyncIterator[None]:
    """A datagram that a node drops and counts."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(
        asyncio.DatagramProtocol, remote_addr=server.node.address
    )
    transport.sendto(b"garbage")
    try:
        yield
    finally:
        transport.close()


async def _http(server: Served) -> Surface:
    document = (await server.call("GET", "/openapi.json")).json
    schemas = document["components"]["schemas"]
    return {
        path: await _path(server, path, methods, schemas)
        for path, methods in document["paths"].items()
    }


async def _path(server: Served, path: str, methods: Surface, schemas: Surface) -> Surface:
    """A method that no path knows is answered with those that this one knows."""
    allowed = (
        (await server.call(NO_METHOD, path.replace("{key}", "a"))).headers["allow"].split(", ")
    )
    return {
        method: _operation(methods[method.lower()], schemas) if method != "HEAD" else {}
        for method in allowed
    }


def _operation(told: Surface, schemas: Surface) -> Surface:
    taken = told.get("parameters", ())
    body = _resolved(told.get("requestBody", {}), schemas)
    answers = {status: answer.get("content", {}) for status, answer in told["responses"].items()}
    return {
        "takes": {
            f"{taker['in']} {taker['name']}": _without_texts(taker["schema"]) for taker in taken
        },
        "needs": [f"{taker['in']} {taker['name']}" for taker in taken if taker["required"]],
        "body": _without_texts(body),
        # all errors are alike, so one of them says what they hold
        "answers": {
            status: _without_texts(_resolved(content, schemas))
            if status < "300" or status == "500"
            else list(content)
            for status, content in answers.items()
        },
    }


def _resolved(schema: Any, schemas: Surface) -> Any:
    """With what a name stands for in its place: the names are those of classes within."""
    if isinstance(schema, dict):
        if "$ref" in schema:
            return _resolved(schemas[schema["$ref"].rpartition("/")[2]], schemas)
        return {name: _resolved(value, schemas) for name, value in schema.items()}
    return [_resolved(value, schemas) for value in schema] if isinstance(schema, list) else schema


def _without_texts(schema: Any) -> Any:
    """Without what is for people alone."""
    if isinstance(schema, dict):
        kept = {
            name: value
            for name, value in schema.items()
            if name not in ("title", "description") or not isinstance(value, str)
        }
        return {name: _without_texts(value) for name, value in kept.items()}
    return [_without_texts(value) for value in schema] if isinstance(schema, list) else schema


def _keys(document: Any) -> Any:
    """The names in a document of JSON; of a list those of its first item."""
    if isinstance(document, list):
        return {"each": _keys(document[0])} if document else {}
    if isinstance(document, dict):
        return {name: _keys(value) for name, value in document.items() if name not in OCCASIONAL}
    return {}


async def _metrics(*servers: Served) -> Surface:
    """Type and labels by name.

    For those that have counted nothing yet the type alone, from the table of what there is.
    """
    scraped: Surface = {}
    while not {PREFIX + name for name in EVENTUAL} <= scraped.keys():
        for server in servers:
            text = (await server.call("GET", "/metrics")).body.decode()
            scraped |= {family.name: family for family in families(text) if family.samples}
    listed = {"gauge": GAUGES, "counter": COUNTERS}
    told: Surface = {
        PREFIX + _with_unit_last(name): {"type": kind}
        for kind, table in listed.items()
        for name in table
    }
    for name, family in scraped.items():
        labels = {
            label: True for sample in family.samples for label in sample.labels if label != "le"
        }
        told[name] = {"type": family.type, "labels": labels}
    return dict(sorted(told.items()))


def _with_unit_last(name: str) -> str:
    return f"{name.replace('_bytes', '').replace('bytes_', '')}_bytes" if "bytes" in name else name


def _directory(folder: Path) -> Surface:
    """Its files, but for those of RocksDB, and what the one that says whose they are holds."""
    identity = json.loads((folder / "node.json").read_text())
    return {
        "names": {path.name: True for path in folder.iterdir()},
        "node.json": _keys(identity),
        "format": identity["format"],
    }


async def _export(server: Served) -> Surface:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://{server.server.address}/export") as got,
    ):
        first, entry, last = map(json.loads, (await got.read()).splitlines())
    return {
        "first": _keys(first),
        "format": first["format"],
        "entry": _keys(entry),
        "last": _keys(last),
    }


def _laid_out(part: Any, indent: str = "") -> str:
    """JSON with a line for whatever fits into one."""
    line = json.dumps(part, ensure_ascii=False)
    if not isinstance(part, dict) or len(indent) + len(line) <= COLUMNS_MAX:
        return line
    deeper = f"{indent} "
    inner = (
        f"{deeper}{json.dumps(name)}: {_laid_out(value, deeper)}" for name, value in part.items()
    )
    return "{\n" + ",\n".join(inner) + f"\n{indent}}}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help="record the present surface")
    write, found = parser.parse_args().write, asyncio.run(surface())
    if write:
        RECORD.write_text(_laid_out(found) + "\n", encoding="utf-8")
    else:
        print("\n".join(differences(json.loads(RECORD.read_text(encoding="utf-8")), found)))


if __name__ == "__main__":
    main()
