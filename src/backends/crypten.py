"""CrypTen 0.4.1 (Knott et al., NeurIPS 2021): two parties and its trusted third party (TTP), run by
CrypTen itself.

    x = x1 + x2;  P1 holds x1, P2 holds x2, the TTP holds nothing and deals Beaver tuples.

Each party's CrypTen runs in a process of its own (`backends.foreign.engine`), which starts with the
cluster (about 5 s of importing torch); its messages travel over the party's channels. Products,
truncation, comparison and conversion are CrypTen's code; sharing, opening and linear operations are
the framework's, for the sharing is the same. What CrypTen finds in place of its sockets and its
generators is in `backends.foreign.crypten_bridge`.

Security: one of P1, P2, TTP passively corrupt.

Truncation: CrypTen lets each party divide its own share. For a value x (as a ring element) that
fails with probability |x| / 2^64, and then by 2^(64 - bits): with 20 fractional bits, one product
of numbers around 1 in 2^24 is off by 2^24. CrypTen lives with it by 16 fractional bits and small
values; the framework's exponential and reciprocal truncate values up to 2^62, where it fails all
the time. So `CrypTen` truncates exactly (`wwfl_core.protocol.truncation`, Lemma W), which costs one
more of CrypTen's products. `CrypTenLocal` is CrypTen as it is, for comparison, with its caveat
declared.

Bits per 64-bit element, offline / online / rounds, all links together
(tests/protocols/test_crypten.py asserts them): product 64 / 256 / 1, exact truncation the same,
local truncation 0 / 0 / 0, sign 832 / 3328 / 7, bit to ring 64 / 128 / 1, injection 128 / 384 /
2."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from typing import Any, ClassVar, Self

import numpy as np

from wwfl_core.errors import ConfigError, Misuse
from wwfl_core.numbers import BITS, RING, RING32, Array, Bilinear, DirectSum, Mul, Shape, numel
from wwfl_core.party import Op, Party
from wwfl_core.protocol import DeclaredCost, MPCBackend, check_window, packed, reduce_modulus
from wwfl_core.randomness import KEY_BYTES
from wwfl_core.sharing import Security, Share, SharingSemantics

from .foreign.engine import Engine

P1, P2, TTP = 0, 1, 2
PARTS = {P1: frozenset({P1, TTP}), P2: frozenset({P2, TTP})}  # who knows the masks of each party
BOTH = frozenset({P1, P2})
INSTALL = "pip install 'wwfl[crypten]' && pip install --no-deps crypten==0.4.1 (or `make foreign`)"
CAVEATS = (
    (
        "truncation is local: off by 2^(64-bits) with probability |x|/2^64, and its shares are "
        "not uniform"
    ),
)
NOT_EXACT = "CrypTen's local truncation is off by 2^(64-bits) with probability |x|/2^64"
WORDS_FOR_BITS = (
    "CrypTen opens masked bits (B2A) as words 0 and 1: 63 of 64 bits are 0, whatever the secret"
)
SHARING = SharingSemantics(
    "CrypTen, additive 2PC with a trusted third party",
    3,
    (frozenset({P1}), frozenset({P2})),
    (1, 1),
)
COSTS = {
    "product": DeclaredCost(64, 256, 1),
    "product+truncation": DeclaredCost(128, 512, 2),
    "matmul": DeclaredCost(64, lambda s: 128 * s.operands, 1),
    "truncation": DeclaredCost(64, 256, 1),
    "sign": DeclaredCost(832, 3328, 7),
    "sign32": DeclaredCost(832, 3328, 7),
    "relu": DeclaredCost(960, 3712, 9),
    "bit_to_ring": DeclaredCost(64, 128, 1),
    "inject": DeclaredCost(128, 384, 2),
}


class CrypTen(MPCBackend):
    """Two computing parties and CrypTen's trusted third party; truncation is exact.

    Raises:
        ConfigError: CrypTen is not installed here, with the line that installs it.
    """

    name = "crypten"
    numpy_only = True
    runtime = "CrypTen 0.4.1"
    sharing = SHARING
    engine: Engine
    local_truncation: ClassVar[bool] = False
    known_defects: ClassVar[Mapping[str, str]] = {
        "views/uniform": WORDS_FOR_BITS,
        "views/fresh": WORDS_FOR_BITS,
    }
    declared_costs: ClassVar[Mapping[str, DeclaredCost]] = COSTS

    def __init__(self, *, frac_bits: int = 20) -> None:
        super().__init__(frac_bits=frac_bits)
        missing = [
            name for name in ("crypten", "omegaconf", "yaml", "torch") if find_spec(name) is None
        ]
        if missing:
            raise ConfigError(
                f"CrypTen cannot run here: {', '.join(missing)} not installed; {INSTALL}"
            )

    def at(self, party: Party) -> Self:
        """This party's end; its child process starts at the cluster's first check point."""
        bound = super().at(party)
        bound.engine = Engine("backends.foreign.crypten_runtime", {"rank": party.index})
        return bound

    def verify(self) -> None:
        """The first one is at the cluster's start: waits there for the child, so that no deadline
        of a run does."""
        self.engine.start()
        super().verify()

    def reset(self) -> None:
        """After a failure, which ends children that wait for a message: all parties wait for theirs
        again. Nothing else is to be forgotten, since every operation brings fresh keys."""
        self.engine.start()

    def close(self) -> None:
        self.engine.close()

    # ------------------------------------------------------------------ CrypTen's operations

    def _call(self, name: str, method: str, *args: Any) -> Any:
        """One operation of CrypTen, with a fresh key for each set of parties that shares a
        generator there."""
        op = self.party.op(name)
        return self.engine.call(op, method, self._keys(op), *args)

    def _keys(self, op: Op) -> dict[str, bytes]:
        def key(parties: frozenset[int], label: str) -> bytes:
            return op.random(parties, label, BITS, (KEY_BYTES,)).tobytes()

        if self.me == TTP:
            return {"ttp0": key(PARTS[P1], "ttp"), "ttp1": key(PARTS[P2], "ttp")}
        # Each party's "next" generator is the other's "prev".
        following, preceding = ("01", "10") if self.me == P1 else ("10", "01")
        return {
            "ttp": key(PARTS[self.me], "ttp"),
            "next": key(BOTH, following),
            "prev": key(BOTH, preceding),
        }

    def _share(self, result: Array | None, shape: Shape, bits: bool = False) -> Share:
        return Share(
            BITS if bits else RING,
            shape,
            {} if result is None else {self.me: result.reshape(shape)},
        )

    def bilinear(self, f: Bilinear, x: Share, y: Share, truncate: int = 0) -> Share:
        """CrypTen's Beaver protocol: open x - a and y - b, for a dealt triple c = f(a, b). One
        round."""
        shape = f.shape(x.shape, y.shape)
        if x.algebra == BITS:
            return self._conjunction(f, x, y, shape)
        if x.algebra == RING32:  # shares of the product modulo 2^64 are shares modulo 2^32
            wide = [
                Share(RING, v.shape, {c: a.astype(np.uint64) for c, a in v.parts.items()})
                for v in (x, y)
            ]
            return reduce_modulus(self.bilinear(f, wide[0], wide[1]), RING32)
        local = truncate if self.local_truncation else 0
        a, b = x.parts.get(self.me), y.parts.get(self.me)
        z = self._share(self._call(f.name, "product", f, a, b, x.shape, y.shape, local), shape)
        return self.truncate(z, truncate) if truncate > local else z

    def _conjunction(self, f: Bilinear, x: Share, y: Share, shape: Shape) -> Share:
        """CrypTen's AND is elementwise; maps that repeat operands repeat them first, which is
        linear."""
        pairs = _elementwise(f, x.shape, y.shape)
        a, b = (
            None if v.parts.get(self.me) is None else v.parts[self.me].reshape(-1) for v in (x, y)
        )
        if a is not None and b is not None:
            a, b = a[pairs[0]], b[pairs[1]]
        return self._share(self._call(f.name, "conjunction", a, b, numel(shape)), shape, bits=True)

    def truncate(self, x: Share, bits: int) -> Share:
        """The framework's exact one, whose one product CrypTen computes; or each party divides its
        own share."""
        if not self.local_truncation:
            return super().truncate(x, bits)
        return self._share(self._call("truncate", "truncate", x.parts.get(self.me), bits), x.shape)

    def sign(self, x: Share, bits: int = 64) -> Share:
        """CrypTen adds both shares as 64-bit words in binary. Seven rounds, whatever the window."""
        check_window(bits)
        return self._planes("sign", x, bits)

    def is_zero(self, x: Share, bits: int = 64) -> Share:
        """CrypTen compares one share with the negated other one, 64 bits by halving. Six rounds."""
        return self._planes("is_zero", x, bits)

    def _planes(self, method: str, x: Share, bits: int) -> Share:
        found = self._call(method, method, x.parts.get(self.me), x.shape, bits)
        return self._share(found, (packed(numel(x.shape)),), bits=True)

    def bit_to_ring(self, b: Share, shape: Shape) -> Share:
        """CrypTen's B2A: a dealt random bit, the masked bit opened as a 64-bit word. One round."""
        return self._share(
            self._call("bit_to_ring", "bit_to_ring", b.parts.get(self.me), shape), shape
        )


