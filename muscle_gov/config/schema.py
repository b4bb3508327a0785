"""The JSON Schema of a file, for editors, made from the dataclasses that validate it.

It tells an editor what keys there are and what they mean. It is looser than the program in one
point: names that plugins may add (metrics, readers, reports) are examples and not the only ones.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from muscle_gov.config.tables import (
    COMPARE,
    FINETUNE,
    GATE,
    LISTS,
    MEND,
    MITIGATIONS,
    MODELS,
    NEW,
    OLD,
    PLUGINS,
    PREDICT,
    RULES,
    SUITES,
    TOP,
    TRAINING,
    Table,
)
from muscle_gov.plugins import Plugins, field_docs

DIALECT = "https://json-schema.org/draft/2020-12/schema"
Schema = dict[str, Any]


def json_schema(plugins: Plugins) -> Schema:
    """A JSON Schema (draft 2020-12) of the file that describes an update."""
    rules = _table(RULES)
    rules["oneOf"] = [{"required": ["max"]}, {"required": ["min"]}]
    rules["properties"]["metric"]["examples"] = list(plugins.names("metrics"))
    gate = _table(GATE)
    gate["properties"]["rules"] |= {"items": rules, "default": []}
    gate["properties"]["must_not_regress"] |= {"items": _lists()}
    gate.pop("$defs", None)
    gate["required"] = []
    top = _table(TOP)
    named: dict[str, Schema] = {}
    for kind in ("readers", "loaders", "suites", "mitigations"):
        for name in plugins.names(kind):
            made = _plugin(plugins, kind, name)
            named |= made.pop("$defs", {})  # types of options that have fields of their own
            named[f"{kind.removesuffix('s')}-{name}"] = made
    return {
        **top,
        "$schema": DIALECT,
        "title": "muscle-gov update",
        "description": "An update of a model: what to compare, and what it must keep to.",
        "properties": {
            **top["properties"],
            "old": _side(OLD, plugins),
            "new": _side(NEW, plugins),
            "models": _runs(MODELS, "loader", plugins),
            "suites": _runs(SUITES, "suite", plugins),
            "predict": _table(PREDICT),
            "compare": _table(COMPARE),
            "gate": gate,
            "training": _runs(TRAINING, "suite", plugins),
            "finetune": _runs(FINETUNE, "mitigation", plugins, "trainer"),
            "mitigations": _runs(MITIGATIONS, "mitigation", plugins),
            "mend": _table(MEND),
            "reports": _reports(plugins),
            "plugins": _table(PLUGINS),
        },
        "$defs": dict(sorted(named.items())),
    }


def _lists() -> Schema:
    lists = _table(LISTS)
    lists["oneOf"] = [{"required": [key]} for key in ("slice", "instances", "file")]
    lists["properties"]["instances"]["minItems"] = 1
    return lists


def write_schema(path: Path, plugins: Plugins) -> None:
    """Write the schema as JSON with a final newline."""
    text = json.dumps(json_schema(plugins), indent=2, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def _table(table: Table) -> Schema:
    properties: dict[str, Schema] = {}
    required: list[str] = []
    for part in table.parts:
        made = _object(part)
        properties |= {k: v for k, v in made["properties"].items() if k not in table.hidden}
        required += [k for k in made["required"] if k not in table.hidden]
    return {
        "description": table.about,
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def _object(cls: type) -> Schema:
    """The fields of a dataclass with their docstrings."""
    import pydantic

    made = pydantic.TypeAdapter(cls).json_schema()
    docs = field_docs(cls)
    properties = {name: _property(field, docs.get(name)) for name, field in made["properties"].items()}
    defs = {"$defs": made["$defs"]} if "$defs" in made else {}
    return {"properties": properties, "required": made.get("required", []), **defs}


def _property(field: Schema, about: str | None) -> Schema:
    kept = {key: value for key, value in field.items() if key != "title"}
    # TOML has no null: a key that is not set is left out
    choices = [choice for choice in kept.pop("anyOf", []) if choice != {"type": "null"}]
    if len(choices) == 1:
        kept |= choices[0]
    elif choices:
        kept["anyOf"] = choices
    if kept.get("default", 0) is None:
        del kept["default"]
    return {"description": " ".join(about.split()), **kept} if about else kept


def _side(table: Table, plugins: Plugins) -> Schema:
    made = _table(table)
    made["properties"]["reader"]["examples"] = ["auto", *plugins.names("readers")]
    made["allOf"] = [
        {
            "if": {"properties": {"reader": {"const": name}}, "required": ["reader"]},
            "then": {"properties": {"options": {"$ref": f"#/$defs/reader-{name}"}}},
        }
        for name in plugins.names("readers")
    ]
    return made


def _runs(common: Table, kind: str, plugins: Plugins, key: str | None = None) -> Schema:
    """`[models.*]` and the like: common keys, and those of the loader, suite or mitigation that `key`
    names; its key is called as its kind is unless `key` says otherwise."""
    made = _object(common.parts[0])
    names = plugins.names(f"{kind}s")
    key = key or kind
    made["properties"][key]["examples"] = list(names)
    default = made["properties"][key].get("default")
    cases = []
    for name in names:
        is_asked: Schema = {"properties": {key: {"const": name}}}
        if name != default:
            is_asked["required"] = [key]
        closed = {"properties": dict.fromkeys(made["properties"], True), "unevaluatedProperties": False}
        cases.append({"if": is_asked, "then": {"$ref": f"#/$defs/{kind}-{name}", **closed}})
    table = {"type": "object", **made}
    if cases:
        table["allOf"] = cases
    return {"description": common.about, "type": "object", "additionalProperties": table}


def _plugin(plugins: Plugins, kind: str, name: str) -> Schema:
    """The options of a plugin. One whose types no schema can say may have any."""
    import pydantic

    cls = plugins.get(kind, name)
    about = (cls.__doc__ or "").strip().partition("\n")[0]
    try:
        made = _object(cls)
    except pydantic.errors.PydanticUserError:
        return {"description": about, "type": "object"}
    for field in made["properties"].values():
        if field.get("type") == "array" and "items" in field:
            # a single value is taken for a list of one
            items = field.pop("items")
            del field["type"]
            field["anyOf"] = [{"type": "array", "items": items}, items]
    # the options of a reader stand in a table of their own, others beside the common keys
    closed = {"additionalProperties": False} if kind == "readers" else {}
    return {"description": about, "type": "object", **made, **closed}


def _reports(plugins: Plugins) -> Schema:
    formats = {
        name: {"type": "string", "description": (plugins.get("reports", name).__doc__ or "").strip()}
        for name in plugins.names("reports")
    }
    return {
        "description": "Name of a report format = the file to write.",
        "type": "object",
        "properties": formats,
        "additionalProperties": {"type": "string"},
    }
