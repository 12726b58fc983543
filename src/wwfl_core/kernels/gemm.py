# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUntypedFunctionDecorator=false
# pyright: reportMissingTypeStubs=false, reportUnknownParameterType=false
# pyright: reportMissingParameterType=false, reportCallIssue=false, reportUnknownLambdaType=false
"""Matrix products modulo 2^64.

A register block of up to 8 rows by 24 columns (three 8-word vectors per row) is accumulated over a
slice of the inner dimension. The left matrix is read in place with any strides; slices of the right
matrix are packed into a panel of 8, 16 or 24 columns that stays in the first-level cache while all
rows pass over it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from wwfl_core.errors import Misuse

from . import _vector as v
from ._lazy import U64, check_array, kernel
from .dispatch import by_array

PANEL = 24  # columns of a packed panel
DEPTH = 160  # longest slice of the inner dimension: a panel of DEPTH x 24 words is 30 KiB
ROWS = (
    512  # rows of the left matrix that pass over a panel: ROWS x DEPTH words stay in the L2 cache
)
CONCATENATE_BELOW = 128  # inner dimensions up to this are joined before multiplying


def _block(rows: int, vectors: int, keep: bool = False) -> Any:
    """Intrinsic: C[rows, 8*vectors] (+)= A[rows, depth] @ panel[depth, 8*vectors].

    Arguments, all int64: address, row stride and column stride (in words) of A; address and row
    stride of the panel; address and row stride of C; depth >= 1; accumulate (0 or 1); bit mask of
    the columns of the last vector that are stored; address to which the panel is copied (used only
    if keep is set)."""

    @intrinsic
    def block(typing, a, a_row, a_col, b, b_row, c, c_row, depth, accumulate, mask, copy):
        signature = types.void(*[types.int64] * 11)

        def generate(context, builder, sig, args):
            a, a_row, a_col, b, b_row, c, c_row, depth, accumulate, mask, copy = args
            a, b, c, copy = (
                builder.inttoptr(address, ir.PointerType()) for address in (a, b, c, copy)
            )
            full = ir.Constant(v.I8, 255)
            masks = [full] * (vectors - 1) + [builder.trunc(mask, v.I8)]
            adding = builder.icmp_unsigned("!=", accumulate, v.const(0))
            targets: list[list[Any]] = []
            totals: list[Any] = []
            for r in range(rows):
                row = v.at(builder, c, builder.mul(v.const(r), c_row))
                targets.append([v.at(builder, row, v.const(v.LANES * j)) for j in range(vectors)])
                for j in range(vectors):
                    shown = builder.select(adding, masks[j], ir.Constant(v.I8, 0))
                    shown = builder.bitcast(shown, v.WORD_MASK)
                    totals.append(v.masked_load(builder, targets[r][j], shown))
            a_offsets = [builder.mul(v.const(r), a_row) for r in range(rows)]
            before = builder.block
            loop = builder.append_basic_block("depth")
            after = builder.append_basic_block("stored")
            builder.branch(loop)
            builder.position_at_end(loop)
            step = builder.phi(v.I64)
            a_now, b_now = builder.phi(ir.PointerType()), builder.phi(ir.PointerType())
            sums = [builder.phi(v.WORDS) for _ in totals]
            columns = [
                v.load(builder, v.at(builder, b_now, v.const(v.LANES * j))) for j in range(vectors)
            ]
            if keep:
                line = v.at(builder, copy, builder.mul(step, v.const(v.LANES * vectors)))
                for j in range(vectors):
                    v.store(builder, columns[j], v.at(builder, line, v.const(v.LANES * j)))
            results: list[Any] = []
            for r in range(rows):
                factor = v.splat(
                    builder, v.load(builder, v.at(builder, a_now, a_offsets[r]), v.I64)
                )
                for j in range(vectors):
                    product = builder.mul(factor, columns[j])
                    results.append(builder.add(sums[r * vectors + j], product))
            step_next = builder.add(step, v.const(1))
            a_next, b_next = v.at(builder, a_now, a_col), v.at(builder, b_now, b_row)
            for phi, start, end in zip(
                [step, a_now, b_now, *sums],
                [v.const(0), a, b, *totals],
                [step_next, a_next, b_next, *results],
                strict=True,
            ):
                phi.add_incoming(start, before)
                phi.add_incoming(end, loop)
            builder.cbranch(builder.icmp_signed("<", step_next, depth), loop, after)
            builder.position_at_end(after)
            for r in range(rows):
                for j in range(vectors):
                    visible = builder.bitcast(masks[j], v.WORD_MASK)
                    v.masked_store(builder, results[r * vectors + j], targets[r][j], visible)
            return context.get_dummy_value()

        return signature, generate

    return block


_block_8_3_keep = _block(8, 3, keep=True)
_block_8_3, _block_4_3, _block_2_3, _block_1_3 = (_block(rows, 3) for rows in (8, 4, 2, 1))
_block_8_2, _block_4_2, _block_2_2, _block_1_2 = (_block(rows, 2) for rows in (8, 4, 2, 1))
_block_8_1, _block_4_1, _block_2_1, _block_1_1 = (_block(rows, 1) for rows in (8, 4, 2, 1))


@intrinsic
def _address(typing, array, offset):
    """Address of the element at an offset from the array's first element."""
    signature = types.int64(array, types.int64)

    def generate(context, builder, sig, args):
        pointer = v.at(builder, v.data(context, builder, sig.args[0], args[0]), args[1])
        return builder.ptrtoint(pointer, v.I64)

    return signature, generate


