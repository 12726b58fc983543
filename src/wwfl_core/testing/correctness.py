"""Correctness: what a protocol opens equals what NumPy computes modulo 2^64, and all copies of a
component agree."""

from __future__ import annotations

from typing import Any

import numpy as np

from wwfl_core.cluster import LocalCluster
from wwfl_core.numbers import RING, Array, Bilinear, Conv2d, MatMul, Mul, Shape
from wwfl_core.sharing import Share
from wwfl_core.tensors import Session, SharedTensor

from . import programs
from .bench import EDGES, Bench, expect_close, expect_equal, succeeded, unpack
from .verdict import Failed

# -------------------------------------------------------------------- sharing and linear operations


def _dealt(mpc: Session, ring: Array, packed: Array, owner: int) -> list[Array | None]:
    return programs.open_all(
        mpc, [programs.deal_words(mpc, ring, owner), programs.deal_bits(mpc, packed, owner)]
    )


def share(bench: Bench) -> str:
    """Sharing and opening is the identity: by a client, by every party, at the edges of the ring,
    in every shape."""
    g = bench.samples("share")
    with bench.cluster() as c:
        for ring in (g.edges, EDGES, g.words(5, 3), g.words(0), g.words(), g.words(2, 0, 3)):
            expect_equal(
                c.run(programs.open_tensors, c.share_ring(ring, 0))[0],
                ring,
                f"a client's {ring.shape}",
            )
        ring, packed = np.concatenate([EDGES, g.words(8)]), g.packed(9)
        for owner in c.sharing.evaluators:
            words, bits = c.run(_dealt, ring, packed, owner)
            expect_equal(words, ring, f"words shared by party {owner}")
            expect_equal(
                unpack(bits, (72,)), unpack(packed, (72,)), f"bits shared by party {owner}"
            )
    return f"clients and {len(bench.sharing.evaluators)} parties, words and bits"


def _linear(mpc: Session, x: SharedTensor, y: SharedTensor, k: Array) -> list[Array | None]:
    tensors = (
        x + y,
        x - y,
        -x,
        x + k,
        k - x,
        x * k,
        x[1:],
        x.T,
        x.sum(axis=0),
        x.reshape(-1),
        (x + y)[::2, ::-1],
    )
    return programs.open_tensors(mpc, *tensors, SharedTensor(mpc, mpc.protocol.public(k), 0))


def linear(bench: Bench) -> str:
    """Sums, public operands, slices, transposes and reshapes are exact."""
    g = bench.samples("linear")
    x, y, k = g.words(4, 6), g.words(4, 6), g.words(4, 6)
    want = [
        x + y,
        x - y,
        0 - x,
        x + k,
        k - x,
        x * k,
        x[1:],
        x.T,
        x.sum(0),
        x.reshape(-1),
        (x + y)[::2, ::-1],
        k,
    ]
    with bench.cluster() as c:
        got = c.run(_linear, c.share_ring(x, 0), c.share_ring(y, 0), k)
    for i, (a, b) in enumerate(zip(got, want, strict=True)):
        expect_equal(a, np.asarray(b), f"linear operation {i}")
    return f"{len(want)} operations"


# ---------------------------------------------------------------------- products


def _apply(
    mpc: Session, f: Bilinear, x: SharedTensor, y: SharedTensor, cut: Any = None
) -> Array | None:
    operand = x if cut is None else x[cut]
    product = mpc.protocol.bilinear(f, operand.data, y.data)
    _expect_share(mpc, product, f.shape(operand.shape, y.shape), f.name)
    return programs.open_words(mpc, product)


def _expect_share(mpc: Session, product: Any, shape: Shape, name: str) -> None:
    """At every party, before a product that is none is opened, and fails far from its cause."""
    held = list(mpc.sharing.held_by(mpc.me))
    if not isinstance(product, Share):
        found = type(product).__name__
    elif product.shape != shape or any(part.shape != shape for part in product.parts.values()):
        found = (
            f"a Share of shape {product.shape} with parts of shapes "
            f"{[a.shape for a in product.parts.values()]}"
        )
    elif sorted(product.parts) != held:
        found = f"a Share with components {sorted(product.parts)}"
    else:
        return
    raise Failed(
        f"bilinear({name!r}) returned {found} at party {mpc.me}, not a Share of shape {shape} "
        f"with the components {held} that this party holds"
    )


