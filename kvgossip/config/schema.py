"""The JSON schema of the configuration file, for editors and for programs that write the file."""

from __future__ import annotations

from typing import Any

import msgspec

from kvgossip.config.address import Address
from kvgossip.config.conversion import Values
from kvgossip.config.description import PARAMETERS, WAN_PARAMETERS
from kvgossip.config.profiles import PROFILES


def config_schema() -> dict[str, Any]:
    """The schema (JSON Schema 2020-12) of the file that `kvgossip agent --config` reads."""
    parts = msgspec.json.schema(Values)["$defs"]
    properties: dict[str, Any] = {
        name: {**declared, "default": plain(PARAMETERS[name].default)}
        for name, declared in parts["Values"]["properties"].items()
    }
    properties["http"]["anyOf"].append({"type": "array", "items": {"type": "string"}})
    properties["wan_parameters"] = {
        "description": PARAMETERS["wan_parameters"].description,
        "type": "object",
        "properties": {name: {"$ref": f"#/properties/{name}"} for name in WAN_PARAMETERS},
        "additionalProperties": False,
        "default": {},
    }
    profile = {
        "description": "The profile: defaults for a network of this kind.",
        "enum": list(PROFILES),
        "default": "lan",
    }
    level = {
        "description": "The least that the log of an agent tells; read anew at SIGHUP.",
        "enum": ["debug", "info", "warning", "error"],
        "default": "info",
    }
    form = {
        "description": "The lines of the log of an agent: text for people, JSON for programs.",
        "enum": ["text", "json"],
        "default": "text",
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "The configuration of a kvgossip agent",
        "type": "object",
        "properties": {"profile": profile, "log_level": level, "log_format": form, **properties},
        "additionalProperties": False,
        # A file writes an address as text, where Config holds a pair.
        "$defs": {"Address": {"title": "HOST:PORT", "type": "string"}},
    }


def plain(value: Any) -> Any:
    """A value of Config, ready for JSON."""
    if isinstance(value, Address):
        return str(value)
    return list(value) if isinstance(value, tuple) else value
