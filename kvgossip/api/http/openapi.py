"""The description of the API (OpenAPI 3.1), put together from what each family of routes says of
its own paths.

A family declares PATHS beside its routes: for each path what each method does, what it takes and
how it answers. That every route is told here, and every route told here exists, is a test. HEAD
goes wherever GET goes, and is not told again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import msgspec

from kvgossip import __version__

Schema = dict[str, Any]
Paths = dict[str, dict[str, Any]]

ERROR: Schema = {
    "type": "object",
    "required": ["error", "hint"],
    "properties": {
        "error": {"type": "string"},
        "hint": {"type": "string", "description": "what to do next; may be empty"},
    },
}
VERSION: Schema = {
    "type": "string",
    "pattern": "^[0-9a-f]{16}-[0-9a-f]{16}$",
    "description": "a greater version is a later write",
}
OCTETS: Schema = {"type": "string", "format": "binary"}


def fields(**properties: Schema) -> Schema:
    """An object that has all of these, and perhaps others."""
    return {"type": "object", "required": list(properties), "properties": properties}


def operation(
    summary: str,
    answer: Schema,
    statuses: Sequence[int] = (),
    *,
    parameters: Sequence[Schema] = (),
    body: type[msgspec.Struct] | Schema | None = None,
    content_type: str = "application/json",
    bare: Sequence[int] = (304,),
    accepted: Schema | None = None,
) -> Schema:
    """What one method of a path does. `answer`: the schema of its 200; `statuses`: what else it may
    answer, with an error in JSON, but for those in `bare`, which have no body.

    `body`: the structure that it takes as JSON, or the schema of raw bytes. `accepted`: the schema
    of its 202, if it has one.
    """
    told: Schema = {"summary": summary, "responses": {"200": _answer(200, answer, content_type)}}
    for status in (*statuses, 400, 500, 503):
        error = _answer(status, {"$ref": "#/components/schemas/Error"}, "application/json")
        told["responses"][str(status)] = (
            {"description": error["description"]} if status in bare else error
        )
    if accepted is not None:
        told["responses"]["202"] = _answer(202, accepted, "application/json")
    if parameters:
        told["parameters"] = list(parameters)
    if isinstance(body, dict):
        told["requestBody"] = {"content": {"application/octet-stream": {"schema": body}}}
    elif body is not None:
        schema = {"$ref": f"#/components/schemas/{body.__name__}"}
        told["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schema}},
        }
    return told


def parameter(place: str, name: str, schema: Schema, description: str) -> Schema:
    """`place`: path, query or header."""
    return {
        "in": place,
        "name": name,
        "required": place == "path",
        "schema": schema,
        "description": description,
    }


def document(families: Sequence[Paths], bodies: Sequence[type[msgspec.Struct]]) -> Schema:
    """The whole description; `bodies` are the structures that its operations take."""
    _, components = msgspec.json.schema_components(
        bodies, ref_template="#/components/schemas/{name}"
    )
    paths: dict[str, Mapping[str, Any]] = {}
    for family in families:
        paths.update(family)
    about = (
        "A replicated key-value store. HEAD goes wherever GET goes. Errors are JSON with "
        "`error` and `hint`."
    )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "kvgossip",
            "version": __version__,
            "description": about,
            "license": {"name": "Apache-2.0"},
        },
        "paths": paths,
        "components": {"schemas": {"Error": ERROR, **components}},
    }


def _answer(status: int, schema: Schema, content_type: str) -> Schema:
    return {"description": HTTPStatus(status).phrase, "content": {content_type: {"schema": schema}}}