@intrinsic
def _copy_words(typing, source, target, mask):
    """Copy 8 consecutive words from one address to another; those not in the bit mask become
    zero."""
    signature = types.void(*[types.int64] * 3)

    def generate(context, builder, sig, args):
        source, target = (builder.inttoptr(address, ir.PointerType()) for address in args[:2])
        mask = builder.bitcast(builder.trunc(args[2], v.I8), v.WORD_MASK)
        v.store(builder, v.masked_load(builder, source, mask), target)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def _copy_transposed(typing, source, source_row, target, target_row):
    """Copy a transposed 8x8 block of words between addresses; strides between rows in words."""
    signature = types.void(*[types.int64] * 4)

    def generate(context, builder, sig, args):
        source, target = (
            builder.inttoptr(address, ir.PointerType()) for address in (args[0], args[2])
        )
        rows = [
            v.load(builder, v.at(builder, source, builder.mul(v.const(i), args[1])))
            for i in range(8)
        ]
        for i, row in enumerate(v.transpose_words(builder, rows)):
            v.store(builder, row, v.at(builder, target, builder.mul(v.const(i), args[3])))
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def _copy_word(typing, source, target):
    """Copy one word from one address to another."""
    signature = types.void(types.int64, types.int64)

    def generate(context, builder, sig, args):
        source, target = (builder.inttoptr(address, ir.PointerType()) for address in args)
        v.store(builder, v.load(builder, source, v.I64), target)
        return context.get_dummy_value()

    return signature, generate


@kernel("strided2 strided2 out2 out1 int int int")
def _accumulate(a, b, c, panel, depth_step, row_step, accumulate):
    """c (+)= a @ b; panel is scratch of depth_step * 24 + 8 words. No dimension may be 0."""
    m, inner = a.shape
    n = b.shape[1]
    a_row, a_col = a.strides[0] // 8, a.strides[1] // 8
    b_row, b_col = b.strides[0] // 8, b.strides[1] // 8
    a_base, b_base, c_base = _address(a, 0), _address(b, 0), _address(c, 0)
    panel_base = (_address(panel, 0) + 63) // 64 * 64  # whole cache lines
    skipped = (panel_base - _address(panel, 0)) // 8
    for row_start in range(0, m, row_step):
        rows = min(row_step, m - row_start)
        for start in range(0, inner, depth_step):
            depth = min(depth_step, inner - start)
            adding = 1 if start > 0 else accumulate
            for column in range(0, n, 24):
                live = min(24, n - column)
                vectors = (live + 7) // 8
                width = 8 * vectors
                mask = 255 >> (width - live)
                b_at = b_base + 8 * (start * b_row + column * b_col)
                a_at = a_base + 8 * (row_start * a_row + start * a_col)
                c_at = c_base + 8 * (row_start * n + column)
                left = rows
                p_at, p_row = panel_base, width
                if b_col == 1 and live == 24:
                    if rows < 8:
                        # Too few rows to pay for packing: read b in place.
                        p_at, p_row = b_at, b_row
                    else:
                        _block_8_3_keep(
                            a_at,
                            a_row,
                            a_col,
                            b_at,
                            b_row,
                            c_at,
                            n,
                            depth,
                            adding,
                            mask,
                            panel_base,
                        )
                        a_at += 64 * a_row
                        c_at += 64 * n
                        left -= 8
                elif b_col == 1:
                    for k in range(depth):
                        for j in range(vectors):
                            last = mask if j == vectors - 1 else 255
                            _copy_words(
                                b_at + 8 * (k * b_row + 8 * j), p_at + 8 * (k * width + 8 * j), last
                            )
                else:
                    whole = live // 8 if b_row == 1 else 0  # vectors that are packed by 8x8 blocks
                    done = depth // 8 * 8 if b_row == 1 else 0  # and rows
                    for k in range(0, done, 8):
                        for j in range(whole):
                            _copy_transposed(
                                b_at + 8 * (k + 8 * j * b_col),
                                b_col,
                                p_at + 8 * (k * width + 8 * j),
                                width,
                            )
                    for k in range(depth):
                        for j in range(8 * whole if k < done else 0, live):
                            _copy_word(
                                b_at + 8 * (k * b_row + j * b_col), p_at + 8 * (k * width + j)
                            )
                        for j in range(live, width):
                            panel[skipped + k * width + j] = 0
                while left >= 8:
                    if vectors == 3:
                        _block_8_3(a_at, a_row, a_col, p_at, p_row, c_at, n, depth, adding, mask, 0)
                    elif vectors == 2:
                        _block_8_2(a_at, a_row, a_col, p_at, p_row, c_at, n, depth, adding, mask, 0)
                    else:
                        _block_8_1(a_at, a_row, a_col, p_at, p_row, c_at, n, depth, adding, mask, 0)
                    a_at += 64 * a_row
                    c_at += 64 * n
                    left -= 8
                if left >= 4:
                    if vectors == 3:
                        _block_4_3(a_at, a_row, a_col, p_at, p_row, c_at, n, depth, adding, mask, 0)
                    elif vectors == 2:
                        _block_4_2(a_at, a_row, a_col, p_at, p_row, c_at, n, depth, adding, mask, 0)
                    else:
                        _block_4_1(a_at, a_row, a_col, p_at, p_row, c_at, n, depth, adding, mask, 0)
                    a_at += 32 * a_row
                    c_at += 32 * n
                    left -= 4
                if left >= 2:
                    if vectors == 3:
                        _block_2_3(a_at, a_row, a_col, p_at, p_row, c_at, n, depth, adding, mask, 0)
                    elif vectors == 2:
                        _block_2_2(a_at, a_row, a_col, p_at, p_row, c_at, n, depth, adding, mask, 0)
                    else:
                        _block_2_1(a_at, a_row, a_col, p_at, p_row, c_at, n, depth, adding, mask, 0)
                    a_at += 16 * a_row
                    c_at += 16 * n
                    left -= 2
                if left >= 1:
                    if vectors == 3:
                        _block_1_3(a_at, a_row, a_col, p_at, p_row, c_at, n, depth, adding, mask, 0)
                    elif vectors == 2:
                        _block_1_2(a_at, a_row, a_col, p_at, p_row, c_at, n, depth, adding, mask, 0)
                    else:
                        _block_1_1(a_at, a_row, a_col, p_at, p_row, c_at, n, depth, adding, mask, 0)


