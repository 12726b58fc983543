# pyright: basic, reportMissingTypeStubs=false, reportUntypedFunctionDecorator=false
"""LLVM vector code for numba: small builders shared by the kernels that need explicit SIMD.

The vectors are 512 bits wide; LLVM lowers them to whatever the machine has (AVX-512, AVX2, NEON).
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

I1, I8, I64 = ir.IntType(1), ir.IntType(8), ir.IntType(64)
LANES = 8
WORDS = ir.VectorType(I64, LANES)
BYTES = ir.VectorType(I8, 64)
WORD_MASK = ir.VectorType(I1, LANES)
BYTE_MASK = ir.VectorType(I1, 64)
ZERO = ir.Constant(WORDS, [0] * LANES)


def data(context: Any, builder: Any, array_type: Any, value: Any) -> Any:
    """Pointer to the first element of a numba array."""
    return context.make_array(array_type)(context, builder, value).data


def at(builder: Any, pointer: Any, offset: Any, element: Any = I64) -> Any:
    """pointer + offset elements."""
    return builder.gep(pointer, [offset], source_etype=element)


def const(value: int) -> Any:
    """A 64-bit constant."""
    return ir.Constant(I64, value)


def load(builder: Any, pointer: Any, kind: Any = WORDS, align: int = 8) -> Any:
    """Load a value of the given LLVM type."""
    return builder.load(pointer, align=align, typ=kind)


def store(builder: Any, value: Any, pointer: Any, align: int = 8) -> None:
    """Store a value."""
    if not pointer.type.is_opaque:
        pointer = builder.bitcast(pointer, value.type.as_pointer())
    builder.store(value, pointer, align=align)


def splat(builder: Any, value: Any, kind: Any = WORDS) -> Any:
    """A vector whose lanes all hold value."""
    first = builder.insert_element(
        ir.Constant(kind, ir.Undefined), value, ir.Constant(ir.IntType(32), 0)
    )
    return shuffle(builder, first, ir.Constant(kind, ir.Undefined), [0] * kind.count)


def shuffle(builder: Any, x: Any, y: Any, lanes: list[int]) -> Any:
    """Lanes of the concatenation x, y."""
    mask = ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), lanes)
    return builder.shuffle_vector(x, y, mask)


def masked_load(builder: Any, pointer: Any, mask: Any) -> Any:
    """Load 8 words under a mask of bits; other lanes are zero and not touched in memory."""
    kind = ir.FunctionType(WORDS, [ir.PointerType(), ir.IntType(32), WORD_MASK, WORDS])
    name = "llvm.masked.load.v8i64.p0"
    function = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
    return builder.call(function, [pointer, ir.Constant(ir.IntType(32), 8), mask, ZERO])


def masked_store(builder: Any, value: Any, pointer: Any, mask: Any) -> None:
    """Store 8 words under a mask of bits."""
    kind = ir.FunctionType(ir.VoidType(), [WORDS, ir.PointerType(), ir.IntType(32), WORD_MASK])
    name = "llvm.masked.store.v8i64.p0"
    function = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
    builder.call(function, [value, pointer, ir.Constant(ir.IntType(32), 8), mask])


def transpose_words(builder: Any, rows: list[Any]) -> list[Any]:
    """Transpose 8 vectors of 8 words, seen as the rows of a matrix."""
    for half in (4, 2, 1):
        low = [i for i in range(16) if not i & half and i < 8]
        take_low = [i if not i & half else (i ^ half) + 8 for i in range(8)]
        take_high = [i | half if not i & half else i + 8 for i in range(8)]
        out = list(rows)
        for i in low:
            x, y = rows[i], rows[i | half]
            out[i] = shuffle(builder, x, y, take_low)
            out[i | half] = shuffle(builder, x, y, take_high)
        rows = out
    return rows


def transpose_bytes(builder: Any, words: Any) -> Any:
    """Transpose the 8x8 bytes of a vector of 8 words: byte j of word i becomes byte i of word j."""
    as_bytes = builder.bitcast(words, BYTES)
    lanes = [8 * (i % 8) + i // 8 for i in range(64)]
    return builder.bitcast(shuffle(builder, as_bytes, as_bytes, lanes), WORDS)
