"""From one modulus to another, exactly: what a shared number is modulo L becomes a share of it
modulo L'.

A number |x| < L / 4 is the sum modulo L of words w_1 .. w_n, each known to some parties. Modulo L'
the words' sum is x + k L with an unknown wrap count k, which is found on shares modulo L':

* n = 2 (Lemma W, `wwfl_core.protocol.truncation`, for any L): with T = floor(L / 4) and the bits
      a = [w_1 < T or w_1 >= L - T],  base = [w_1 >= T]  (from w_1),  b = [2 w_2 >= L]  (from w_2),
  w_1 + w_2 = x + L (a b + base): one product.
* n > 2: with u_i = floor(2^s w_i / L) and 2^s > 4 n,
      k = floor((u_1 + .. + u_n + 2^(s-1)) / 2^s),
  since the sum of the u_i / 2^s lies in (k + x/L - n/2^s, k + x/L] and |x/L| < 1/4: n comparisons
  of s + log2(n) + 2 bits.

Where L' divides L nothing is lost and the words are reduced as they are. `parts` is what the
parties who know a word compute alone; they deal it, and
`DerivedOperations.combine` runs on the dealt shares. Here is only what is done without messages."""

from __future__ import annotations

from typing import Any

import numpy as np

from wwfl_core.errors import Misuse
from wwfl_core.numbers import Algebra, Array
from wwfl_core.sharing import Share


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


def reduce_modulus(x: Share, target: Algebra) -> Share:
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


__all__ = ["divides", "parts", "reduce_modulus", "top_bits"]
