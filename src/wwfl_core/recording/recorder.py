"""Writes down what one party does, as the lines of a Python function.

Variables are the arrays that it was given and made, `first` is the operation number that the run
starts from, and everything else (shapes, peers, labels, public values) is a constant, known by
name."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import MethodType
from typing import Any

import numpy as np

from wwfl_core.accelerate import HOST, Device
from wwfl_core.errors import Misuse

from .traced import UNREAD, Traced, Variable, Writer, is_array

PLAIN = (int, bool, str, type(None), type(...))
"""What a line shows as it is; everything else that is not a variable is a constant with a name."""


@dataclass(frozen=True)
class Line:
    """One instruction: its text, the variables that it uses, and those that it makes."""

    text: str
    uses: frozenset[int]
    makes: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Spread:
    """The items of a variable that is a tuple, in a longer one."""

    of: Variable


@dataclass(frozen=True)
class Number:
    """An operation number, counted from the run's first."""

    offset: int


class Recorder(Writer):
    """The lines of one run at one party, on its device."""

    def __init__(self, device: Device, first: int) -> None:
        self.device, self.first, self.on_host = device, first, device is HOST
        self.lines: list[Line] = []
        self.constants: list[Any] = []
        self.variables = 0
        self.launcher: Any = None  # what records a device's launches (`on_device.py`)
        self._names: dict[
            int, str
        ] = {}  # of constants that are no arrays, by identity; `constants` keeps them alive

    # ------------------------------------------------------------------ what is done

    def input(self, array: Any) -> Traced:
        """An array that the program is given."""
        return Traced(self, self._fresh(), array)

    def output(self, array: Any) -> Traced:
        """An array that the program returns, as a variable."""
        return array if isinstance(array, Traced) else self.call(_itself, array)

    def call(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """fn(*args), which returns an array, or arrays in tuples and lists: new variables."""
        result = fn(*self._values(args), **self._values(kwargs))
        return self._made(
            result, lambda uses: f"{self._function(fn)}({self._arguments(args, kwargs, uses)})"
        )

    def do(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """fn(*args) for what it does; what it returns is not needed."""
        fn(*self._values(args), **self._values(kwargs))
        uses: set[int] = set()
        self._write(f"{self._function(fn)}({self._arguments(args, kwargs, uses)})", uses)

    def keep(self, fn: Callable[..., Any], *args: Any) -> Variable:
        """fn(*args) as one variable, whatever it is."""
        variable = Variable(self, self._fresh(), fn(*self._values(args)))
        uses: set[int] = set()
        made = f"{self._function(fn)}({self._arguments(args, {}, uses)})"
        self._write(f"v{variable.index} = {made}", uses, [variable.index])
        return variable

    def method(self, array: Traced, name: str, *args: Any, **kwargs: Any) -> Any:
        """array.name(*args)."""
        result = getattr(array.value, name)(*self._values(args), **self._values(kwargs))

        def text(uses: set[int]) -> str:
            return f"{self._text(array, uses)}.{name}({self._arguments(args, kwargs, uses)})"

        return self._made(result, text)

    def item(self, array: Traced, index: Any) -> Any:
        """array[index]."""
        result = array.value[self._values(index)]
        return self._made(
            result, lambda uses: f"{self._text(array, uses)}[{self._place(index, uses)}]"
        )

    def put_item(self, array: Traced, index: Any, value: Any) -> None:
        """array[index] = value."""
        array.value[self._values(index)] = self._values(value)
        uses: set[int] = set()
        self._write(
            f"{self._text(array, uses)}[{self._place(index, uses)}] = {self._text(value, uses)}",
            uses,
        )

    def number(self, operation: int) -> Number:
        """An operation of this run, for a line."""
        return Number(operation - self.first)

    # ------------------------------------------------------------------ how it is written

    def _fresh(self) -> int:
        self.variables += 1
        return self.variables - 1

    def _write(self, text: str, uses: set[int], makes: Sequence[int] = ()) -> None:
        self.lines.append(Line(text, frozenset(uses), frozenset(makes)))

    def _made(self, result: Any, text: Callable[[set[int]], str]) -> Any:
        makes: list[int] = []
        scalar = isinstance(result, np.generic)  # NumPy's functions make scalars of 0-d arrays
        wrapped, pattern = self._wrapped(np.asarray(result) if scalar else result, makes)
        uses: set[int] = set()
        made = text(uses)
        if scalar:
            made = f"{self._constant(np.asarray)}({made})"
        self._write(f"{pattern} = {made}", uses, makes)
        return wrapped

    def _wrapped(self, result: Any, makes: list[int]) -> tuple[Any, str]:
        """The result with its arrays as variables, and the pattern that assigns them."""
        if type(result) in (tuple, list):
            parts = [self._wrapped(item, makes) for item in result]
            return type(result)(
                [wrapped for wrapped, _ in parts]
            ), f"({''.join(f'{text}, ' for _, text in parts)})"
        if is_array(result):
            makes.append(index := self._fresh())
            return Traced(self, index, result), f"v{index}"
        # a number or a truth would be this run's, and whoever asked for it would go this run's way
        raise Misuse(f"it got a {type(result).__name__}, not an array; {UNREAD}")

    def _values(self, item: Any) -> Any:
        """The item with the values of this run."""
        if isinstance(item, Variable):
            return item.value
        if isinstance(item, Number):
            return self.first + item.offset
        if type(item) in (tuple, list):
            found: list[Any] = []
            for part in item:
                found.extend(part.of.value if type(part) is Spread else (self._values(part),))
            return type(item)(found)
        if type(item) is dict:
            return {key: self._values(part) for key, part in item.items()}
        return self.device.put(item) if not self.on_host and type(item) is np.ndarray else item

    def _arguments(self, args: Sequence[Any], kwargs: dict[str, Any], uses: set[int]) -> str:
        named = (f"{key}={self._text(value, uses)}" for key, value in kwargs.items())
        return ", ".join([*(self._text(value, uses) for value in args), *named])

    def _text(self, item: Any, uses: set[int]) -> str:
        kind = type(item)
        if isinstance(item, Variable):
            if item.recorder is not self:
                raise Misuse(
                    "a recorded program uses an array of another run, which it was not given; "
                    "pass it"
                )
            uses.add(item.index)
            return f"v{item.index}"
        if kind is Spread:
            return f"*{self._text(item.of, uses)}"
        if kind is Number:
            return f"first + {item.offset}"
        if kind in PLAIN:
            return repr(item)
        if kind in (tuple, list):
            inner = "".join(f"{self._text(part, uses)}, " for part in item)
            return f"({inner})" if kind is tuple else f"[{inner}]"
        if kind is dict:
            return (
                "{"
                + "".join(f"{key!r}: {self._text(part, uses)}, " for key, part in item.items())
                + "}"
            )
        return self._constant(item)

    def _function(self, fn: Callable[..., Any]) -> str:
        """What is called: a constant, or a method of one."""
        if isinstance(fn, MethodType) and getattr(fn.__self__, fn.__name__, None) == fn:
            return f"{self._constant(fn.__self__)}.{fn.__name__}"
        return self._constant(fn)

    def _place(self, index: Any, uses: set[int]) -> str:
        """An index, as it stands between brackets."""
        if type(index) is tuple and index:
            return ", ".join(self._place(part, uses) for part in index) + ","
        if type(index) is not slice:
            return self._text(index, uses)
        start, stop, step = (
            "" if part is None else self._text(part, uses)
            for part in (index.start, index.stop, index.step)
        )
        return f"{start}:{stop}:{step}" if step else f"{start}:{stop}"

    def _constant(self, value: Any) -> str:
        known = self._names.get(id(value))
        if known is not None:
            return known
        name = f"k{len(self.constants)}"
        if is_array(value):  # a copy: whoever made it may go on writing to it
            value = value.copy()
            self.constants.append(value if self.on_host else self.device.put(value))
            return name
        self.constants.append(value)
        self._names[id(value)] = name
        return name


def _itself(array: Any) -> Any:
    return array
