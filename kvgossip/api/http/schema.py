"""Schemas (JSON Schema 2020-12, as OpenAPI 3.1 has it) that more than one family of routes uses."""

from __future__ import annotations

from typing import Any

import msgspec

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
OBJECT: Schema = {"type": "object"}
OCTETS: Schema = {"type": "string", "format": "binary"}
SWITCH: Schema = {"type": "string", "enum": ["", "true", "false", "1", "0"]}
"""A parameter that is on or off: see `switch.py`."""
VERSION: Schema = {
    "type": "string",
    "pattern": "^[0-9a-f]{16}-[0-9a-f]{16}$",
    "description": "a greater version is a later write",
}
VERSION_EXAMPLE = "0192f3c1a2b40000-5d1c9e0f3a7b2468"
ERROR: Schema = {
    "type": "object",
    "required": ["error", "hint"],
    "properties": {
        "error": {"type": "string"},
        "hint": {"type": "string", "description": "what to do next; may be empty"},
    },
}


WHOLE: Schema = {"type": "integer"}
NUMBER: Schema = {"type": "number"}
YES_OR_NO: Schema = {"type": "boolean"}
POOL: Schema = {"enum": ["lan", "wan"]}
STATE: Schema = {"enum": ["alive", "suspect", "dead", "left"]}


def or_null(schema: Schema) -> Schema:
    """This, or nothing is known of it."""
    if schema.keys() == {"type"}:
        return {"type": [schema["type"], "null"]}
    return {"anyOf": [schema, {"type": "null"}]}


def many(schema: Schema) -> Schema:
    """An array of these."""
    return {"type": "array", "items": schema}


def struct(kind: type[msgspec.Struct]) -> Schema:
    """What this class of the code is in JSON. It may hold no other one."""
    _, components = msgspec.json.schema_components((kind,))
    found: Schema = components[kind.__name__]
    return found


def named(name: str, /, **properties: Schema) -> Schema:
    """`fields` that generated clients make a class of, under this name; see openapi.py."""
    return {"title": name, **fields(**properties)}


def fields(**properties: Schema) -> Schema:
    """An object that has all of these, and perhaps others."""
    return {"type": "object", "required": list(properties), "properties": properties}
