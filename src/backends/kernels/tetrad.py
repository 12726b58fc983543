"""Local steps of the 4PC protocol Tetrad (`backends/tetrad4pc.py`), one kernel each.

Operands are uint64 arrays (ring elements) or uint8 arrays (packed bits; sums are XOR, products
AND), all of one shape. x and y are given as the components that the party holds, by name: m, l1,
l2, l3."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from wwfl_core.accelerate.cuda import (
    DeviceArray,
    Stream,
    check_int,
    check_length,
    launcher_for,
    over,
    packed_bits,
    packed_words,
    plain,
    ring_or_bits,
    same_kind,
    sized,
    source_args,
    stream_args,
    streams_args,
)
from wwfl_core.errors import Misuse

from . import SOURCES

Parts = Mapping[str, DeviceArray]
SOURCE = str(SOURCES / "tetrad.cu")


def _run(
    kernel: str,
    operands: Sequence[DeviceArray],
    outputs: int,
    extra: Sequence[int],
    streams: Sequence[Stream],
) -> list[DeviceArray]:
    """Launch a kernel of both rings: operands, outputs like them, their bytes, further integers,
    streams."""
    name = ring_or_bits(operands[0], kernel)
    ready = same_kind(operands, kernel)
    launcher = launcher_for(ready[0])
    made = [launcher.empty(ready[0].shape, ready[0].dtype) for _ in range(outputs)]
    check_length(made[0].nbytes)
    args = [*ready, *made, made[0].nbytes, *extra, *streams_args(streams)]
    over(SOURCE, name, -(-made[0].nbytes // 64), args, ready[0])
    return made


def offline(x: Parts, y: Parts, u1: Stream, u2: Stream) -> DeviceArray:
    """CS1 and CS4: r = gamma3 - F(u1) - F(u2), with gamma3 = l1_x (l1_y + l2_y) + l2_x l1_y."""
    return _run("offline", [x["l1"], x["l2"], y["l1"], y["l2"]], 1, [], [u1, u2])[0]


def seed(x: Parts, y: Parts, s: Stream) -> DeviceArray:
    """CS4: w = gamma1 + gamma2 + F(s), the product of the lambdas' sums without gamma3."""
    return _run("seed", [part[name] for part in (x, y) for name in ("l1", "l2", "l3")], 1, [], [s])[
        0
    ]


def check(x: Parts, y: Parts, w: DeviceArray, u1: Stream, u2: Stream) -> DeviceArray:
    """CS1: v = w + F(u1) + F(u2) - (l1 + l2)_x m_y - m_x (l1 + l2)_y."""
    return _run(
        "check",
        [*(part[name] for part in (x, y) for name in ("m", "l1", "l2")), w],
        1,
        [],
        [u1, u2],
    )[0]


def evaluate(x: Parts, y: Parts, own: str, u: Stream) -> DeviceArray:
    """CS3 (own = "l1") and CS2 (own = "l2"): what they swap, y_i = gamma_i - own_x m_y - m_x own_y
    + F(u)."""
    if own not in ("l1", "l2"):
        raise Misuse(f"own must be 'l1' (CS3) or 'l2' (CS2), not {own!r}")
    operands = [part[name] for part in (x, y) for name in ("m", "l3", own)]
    return _run("evaluate", operands, 1, [int(own == "l1")], [u])[0]


def conclude(
    x: Parts, y: Parts, mine: DeviceArray, theirs: DeviceArray, s: Stream
) -> tuple[DeviceArray, DeviceArray]:
    """CS2 and CS3 after the swap: (c, the check value mine + theirs + F(s))."""
    operands = [*(part[name] for part in (x, y) for name in ("m", "l3")), mine, theirs]
    c, v = _run("conclude", operands, 2, [], [s])
    return c, v


