"""Shamir's secret sharing over the field of 2^127 - 1 elements, with MPyC as the engine
(semi-honest, honest majority).

    x = f(0);  P_i holds f(i + 1);  deg f <= t = (m - 1) // 2.

Security: t of m parties passively corrupt. Products are perfectly private (Ben-Or, Goldwasser,
Wigderson, STOC'88; Gennaro, Rabin, Rabin, PODC'98) but for the PRG; truncation and comparison open
values under statistical masks, 2^-58 for three parties, 2^-56 for five
(`backends.foreign.mpyc_runtime`). Numbers are 64-bit: |x| < 2^63 everywhere.

Sharing, opening, linear maps and the local part of products are the framework's; degree reduction,
truncation and comparison are MPyC's (https://github.com/lschoe/mpyc, MIT), one child process per
party, over this cluster's channels. A secret bit is the field element 0 or 1.

Per element of 16 bytes, all links, m = 3 (m = 5), payload without framing (20 bytes per message;
empty ones 8): product (any bilinear map, per output) 96 (320) bytes, 1 round; truncation by f bits
96 f + 48 (320 f + 160), 2 rounds; product with truncation the sum of both, 2 rounds; sign in l bits
192 l + 240 (640 l + 800), 3 + ceil(log2(l + 1)) rounds; zero test in l bits 192 l - 48 (640 l -
160), 2 + ceil(log2 l) rounds; injection one product; share (m - 1 - t) elements. Everything is
online: MPyC makes its random bits when it needs them."""

from __future__ import annotations

from importlib.util import find_spec
from itertools import combinations
from typing import Any, Self

import numpy as np

from wwfl_core.errors import ConfigError, Misuse
from wwfl_core.numbers import BITS, Array, Bilinear, Mul, PrimeField, Shape, from_wire, to_wire
from wwfl_core.party import Party
from wwfl_core.protocol import FieldBits, MPCBackend, PointDealing, check_window
from wwfl_core.sharing import Share, shamir

from .foreign.engine import Engine

RUNTIME = "backends.foreign.mpyc_runtime"
MAX_PARTIES = 15
KEY_BYTES = 16


class Shamir(MPCBackend):
    """m parties (default 3), of which (m - 1) // 2 may be passively corrupt together.

    Raises:
        ConfigError: when MPyC is not installed (as soon as a cluster is made).
    """

    name = "shamir"
    numpy_only = True
    runtime = "MPyC 0.11"
    sharing = shamir(3)
    dealing = PointDealing
    numbers = PrimeField()
    bits = FieldBits(numbers)

    def __init__(self, parties: int = 3, *, frac_bits: int = 20) -> None:
        super().__init__(frac_bits=frac_bits)
        if not 3 <= parties <= MAX_PARTIES:
            raise Misuse(
                f"Shamir needs 3 to {MAX_PARTIES} parties (keys grow with C(m, t)), got {parties}"
            )
        self.sharing = shamir(parties)

    def at(self, party: Party) -> Self:
        if find_spec("mpyc") is None:
            raise ConfigError(
                "Shamir runs on MPyC, which is not installed; `pip install wwfl[mpyc]` (mpyc==0.11)"
            )
        bound = super().at(party)
        config = {
            "index": party.index,
            "parties": bound.sharing.parties,
            "threshold": bound._threshold,
        }
        bound._engine = Engine(RUNTIME, config)
        bound._connected = False
        return bound

    _engine: Engine | None = None
    _connected: bool = False

    def reset(self) -> None:
        self.close()

    def close(self) -> None:
        """Stops the engine; the next operation starts one with fresh keys, at all parties."""
        self._connected = False
        if self._engine is not None:
            self._engine.close()

    # ------------------------------------------------------------------ the product

    def bilinear(self, f: Bilinear, x: Share, y: Share, truncate: int = 0) -> Share:
        """f of the points is a point of a polynomial of degree 2t through f(x, y); then the degree
        is reduced."""
        z = f.apply(x.algebra, [(x.parts[self.me], y.parts[self.me])])
        return (
            self._call(f.name, z, "reshare_truncate", truncate)
            if truncate
            else self._call(f.name, z, "reshare")
        )

    # ------------------------------------------------------------------ what else the engine does

    def truncate(self, x: Share, bits: int) -> Share:
        """x / 2^bits, rounded to one of the two neighbours, for |x| < 2^63. 2 rounds."""
        return self._call("truncate", x.parts[self.me], "truncate", bits)

    def sign(self, x: Share, bits: int = 64) -> Share:
        """[x < 0] for |x| < 2^(bits - 1)."""
        check_window(bits)
        return self._call("sign", x.parts[self.me], "sign", bits)

    def is_zero(self, x: Share, bits: int = 64) -> Share:
        """[x == 0 mod 2^bits] for |x| < 2^64."""
        if not 1 <= bits <= 64:
            raise Misuse(f"is_zero: bits={bits} is outside 1..64")
        return self._call("is_zero", x.parts[self.me], "is_zero", bits)

    def bit_to_ring(self, b: Share, shape: Shape) -> Share:
        """A bit is a number already: 0 bytes."""
        return b if b.shape == shape else b.reshape(*shape)

    def inject(self, b: Share, x: Share) -> Share:
        """b * x: one product."""
        return self.bilinear(Mul(), self.bit_to_ring(b, x.shape), x)

    # ------------------------------------------------------------------ the engine

    @property
    def _threshold(self) -> int:
        return self.sharing.security.corruptions

    def _call(self, name: str, points: Array, method: str, *args: Any) -> Share:
        """An operation of MPyC's on this party's points."""
        if not points.size:
            return Share(self.numbers, points.shape, {self.me: points})
        assert self._engine is not None
        op = self.party.op(name)
        try:
            if not self._connected:
                self._engine.call(op, "connect", self._prss_keys())
                self._connected = True
            found = self._engine.call(
                op, method, to_wire(np.ascontiguousarray(points.reshape(-1))), *args
            )
        except BaseException:
            self._connected = False  # the engine has stopped
            raise
        return Share(
            self.numbers, points.shape, {self.me: from_wire(found, object).reshape(points.shape)}
        )

    def _prss_keys(self) -> dict[tuple[int, ...], bytes]:
        """A key per set of m - t parties that this party is in, from the cluster's key of the same
        set."""
        op, m = self.party.op("prss"), self.sharing.parties
        return {
            subset: op.random(subset, "key", BITS, (KEY_BYTES,)).tobytes()
            for subset in combinations(range(m), m - self._threshold)
            if self.me in subset
        }
