"""A configuration as TOML text: the commented example, and what a run was resolved to."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .sections import Config
from .tables import FORMS, KIND_WORDS, keys, summary


def example() -> str:
    """Every section and key with its default and what it means; keys without a default are
    commented out."""
    head = (
        "# A run of wwfl. Every key is optional and shown with its default; `wwfl train FILE` "
        "runs it.\n"
    )
    return head + to_toml(Config(), comments=True)


def to_toml(config: Config, *, comments: bool = False) -> str:
    """The configuration as TOML that `parse` reads back to an equal one.

    Only what a file can name can be written: protocols, rules and attacks by name, not as objects.

    >>> print(to_toml(Config())[:52])
    [model]
    name = "lenet5"
    hidden = [32]
    norm = "batch"
    """
    return "\n".join(_table(config, (), comments)).strip() + "\n"


def _table(made: Any, path: tuple[str, ...], comments: bool) -> Iterator[str]:
    kind = FORMS[type(made)].kind
    if kind is not None:
        yield f'kind = "{kind}"{_note(KIND_WORDS, comments)}'

    later: list[tuple[str, Any]] = []
    for key in keys(type(made)).values():
        value = key.of(made)
        if key.tables and value is not None:
            later.append((key.name, value))
        elif value is not None:
            yield f"{key.name} = {_inline(value)}{_note(key.meaning, comments)}"
        elif comments:
            yield f"# {key.name} ={_note(key.meaning, comments)}"

    for name, value in later:
        for item in value if isinstance(value, Sequence) else [value]:
            where = ".".join((*path, name))
            yield ""
            if comments:
                yield f"# {summary(type(item))}"
            yield f"[[{where}]]" if isinstance(value, Sequence) else f"[{where}]"
            yield from _table(item, (*path, name), comments)


def _note(meaning: str, comments: bool) -> str:
    return f"  # {meaning}" if comments and meaning else ""


def _inline(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        pairs = ", ".join(f"{_inline(k)} = {_inline(v)}" for k, v in value.items())
        return f"{{ {pairs} }}" if pairs else "{}"
    if isinstance(value, str):
        # TOML wants DEL escaped, which JSON does not.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, Sequence):
        return "[" + ", ".join(map(_inline, value)) + "]"
    return repr(value)
