"""Reading a configuration: TOML text, `--set` overrides, and errors that name the path and the
nearest key."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from wwfl_core.errors import ConfigError

from .sections import KINDS, Config


def load(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """The configuration of a TOML file, with `a.b=c` overrides applied in order.

    Raises:
        ConfigError: no such file, no TOML, or keys and values that are not allowed; all of them are
            named.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot read this configuration ({error.strerror}); `wwfl config --example` "
            "prints one"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path} is not UTF-8 text ({error.reason} at byte {error.start})"
        ) from error
    return parse(text, overrides, source=str(path))


def parse(text: str, overrides: Sequence[str] = (), *, source: str = "configuration") -> Config:
    """The same for TOML text; `source` names it in errors."""
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{source} is not valid TOML: {error}") from error
    for override in overrides:
        _apply(tree, override)
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(f"{source}:\n" + "\n".join(_lines(error))) from error


def _apply(tree: dict[str, Any], override: str) -> None:
    """Sets one value: a path of keys and list positions, and a TOML value (anything else is a
    string)."""
    path, equals, text = override.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        raise ConfigError(f"--set {override!r} is not of the form section.key=value")
    value, at = _value(text.strip()), tree
    node: Any = at
    for depth, key in enumerate(keys[:-1]):
        node = _step(node, key, ".".join(keys[: depth + 1]), override)
    last = keys[-1]
    if isinstance(node, list):
        node[_position(node, last, path, override)] = value
    elif isinstance(node, dict):
        node[last] = value
    else:
        raise ConfigError(f"--set {override!r}: {'.'.join(keys[:-1])} is a value, not a section")


def _step(node: Any, key: str, path: str, override: str) -> Any:
    if isinstance(node, list):
        return node[_position(node, key, path, override)]
    if not isinstance(node, dict):
        raise ConfigError(f"--set {override!r}: {path} goes through a value, not a section")
    return node.setdefault(key, {})


def _position(node: list[Any], key: str, path: str, override: str) -> int:
    if not key.isdigit() or int(key) >= len(node):
        raise ConfigError(
            f"--set {override!r}: {path} is no position in a list of {len(node)} (counted from 0)"
        )
    return int(key)


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"x = {text}")["x"]
    except tomllib.TOMLDecodeError:
        return text


def _lines(error: ValidationError) -> list[str]:
    lines = []
    for problem in error.errors(include_url=False):
        where = ".".join(str(key) for key in _without_tags(problem["loc"])) or "configuration"
        message = problem["msg"][:1].lower() + problem["msg"][1:]
        given = problem.get("input")
        got = f", got {given!r}" if isinstance(given, str | int | float | bool) else ""
        lines.append(f"  {where}: {message}{got}")
    return lines


def _without_tags(loc: Sequence[str | int]) -> list[str | int]:
    """Pydantic puts a member's kind behind its position; nobody wrote that into the file."""
    return [
        key
        for i, key in enumerate(loc)
        if not (key in KINDS and i > 0 and isinstance(loc[i - 1], int))
    ]