def _checked(pairs: Sequence[tuple[U64, U64]]) -> list[tuple[U64, U64]]:
    """The pairs, checked and aligned."""
    if not pairs:
        raise Misuse("pairs must hold at least one pair of matrices")
    checked: list[tuple[U64, U64]] = []
    for i, (a, b) in enumerate(pairs):
        check_array(a, f"pairs[{i}][0]", np.uint64, 2)
        check_array(b, f"pairs[{i}][1]", np.uint64, 2)
        if a.shape[1] != b.shape[0]:
            raise Misuse(f"pairs[{i}] cannot be multiplied: shapes {a.shape} and {b.shape}")
        if (a.shape[0], b.shape[1]) != (pairs[0][0].shape[0], pairs[0][1].shape[1]):
            raise Misuse(
                f"pairs[{i}] gives shape {(a.shape[0], b.shape[1])}, pairs[0] gives "
                f"{(pairs[0][0].shape[0], pairs[0][1].shape[1])}"
            )
        checked.append((a if a.flags.aligned else a.copy(), b if b.flags.aligned else b.copy()))
    return checked


@by_array
def matmul(pairs: Sequence[tuple[U64, U64]]) -> U64:
    """Sum of the matrix products A_k @ B_k modulo 2^64.

    pairs: [(A_1, B_1), ...], A_k uint64 (m, K_k) and B_k uint64 (K_k, n), any strides. Returns a
    new C-contiguous uint64 (m, n). Products are accumulated in place, as if concatenated along K.
    """
    work = [(a, b) for a, b in _checked(pairs) if a.shape[1]]
    m, n = pairs[0][0].shape[0], pairs[0][1].shape[1]
    if m == 0 or n == 0 or not work:
        return np.zeros((m, n), dtype=np.uint64)
    if len(work) > 1 and max(a.shape[1] for a, _ in work) <= CONCATENATE_BELOW:
        work = [
            (
                np.concatenate([a for a, _ in work], axis=1),
                np.concatenate([b for _, b in work], axis=0),
            )
        ]
    out = np.empty((m, n), dtype=np.uint64)
    panel = np.empty(DEPTH * PANEL + 8, dtype=np.uint64)
    for i, (a, b) in enumerate(work):
        slices = -(-a.shape[1] // DEPTH)
        _accumulate(a, b, out, panel, -(-a.shape[1] // slices), ROWS, int(i > 0))
    return out
