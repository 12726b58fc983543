"""A configuration as TOML text: the commented example, and what a run was resolved to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from .sections import Config, Section

WIDTH = 118


def example() -> str:
    """Every section and key with its default and what it means; keys without a default are
    commented out."""
    head = (
        "# A run of wwfl. Every key is optional and shown with its default; `wwfl train FILE` "
        "runs it.\n"
    )
    return head + to_toml(Config(), comments=True)


def to_toml(config: Config, *, comments: bool = False) -> str:
    """The configuration as TOML that `parse` reads back to an equal one."""
    return "\n".join(_table(config, (), comments)).strip() + "\n"


def _table(section: BaseModel, path: tuple[str, ...], comments: bool) -> Iterator[str]:
    later: list[tuple[str, Any]] = []
    for key, info in type(section).model_fields.items():
        value = getattr(section, key)
        if _is_table(value):
            later.append((key, value))
            continue
        note = f"  # {info.description}" if comments and info.description else ""
        if value is None:
            if comments:
                yield f"# {key} ={note}"
            continue
        yield f"{key} = {_inline(value)}{note}"
    for key, value in later:
        for item in value if isinstance(value, list) else [value]:
            name = ".".join((*path, key))
            yield ""
            if comments and type(item).__doc__:
                yield f"# {' '.join(str(type(item).__doc__).split())}"
            yield f"[[{name}]]" if isinstance(value, list) else f"[{name}]"
            yield from _table(item, (*path, key), comments)


def _is_table(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and all(isinstance(item, Section) for item in value)
    return isinstance(value, Section)


def _inline(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return (
            "{ " + ", ".join(f"{_inline(k)} = {_inline(v)}" for k, v in value.items()) + " }"
            if value
            else "{}"
        )
    if isinstance(value, list):
        return "[" + ", ".join(map(_inline, value)) + "]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace(
            "\x7f", "\\u007f"
        )  # which TOML wants escaped
    return repr(value)