class CrypTenLocal(CrypTen):
    """CrypTen with its own truncation: half the cost of a truncated product, and rare huge errors
    (see above)."""

    name = "crypten-local"
    local_truncation = True
    sharing = replace(SHARING, security=Security(caveats=CAVEATS))
    known_defects: ClassVar[Mapping[str, str]] = {
        **CrypTen.known_defects,
        "truncation/error": NOT_EXACT,
        "correctness/softmax": (
            f"{NOT_EXACT}; the framework's reciprocal truncates values near 2^62"
        ),
        "views/uniform": (
            f"{WORDS_FOR_BITS}; local truncation shifts the shares, so their high bits are not "
            "uniform"
        ),
    }
    declared_costs = COSTS | {
        "product+truncation": COSTS["product"],
        "truncation": DeclaredCost(0, 0, 0),
    }


def _elementwise(f: Bilinear, x: Shape, y: Shape) -> tuple[Array, Array]:
    """Which elements of x and y (flat) each element of f(x, y) is the product of.

    Raises:
        Misuse: for a map that adds products up; nothing in the framework uses one over bits.
    """
    if isinstance(f, Mul):
        shape = f.shape(x, y)
        indices = (
            np.broadcast_to(np.arange(numel(s)).reshape(s), shape).reshape(-1) for s in (x, y)
        )
        return next(indices), next(indices)
    if isinstance(f, DirectSum):
        lefts, rights, left, right = [], [], 0, 0
        for part, xs, ys in zip(f.maps, f.xs, f.ys, strict=True):
            a, b = _elementwise(part, xs, ys)
            lefts.append(a + left)
            rights.append(b + right)
            left, right = left + numel(xs), right + numel(ys)
        return np.concatenate(lefts), np.concatenate(rights)
    raise Misuse(
        f"crypten: the product {f.name!r} over bits; CrypTen multiplies bits elementwise only"
    )
