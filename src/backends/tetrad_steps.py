"""The local steps of Tetrad's protocols (`tetrad4pc.py`) that a device computes in one kernel each.

Operands of products are given as the components that a party holds, by name: m, l1, l2, l3.
"""

from __future__ import annotations

import numpy as np

from wwfl_core import kernels, truncation
from wwfl_core.algebra import RING, Algebra
from wwfl_core.arrays import Array
from wwfl_core.bilinear import Bilinear
from wwfl_core.derived import times_sign
from wwfl_core.fused import Mask, Named, fused, one_pass


def _gamma3(f: Bilinear, A: Algebra, x: Named, y: Named) -> Array:
    """l1_x (l1_y + l2_y) + l2_x l1_y."""
    return f.apply(A, [(x["l1"], A.add(y["l1"], y["l2"])), (x["l2"], y["l1"])])


@fused("tetrad.offline")
def correction(f: Bilinear, A: Algebra, x: Named, y: Named, u: Mask) -> Array:
    """CS1: r = gamma3 - u, u = u1 + u2."""
    return A.unmasked(_gamma3(f, A, x, y), u)


@fused("tetrad.offline:0", "tetrad.seed:1")
def correction_and_seed(f: Bilinear, A: Algebra, x: Named, y: Named, u: Mask, s: Mask) -> tuple[Array, Array]:
    """CS4: r = gamma3 - u, and w = gamma1 + gamma2 + s."""
    gamma3 = _gamma3(f, A, x, y)
    total = f.apply(A, [(A.sum([x["l1"], x["l2"], x["l3"]]), A.sum([y["l1"], y["l2"], y["l3"]]))])
    return A.unmasked(gamma3, u), A.masked(A.sub(total, gamma3), s)


@fused("tetrad.check")
def check_value(f: Bilinear, A: Algebra, x: Named, y: Named, w: Array, u: Mask) -> Array:
    """CS1: v = u + w - (l1 + l2)_x m_y - m_x (l1 + l2)_y, which the evaluators know as y1 + y2 + s."""
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
def concluded(f: Bilinear, A: Algebra, x: Named, y: Named, mine: Array, theirs: Array, s: Mask) -> tuple[Array, Array]:
    """CS2, CS3: c = y1 + y2 - l3_x m_y - m_x l3_y + m_x m_y, and the check value y1 + y2 + s."""
    both = A.add(mine, theirs)
    rest = f.apply(A, [(A.sub(x["m"], x["l3"]), y["m"]), (A.neg(x["m"]), y["l3"])])
    return A.add(both, rest), A.masked(both, s)


@one_pass("tetrad.wrap_share")
def wrap_share(c: Array, e: Array, u: Mask) -> Array:
    """CS2, CS3: c* e_i + u_i for the wrap bit c* of c."""
    return RING.masked(kernels.star_bits(c) * e, u)


@one_pass("tetrad.shift_left_half")
def left_half(c: Array, bits: int, wrap: Array) -> Array:
    """CS2, CS3: (c >> f) - 2^(64-f) (W + base)."""
    return kernels.shift_left_half(c, bits, wrap)


@one_pass("tetrad.shift_right_half")
def right_half(r: Array, bits: int, u: Mask) -> Array:
    """CS1, CS4: (r >> f) + 1 + 2^(64-f) u, u = u1 + u2."""
    return truncation.shifted_plus_one(r, bits, RING.unmasked(np.zeros((), np.uint64), u))


@one_pass("tetrad.inject_piece")
def injected(mb: Array, mx: Array, lb: Array, gamma: Array, lx: Array, u: Mask | None) -> Array:
    """(1 - 2 m_b)(m_x l_b - gamma) - m_b l_x + u for one piece of the lambdas; m_b is packed."""
    value = times_sign(mx * lb - gamma, mb) - kernels.expand(mb, mx.size) * lx
    return value if u is None else RING.masked(value, u)
