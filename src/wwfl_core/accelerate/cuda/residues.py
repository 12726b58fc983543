"""Matrix products modulo 2^64 from residues: 18 int8 products by the device's library, where digits
take 36.

Words become balanced residues modulo 18 small numbers, one int8 matrix per modulus; all those
products are one call of `Launcher.int8_products`; and the Chinese remainder theorem gives the
result modulo 2^64, exactly (csrc/residues.cu)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .launch import BLOCK, DeviceArray, Launcher, launcher_for, over

PLANES = 18  # moduli of csrc/residues.cu
MAX_INNER = 8192  # for which their product is large enough
# rows, columns and inner elements of residues: what the int8 products of cuBLAS want, in bytes
ALIGN = 16
TILE_ROWS, TILE_DEPTH = 16, 128  # of a block that makes residues
WORKSPACE_BYTES = 1 << 30  # of residues and int32 products at a time, per product modulo 2^64
Pair = tuple[DeviceArray, DeviceArray]


class Part(NamedTuple):
    """Inner elements start..stop - 1 of the product of a pair."""

    pair: int
    start: int
    stop: int


class Slab(NamedTuple):
    """How many products of a batch, rows and columns of the result are computed at a time."""

    batch: int
    rows: int
    columns: int


def aligned(size: int) -> int:
    """The next multiple of ALIGN."""
    return -(-size // ALIGN) * ALIGN


def chunks(inner: Sequence[int]) -> list[list[Part]]:
    """Products of these inner dimensions as sums over chunks of about equal length, each at most
    MAX_INNER with every part padded to a multiple of ALIGN."""
    total = sum(aligned(k) for k in inner)
    length = aligned(-(-total // -(-total // MAX_INNER)))
    found: list[list[Part]] = [[]]
    free = length
    for pair, k in enumerate(inner):
        start = 0
        while start < k:
            if not free:
                found.append([])
                free = length
            stop = min(k, start + free)
            found[-1].append(Part(pair, start, stop))
            free -= aligned(stop - start)
            start = stop
    return found


def workspace(slab: Slab, depth: int) -> int:
    """Bytes of residues and products of a slab over a chunk of padded length depth."""
    return PLANES * slab.batch * (depth * (slab.rows + slab.columns) + 4 * slab.rows * slab.columns)


def slab_of(batch: int, m: int, n: int, depth: int) -> Slab:
    """The slab, of multiples of ALIGN rows and columns, for results (batch, m, n) within
    WORKSPACE_BYTES."""
    one = Slab(1, aligned(m), aligned(n))
    while workspace(one, depth) > WORKSPACE_BYTES and max(one.rows, one.columns) > ALIGN:
        if one.rows >= one.columns:
            one = one._replace(rows=aligned(one.rows // 2))
        else:
            one = one._replace(columns=aligned(one.columns // 2))
    return one._replace(batch=max(1, min(batch, WORKSPACE_BYTES // workspace(one, depth))))


def multiply(pairs: Sequence[Pair], out: DeviceArray) -> None:
    """out = sum of the products A_k @ B_k modulo 2^64.

    pairs: A_k uint64 (batch, m, K_k) and B_k uint64 (batch, K_k, n), any strides, no dimension 0;
    out: uint64 (batch, m, n), C-contiguous.

    Raises:
        ConfigError: where the device's library cannot multiply int8 matrices.
    """
    launcher = launcher_for(out)
    for turn, parts in enumerate(chunks([a.shape[-1] for a, _ in pairs])):
        lefts = [pairs[p.pair][0][:, :, p.start : p.stop] for p in parts]
        rights = [pairs[p.pair][1][:, p.start : p.stop].transpose(0, 2, 1) for p in parts]
        _add_chunk(launcher, lefts, rights, out, turn > 0)


def _add_chunk(
    launcher: Launcher,
    lefts: Sequence[DeviceArray],
    rights: Sequence[DeviceArray],
    out: DeviceArray,
    adding: bool,
) -> None:
    """Store or add the sum of the products lefts[i] @ rights[i]^T: (batch, m, K_i) and (batch, n,
    K_i)."""
    batch, m, n = out.shape
    depth = sum(aligned(x.shape[-1]) for x in lefts)
    slab = slab_of(batch, m, n, depth)
    sides = slab.rows, slab.columns
    buffers = [launcher.empty((PLANES * slab.batch * side * depth,), np.int8) for side in sides]
    sums = launcher.empty((PLANES * slab.batch * slab.rows * slab.columns,), np.int32)
    for some in _slices(batch, slab.batch):
        left = None
        for columns in _slices(n, slab.columns):
            right = residues([x[some, columns] for x in rights], buffers[1])
            for rows in _slices(m, slab.rows):
                if left is None or slab.rows < m:  # a left side that is whole serves all columns
                    left = residues([x[some, rows] for x in lefts], buffers[0])
                combine(products(left, right, sums), out[some, rows, columns], adding)


def _slices(total: int, step: int) -> list[slice]:
    return [slice(start, min(total, start + step)) for start in range(0, total, step)]


def residues(matrices: Sequence[DeviceArray], buffer: DeviceArray) -> DeviceArray:
    """Balanced residues of matrices uint64 (batch, rows, K_i), side by side: int8 [PLANES * batch,
    rows', depth].

    rows' and the lengths of which depth is the sum are padded to multiples of ALIGN with zeros. The
    result lies in `buffer` (int8)."""
    batch, rows = matrices[0].shape[:2]
    lengths = [aligned(x.shape[-1]) for x in matrices]
    shape = PLANES * batch, aligned(rows), sum(lengths)
    out = _within(buffer, shape)
    offset = 0
    for x, length in zip(matrices, lengths, strict=True):
        tiles = shape[1] // TILE_ROWS * -(-length // TILE_DEPTH)
        strides = [s // 8 for s in x.strides]
        args = [x, *strides, rows, x.shape[-1], out, shape[1], shape[2], offset, length]
        launcher_for(x).launch(
            "residues.cu", "split_residues", (tiles, 1, batch), (BLOCK, 1, 1), args
        )
        offset += length
    return out


def products(left: DeviceArray, right: DeviceArray, buffer: DeviceArray) -> DeviceArray:
    """One int8 product per modulus and batch: (p, m, k) and (p, n, k) -> int32 (p, m, n), in
    `buffer` (int32)."""
    out = _within(buffer, (left.shape[0], left.shape[1], right.shape[1]))
    launcher_for(left).int8_products(left, right, out)
    return out


def combine(sums: DeviceArray, out: DeviceArray, adding: bool) -> None:
    """Store in out, or add to it, the words that `products` are residues of.

    sums: int32 [PLANES * batch, m', n'] with m' >= m, n' >= n; out: uint64 (batch, m, n), columns
    contiguous."""
    batch, m, n = out.shape
    args = [
        sums,
        out,
        batch,
        m,
        n,
        out.strides[0] // 8,
        out.strides[1] // 8,
        *sums.shape[1:],
        int(adding),
    ]
    over("residues.cu", "combine_residues", sums.size // PLANES, args, out)


def _within(buffer: DeviceArray, shape: tuple[int, int, int]) -> DeviceArray:
    return buffer[: shape[0] * shape[1] * shape[2]].reshape(shape)
