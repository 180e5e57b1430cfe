"""Schemas (JSON Schema 2020-12, as OpenAPI 3.1 has it) that more than one family of routes uses."""

from __future__ import annotations

from typing import Any

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
ERROR: Schema = {
    "type": "object",
    "required": ["error", "hint"],
    "properties": {
        "error": {"type": "string"},
        "hint": {"type": "string", "description": "what to do next; may be empty"},
    },
}


def fields(**properties: Schema) -> Schema:
    """An object that has all of these, and perhaps others."""
    return {"type": "object", "required": list(properties), "properties": properties}
