"""What a dataclass looks like as a table of a configuration: its keys, what each may hold, and what
each means.

Reading (`load`), writing (`text`) and the JSON schema (`schema`) all go by this description, so
that a field is described once: name, type, bounds and default in the dataclass, its meaning in the
text below it. `FORMS` lists the classes that can be tables, and the few places where a file is
written otherwise than the class."""

from __future__ import annotations

import ast
import inspect
import math
import textwrap
import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from functools import cached_property, lru_cache
from operator import attrgetter
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter

from wwfl.federation.schedule import Schedule
from wwfl.federation.topology import Cluster, Group, LocalTrainers, NamedRule, Servers
from wwfl.nn.train import SGD
from wwfl_core.channel.cost import NetworkModel

from .sections import (
    Attack,
    Config,
    Data,
    Federation,
    Grid,
    Model,
    Partition,
    Privacy,
    Reveal,
    Run,
)


@dataclass(frozen=True)
class Form:
    """How a table differs from its class.

    `kind` is the value of its key `kind`, where tables of several classes can stand. The keys of a
    field in `inline` stand in the table itself. `units` says under which key a field stands, and
    how many of the field's units make one of the key's. Fields in `hidden` cannot be given in a
    file; those in `required` must be."""

    kind: str | None = None
    inline: tuple[str, ...] = ()
    units: Mapping[str, tuple[str, float]] | None = None
    hidden: tuple[str, ...] = ()
    required: tuple[str, ...] = ()


FORMS: Mapping[type, Form] = {
    Config: Form(),
    Model: Form(),
    Data: Form(),
    Partition: Form(),
    Federation: Form(),
    Servers: Form(),
    NetworkModel: Form(units={"bandwidth_bps": ("bandwidth_mbps", 1e6)}),
    Cluster: Form("cluster"),
    Group: Form("group", required=("members",)),
    LocalTrainers: Form("trainers", hidden=("malicious", "attack_seed")),
    NamedRule: Form(),
    Schedule: Form(inline=("sgd",)),
    SGD: Form(),
    Attack: Form(),
    Privacy: Form(),
    Reveal: Form(),
    Run: Form(),
    Grid: Form(),
}

KINDS = {form.kind: made for made, form in FORMS.items() if form.kind is not None}
"""The classes of a topology's members, by their key `kind`; a table without it is the first."""

KIND_WORDS = "cluster, group or trainers"


@dataclass(frozen=True)
class Key:
    """One key of a table.

    `path` leads from the table's object to the value. `tables` are the classes whose tables stand
    here, `several` says whether as a list; without classes, `holds` is the type of the value as
    TOML has it. `scale` is how many units of the field make one of the key's."""

    name: str
    path: tuple[str, ...]
    meaning: str
    default: Any
    tables: tuple[type, ...] = ()
    several: bool = False
    holds: Any = None
    scale: float | None = None

    @property
    def required(self) -> bool:
        """Whether a file must give it."""
        return self.default is MISSING

    @cached_property
    def adapter(self) -> TypeAdapter[Any]:
        """Checks a value of TOML."""
        return TypeAdapter(self.holds)

    def of(self, made: Any) -> Any:
        """The value of this key in an object that the table stands for, as a file has it."""
        value = attrgetter(".".join(self.path))(made)
        return value if self.scale is None or value is None else _divided(value, self.scale)


