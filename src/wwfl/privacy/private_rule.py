"""`Private(rule)`: updates clipped in MPC, noise from every server, then any aggregation rule."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from wwfl.aggregation import Aggregation, FedAvg, Inputs
from wwfl_core.channel import Phase
from wwfl_core.errors import ConfigError, Refused
from wwfl_core.numbers import BITS, MatMul
from wwfl_core.randomness import KEY_BYTES, UniformWords
from wwfl_core.sharing import SharingSemantics
from wwfl_core.tensors import (
    Computation,
    SharedBits,
    SharedTensor,
    bilinear_many,
    concatenate,
    inv_sqrt,
    stack_tensors,
)

from . import reveal_policy as policy
from .accountant import Budget, Guarantee, excess, gaussian_epsilon, releases_within
from .discrete_gaussian import sample

ROOM_BITS = 62
"""Sums of squares stay below 2^62 before they are truncated."""
NEGLIGIBLE = 1e-100


@dataclass(frozen=True)
class Private(Aggregation):
    """Differential privacy for every input's whole contribution: `rule` sees only clipped and noisy
    updates.

    Every update (a model minus the one that the round started from) is scaled to L2 norm at most
    `clip`; one with a coordinate beyond `coordinate_bound` is dropped. Every one of the m servers,
    helpers included, deals discrete Gaussian noise of variance (noise_multiplier clip)^2 / (m - t),
    so the noise of any m - t honest ones is enough even if the t permitted corrupt ones subtract
    theirs. `FedAvg` gets noise on the sum; any other rule gets it on every input, since only sums
    have a sensitivity of `clip`. Weights are not used: every input counts alike.

    With a `budget`, servers refuse the release that would exceed it. Releases are counted by the
    servers.

    Security: the noise of honest servers suffices, so the promise holds against the corruptions
    that the sharing withstands; docs/privacy.md says what is promised to whom (`Guarantee.unit`).
    Source of the sampler and of the accounting: Canonne, Kamath, Steinke, NeurIPS'20.

    Raises:
        ConfigError: a clip or a noise multiplier that is not positive.

    >>> from wwfl.aggregation import FedAvg
    >>> rule = Private(FedAvg(), clip=1.0, noise_multiplier=4.0, budget=Budget(3.65, 1e-5))
    >>> rule.affords(10)
    >>> rule.affords(11)
    Traceback (most recent call last):
    ...
    wwfl_core.errors.Refused: ...
    """

    rule: Aggregation
    clip: float
    noise_multiplier: float
    budget: Budget | None = None

    def __post_init__(self) -> None:
        for name in ("clip", "noise_multiplier"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigError(f"Private.{name} must be positive, got {getattr(self, name)}")

    @property
    def inner(self) -> Aggregation:
        return self.rule

    def affords(self, round_number: int) -> None:
        """Raises Refused (rule "privacy budget") if so many releases exceed the budget: one a
        round."""
        releases = round_number
        if self.budget is None or releases <= (
            most := releases_within(self.noise_multiplier, self.budget)
        ):
            return
        spent = gaussian_epsilon(self.noise_multiplier, releases, self.budget.delta)
        raise Refused(
            f"release {releases} would raise epsilon to {spent:.4g} at delta "
            f"{self.budget.delta:g}; the budget of {self.budget.epsilon:g} allows {most} with "
            f"noise multiplier {self.noise_multiplier:g}",
            "privacy budget",
        )

    def guarantee(self, releases: int, delta: float | None = None) -> Guarantee:
        """What holds after so many rounds; `delta` defaults to the budget's.

        Raises:
            ConfigError: when neither is given.
        """
        if delta is None and self.budget is None:
            raise ConfigError(
                "give delta=, or the rule a budget: without a delta there is no epsilon"
            )
        chosen = self.budget.delta if delta is None and self.budget else float(delta or 0)
        epsilon = gaussian_epsilon(self.noise_multiplier, releases, chosen)
        return Guarantee(epsilon, chosen, releases, self.noise_multiplier)

    def aggregate(self, inputs: Inputs) -> SharedTensor:
        models, current = list(inputs.models), inputs.current
        mpc, n, size = current.mpc, len(models), current.size
        self.check(n)
        releases = mpc.party.notes.get(policy.RELEASES, 0) + 1
        self.affords(releases)
        updates = (stack_tensors(models) - current.reshape(1, size)).rescale(mpc.format.frac_bits)
        released = self._released(clip_rows(updates, self.clip))
        mpc.party.notes[policy.RELEASES] = releases
        # What is not released is no input: the rule sees functions of noisy values and of public
        # numbers only.
        private = [current + released[i] for i in range(released.shape[0])] + [current] * (
            n - released.shape[0]
        )
        return self.rule.aggregate(
            Inputs(private, [1.0] * n, current, inputs.root, inputs.coin, inputs.memory)
        )

    def _released(self, rows: SharedTensor) -> SharedTensor:
        """Clipped rows [n, size] with noise; for the mean, their noisy sum [1, size], as whole
        words: of rows with weights that differ in the last bit, the sum's remainder would tell what
        the noise does not hide."""
        mpc, (n, size) = rows.mpc, rows.shape
        sigma2 = server_sigma2(
            mpc.protocol.stands_for,
            self.noise_multiplier * self.clip * 2.0**mpc.format.frac_bits,
            size,
        )
        with mpc.scope("noise"):
            if type(self.rule) is FedAvg:
                return rows.sum(0).reshape(1, size) + joint_noise(mpc, sigma2, (1, size))
            return rows + joint_noise(mpc, sigma2, (n, size))


# ---------------------------------------------------------------------- noise


def server_sigma2(sharing: SharingSemantics, sigma_units: float, size: int) -> Fraction:
    """The parameter of one server's noise, in units of the last place, rounded up.

    Raises:
        ConfigError: so little noise that a sum of discrete Gaussians is not close to one.
    """
    honest = sharing.parties - sharing.security.corruptions if sharing.parties > 1 else 1
    share = Fraction(math.ceil(Fraction(sigma_units) ** 2 / honest))
    if excess(honest, math.sqrt(share)) * size > NEGLIGIBLE:
        raise ConfigError(
            f"noise of standard deviation {sigma_units:.3g} units in all is too little; raise "
            "clip, noise_multiplier or frac_bits"
        )
    return share


def joint_noise(mpc: Computation, sigma2: Fraction, shape: tuple[int, ...]) -> SharedTensor:
    """The sum of one sample per server, each dealt by the server that drew it from a key of its
    own; in a simulation the single party draws for every server that it stands for. Offline, one
    round (and bytes of one dealing per server)."""
    op = mpc.party.op("sample")
    drawn = np.zeros(shape, np.int64)
    for k in range(mpc.protocol.stands_for.parties // mpc.sharing.parties):
        key = op.random([mpc.me], f"dg{k}", BITS, (KEY_BYTES,)).tobytes()
        drawn += sample(UniformWords(key), sigma2, math.prod(shape)).reshape(shape)
    mine = mpc.protocol.numbers.from_words(drawn.view(np.uint64))
    jobs = [(mine if p == mpc.me else None, [p]) for p in range(mpc.sharing.parties)]
    dealt = mpc.protocol.deal_many(jobs, shape, phase=Phase.OFFLINE, name="noise")
    total = dealt[0]
    for share in dealt[1:]:
        total = total + share
    return SharedTensor(mpc, total, mpc.format.frac_bits)


# ---------------------------------------------------------------------- clipping


def coordinate_bound(size: int, frac_bits: int) -> float:
    """The power of two up to which `size` coordinates may all reach without their squares' sum
    leaving the ring (LeNet at 20 bits: 8; it is not a restriction for steps of SGD)."""
    return 2.0 ** math.floor((ROOM_BITS - 2 * frac_bits - math.log2(size) - 1e-9) / 2)


def clip_rows(updates: SharedTensor, clip: float) -> SharedTensor:
    """Every row of [n, size] times min(1, t / norm), for a t slightly below `clip` such that,
    whatever the rows are and with all rounding, the norm of the result is at most `clip`. A row
    with a coordinate beyond `coordinate_bound` becomes 0: its squares might wrap around.

    2 n size comparisons of 64 bits, an AND over each row, n inner products, one inverse root, n
    size products.

    Raises:
        ConfigError: a clip that is too small for the number format.
    """
    mpc, (n, size) = updates.mpc, updates.shape
    f = mpc.format.frac_bits
    bound = coordinate_bound(size, f)
    target = clip_target(clip, size, f)
    with mpc.scope("clip"):
        inside = _all_within(updates, bound)
        rows = [updates[i] for i in range(n)]
        squares = bilinear_many(
            [(MatMul(), row.reshape(1, size), row.reshape(size, 1)) for row in rows]
        )
        norms = concatenate([s.reshape(1) for s in squares])
        small = (norms - target**2).negative(64 - f)
        divisor = norms + small.times(target**2 - norms)
        inverse = inv_sqrt(divisor, low=target**2 * (1 - 2.0**-8), high=1.01 * size * bound**2)
        factors = inside.times(inverse * target)
        return updates * factors.reshape(n, 1)


def _all_within(x: SharedTensor, bound: float) -> SharedBits:
    """Per row, whether all |x| are at most `bound`; right for every word of the ring."""
    outside = stack_tensors([x + bound, -x + bound]).negative()
    inside = ~outside
    bits = inside[0] & inside[1]
    while (width := bits.shape[1]) > 1:  # halves may overlap, as b AND b = b
        half = (width + 1) // 2
        bits = bits[:, :half] & bits[:, width - half :]
    return bits.reshape(x.shape[0])


def clip_target(clip: float, size: int, frac_bits: int) -> float:
    """The norm to scale to so that the result, with all errors, has norm at most `clip`.

    With u = 2^-frac_bits and norms up to G = sqrt(size) bound, the inverse root is off by 2e-6
    relative and 2 u, the target's encoding by u, a squared norm and the encoded t^2 by u each, the
    product of both by u, and every coordinate's product by u:
        norm <= (t + u) (1 + 2e-6) / sqrt(1 - 2 u / t^2) + G (2 (t + u) + 1) u + sqrt(size) u.
    """
    u, root = 2.0**-frac_bits, math.sqrt(size)
    largest = root * coordinate_bound(size, frac_bits)

    def worst(t: float) -> float:
        return (
            (t + u) * (1 + 2e-6) / math.sqrt(1 - 2 * u / t**2)
            + largest * (2 * (t + u) + 1) * u
            + root * u
        )

    low, high = math.sqrt(2.0**7 * u), clip
    if high <= low or worst(low) > clip:
        raise ConfigError(
            f"clip={clip} is too small for {frac_bits} fractional bits and {size} coordinates (at "
            f"least about {worst(low):.2g}): rounding would move an update by more"
        )
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if worst(middle) <= clip else (low, middle)
    return low


__all__: Sequence[str] = [
    "Private",
    "clip_rows",
    "clip_target",
    "coordinate_bound",
    "joint_noise",
    "server_sigma2",
]
