"""From one modulus to another, exactly: what a shared number is modulo L becomes a share of it
modulo L'.

A number |x| < L / 4 is the sum modulo L of words w_1 .. w_n, each known to some parties. Modulo L' the words' sum is
x + k L with an unknown wrap count k, which is found on shares modulo L':

* n = 2 (Lemma W, `wwfl_core.protocol.truncation`, for any L): with T = floor(L / 4) and the bits
      a = [w_1 < T or w_1 >= L - T],  base = [w_1 >= T]  (from w_1),  b = [2 w_2 >= L]  (from w_2),
  w_1 + w_2 = x + L (a b + base): one product.
* n > 2: with u_i = floor(2^s w_i / L) and 2^s > 4 n,
      k = floor((u_1 + .. + u_n + 2^(s-1)) / 2^s),
  since the sum of the u_i / 2^s lies in (k + x/L - n/2^s, k + x/L] and |x/L| < 1/4: n comparisons of s + log2(n) + 2
  bits.

Where L' divides L nothing is lost and the words are reduced as they are. `parts` is what the
parties who know a word compute alone; they deal it, and `combine` runs on the dealt shares."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from wwfl_core.errors import Misuse
from wwfl_core.numbers.algebra import RING, RING32, Algebra
from wwfl_core.numbers.arrays import Array, array_of
from wwfl_core.numbers.bilinear import Mul
from wwfl_core.sharing.semantics import Group
from wwfl_core.sharing.share import Share, stack

if TYPE_CHECKING:
    from .backend import MPCBackend

Words = list[tuple[Group, Array | None]]
EXACT = Mul()


def words(mpc: MPCBackend, x: Share) -> Words:
    """x as a sum of words, each with the parties who know it (the word itself at those parties)."""
    security = mpc.sharing.security
    vouchers = security.corruptions + 1 if security.malicious else 1
    groups = mpc.sharing.groups(vouchers)
    return [(g, mpc.partial(x, g.components) if mpc.me in g.dealers else None) for g in groups]


def divides(target: Algebra, source: Algebra) -> bool:
    """Whether words modulo the source's modulus can be reduced to the target's as they are."""
    return source.modulus % target.modulus == 0


def parts(word: Array, position: int, count: int, source: Algebra, target: Algebra) -> Array:
    """What becomes of word number `position` of `count`: target elements, [2, ...] if there are
    wraps to be handled."""
    if not word.ndim:  # NumPy makes Python objects of 0-d results
        found = parts(word.reshape(1), position, count, source, target)
        return found.reshape(found.shape[:-1])
    integer = target.from_integers
    if divides(target, source):
        return integer(word)
    size, below = source.modulus, _constant(source)
    if count > 2:
        shift = size.bit_length() - 1 - top_bits(count)
        top = (
            (word.astype(object) << top_bits(count)) // size
            if size & (size - 1)
            else word >> below(shift)
        )
        return np.stack([integer(word), integer(np.asarray(top))])
    quarter = size // 4
    if count == 1:  # its holder knows the number
        negative = integer(word >= below(size - size // 2))
        lowered = target.sub(integer(word), target.scale(size % target.modulus, negative))
        return np.stack([lowered, np.zeros_like(lowered)])
    if position:
        return np.stack([integer(word), integer(word >= below(size - size // 2))])
    base = word >= below(quarter)
    near = (word < below(quarter)) | (word >= below(size - quarter))
    lowered = target.sub(integer(word), target.scale(size % target.modulus, integer(base)))
    return np.stack([lowered, integer(near)])


def _constant(algebra: Algebra) -> Any:
    """Integers as scalars that compare with words of the algebra."""
    dtype = np.dtype(algebra.dtype)
    return int if dtype.hasobject else dtype.type


def top_bits(count: int) -> int:
    """s with 2^s > 4 n."""
    return (4 * count).bit_length()


def combine(mpc: MPCBackend, dealt: Sequence[Share], source: Algebra, target: Algebra) -> Share:
    """The number from its dealt `parts`, in the target's algebra: one product, or comparisons.

    Raises:
        Misuse: comparisons are needed, and the target algebra is not that of the protocol's
            numbers.
    """
    if divides(target, source):
        return _sum(dealt)
    total, marks = _sum([d[0] for d in dealt]), [d[1] for d in dealt]
    if len(marks) == 1:
        return total
    with mpc.party.scope("wraps"):
        wraps = (
            mpc.bilinear(EXACT, marks[0], marks[1])
            if len(marks) == 2
            else wrap_count(mpc, marks, target)
        )
    return total - wraps.map(lambda a: target.scale(source.modulus % target.modulus, a))


def wrap_count(mpc: MPCBackend, tops: Sequence[Share], target: Algebra) -> Share:
    """floor((sum of tops + 2^(s-1)) / 2^s) for n > 2 words' top bits: how often their sum wraps."""
    if target != mpc.numbers:
        raise Misuse(
            f"{mpc.name}: the wraps of {len(tops)} words are counted in {mpc.numbers}, not in "
            f"{target}"
        )
    s = top_bits(len(tops))
    return count_above(mpc, [(_sum(tops), 1 << (s - 1), s, len(tops))])[0]


