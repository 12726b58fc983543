"""Fixed-point encoding and decoding on device arrays, bit for bit as
`wwfl_core.numbers.fixed_point`."""

from __future__ import annotations

import numpy as np

from wwfl_core.errors import RangeError
from wwfl_core.kernels import check_int
from wwfl_core.numbers import HEADROOM_BITS

from .launch import WORD, DeviceArray, launcher_for, over, plain


def encode(real: DeviceArray, frac_bits: int, what: str = "value") -> DeviceArray:
    """Real numbers (float64, any shape) -> ring elements round(v 2^frac_bits), ties to even. Waits
    for the device.

    Raises:
        RangeError: for a value that is not finite or whose magnitude reaches 2^(62 - frac_bits),
            with its position.
    """
    source, f = plain(real, "real", np.float64), check_int(frac_bits, "frac_bits", 0, HEADROOM_BITS)
    launcher = launcher_for(source)
    ring, bad = launcher.empty(source.shape, np.uint64), launcher.zeros((1,), np.uint64)
    bad[...] = np.uint64(WORD)
    over(
        "fixedpoint.cu",
        "encode",
        source.size,
        [source, ring, bad, source.size, f, HEADROOM_BITS],
        source,
    )
    first = int(bad[0])
    if first != WORD:
        where = ", ".join(str(int(i)) for i in np.unravel_index(first, source.shape))
        raise RangeError(
            f"{what}[{where}] = {float(source.reshape(-1)[first])} does not fit fixed point with "
            f"{f} fractional bits (magnitude must be below {2.0 ** (HEADROOM_BITS - f):g}); scale "
            "the data or use fewer frac_bits"
        )
    return ring


def decode(ring: DeviceArray, frac_bits: int) -> DeviceArray:
    """Ring elements (uint64, any shape) -> float64."""
    source, f = plain(ring, "ring", np.uint64), check_int(frac_bits, "frac_bits", 0, HEADROOM_BITS)
    real = launcher_for(source).empty(source.shape, np.float64)
    over("fixedpoint.cu", "decode", source.size, [source, real, source.size, f], source)
    return real