def gated(
    v: DeviceArray,
    x: DeviceArray | Stream | None,
    coefficient: int,
    added: Sequence[DeviceArray],
    n: int,
    hiding: Stream | None = None,
) -> DeviceArray:
    """coefficient v x + sum(added) - F(hiding) for packed bits v: uint64 (n,). x is an array, a
    stream, or None for 1; at most three arrays are added, uint64 of n elements."""
    if len(added) > 3:
        raise Misuse(f"gated adds at most 3 arrays, not {len(added)}")
    factor, stream = (
        (0, stream_args(None)) if x is None else source_args(x, lambda a: sized(a, "x", n))
    )
    arrays = [sized(a, "added", n) for a in added]
    bits = packed_bits(v, n, "v")
    out = launcher_for(bits).empty((n,), np.uint64)
    check_length(out.nbytes)
    args = [
        bits,
        factor,
        *arrays,
        *[0] * (3 - len(arrays)),
        out,
        n,
        coefficient,
        int(isinstance(x, Stream)),
    ]
    over(
        SOURCE,
        "gated",
        -(-n // 8),
        [*args, int(hiding is not None), *stream, *stream_args(hiding)],
        bits,
    )
    return out


def products(xs: Sequence[DeviceArray], ys: Sequence[DeviceArray], hiding: Stream) -> DeviceArray:
    """x0 y0 + x1 y1 + x2 y2 - F(hiding); uint64 of one shape."""
    ready = same_kind([*xs, *ys], "products")
    if len(xs) != 3 or len(ys) != 3:
        raise Misuse(f"products takes three pairs, not {len(xs)} and {len(ys)} factors")
    out = launcher_for(ready[0]).empty(ready[0].shape, np.uint64)
    check_length(out.nbytes)
    over(SOURCE, "products", -(-out.size // 8), [*ready, out, out.size, *hiding.args()], out)
    return out


def inject_piece(
    mb: DeviceArray,
    mx: DeviceArray,
    lb: DeviceArray,
    gamma: DeviceArray,
    lx: DeviceArray,
    u: Stream | None = None,
) -> DeviceArray:
    """(1 - 2 m_b)(m_x l_b - gamma) - m_b l_x, plus F(u) if given; m_b packed bits, the others
    uint64 of one shape."""
    mx, lb, gamma, lx = same_kind([mx, lb, gamma, lx], "inject_piece")
    n = mx.size
    out = launcher_for(mx).empty(mx.shape, np.uint64)
    check_length(out.nbytes)
    mask = [0] * 6 if u is None else u.args()
    args = [packed_bits(mb, n, "mb"), mx, lb, gamma, lx, out, n, int(u is not None), *mask]
    over(SOURCE, "inject_piece", -(-n // 8), args, mx)
    return out


def _wrapped(
    kernel: str,
    inputs: Sequence[DeviceArray | int],
    outputs: int,
    n: int,
    f: int,
    streams: Sequence[int],
    like: object,
) -> list[DeviceArray]:
    """Messages and check values of a truncation: n elements, f bits each, packed."""
    f, launcher = check_int(f, "f", 1, 62), launcher_for(like)
    made = [launcher.empty((-(-n * f // 8),), np.uint8) for _ in range(outputs)]
    check_length(8 * n)
    over(SOURCE, kernel, -(-n // 8), [*inputs, *made, n, f, *streams], like)
    return made


def wrap_rest(r: DeviceArray, e: Stream, f: int) -> DeviceArray:
    """CS1: r* - F(e) for the top bit r* of r; uint8 (ceil(n f / 8),), as all messages of a
    truncation."""
    word = plain(r, "r", np.uint64)
    return _wrapped("wrap_rest", [word], 1, word.size, f, e.args(), word)[0]


def wrap_rest_and_seed(
    r: DeviceArray, e: Stream, sigma: Stream, s: Stream, f: int
) -> tuple[DeviceArray, DeviceArray]:
    """CS4: what CS1 has, and sigma r* + F(s), sigma the packed bits of its stream."""
    word = plain(r, "r", np.uint64)
    rest, seed = _wrapped(
        "wrap_rest_and_seed", [word], 2, word.size, f, streams_args([e, sigma, s]), word
    )
    return rest, seed


def wrap_share(c: DeviceArray, e: DeviceArray | Stream, u: Stream, f: int) -> DeviceArray:
    """An evaluator: star bit of c times e, plus F(u); e is packed, f bits each, or a stream."""
    word = plain(c, "c", np.uint64)
    n = word.size
    factor, stream = source_args(e, lambda data: packed_words(data, n, f, "e"))
    return _wrapped("wrap_share", [word, factor], 1, n, f, [*stream, *u.args()], word)[0]


def wrap_conclude(
    c: DeviceArray, mine: DeviceArray, theirs: DeviceArray, flip: DeviceArray, s: Stream, f: int
) -> tuple[DeviceArray, DeviceArray]:
    """An evaluator, with W = mine + theirs: its half (c >> f) - 2^(64 - f) (W + [c >= 2^62]) of the
    result, and the check value W + (1 - 2 flip) F(s); flip are packed bits."""
    word = plain(c, "c", np.uint64)
    n, half = word.size, launcher_for(word).empty(word.shape, np.uint64)
    swapped = [packed_words(data, n, f, "a message") for data in (mine, theirs)]
    inputs = [word, *swapped, packed_bits(flip, n, "flip"), half]
    return half, _wrapped("wrap_conclude", inputs, 1, n, f, s.args(), word)[0]


def wrap_check(
    r: DeviceArray, d: DeviceArray, w: DeviceArray, u1: Stream, u2: Stream, f: int
) -> DeviceArray:
    """CS1's check value d r* + (1 - 2 d) w + F(u1) + F(u2), for packed bits d and the packed seed
    w."""
    word = plain(r, "r", np.uint64)
    n = word.size
    inputs = [word, packed_bits(d, n, "d"), packed_words(w, n, f, "w")]
    return _wrapped("wrap_check", inputs, 1, n, f, streams_args([u1, u2]), word)[0]


def shift_right_half(r: DeviceArray, u1: Stream, u2: Stream, f: int) -> DeviceArray:
    """The half of CS1 and CS4: (r >> f) + 1 + 2^(64 - f) (F(u1) + F(u2))."""
    source = plain(r, "r", np.uint64)
    out = launcher_for(source).empty(source.shape, np.uint64)
    check_length(out.nbytes)
    args = [source, out, source.size, check_int(f, "f", 1, 62), *u1.args(), *u2.args()]
    over(SOURCE, "shift_right_half", -(-source.size // 8), args, source)
    return out