def count_above(mpc: MPCBackend, sums: Sequence[tuple[Share, int, int, int]]) -> list[Share]:
    """floor((x + offset) / 2^s) for shared integers 0 <= x <= n 2^s, per (x, offset, s, n): n
    comparisons each, all in one sign depth of the widest."""
    levels: list[Share] = []
    width = max((n << s).bit_length() for _, _, s, n in sums) + 2
    for x, offset, s, n in sums:
        shifted = mpc.add_public(x, _word(offset))
        levels += [mpc.add_public(shifted, _word(-(j << s))) for j in range(1, n + 1)]
    candidates = stack(levels)
    below = mpc.bit_to_ring(mpc.sign(candidates, width), candidates.shape)

    found: list[Share] = []
    at = 0
    for _, _, _, n in sums:
        missed = below[at : at + n].map(lambda a: array_of(np.sum(a, axis=0, dtype=a.dtype)))
        found.append(mpc.add_public(-missed, _word(n)))
        at += n
    return found


def _word(value: int) -> Array:
    """A public integer as a word, in two's complement."""
    return np.asarray(value % 2**64, np.uint64)


def _sum(shares: Sequence[Share]) -> Share:
    total = shares[0]
    for share in shares[1:]:
        total = total + share
    return total


# ---------------------------------------------------------------------- within one cluster


def reduce(x: Share, target: Algebra) -> Share:
    """A share modulo 2^k as one modulo a smaller power of two (bits are packed): local, exact
    modulo that.

    Raises:
        Misuse: when the target's modulus does not divide.
    """
    if not divides(target, x.algebra):
        raise Misuse(
            f"{x.algebra} cannot be reduced to {target}: its modulus is no multiple of the other "
            "one"
        )
    found = {c: target.from_integers(a) for c, a in x.parts.items()}
    shape = target.from_integers(np.zeros(x.shape, np.uint64)).shape
    return Share(target, shape, found)


def widen(mpc: MPCBackend, x: Share) -> Share:
    """A number |x| < 2^30 of Z_2^32 in Z_2^64 again: one dealing and one product.

    Raises:
        Misuse: for a share of another algebra.
    """
    source = x.algebra
    if source != RING32:
        raise Misuse(f"widen: this tensor is shared in {source}, not in {RING32}")
    known = words(mpc, x)
    dealt = mpc.deal_many(
        [
            (None if w is None else parts(w, i, len(known), RING32, RING), g.dealers)
            for i, (g, w) in enumerate(known)
        ],
        (2, *x.shape),
        RING,
        name="widen",
    )
    return combine(mpc, dealt, RING32, RING)


__all__ = ["combine", "count_above", "divides", "parts", "reduce", "widen", "wrap_count"]
