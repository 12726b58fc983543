"""The JSON schema of a configuration, for editors that check TOML files while one types."""

from __future__ import annotations

from typing import Any

from .sections import Config
from .tables import FORMS, KIND_WORDS, Key, keys, summary


def schema() -> dict[str, Any]:
    """The schema of a whole file; every table has a definition of its own."""
    definitions = {table.__name__: _table(table) for table in FORMS if table is not Config}
    return {**_table(Config), "$defs": definitions}


def _table(table: type) -> dict[str, Any]:
    own, kind = keys(table), FORMS[table].kind
    properties = {name: _key(key) for name, key in own.items()}
    if kind is not None:
        properties["kind"] = {"const": kind, "description": KIND_WORDS}
    needed = [name for name, key in own.items() if key.required]
    if kind is not None and kind != "cluster":
        needed.append("kind")
    return {
        "type": "object",
        "title": table.__name__,
        "description": summary(table),
        "properties": properties,
        "required": needed,
        "additionalProperties": False,
    }


def _key(key: Key) -> dict[str, Any]:
    described = {"description": key.meaning} if key.meaning else {}
    if not key.tables:
        return {**key.adapter.json_schema(), **described}
    references = [{"$ref": f"#/$defs/{table.__name__}"} for table in key.tables]
    one = references[0] if len(references) == 1 else {"anyOf": references}
    return {"type": "array", "items": one, **described} if key.several else {**one, **described}
