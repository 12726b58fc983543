"""Arrays whose operations are written down while they are computed.

`Traced` is one more kind of array: NumPy's functions, operators and methods take it, the library's
kernels find their way by its `recorder` as they find a GPU's by its type, and protocol code does
not notice. Its value is there (the first runs of a program compute while they are recorded), but
not for Python to look at: a program that chose its way by a value would not do the same the next
time."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
from numpy.lib.mixins import NDArrayOperatorsMixin

from wwfl_core.errors import Misuse
from wwfl_core.numbers import Shape

UNREAD = (
    "a recorded program reads a shared array on the host, where its next run would have another: "
    "it must not open values, hash them, or branch on them. Do that outside of the recorded part, "
    "or do not record it"
)


OF_SHAPES = (np.shape, np.ndim, np.size)
"""Functions that tell nothing of values."""


class Writer(ABC):
    """Where arrays have their operations written down (`recorder.Recorder`)."""

    on_host: bool
    """Whether the party works on the host."""

    @abstractmethod
    def call(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """fn(*args), which returns an array, or arrays in tuples and lists: new variables."""

    @abstractmethod
    def do(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """fn(*args) for what it does; what it returns is not needed."""

    @abstractmethod
    def method(self, array: Traced, name: str, *args: Any, **kwargs: Any) -> Any:
        """array.name(*args)."""

    @abstractmethod
    def item(self, array: Traced, index: Any) -> Any:
        """array[index]."""

    @abstractmethod
    def put_item(self, array: Traced, index: Any, value: Any) -> None:
        """array[index] = value."""


class Variable:
    """What an instruction made: `value` in this run, `v<index>` in the recording."""

    __slots__ = ("index", "recorder", "value")

    def __init__(self, recorder: Writer, index: int, value: Any) -> None:
        self.recorder, self.index, self.value = recorder, index, value

    def __repr__(self) -> str:
        return f"v{self.index}"


class Traced(Variable, NDArrayOperatorsMixin):
    """An array."""

    __slots__ = ()
    __hash__ = None  # type: ignore[assignment]

    shape: Shape = property(lambda self: self.value.shape)  # type: ignore[assignment]
    dtype: Any = property(lambda self: self.value.dtype)
    ndim: int = property(lambda self: self.value.ndim)  # type: ignore[assignment]
    size: int = property(lambda self: self.value.size)  # type: ignore[assignment]
    nbytes: int = property(lambda self: self.value.nbytes)  # type: ignore[assignment]
    itemsize: int = property(lambda self: self.value.itemsize)  # type: ignore[assignment]
    strides: tuple[int, ...] = property(lambda self: self.value.strides)  # type: ignore[assignment]
    flags: Any = property(lambda self: self.value.flags)

    # NumPy's two doors for arrays of other kinds

    def __array_ufunc__(
        self, ufunc: Any, method: str, *inputs: Any, out: Any = (), **kwargs: Any
    ) -> Any:
        if method != "__call__":
            return NotImplemented
        if not out:
            return self.recorder.call(ufunc, *inputs, **kwargs)
        if not all(isinstance(o, Traced) for o in out):
            raise Misuse(f"{ufunc.__name__}: {UNREAD}")
        self.recorder.do(ufunc, *inputs, out=out, **kwargs)
        return out[0] if len(out) == 1 else out

    def __array_function__(
        self, func: Any, types: Any, args: Sequence[Any], kwargs: dict[str, Any]
    ) -> Any:
        if func in OF_SHAPES:
            return func(*(a.value if isinstance(a, Traced) else a for a in args), **kwargs)
        return self.recorder.call(func, *args, **kwargs)

    # what arrays can do by themselves

    def __getitem__(self, index: Any) -> Any:
        return self.recorder.item(self, index)

    def __setitem__(self, index: Any, value: Any) -> None:
        self.recorder.put_item(self, index, value)

    def __len__(self) -> int:
        return len(self.value)

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self.value)))

    @property
    def T(self) -> Any:
        return self.transpose()

    def reshape(self, *shape: Any) -> Any:
        return self.recorder.method(self, "reshape", *shape)

    def transpose(self, *axes: Any) -> Any:
        return self.recorder.method(self, "transpose", *axes)

    def ravel(self) -> Any:
        return self.recorder.method(self, "ravel")

    def copy(self) -> Any:
        return self.recorder.method(self, "copy")

    def view(self, dtype: npt.DTypeLike) -> Any:
        return self.recorder.method(self, "view", dtype)

    def astype(self, dtype: npt.DTypeLike) -> Any:
        return self.recorder.method(self, "astype", dtype)

    def sum(self, *args: Any, **kwargs: Any) -> Any:
        return self.recorder.method(self, "sum", *args, **kwargs)

    # what would show the value

    def __array__(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise Misuse(UNREAD)

    def __bool__(self) -> NoReturn:
        raise Misuse(UNREAD)

    __int__ = __float__ = __index__ = tobytes = tolist = item = __bool__


def asarray(value: Any) -> Any:
    """What a host's array is beside a traced one (`wwfl_core.numbers.arrays.beside`): itself, until
    the two meet."""
    return value


def asnumpy(array: Any) -> NoReturn:
    """Refuses to bring a traced array home."""
    raise Misuse(UNREAD)


def is_array(value: Any) -> bool:
    """Whether this is an array of the host or a device, not a scalar."""
    return type(value) is np.ndarray or (
        hasattr(value, "__array_ufunc__") and not isinstance(value, np.generic)
    )
