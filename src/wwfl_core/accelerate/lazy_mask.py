"""Masks that the kernel which adds them draws, and results that are not there before a mask hides
them.

These are the lazy arrays (`wwfl_core.numbers.lazy_array`) of a device with kernels. A protocol does
not see them: it adds and subtracts arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeGuard, cast

import numpy as np
import numpy.typing as npt

from wwfl_core.numbers import Array, Bilinear, LazyArray, Mul, Shape, computed, to_host

from .cuda import Launcher, Stream, combined


class LazyMask(LazyArray):
    """A sum of key streams less others. Each stream is reserved already, and drawn once."""

    def __init__(
        self,
        launcher: Launcher,
        dtype: npt.DTypeLike,
        shape: Shape,
        plus: Sequence[Stream],
        minus: Sequence[Stream] = (),
    ) -> None:
        super().__init__(dtype, shape)
        self.launcher, self.plus, self.minus = launcher, (*plus,), (*minus,)

    @property
    def streams(self) -> tuple[Stream, ...]:
        """The streams that are added, then those that are subtracted."""
        return self.plus + self.minus

    def __repr__(self) -> str:
        return f"LazyMask({len(self.plus)} - {len(self.minus)} streams, shape={self.shape})"

    def _compute(self) -> Array:
        return self._pass([], [], self.plus, self.minus)

    def combined(self, plus: Sequence[Array], minus: Sequence[Array]) -> Array:
        """A mask again, if all terms are masks; else one pass over the arrays among them."""
        for term in (*plus, *minus):
            if isinstance(term, LazyStep):
                return term.combined(plus, minus)
        arrays: list[list[Array]] = [[], []]
        streams: list[list[Stream]] = [[], []]
        for sign, terms in enumerate((plus, minus)):
            for term in terms:
                if isinstance(term, LazyMask):
                    streams[sign].extend(term.plus)
                    streams[1 - sign].extend(term.minus)
                else:
                    arrays[sign].append(computed(term))
        if not arrays[0] and not arrays[1]:
            lazy: Any = LazyMask(self.launcher, self.dtype, self.shape, *streams)
            return lazy
        return self._pass(arrays[0], arrays[1], streams[0], streams[1])

    def _pass(
        self,
        added: Sequence[Array],
        taken: Sequence[Array],
        plus: Sequence[Stream],
        minus: Sequence[Stream],
    ) -> Array:
        form: Any = {"shape": self.shape, "dtype": self.dtype, "launcher": self.launcher}
        return combined(added, taken, plus, minus, **form)

    def reshape(self, *shape: Any) -> Any:
        to = cast(Shape, shape[0] if isinstance(shape[0], tuple) else shape)
        if -1 in to:
            return self.array().reshape(to)
        return LazyMask(self.launcher, self.dtype, to, self.plus, self.minus)

    def __neg__(self) -> Any:
        if self.dtype != np.uint64:
            return super().__neg__()
        return LazyMask(self.launcher, self.dtype, self.shape, self.minus, self.plus)


class LazyStep(LazyArray):
    """What a kernel makes, perhaps less one mask in the same pass: `make(stream)` returns the
    result less the stream, `make(None)` the result."""

    def __init__(
        self,
        launcher: Launcher,
        dtype: npt.DTypeLike,
        shape: Shape,
        make: Callable[[Stream | None], Array],
    ) -> None:
        super().__init__(dtype, shape)
        self.launcher, self._make = launcher, make

    def _compute(self) -> Array:
        return self._make(None)

    def combined(self, plus: Sequence[Array], minus: Sequence[Array]) -> Array:
        added, taken = list(plus), list(minus)
        hiding = next((term for term in taken if _single(term)), None)
        if hiding is None or not any(term is self for term in added):
            made = self.array()
        else:
            made = self._make(hiding.plus[0])
            taken = [term for term in taken if term is not hiding]
        added, taken = ([made if t is self else t for t in terms] for terms in (added, taken))
        if len(added) == 1 and not taken:
            return made
        return LazyMask(self.launcher, self.dtype, self.shape, ()).combined(added, taken)


def _single(term: object) -> TypeGuard[LazyMask]:
    """Whether this is a mask of one stream, which a kernel can take off."""
    return isinstance(term, LazyMask) and len(term.plus) == 1 and not term.minus


def elementwise(f: Bilinear, mask: object, *arrays: Array) -> bool:
    """Whether f(x, y) plus a mask is what one pass can compute: an elementwise product of arrays
    of one shape, with a mask that is not drawn yet."""
    return (
        type(f) is Mul
        and isinstance(mask, LazyMask)
        and all(a.shape == arrays[0].shape for a in arrays)
    )


def asnumpy(array: LazyArray) -> Array:
    """The elements on the host (`wwfl_core.numbers.arrays.module_of` asks this of an array's
    module)."""
    return to_host(array.array())


__all__ = ["LazyMask", "LazyStep", "elementwise"]
