"""What is known of a model, from its metadata alone: as a list shows it, whole, and as OpenAPI."""

from __future__ import annotations

from typing import Any

from omegaml.jsonvalues import plain
from omegaml.metadata import Metadata
from omegaweb.api.scope import address

ASKS = ("predict", "predict_proba", "decision_function", "transform")


def brief(meta: Metadata) -> dict[str, Any]:
    return plain(
        {
            "data": {"name": meta.name, "kind": meta.kind},
            "name": meta.name,
            "kind": meta.kind,
            "version": meta.version,
            "bytes": meta.bytes,
            "created": meta.created,
            "modified": meta.modified,
            "resource_uri": address("model", meta.name),
        }
    )


def whole(meta: Metadata) -> dict[str, Any]:
    about = meta.kind_meta.get("model") or {}
    shown = {key: value for key, value in meta.attributes.items() if key not in ("versions", "trained")}
    return brief(meta) | plain(
        {
            "bucket": meta.bucket,
            "class": about.get("class"),
            "module": about.get("module"),
            "python": about.get("python"),
            "packages": about.get("versions") or {},
            "signature": signature(meta),
            "tags": meta.tags,
            "attributes": shown,
            "trained": _trained(meta),
        }
    )


def shared(meta: Metadata) -> dict[str, Any]:
    """As `whole` to whom it is shared with: without its owner's notes, tags and data."""
    return {key: value for key, value in whole(meta).items() if key not in ("attributes", "tags", "trained")}


def version(meta: Metadata, tags: dict[str, int]) -> dict[str, Any]:
    named = f"{meta.name}@{meta.version}"
    return brief(meta) | {
        "tags": sorted(tag for tag, number in tags.items() if number == meta.version),
        "resource_uri": address("model", named),
    }


def signature(meta: Metadata) -> dict[str, Any]:
    """`{methods, n_features, features: [{name, dtype}], target, classes}`, as far as that is known.

    A dtype is null where the model was fitted elsewhere.
    """
    found = dict((meta.kind_meta.get("model") or {}).get("signature") or {})
    trained = _trained(meta) or {}
    kinds = {column["name"]: column["dtype"] for column in trained.get("columns") or ()}
    if "features" in found or kinds:
        names = found.get("features") or list(kinds)
        found["features"] = [{"name": name, "dtype": kinds.get(name)} for name in names]
    if "target" in trained:
        found["target"] = trained["target"]
    return found


def _trained(meta: Metadata) -> dict[str, Any] | None:
    """What the training of this very version has noted."""
    trained = meta.attributes.get("trained")
    return trained if trained and trained.get("version") == meta.version else None


def openapi(meta: Metadata, url: str) -> dict[str, Any]:
    """OpenAPI 3.1 of the model's own routes."""
    known = signature(meta)
    methods = [method for method in ASKS if method in (known.get("methods") or ["predict"])]
    body = {"required": True, "content": {"application/json": {"schema": _body(known)}}}
    paths = {
        f"{address('model', meta.name)}{method}/": {
            "post": {
                "operationId": method,
                "summary": f"{method} of model {meta.name}",
                "requestBody": body,
                "responses": {
                    "200": {
                        "description": "one result for each row",
                        "content": {"application/json": {"schema": _answer(known, method)}},
                    },
                    "422": {"description": "the data does not fit the model; the message names the column"},
                },
            }
        }
        for method in methods
    }
    key = {"type": "apiKey", "in": "header", "name": "Authorization", "description": "userid:apikey"}
    return {
        "openapi": "3.1.0",
        "info": {"title": meta.name, "version": str(meta.version or 0)},
        "servers": [{"url": url}],
        "security": [{"ApiKey": []}],
        "paths": paths,
        "components": {"securitySchemes": {"ApiKey": key}},
    }


def _body(known: dict[str, Any]) -> dict[str, Any]:
    features = known.get("features")
    if not features:
        n = known.get("n_features")
        row: dict[str, Any] = {"type": "array", "items": {"type": "number"}}
        if n is not None:
            row |= {"minItems": n, "maxItems": n}
        return {
            "type": "object",
            "required": ["data"],
            "properties": {"data": {"type": "array", "items": row}},
        }
    names = [feature["name"] for feature in features]
    cells = [_cell(feature["dtype"]) for feature in features]
    n = len(names)
    rows = {"type": "array", "prefixItems": cells, "items": False, "minItems": n}
    return {
        "type": "object",
        "required": ["columns", "data"],
        "properties": {
            "columns": {"type": "array", "items": {"enum": names}, "minItems": n, "maxItems": n},
            "data": {"type": "array", "items": rows},
        },
        "example": {"columns": names, "data": [[_EXAMPLES.get(cell.get("type", ""), 0) for cell in cells]]},
    }


_EXAMPLES = {"number": 0.0, "integer": 0, "boolean": False, "string": "text"}


def _cell(dtype: str | None) -> dict[str, Any]:
    """What a cell of that dtype is in JSON; anything, where it is not known."""
    if dtype is None:
        return {}
    name = dtype.lower()
    if name.startswith(("int", "uint")):
        return {"type": "integer"}
    if name.startswith(("float", "complex")):
        return {"type": "number"}
    if name.startswith("bool"):
        return {"type": "boolean"}
    return {"type": "string"} if name.startswith(("str", "string", "object", "category", "datetime")) else {}


def _answer(known: dict[str, Any], method: str) -> dict[str, Any]:
    one: dict[str, Any] = {}
    if method == "predict" and known.get("classes"):
        one = {"enum": known["classes"]}
    elif method == "predict" and known.get("target"):
        one = _cell(known["target"])
    elif method == "predict_proba":
        one = {"type": "array", "items": {"type": "number"}}
    return {
        "type": "object",
        "properties": {
            "model": {"type": "string"},
            "result": {"type": "array", "items": one},
            "resource_uri": {"type": "string"},
        },
    }
