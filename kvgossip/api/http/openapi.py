"""The description of the API (OpenAPI 3.1), made from the routes (route.py)."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

import msgspec

from kvgossip import __version__
from kvgossip.api.access.doors import UNGUARDED
from kvgossip.api.access.rights import Right
from kvgossip.api.http.route import Body, Parameter, Route
from kvgossip.api.http.schema import ERROR, Schema

JSON = "application/json"
ALWAYS = (400, 500, 503)
"""Statuses that every route may answer."""
GUARDED = (401, 403, 501)
"""And those that need a right: to who lacks it, and where a node has no tokens at all."""
SCHEMES: Schema = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "consulHeader": {"type": "apiKey", "in": "header", "name": "X-Consul-Token"},
    "consulQuery": {"type": "apiKey", "in": "query", "name": "token"},
}
"""The ways to send a token."""
AT_THE_DOORS = (403, 421)
"""Those that every route may answer which is not UNGUARDED."""


def document(routes: Iterable[Route]) -> Schema:
    """The whole description."""
    paths: dict[str, Schema] = {}
    structs: dict[type[msgspec.Struct], None] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
        for kind in (route.answer, route.body.kind if route.body is not None else {}):
            if not isinstance(kind, dict):
                structs[kind] = None
    _, components = msgspec.json.schema_components(
        structs, ref_template="#/components/schemas/{name}"
    )
    paths = _hoisted(paths, components)
    about = (
        "A replicated key-value store. HEAD goes wherever GET goes. Errors are JSON with "
        "`error` and `hint`. Where a node has a tokens file, an operation needs the right that its "
        "`security` names, for the keys that it is about."
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
        "components": {"schemas": {"Error": ERROR, **components}, "securitySchemes": SCHEMES},
    }


def _operation(route: Route) -> Schema:
    responses = {
        "200": _response(
            200, {route.content_type: _schema_of(route.answer), **dict(route.other_content)}
        )
    }
    if route.example is not None:
        responses["200"]["content"][JSON]["example"] = route.example
    guarded = GUARDED if route.right is not Right.OPEN else ()
    doors = () if route.path in UNGUARDED else AT_THE_DOORS
    for status in sorted({*route.statuses, *ALWAYS, *guarded, *doors}):
        error = {} if status in route.bare else {JSON: _reference("Error")}
        responses[str(status)] = _response(status, error)
    if route.accepted is not None:
        responses["202"] = _response(202, {JSON: route.accepted})
    if route.several is not None:
        schema, example = route.several
        responses["300"] = _response(300, {JSON: schema})
        responses["300"]["content"][JSON]["example"] = example
    operation: Schema = {
        "operationId": route.operation,
        "tags": [route.tag],
        "summary": route.summary,
        "responses": responses,
    }
    # an empty list would say the same of all: OpenAPI 3.1 lets the names of rights stand here
    operation["security"] = [{name: [route.right.value]} for name in SCHEMES] if guarded else []
    parameters = [_parameter(each) for each in route.parameters if each.offered]
    if parameters:
        operation["parameters"] = parameters
    if route.body is not None:
        operation["requestBody"] = _request_body(route.body)
    return operation


def _request_body(body: Body) -> Schema:
    if isinstance(body.kind, dict):
        return {"content": {"application/octet-stream": {"schema": body.kind}}}
    content: Schema = {"schema": _schema_of(body.kind)}
    if body.example is not None:
        content["example"] = body.example
    return {"required": True, "content": {JSON: content}}


def _schema_of(kind: type[msgspec.Struct] | Schema) -> Schema:
    return kind if isinstance(kind, dict) else _reference(kind.__name__)


def _reference(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _hoisted(part: Any, components: Schema) -> Any:
    """The same, with a reference in place of each schema that has a title: it goes to the
    components. Raises ValueError for two of one title."""
    if isinstance(part, list):
        return [_hoisted(each, components) for each in part]
    if not isinstance(part, dict):
        return part
    schema = {
        name: value if name == "example" else _hoisted(value, components)
        for name, value in part.items()
    }
    title = schema.get("title")
    if not isinstance(title, str) or "type" not in schema:
        return schema
    if components.setdefault(title, schema) != schema:
        raise ValueError(f"two schemas have the title {title}")
    return _reference(title)


def _parameter(parameter: Parameter) -> Schema:
    return {
        "in": parameter.place,
        "name": parameter.name,
        "required": parameter.place == "path",
        "schema": parameter.schema,
        "description": parameter.description,
    }


def _response(status: int, content: dict[str, Schema]) -> Schema:
    """`content`: schemas by content type; empty: the response has no body."""
    response: Schema = {"description": HTTPStatus(status).phrase}
    if content:
        response["content"] = {kind: {"schema": schema} for kind, schema in content.items()}
    return response