def _product_of(c: LocalCluster, f: Bilinear, x: Array, y: Array, cut: Any = None) -> Array:
    return c.run(_apply, f, c.share_ring(x, 0), c.share_ring(y, 0), cut)


def _from_parties(mpc: Session, ring: Array, other: Array) -> list[Array | None]:
    """Operands dealt by parties, in case a protocol treats them unlike a client's."""
    first, last = mpc.sharing.evaluators[0], mpc.sharing.evaluators[-1]
    a, b = programs.deal_words(mpc, ring, first), programs.deal_words(mpc, other, last)
    return programs.open_all(
        mpc,
        [
            mpc.protocol.bilinear(Mul(), a, b),
            mpc.protocol.bilinear(Mul(), a, a),
            mpc.protocol.bilinear(Mul(), b, a),
        ],
    )


def product(bench: Bench) -> str:
    """Elementwise products equal NumPy's modulo 2^64: edges, broadcasting, squares, operands from
    parties."""
    g = bench.samples("product")
    square = np.repeat(g.edges, g.edges.size), np.tile(g.edges, g.edges.size)
    pairs = [
        square,
        (g.words(300), g.words(300)),
        (g.words(4, 5), g.words(5)),
        (g.words(3, 1), g.words(1, 7)),
    ]
    with bench.cluster() as c:
        for x, y in pairs:
            expect_equal(_product_of(c, Mul(), x, y), x * y, f"product of {x.shape} and {y.shape}")
        x, y = g.words(40), g.words(40)
        for got, want in zip(c.run(_from_parties, x, y), (x * y, x * x, y * x), strict=True):
            expect_equal(got, want, "product of what parties shared")
    return f"{sum((x * y).size for x, y in pairs) + 120} products"


def shapes(bench: Bench) -> str:
    """Empty, 0-d and non-contiguous operands work in products, truncation, comparison and
    injection."""
    g = bench.samples("shapes")
    pairs = [((), ()), ((), (4,)), ((0,), (0,)), ((2, 0, 3), (3,)), ((1,), (1,)), ((9,), (1,))]
    with bench.cluster() as c:
        for sx, sy in pairs:
            x, y = g.words(*sx), g.words(*sy)
            expect_equal(
                _product_of(c, Mul(), x, y), np.asarray(x * y), f"product of {sx} and {sy}"
            )
        x, y = g.words(8, 9), g.words(4, 3)
        expect_equal(
            _product_of(c, Mul(), x, y, np.s_[::2, ::-3]), x[::2, ::-3] * y, "strided product"
        )
        y = g.words(3, 2)
        expect_equal(
            _product_of(c, MatMul(), x, y, np.s_[::2, ::-3]), x[::2, ::-3] @ y, "strided matmul"
        )
        for shape in ((), (0,), (1,), (3, 3)):
            x = g.integers(40, *shape)
            got = c.run(_nonlinear, c.share_ring(x, 0))
            want = (x.view(np.int64) < 0).astype(np.uint64)
            expect_equal(unpack(got[0], shape), want, f"sign of shape {shape}")
            expect_equal(got[1], want, f"bit_to_ring of shape {shape}")
            expect_equal(got[2], want * x, f"inject of shape {shape}")
            _within_one(got[3], x, 5, f"truncation of shape {shape}")
    return f"{len(pairs)} pairs of shapes"


def _nonlinear(mpc: Session, x: SharedTensor) -> list[Array | None]:
    s = mpc.protocol.sign(x.data, 44)
    results = [
        s,
        mpc.protocol.bit_to_ring(s, x.shape),
        mpc.protocol.inject(s, x.data),
        mpc.protocol.truncate(x.data, 5),
    ]
    return programs.open_all(mpc, results)


def _within_one(got: Any, x: Array, bits: int, what: str) -> None:
    up = np.asarray(got, np.uint64).view(np.int64) - (x.view(np.int64) >> np.int64(bits))
    if up.shape != x.shape or not np.isin(up, (0, 1)).all():
        raise Failed(f"{what}: {bits} bits dropped, result - floor is not 0 or 1")


