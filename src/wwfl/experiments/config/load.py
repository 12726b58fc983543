"""Reading a configuration: TOML text, `--set` overrides, and errors that name the path and the
nearest key. All errors in a file are reported together."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from wwfl_core.errors import ConfigError, Misuse
from wwfl_core.plugins import did_you_mean

from .sections import Config
from .tables import FORMS, KINDS, Key, inlined_class, keys


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
    """The same for TOML text; `source` names it in errors.

    >>> parse("schedule = { rounds = 3 }", ["schedule.lr=0.5"]).schedule.sgd.lr
    0.5
    >>> parse("schedule = { rounds = 0, epoch = 3 }")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    wwfl_core.errors.ConfigError: configuration:
      schedule: 'epoch' is no key here; did you mean 'epochs'? (keys are ...)
      schedule.rounds: input should be greater than or equal to 1, got 0
    """
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{source} is not valid TOML: {error}") from error
    for override in overrides:
        _apply(tree, override)

    reader = _Reader()
    config = reader.table((Config,), tree, (), MISSING)
    if reader.problems:
        raise ConfigError(f"{source}:\n" + "\n".join(f"  {line}" for line in reader.problems))
    return config


# ---------------------------------------------------------------------- tables to objects

KeyPath = tuple[str | int, ...]


class _Reader:
    """Turns tables into objects. What is wrong is noted in `problems` and read as missing, so that
    the rest is still looked at."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def table(self, classes: Sequence[type], given: Any, path: KeyPath, default: Any) -> Any:
        """The object of a table; keys that are missing have the values of `default`, or of its
        class."""
        if not isinstance(given, dict):
            return self._wrong(path, f"a table is expected here, got {given!r}")
        made = self._kind(classes, given, path)
        if made is None:
            return MISSING
        own, before = keys(made), len(self.problems)
        self._check_names(given, own, FORMS[made].kind is not None, path)

        values: dict[str, Any] = {}
        for name, key in own.items():
            at = default if default is MISSING else _reached(default, key.path)
            if name in given:
                value = self._value(key, given[name], (*path, name), at)
            elif key.required and at is MISSING:
                value = self._wrong((*path, name), "field required")
            else:
                value = at
            if value is not MISSING:
                _put(values, key.path, value)
        if len(self.problems) > before:
            return MISSING
        try:
            return _made(made, values)
        except Misuse as error:  # what the class itself refuses
            return self._wrong(path, str(error))

    def _kind(self, classes: Sequence[type], given: dict[str, Any], path: KeyPath) -> type | None:
        if len(classes) == 1:
            return classes[0]
        kind = given.get("kind", "cluster")
        if isinstance(kind, str) and kind in KINDS:
            return KINDS[kind]
        self._wrong(path, f"kind must be 'cluster', 'group' or 'trainers', got {kind!r}")
        return None

    def _check_names(
        self, given: dict[str, Any], own: Mapping[str, Key], has_kind: bool, path: KeyPath
    ) -> None:
        known = [*(["kind"] if has_kind else []), *own]
        unknown = [key for key in given if key not in known]
        if unknown:
            hints = [
                f"{key!r} is no key here; {did_you_mean(key, known)}".rstrip(" ;")
                for key in unknown
            ]
            self._wrong(path, f"{'; '.join(hints)} (keys are {', '.join(known)})")

    def _value(self, key: Key, given: Any, path: KeyPath, default: Any) -> Any:
        if key.tables and key.several:
            return self._tables(key, given, path)
        if key.tables:
            inner = key.default if default is MISSING else default
            return self.table(key.tables, given, path, MISSING if inner is None else inner)
        try:
            value = key.adapter.validate_python(given, strict=True)
        except ValidationError as error:
            for problem in error.errors(include_url=False):
                message = problem["msg"][:1].lower() + problem["msg"][1:]
                got = problem.get("input")
                shown = f", got {got!r}" if isinstance(got, str | int | float | bool) else ""
                self._wrong((*path, *problem["loc"]), message + shown)
            return MISSING
        if key.scale is not None:
            return value * key.scale
        return tuple(value) if isinstance(value, list) else value

    def _tables(self, key: Key, given: Any, path: KeyPath) -> Any:
        if not isinstance(given, list):
            return self._wrong(path, f"a list of tables is expected here, got {given!r}")
        if not given:
            return self._wrong(path, "list should have at least 1 item")
        made = [self.table(key.tables, item, (*path, i), MISSING) for i, item in enumerate(given)]
        return MISSING if MISSING in made else tuple(made)

    def _wrong(self, path: KeyPath, what: str) -> Any:
        where = ".".join(map(str, path)) or "configuration"
        self.problems.append(f"{where}: {what}")
        return MISSING


def _reached(made: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        made = getattr(made, name)
    return made


def _put(values: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    """Notes a value under its path; fields of an inlined object are a dictionary of their own."""
    *inlined, last = path
    for name in inlined:
        values = values.setdefault(name, {})
    values[last] = value


def _made(table: type, values: dict[str, Any]) -> Any:
    """The object; first those whose keys stand in the same table."""
    inlined = {
        name: inlined_class(table, name)(**values.pop(name, {})) for name in FORMS[table].inline
    }
    return table(**values, **inlined)


# ---------------------------------------------------------------------- overrides


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
