"""A level of the carry tree of comparisons (`wwfl_core.protocol.bit_planes`) as kernels take it.

A kernel takes in the product of the last level, and makes what a protocol sends for the next one.
Which that is, the protocol's kernel says (csrc/carry.cuh); here are the arrays that all of them
have."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wwfl_core.errors import Misuse

from .launch import BLOCK, DeviceArray, blocks, launcher_for, plain
from .prg import check_length

Components = tuple[DeviceArray, ...]


class Level:
    """A level of the tree as kernels take it (csrc/carry.cuh): g and p of any number of components,
    and the product that they take in (None: there is none yet). `positions` are left after it; the
    next product has `rows` rows."""

    def __init__(
        self,
        g: Sequence[DeviceArray],
        p: Sequence[DeviceArray],
        product: Sequence[DeviceArray] | None,
    ) -> None:
        k, self._row_bytes = g[0].shape
        even = k - k % 2
        given = ((g, k, "g"), (p, k - 1, "p"), (product or (), even - 1, "the product"))
        arrays = [[plain(a, name, np.uint8, 2) for a in group] for group, _, name in given]
        for group, (_, rows, name) in zip(arrays, given, strict=True):
            for array in group:
                if array.shape != (rows, self._row_bytes):
                    raise Misuse(
                        f"{name} must have shape {(rows, self._row_bytes)}, not {array.shape}"
                    )
        self._launcher = launcher_for(g[0])
        self.positions = k if product is None else (k + 1) // 2
        self.rows = max(0, self.positions - self.positions % 2 - 1)
        self.after: tuple[Components, Components] = (tuple(g), tuple(p))
        made: list[DeviceArray | int] = [0] * (2 * len(g))
        if product is not None:
            planes = [
                [self._empty(rows) for _ in g] for rows in (self.positions, self.positions - 1)
            ]
            self.after, made = (tuple(planes[0]), tuple(planes[1])), [*planes[0], *planes[1]]
        self._wide = self._row_bytes % 8 == 0
        row = self._row_bytes // 8 if self._wide else self._row_bytes
        self._args = [*arrays[0], *arrays[1], *(arrays[2] or [0] * len(g)), k, row, *made]
        check_length(self.rows * self._row_bytes)

    def _empty(self, rows: int) -> DeviceArray:
        return self._launcher.empty((rows, self._row_bytes), np.uint8)

    def plane(self) -> DeviceArray:
        """A new array of the next product's shape."""
        return self._empty(self.rows)

    def launch(
        self, source: str, words: str, single: str, more: Sequence[DeviceArray | int]
    ) -> None:
        """The kernel `words`, or where rows are no whole words, `single`, with the level's
        arguments and `more`."""
        if self._row_bytes:
            threads = -(-max(self.rows, self.positions) * self._row_bytes // 64)
            args = [*self._args, *more]
            self._launcher.launch(
                source, words if self._wide else single, blocks(threads), (BLOCK, 1, 1), args
            )