def matmul(bench: Bench) -> str:
    """Matrix products and both adjoints, transposed or not, equal NumPy's modulo 2^64."""
    g = bench.samples("matmul")
    dims = [(1, 1, 1), (3, 8, 2), (2, 0, 3)]
    with bench.cluster() as c:
        for m, k, n in dims:
            for tx, ty in ((False, False), (True, False), (False, True), (True, True)):
                x, y = g.words(*((k, m) if tx else (m, k))), g.words(*((n, k) if ty else (k, n)))
                f, dz = MatMul(tx, ty), g.words(m, n)
                what = f"matmul {x.shape}{'^T' * tx} @ {y.shape}{'^T' * ty}"
                expect_equal(_product_of(c, f, x, y), (x.T if tx else x) @ (y.T if ty else y), what)
                dx, dy = (dz @ y if ty else dz @ y.T), (x @ dz if tx else x.T @ dz)
                dx, dy = dx.T if tx else dx, dy.T if ty else dy
                expect_equal(
                    _product_of(c, f.grad_x(x.shape, y.shape), dz, y), dx, f"adjoint in x of {what}"
                )
                expect_equal(
                    _product_of(c, f.grad_y(x.shape, y.shape), x, dz), dy, f"adjoint in y of {what}"
                )
    return f"{4 * len(dims)} products, each with two adjoints"


def _direct_conv(f: Conv2d, x: Array, y: Array) -> Array:
    wide = np.pad(x, ((0, 0), (0, 0), (f.padding, f.padding), (f.padding, f.padding)))
    want = np.zeros(f.shape(x.shape, y.shape), np.uint64)
    for i in range(y.shape[2]):
        for j in range(y.shape[3]):
            patch = wide[
                :,
                :,
                i : i + f.stride * want.shape[2] : f.stride,
                j : j + f.stride * want.shape[3] : f.stride,
            ]
            patch = patch[:, :, : want.shape[2], : want.shape[3]]
            want += (patch[:, None] * y[None, :, :, i : i + 1, j : j + 1]).sum(2, dtype=np.uint64)
    return want


def conv2d(bench: Bench) -> str:
    """Convolutions equal a direct sum; <dz, f(x, y)> = <grad_x(dz, y), x> = <grad_y(x, dz), y>."""
    g = bench.samples("conv2d")
    with bench.cluster() as c:
        for stride, padding in ((1, 0), (2, 1)):
            f, x, y = Conv2d(stride, padding), g.words(2, 2, 6, 5), g.words(3, 2, 3, 2)
            want = _direct_conv(f, x, y)
            what = f"conv2d(stride={stride}, padding={padding})"
            expect_equal(_product_of(c, f, x, y), want, what)
            dz = g.words(*want.shape)
            inner = (dz * want).sum(dtype=np.uint64)
            dx = _product_of(c, f.grad_x(x.shape, y.shape), dz, y)
            dy = _product_of(c, f.grad_y(x.shape, y.shape), x, dz)
            expect_equal(
                np.asarray((dx * x).sum(dtype=np.uint64)),
                np.asarray(inner),
                f"adjoint in x of {what}",
            )
            expect_equal(
                np.asarray((dy * y).sum(dtype=np.uint64)),
                np.asarray(inner),
                f"adjoint in y of {what}",
            )
    return "two geometries, each with two adjoints"


def _many(
    mpc: Session, tensors: list[SharedTensor], jobs: list[tuple[Bilinear, int, int]], bits: int
) -> Any:
    picked = [(f, tensors[i].data, tensors[j].data) for f, i, j in jobs]
    return programs.open_all(mpc, mpc.protocol.bilinear_many(picked, bits))


