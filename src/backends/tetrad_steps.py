"""The local steps of Tetrad's protocols (`tetrad4pc.py`) that a device computes in one kernel each.

Operands of products are given as the components that a party holds, by name: m, l1, l2, l3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np

from wwfl_core import kernels
from wwfl_core.accelerate.fused import Components, Mask, Named, fused, one_pass
from wwfl_core.numbers.algebra import BITS, RING, Algebra
from wwfl_core.numbers.arrays import U8, U64, Array
from wwfl_core.numbers.bilinear import Bilinear
from wwfl_core.protocol import derived, truncation
from wwfl_core.protocol.derived import AND, times_sign
from wwfl_core.sharing.share import Share


def _gamma3(f: Bilinear, A: Algebra, x: Named, y: Named) -> Array:
    """l1_x (l1_y + l2_y) + l2_x l1_y."""
    return f.apply(A, [(x["l1"], A.add(y["l1"], y["l2"])), (x["l2"], y["l1"])])


@fused("tetrad.offline")
def correction(f: Bilinear, A: Algebra, x: Named, y: Named, u: Mask) -> Array:
    """CS1: r = gamma3 - u, u = u1 + u2."""
    return A.unmasked(_gamma3(f, A, x, y), u)


@fused("tetrad.offline:0", "tetrad.seed:1")
def correction_and_seed(
    f: Bilinear, A: Algebra, x: Named, y: Named, u: Mask, s: Mask
) -> tuple[Array, Array]:
    """CS4: r = gamma3 - u, and w = gamma1 + gamma2 + s."""
    gamma3 = _gamma3(f, A, x, y)
    total = f.apply(A, [(A.sum([x["l1"], x["l2"], x["l3"]]), A.sum([y["l1"], y["l2"], y["l3"]]))])
    return A.unmasked(gamma3, u), A.masked(A.sub(total, gamma3), s)


@fused("tetrad.check")
def check_value(f: Bilinear, A: Algebra, x: Named, y: Named, w: Array, u: Mask) -> Array:
    """CS1: v = u + w - (l1 + l2)_x m_y - m_x (l1 + l2)_y, which the evaluators know as y1 + y2 +
    s."""
    lost = f.apply(A, [(A.add(x["l1"], x["l2"]), y["m"]), (x["m"], A.add(y["l1"], y["l2"]))])
    return A.sub(A.masked(w, u), lost)


@fused("tetrad.evaluate")
def masked_terms(f: Bilinear, A: Algebra, x: Named, y: Named, own: str, u: Mask) -> Array:
    """CS3: y1 = gamma1 + u1 - l1_x m_y - m_x l1_y; CS2: y2 likewise with l2."""
    inner = A.sub(x["l3"], x["m"])
    if own == "l1":  # gamma1 = l1_x l3_y + l3_x l1_y + l3_x l3_y
        pairs = [(x["l1"], A.sub(y["l3"], y["m"])), (inner, y["l1"]), (x["l3"], y["l3"])]
    else:  # gamma2 = l2_x l3_y + l3_x l2_y + l2_x l2_y
        pairs = [(x["l2"], A.sub(A.add(y["l3"], y["l2"]), y["m"])), (inner, y["l2"])]
    return A.masked(f.apply(A, pairs), u)


@fused("tetrad.conclude")
def concluded(
    f: Bilinear, A: Algebra, x: Named, y: Named, mine: Array, theirs: Array, s: Mask
) -> tuple[Array, Array]:
    """CS2, CS3: c = y1 + y2 - l3_x m_y - m_x l3_y + m_x m_y, and the check value y1 + y2 + s."""
    both = A.add(mine, theirs)
    rest = f.apply(A, [(A.sub(x["m"], x["l3"]), y["m"]), (A.neg(x["m"]), y["l3"])])
    return A.add(both, rest), A.masked(both, s)


# ---- a level of the carry tree (`derived.carry_out`); a state is g and p, each as the components that a party holds


def _state(g: Components, p: Components, product: Components | None) -> tuple[Share, Share]:
    """g and p after a product."""
    a, b = _planes(g), _planes(p)
    return (a, b) if product is None else derived.carry_merged(a, b, _planes(product))


def _planes(parts: Components) -> Share:
    return Share(BITS, parts[0].shape, dict(enumerate(parts)))


def _level(g: Components, p: Components, product: Components | None) -> tuple[Components, ...]:
    """g and p after a product, and the factors of the next one."""
    a, b = _state(g, p, product)
    return tuple(tuple(share.parts.values()) for share in (a, b, *derived.carry_products(a, b)))


def _named(x: Components, *names: str) -> Named:
    return dict(zip(names, x, strict=True))


@one_pass("tetrad_carry.merged")
def carry_merged(
    g: Components, p: Components, product: Components | None
) -> tuple[Components, Components]:
    """The state at the root of the tree."""
    a, b = _state(g, p, product)
    return tuple(a.parts.values()), tuple(b.parts.values())


@one_pass("tetrad_carry.offline")
def carry_offline(
    g: Components, p: Components, product: Components | None, u: Mask, f2: Array, s: Mask, f3: Array
) -> tuple[Components, Components, Array, Array, Array, Array]:
    """CS4: the state; of the product r + f2, which is l1, w, and the masks that are l2 and l3."""
    g, p, x, y = _level(g, p, product)
    names = "l1", "l2", "l3"
    r, w = correction_and_seed(AND, BITS, _named(x, *names), _named(y, *names), u, s)
    return g, p, BITS.masked(r, f2), w, f2, f3


@one_pass("tetrad_carry.check")
def carry_check(
    g: Components, p: Components, product: Components | None, w: Array, u: Mask, f2: Array
) -> tuple[Components, Components, Array, Array, Array]:
    """CS1: the state; of the product l1 as at CS4, the check value, and the mask that is l2."""
    g, p, x, y = _level(g, p, product)
    a, b = (_named(factor, "m", "l1", "l2") for factor in (x, y))
    r = correction(AND, BITS, a, b, u)
    return g, p, BITS.masked(r, f2), check_value(AND, BITS, a, b, w, u), f2


@one_pass("tetrad_carry.evaluate")
def carry_evaluate(
    g: Components, p: Components, product: Components | None, third: bool, u: Mask
) -> tuple[Components, Components, Components, Array]:
    """CS3 (`third`) and CS2: the state, what holds the next product's factors, and what they swap
    for it."""
    g, p, x, y = _level(g, p, product)
    own = "l1" if third else "l2"
    a, b = (_named(factor, "m", own, "l3") for factor in (x, y))
    return g, p, x + y, masked_terms(AND, BITS, a, b, own, u)


@one_pass("tetrad_carry.conclude")
def carry_concluded(
    factors: Components, mine: Array, theirs: Array, f3: Array, s: Mask, f2: Array | None
) -> tuple[Array, Array, Array, Array | None]:
    """CS2, CS3: of the product m = c + f3, the check value, and the masks that are l3 and (at CS2)
    l2."""
    a, b = (_named(factor, "m", "own", "l3") for factor in (factors[:3], factors[3:]))
    c, v = concluded(AND, BITS, a, b, mine, theirs, s)
    return BITS.masked(c, f3), v, f3, f2


# ---- truncation and injection


@one_pass("tetrad.wrap_rest")
def wrap_rest(r: U64, e: Mask, bits: int) -> U8:
    """CS1: r* - e1 mod 2^f for the wrap bit r* of r, packed."""
    return kernels.pack_words(RING.unmasked(truncation.right_bits(r), e), bits)


@one_pass("tetrad.wrap_rest_and_seed")
def wrap_rest_and_seed(r: U64, e: Mask, sigma: U8, s: Mask, bits: int) -> tuple[U8, U8]:
    """CS4: the same, and w = sigma r* + s mod 2^f, packed."""
    high = truncation.right_bits(r)
    seed = RING.masked(kernels.expand(sigma, r.size).reshape(r.shape) * high, s)
    return kernels.pack_words(RING.unmasked(high, e), bits), kernels.pack_words(seed, bits)


@one_pass("tetrad.wrap_share")
def wrap_share(c: U64, e: U64 | U8, u: Mask, bits: int) -> U8:
    """CS2, CS3: c* e_i + u_i mod 2^f for the wrap bit c* of c, packed; e_i is drawn, or as it was
    sent."""
    if e.dtype == np.uint8:
        e = kernels.unpack_words(cast(U8, e), c.size, bits).reshape(c.shape)
    return kernels.pack_words(RING.masked(kernels.star_bits(c) * e, u), bits)


@one_pass("tetrad.wrap_conclude")
def wrap_concluded(c: U64, mine: U8, theirs: U8, flip: U8, s: U64, bits: int) -> tuple[U64, U8]:
    """CS2, CS3: with W = c* r* + u1 + u2 = mine + theirs mod 2^f, their half (c >> f) - 2^(64-f) (W
    + base), and the check value W + (1 - 2 d) s, packed."""
    n = c.size
    wrap = kernels.unpack_words(mine, n, bits) + kernels.unpack_words(theirs, n, bits)
    check = kernels.pack_words(wrap + times_sign(s.reshape(n), flip), bits)
    return kernels.shift_left_half(c, bits, wrap.reshape(c.shape)), check


@one_pass("tetrad.wrap_check")
def wrap_check(r: U64, d: U8, w: U8, u: Mask, bits: int) -> U8:
    """CS1: v = d r* + (1 - 2 d) w + u1 + u2 mod 2^f, all packed."""
    n, high = r.size, truncation.right_bits(r)
    seed = times_sign(kernels.unpack_words(w, n, bits), d).reshape(r.shape)
    return kernels.pack_words(
        RING.masked(kernels.expand(d, n).reshape(r.shape) * high + seed, u), bits
    )


@one_pass("tetrad.shift_right_half")
def right_half(r: U64, u: Mask, bits: int) -> U64:
    """CS1, CS4: (r >> f) + 1 + 2^(64-f) u, u = u1 + u2."""
    return truncation.shifted_plus_one(r, bits, RING.unmasked(np.zeros((), np.uint64), u))


@one_pass("tetrad.gated")
def gated(
    v: U8, x: U64 | None, coefficient: int, added: Sequence[U64], n: int, hiding: Mask | None = None
) -> U64:
    """coefficient v x + sum(added) - hiding, of n elements, for packed bits v; x is 1 if it is
    None."""
    bits = kernels.expand(v, n)
    return RING.unmasked(
        RING.sum([RING.scale(coefficient, bits if x is None else bits * x), *added]), hiding
    )


@one_pass("tetrad.products")
def products(xs: Components, ys: Components, hiding: Mask) -> U64:
    """The sum of three products, less a mask."""
    return RING.unmasked(kernels.mul_sum(list(zip(xs, ys, strict=True))), hiding)


@one_pass("tetrad.inject_piece")
def injected(mb: Array, mx: Array, lb: Array, gamma: Array, lx: Array, u: Mask | None) -> Array:
    """(1 - 2 m_b)(m_x l_b - gamma) - m_b l_x + u for one piece of the lambdas; m_b is packed."""
    value = times_sign(mx * lb - gamma, mb) - kernels.expand(mb, mx.size) * lx
    return value if u is None else RING.masked(value, u)