@lru_cache
def keys(table: type) -> dict[str, Key]:
    """The keys of a class's table by name, in the order of its fields.

    >>> list(keys(NetworkModel)), keys(NetworkModel)["bandwidth_mbps"].scale
    (['latency_s', 'bandwidth_mbps'], 1000000.0)
    >>> keys(Schedule)["lr"].path, keys(Schedule)["lr"].meaning
    (('sgd', 'lr'), 'learning rate of SGD')
    """
    form, hints, meanings = (
        FORMS[table],
        get_type_hints(table, include_extras=True),
        _meanings(table),
    )
    found: list[Key] = []
    for field in fields(table):
        if field.name in form.hidden:
            continue
        if field.name in form.inline:
            found += [
                replace(key, path=(field.name, *key.path))
                for key in keys(hints[field.name]).values()
            ]
            continue
        name, scale = (form.units or {}).get(field.name, (field.name, None))
        default = field.default if field.default_factory is MISSING else field.default_factory()
        if field.name in form.required:
            default = MISSING
        elif scale is not None and default is not MISSING:
            default = default / scale
        tables, several = _tables(hints[field.name])
        found.append(
            Key(
                name,
                (field.name,),
                meanings.get(field.name, ""),
                default,
                tables,
                several,
                _holds(hints[field.name]),
                scale,
            )
        )
    return {key.name: key for key in found}


def differing_keys(one: Config, other: Config) -> list[str]:
    """The keys whose values differ, as `section.key`.

    >>> differing_keys(Config(), replace(Config(), schedule=Schedule(rounds=3, batch=7)))
    ['schedule.batch', 'schedule.rounds']
    """
    return [
        f"{section}.{name}"
        for section in keys(Config)
        for name, key in keys(type(getattr(one, section))).items()
        if key.of(getattr(one, section)) != key.of(getattr(other, section))
    ]


def inlined_class(table: type, field: str) -> type:
    """The class of a field whose keys stand in the table itself."""
    return get_type_hints(table)[field]


def summary(table: type) -> str:
    """What a table is, in a line: the first paragraph of the class's docstring."""
    return " ".join(inspect.cleandoc(table.__doc__ or "").partition("\n\n")[0].split())


def _tables(hint: Any) -> tuple[tuple[type, ...], bool]:
    """The classes whose tables a field of this type holds, and whether it holds several."""
    if isinstance(hint, type) and hint in FORMS:
        return (hint,), False
    origin, inside = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _tables(inside[0])
    if origin in (tuple, list, Sequence) or (
        inspect.isclass(origin) and issubclass(origin, Sequence)
    ):
        return _tables(inside[0])[0], bool(_tables(inside[0])[0])
    if origin in (Union, types.UnionType):
        return tuple(made for part in inside for made in _tables(part)[0]), False
    return (), False


def _holds(hint: Any) -> Any:
    """What a value of this type is in TOML, or None if a file cannot hold one: a list instead of a
    tuple, of several types those that TOML has."""
    origin, inside = get_origin(hint), get_args(hint)
    if origin is Annotated:
        held = _holds(inside[0])
        return None if held is None else Annotated[held, *hint.__metadata__]
    if origin is Literal or hint in (bool, int, float, str):
        return hint
    if origin in (Union, types.UnionType):
        held = [part for part in map(_holds, inside) if part is not None]
        return Union[tuple(held)] if held else None  # noqa: UP007 (the types are known here only)
    if inspect.isclass(origin) and issubclass(origin, Mapping):
        return dict[str, _holds(inside[1])]
    if inspect.isclass(origin) and issubclass(origin, Sequence):
        held = _holds(inside[0])
        return None if held is None else list[held]
    return None


def _divided(value: float, scale: float) -> float:
    """A number that `scale` turns back into exactly `value`, if there is one near."""
    near = value / scale
    around = (near, math.nextafter(near, 0.0), math.nextafter(near, math.inf))
    return next((number for number in around if number * scale == value), near)


def _meanings(table: type) -> dict[str, str]:
    """The text below each field of a class."""
    found: dict[str, str] = {}
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(table))).body
    assert isinstance(body, ast.ClassDef)
    for line, below in zip(body.body, body.body[1:], strict=False):
        if (
            isinstance(line, ast.AnnAssign)
            and isinstance(line.target, ast.Name)
            and isinstance(below, ast.Expr)
            and isinstance(below.value, ast.Constant)
        ):
            found[line.target.id] = " ".join(str(below.value.value).split())
    return found