def bilinear_many(bench: Bench) -> str:
    """Unlike products together equal the same products apart, as they are and truncated."""
    g = bench.samples("bilinear_many")
    shapes: list[tuple[int, ...]] = [(3, 4), (4, 2), (4,), (1,), (1, 1, 5, 5), (2, 1, 2, 2)]
    jobs: list[tuple[Bilinear, int, int]] = [
        (MatMul(), 0, 1), (Mul(), 0, 2), (Mul(), 2, 2), (Conv2d(), 4, 5), (Mul(), 3, 0)
    ]  # fmt: skip
    with bench.cluster() as c:
        for bits, arrays in (
            (0, [g.words(*s) for s in shapes]),
            (7, [g.integers(24, *s) for s in shapes]),
        ):
            got = c.run(_many, [c.share_ring(a, 0) for a in arrays], jobs, bits)
            for z, (f, i, j) in zip(got, jobs, strict=True):
                want = np.asarray(f.apply(RING, [(arrays[i], arrays[j])]))
                if bits:
                    _within_one(z, want, bits, f"truncated {f.name} among others")
                else:
                    expect_equal(z, want, f"{f.name} among others")
    return f"{len(jobs)} products at once"


# ---------------------------------------------------------------------- bits


def _boolean(mpc: Session, x: Array, y: Array) -> list[Array | None]:
    a = programs.deal_bits(mpc, x, mpc.sharing.evaluators[0])
    b = programs.deal_bits(mpc, y, mpc.sharing.evaluators[-1])
    both, different = mpc.protocol.bilinear(Mul(), a, b), mpc.protocol.bits.xor(mpc.protocol, a, b)
    inverted = mpc.protocol.bits.flip(mpc.protocol, a, np.ones(8 * x.size, np.bool_))
    return programs.open_all(
        mpc, [both, different, inverted, mpc.protocol.bilinear(Mul(), both, different)]
    )


def bits(bench: Bench) -> str:
    """AND, XOR and NOT on packed bits."""
    g = bench.samples("bits")
    x, y = g.packed(65), g.packed(65)
    with bench.cluster() as c:
        got = c.run(_boolean, x, y)
    for name, a, b in zip(
        ("AND", "XOR", "NOT", "AND of AND"), got, (x & y, x ^ y, ~x, (x & y) & (x ^ y)), strict=True
    ):
        expect_equal(unpack(a, (520,)), unpack(b, (520,)), name)
    return "520 bits each"


def _opened_bits(mpc: Session, x: SharedTensor, bits: int, zero: bool) -> Array | None:
    return programs.open_words(
        mpc, mpc.protocol.is_zero(x.data, bits) if zero else mpc.protocol.sign(x.data, bits)
    )


def sign(bench: Bench) -> str:
    """Comparison with zero is exact in every window, at its edges and on random values."""
    g = bench.samples("sign")
    windows = range(2, 65) if bench.thorough else (2, 3, 6, 17, 32, 63, 64)
    with bench.cluster() as c:
        for bits in windows:
            half = 1 << (bits - 1)
            edges = np.array(
                [e % 2**64 for e in (0, 1, -1, half // 2, -(half // 2), half - 1, -half)], np.uint64
            )
            edges = edges[: None if bits > 2 else 3]
            x = np.concatenate([edges, g.integers(bits, 250)])
            got = c.run(_opened_bits, c.share_ring(x, 0), bits, False)
            expect_equal(
                unpack(got, x.shape),
                (x.view(np.int64) < 0).astype(np.uint64),
                f"sign in {bits} bits",
            )
    return f"windows of {', '.join(map(str, windows)) if not bench.thorough else '2 to 64'} bits"


def is_zero(bench: Bench) -> str:
    """Equality with zero is exact in every window: modulo 2^bits, or for |x| < 2^bits in a
    field."""
    g = bench.samples("is_zero")
    powers = np.uint64(1) << np.arange(64, dtype=np.uint64)
    x = np.concatenate([np.zeros(5, np.uint64), EDGES, g.words(9), powers])
    with bench.cluster() as c:
        for bits in (64, 7, 1):
            if not bench.wraps:
                x = x[np.abs(x.view(np.int64).astype(np.float64)) < 2.0**bits]
            got = c.run(_opened_bits, c.share_ring(x, 0), bits, True)
            want = (x << np.uint64(64 - bits) == 0).astype(np.uint64)
            expect_equal(unpack(got, x.shape), want, f"is_zero in {bits} bits")
    return "windows of 1, 7, 64 bits"


def _converted(mpc: Session, packed: Array, x: SharedTensor) -> list[Array | None]:
    b = programs.deal_bits(mpc, packed, mpc.sharing.evaluators[-1], x.shape)
    return programs.open_all(
        mpc, [mpc.protocol.bit_to_ring(b, x.shape), mpc.protocol.inject(b, x.data)]
    )


def _conversion(bench: Bench, which: int, what: str) -> str:
    g = bench.samples(what)
    with bench.cluster() as c:
        for shape in ((40,), (3, 7), (1,), (257,)):
            x = g.words(*shape)
            packed = g.packed((x.size + 7) // 8)  # with garbage in the padding, on purpose
            b = unpack(packed, shape)
            got = c.run(_converted, packed, c.share_ring(x, 0))
            expect_equal(got[which], (b, b * x)[which], f"{what} of shape {shape}")
    return "4 shapes, padding bits random"


def bit_to_ring(bench: Bench) -> str:
    """Shared bits become the ring elements 0 and 1."""
    return _conversion(bench, 0, "bit_to_ring")


def inject(bench: Bench) -> str:
    """A shared bit times a shared ring element."""
    return _conversion(bench, 1, "inject")


# ---------------------------------------------------------------------- what training needs


def _relu(mpc: Session, x: SharedTensor) -> Any:
    return mpc.reveal(x.relu())


def relu(bench: Bench) -> str:
    """max(x, 0) is exact."""
    x = bench.samples("relu").integers(40, 333).view(np.int64) / 2.0**bench.frac_bits
    with bench.cluster() as c:
        expect_close(c.run(_relu, c.share(x)), np.maximum(x, 0), 0.0, "relu")
    return f"{x.size} values"


def _softmax(mpc: Session, x: SharedTensor) -> Any:
    return mpc.reveal(x.softmax())


def softmax(bench: Bench) -> str:
    """The deepest derived operation (maximum, exponential, reciprocal) is within its bound."""
    if bench.frac_bits < 12:
        tolerance = 2.0 ** (2 - bench.frac_bits)
    else:
        tolerance = 1e-5 + 2.0 ** (4 - bench.frac_bits)
    x = bench.samples("softmax").integers(32, 6, 10).view(np.int64) / 2.0**28
    with bench.cluster() as c:
        rounded = np.round(x * 2.0**bench.frac_bits) / 2.0**bench.frac_bits
        e = np.exp(rounded - rounded.max(1, keepdims=True))
        worst = expect_close(
            c.run(_softmax, c.share(x)), e / e.sum(1, keepdims=True), tolerance, "softmax"
        )
    return f"worst error {worst:.1e}"


# ---------------------------------------------------------------------- copies


def _all_parts(mpc: Session, x: SharedTensor, y: SharedTensor) -> list[dict[int, Array]]:
    shares: list[Share] = [x.data, y.data, *programs.everything(mpc, x.data, y.data)]
    return programs.parts_of(
        [
            *shares,
            mpc.protocol.add_public(x.data, np.arange(x.size, dtype=np.uint64)),
            x.data + y.data,
        ]
    )


def copies(bench: Bench) -> str:
    """After every operation, every party holds exactly its components, and all holders of one hold
    the same."""
    g = bench.samples("copies")
    x, y = g.integers(40, 19), g.integers(40, 19)
    with bench.cluster() as c:
        values = succeeded(c.submit(_all_parts, c.share_ring(x, 0), c.share_ring(y, 0)).outcomes())
        compared = 0
        for i, shares in enumerate(zip(*values, strict=True)):
            for party, parts in enumerate(shares):
                if set(parts) != set(c.sharing.held_by(party)):
                    raise Failed(
                        f"result {i}: party {party} holds {sorted(parts)}, not "
                        f"{c.sharing.held_by(party)}"
                    )
            for component, holders in enumerate(c.sharing.holders):
                first, *others = [shares[p][component] for p in sorted(holders)]
                for other in others:
                    if (
                        first.dtype != other.dtype
                        or first.shape != other.shape
                        or (first != other).any()
                    ):
                        raise Failed(
                            f"result {i}: holders {sorted(holders)} of component {component} "
                            "disagree"
                        )
                    compared += 1
    return f"{compared} copies compared" if compared else "every component has one holder"
