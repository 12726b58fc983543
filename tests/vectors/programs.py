"""Small programs, one per kind of operation, that run at every party of every built-in protocol.

A program gets this party's end of the protocol and shared EDGES (integers where carries, signs and
wraps go wrong), and returns shared values and opened ones by name. Inputs follow from their names
alone, by SHAKE-256, so that no version of NumPy changes them. A program that is changed here must
be recorded again; add new ones instead.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np

from .internals import (
    Additive2PC,
    Additive2PCOT,
    Conv2d,
    MatMul,
    MPCBackend,
    Mul,
    Phase,
    Plain,
    Replicated3PC,
    Session,
    SharedTensor,
    SumPool2d,
    Tetrad4PC,
    bilinear_many,
    concatenate,
    deal_sum,
    deal_words,
    holders,
    integers,
    is_zero,
    ops,
    recorded,
    secret_selection,
    stack_tensors,
    weighted_sum,
    wide_inv_sqrt,
    wide_reciprocal,
)

PROTOCOLS: dict[str, Callable[[], MPCBackend]] = {
    "plain": Plain,
    "2pc": Additive2PC,
    "2pc-ot": Additive2PCOT,
    "3pc": Replicated3PC,
    "4pc": Tetrad4PC,
}

TOP = 1 << 62
EDGES = np.array(
    [
        0,
        1,
        -1,
        5,
        -5,
        63,
        -64,
        255,
        256,
        TOP - 1,
        1 - TOP,
        TOP // 2,
        -TOP // 2,
        1 << 33,
        -(1 << 33),
    ],
    np.int64,
).view(np.uint64)
"""Integers below 2^62 in magnitude, as words: what every operation permits."""

Results = dict[str, Any]
Program = Callable[[Session, SharedTensor], Results]
PROGRAMS: dict[str, Program] = {}


def program(run: Program) -> Program:
    """Registers a program under its name."""
    PROGRAMS[run.__name__.replace("_", " ")] = run
    return run


# ---------------------------------------------------------------------- inputs


def words(name: str, *shape: int) -> np.ndarray:
    """Words that follow from a name: uint64 of the given shape."""
    size = int(np.prod(shape, dtype=np.int64))
    return (
        np.frombuffer(hashlib.shake_256(name.encode()).digest(8 * size), "<u8")
        .astype(np.uint64)
        .reshape(shape)
    )


def reals(name: str, *shape: int, low: float = -2.0, high: float = 2.0) -> np.ndarray:
    """Numbers in [low, high) that follow from a name, in 2^16 steps: float64."""
    return low + (high - low) * (
        (words(name, *shape) >> np.uint64(48)).astype(np.float64) / 65536.0
    )


def shared(
    mpc: Session, name: str, *shape: int, low: float = -2.0, high: float = 2.0
) -> SharedTensor:
    """`reals`, shared by one of the parties that hold components."""
    owners = holders(mpc)
    return mpc.share(reals(name, *shape, low=low, high=high), owner=owners[len(name) % len(owners)])


def some_bits(mpc: Session, name: str, *shape: int) -> Any:
    """Shared bits of both values."""
    return shared(mpc, name, *shape).negative(24)


# ---------------------------------------------------------------------- sharing and opening


@program
def share(mpc: Session, edges: SharedTensor) -> Results:
    """Every holder shares, others give the shape alone; public values; linear operations."""
    found = {}
    for owner in holders(mpc):
        value = reals(f"share {owner}", 3, 5) if mpc.me == owner else None
        found[f"of party {owner}"] = mpc.share(value, owner=owner, shape=(3, 5))
    first = found["of party 0"]
    public = reals("public", 3, 5)
    found |= {
        "scalar": mpc.share(np.array(1.25), owner=0),
        "empty": mpc.share(np.zeros((0, 3)), owner=0),
        "public": mpc.public_tensor(public),
        "plus public": first + public,
        "public minus": public - first,
        "sum": first.sum(axis=0) + first[1],
        "transposed": first.T - 0.5,
        "integer factor": first * 3 + 1,
        "wide": first.rescale(24),
        "joined": concatenate([first, stack_tensors([first[0], first[2]])]),
        "edges": -edges + 1,
    }
    return found


@program
def reveal(mpc: Session, edges: SharedTensor) -> Results:
    """Openings to all and to one, of numbers, integers and bits, in scopes."""
    x = shared(mpc, "reveal", 2, 9)
    found: Results = {"numbers": mpc.reveal(x), "integers": mpc.reveal(edges, "edges")}
    with mpc.scope("outer"), mpc.scope("inner"):
        found["bits"] = mpc.reveal(x < 0.25, "comparison")
    for party in holders(mpc):
        found[f"to {party}"] = mpc.reveal(x[0], "one party's", to=[party])
    return found


@program
def deal(mpc: Session, edges: SharedTensor) -> Results:
    """Words known to one party, to two, or to all; and a sum of words of both phases."""
    who = holders(mpc)
    sets = (
        [[p] for p in who]
        + [[who[i], who[(i + 1) % len(who)]] for i in range(len(who)) if len(who) > 1]
        + [[*who]]
    )
    jobs = [(words(f"dealt {i}", 2, 3), dealers) for i, dealers in enumerate(sets)]
    found: Results = {
        f"by {dealers}": x for (_, dealers), x in zip(jobs, deal_words(mpc, jobs), strict=True)
    }
    phases = (Phase.ONLINE, Phase.OFFLINE)
    found["sum"] = deal_sum(
        mpc, [(word, dealers, phases[i % 2]) for i, (word, dealers) in enumerate(jobs)]
    )
    return found


@program
def coin(mpc: Session, edges: SharedTensor) -> Results:
    """Public randomness, twice."""
    return {"first": mpc.coin("a coin"), "second": mpc.coin("another coin")}


# ---------------------------------------------------------------------- products and truncation


@program
def product(mpc: Session, edges: SharedTensor) -> Results:
    """Products without truncation: broadcast, of a value with itself, of results."""
    x = integers(shared(mpc, "product x", 3, 5))
    y = integers(shared(mpc, "product y", 3, 5))
    z = x * y
    return {
        "xy": z,
        "xx": x * x,
        "broadcast": x * y[1],
        "edges": edges * edges,
        "again": z * y,
        "x0": x[0, 0] * y[2, 4],
    }


@program
def product_with_truncation(mpc: Session, edges: SharedTensor) -> Results:
    """Truncated products; public factors; a weighted sum in one truncation."""
    x, y = shared(mpc, "product x", 3, 5), shared(mpc, "product y", 3, 5)
    return {
        "xy": x * y,
        "xx": x * x,
        "x two steps": (x * y) * y,
        "broadcast": x.reshape(3, 1, 5) * y[:2],
        "factor": x * 0.1,
        "small factor": x * 0.001,
        "array factor": x * reals("factor", 5),
        "quotient": x / 3,
        "mean": x.mean(axis=1),
        "weighted": weighted_sum([(x, 0.25), (y, 0.3), (x * y, -1.7)]),
    }


@program
def matmul(mpc: Session, edges: SharedTensor) -> Results:
    """Matrix products, transposed or not, with both adjoints; with and without truncation."""
    x, y = shared(mpc, "matmul x", 3, 5), shared(mpc, "matmul y", 5, 4)
    f = MatMul()
    z = x @ y
    return {
        "z": z,
        "dx": z.bilinear(f.grad_x(x.shape, y.shape), y),
        "dy": x.bilinear(f.grad_y(x.shape, y.shape), z),
        "transposed": x.bilinear(MatMul(True, True), y.reshape(4, 5)[:, :3].reshape(4, 3)),
        "integers": integers(x) @ integers(y),
    }


@program
def conv2d(mpc: Session, edges: SharedTensor) -> Results:
    """A convolution with both gradients, and one composed with a sum over windows."""
    x, k = shared(mpc, "image", 2, 2, 6, 6), shared(mpc, "kernel", 3, 2, 3, 3)
    f, pooled = Conv2d(2, 1), Conv2d(1, 1).then(SumPool2d(2))
    z, s = x.bilinear(f, k), x.bilinear(pooled, k)
    return {
        "z": z,
        "dx": z.bilinear(f.grad_x(x.shape, k.shape), k),
        "dk": x.bilinear(f.grad_y(x.shape, k.shape), z),
        "pooled": s,
        "pooled dx": s.bilinear(pooled.grad_x(x.shape, k.shape), k),
        "pooled dk": x.bilinear(pooled.grad_y(x.shape, k.shape), s),
    }


@program
def products_at_once(mpc: Session, edges: SharedTensor) -> Results:
    """Unlike products in the rounds of one, with a common operand, and divided by 2^3."""
    x, y, k = shared(mpc, "many x", 3, 4), shared(mpc, "many y", 4, 2), shared(mpc, "many k", 3, 4)
    found = bilinear_many([(MatMul(), x, y), (Mul(), x, k), (Mul(), k, k)])
    halves = bilinear_many([(Mul(), x, k), (MatMul(True, False), x, k)], shift=3)
    return {f"product {i}": z for i, z in enumerate([*found, *halves])}


@program
def truncation(mpc: Session, edges: SharedTensor) -> Results:
    """Truncations by several widths, of numbers at the edges of what is permitted."""
    x = shared(mpc, "truncation", 4, 5).rescale(40)
    found: Results = {f"x by {bits}": x.truncate(bits) for bits in (1, 7, 20, 33)}
    return found | {"edges by 3": edges * 0.125, "edges by 20": edges * 2.0**-20}


# ---------------------------------------------------------------------- comparison and bits


@program
def sign(mpc: Session, edges: SharedTensor) -> Results:
    """Comparisons at 64 bits (edges included), 32 and fewer; with tensors and public values."""
    x, y = shared(mpc, "sign x", 3, 7), shared(mpc, "sign y", 3, 7)
    return {
        "64": x.negative(),
        "edges": edges.negative(),
        "32": x.negative(32),
        "24": x.negative(24),
        "9": (edges[:7] * 1).negative(9),
        "less": x < y,
        "greater": x > 0.5,
        "at least": x[0] >= y[0],
        "at most": x[0] <= -0.5,
        "opened": mpc.reveal(x < y),
    }


@program
def zero(mpc: Session, edges: SharedTensor) -> Results:
    """Tests for zero at 64 and fewer bits."""
    x = shared(mpc, "zero", 3, 7)
    return {
        "64": edges.equals(0),
        "equal": x.equals(concatenate([x[:1], x[:1], x[2:]])),
        "6": is_zero(edges, 6),
        "1": is_zero(edges, 1),
        "33": is_zero(edges, 33),
        "opened": mpc.reveal(edges.equals(-5)),
    }


@program
def bit_to_ring(mpc: Session, edges: SharedTensor) -> Results:
    """Bits as integers, of sizes that fill bytes and that do not."""
    full, part = some_bits(mpc, "full", 2, 8), some_bits(mpc, "part", 3, 3)
    return {
        "full": full.to_integers(),
        "part": part.to_integers(),
        "opened": mpc.reveal(part.to_integers()),
    }


@program
def inject(mpc: Session, edges: SharedTensor) -> Results:
    """Bits times numbers, and selections."""
    x, y, b = (
        shared(mpc, "inject x", 3, 3),
        shared(mpc, "inject y", 3, 3),
        some_bits(mpc, "inject b", 3, 3),
    )
    return {
        "times": b.times(x),
        "select": b.select(x, y),
        "where": ops.where(~b, x, y),
        "of edges": edges.negative().times(edges),
    }


@program
def bits(mpc: Session, edges: SharedTensor) -> Results:
    """Gates on bits, and linear operations on them."""
    a, b = some_bits(mpc, "bits a", 3, 5), some_bits(mpc, "bits b", 3, 5)
    return {
        "xor": a ^ b,
        "and": a & b,
        "or": a | b,
        "not": ~a,
        "flip": a.flip(reals("flip", 3, 5) < 0),
        "index": (a & b)[1:, ::2],
        "reshape": a.reshape(5, 3),
        "opened": mpc.reveal((a ^ b) & ~a),
    }


@program
def narrow(mpc: Session, edges: SharedTensor) -> Results:
    """Numbers modulo 2^32: sums, products and openings there, and the way back."""
    x, y = shared(mpc, "narrow x", 3, 5), shared(mpc, "narrow y", 3, 5)
    a, b = x.narrow(), y.narrow()
    small = (integers(shared(mpc, "narrow z", 3, 5, low=-0.001, high=0.001))).narrow()
    return {
        "narrow": a,
        "sum": a + b,
        "product": small * small,
        "opened": mpc.reveal(a),
        "widened": a.widen(),
        "widened sum": (a - b).widen() * y,
    }


# ---------------------------------------------------------------------- derived operations


@program
def relu(mpc: Session, edges: SharedTensor) -> Results:
    """ReLU with and without its bits, absolute values, limits."""
    x = shared(mpc, "relu", 3, 5)
    y, positive = ops.relu_with_bits(x, 30)
    return {
        "relu": x.relu(),
        "30": y,
        "bits": positive,
        "abs": x.abs(32),
        "clip": x.clip(-0.5, 1.0, 32),
    }


@program
def maximum(mpc: Session, edges: SharedTensor) -> Results:
    """Maxima and minima: elementwise and along an axis."""
    x, y = shared(mpc, "maximum x", 3, 5), shared(mpc, "maximum y", 3, 5)
    return {
        "maximum": x.maximum(y, 32),
        "minimum": x.minimum(0.25, 32),
        "max": x.max(axis=1, bits=32),
        "min": x.min(axis=0),
        "fan-in 2": ops.max(x, 1, bits=32, fanin=2),
    }


@program
def maxpool(mpc: Session, edges: SharedTensor) -> Results:
    """Max-pooling with its backward pass: windows that tile the image, and windows that overlap."""
    x = shared(mpc, "maxpool", 1, 2, 5, 5)
    found: Results = {}
    for name, tree in (("tiles", ops.PoolTree(2, 32)), ("overlap", ops.PoolTree(3, 32, 2))):
        found[name] = tree.forward(x)
        found[f"{name} back"] = tree.backward(found[name])
    return found


@program
def argmax(mpc: Session, edges: SharedTensor) -> Results:
    """The index of the largest entry, and the same as unit vectors."""
    x = shared(mpc, "argmax", 3, 5)
    return {
        "index": x.argmax(bits=32),
        "one hot": ops.one_hot_argmax(x, bits=32),
        "opened": mpc.reveal(x.argmax()),
    }


@program
def sort(mpc: Session, edges: SharedTensor) -> Results:
    """Order statistics by all pairs and by a network."""
    x = shared(mpc, "sort", 5, 2)
    return {
        "pairs": ops.sort(x, 0, bits=32),
        "network": ops.sort(x, 0, bits=32, by="exchange", descending=True),
        "median": ops.median(x, bits=32),
        "median of 4": ops.median(x[:4], bits=32, by="exchange"),
        "ranks": ops.ranks(x, bits=32),
        "middle": ops.sum_of_ranks_between(x, 1, 4, bits=32),
        "top": ops.top_k_mask(x, 2, 0, bits=32),
    }


@program
def shuffle(mpc: Session, edges: SharedTensor) -> Results:
    """A secret selection of rows, and rows selected by it."""
    chosen = secret_selection(mpc, 5, 3)
    return {"selection": chosen, "rows": chosen @ shared(mpc, "rows", 5, 4)}


@program
def exp(mpc: Session, edges: SharedTensor) -> Results:
    """e^x and what is made of it."""
    x = shared(mpc, "exp", 2, 3, low=-6.0, high=2.0)
    return {"exp": x.exp(), "sigmoid": x.sigmoid(32), "opened": mpc.reveal(x.exp())}


@program
def softmax(mpc: Session, edges: SharedTensor) -> Results:
    """Softmax along an axis."""
    x = shared(mpc, "softmax", 2, 4, low=-3.0, high=3.0)
    return {"softmax": x.softmax(), "opened": mpc.reveal(x.softmax(axis=0))}


@program
def division(mpc: Session, edges: SharedTensor) -> Results:
    """Reciprocals, quotients, roots and logarithms on declared domains."""
    x, y = shared(mpc, "divide x", 2, 3), shared(mpc, "divide y", 2, 3, low=0.3, high=3.0)
    return {
        "reciprocal": y.reciprocal(0.25, 4.0),
        "quotient": ops.divide(x, y, low=0.25, high=4.0),
        "sqrt": y.sqrt(0.25, 4.0),
        "inverse sqrt": y.inv_sqrt(0.25, 4.0),
        "log": y.log(0.25, 4.0),
    }


@program
def wide_division(mpc: Session, edges: SharedTensor) -> Results:
    """Reciprocals and inverse roots over the whole range."""
    u = integers(shared(mpc, "wide", 2, low=0.0, high=900.0))
    return {
        f"{name} {field}": value
        for name, f in (("reciprocal", wide_reciprocal), ("root", wide_inv_sqrt))
        for field, value in f(u)._asdict().items()
    }


# ------------------------------------------------------- programs that are repeated

STEPS = 4
"""An ordinary run, two that are recorded, a repetition."""
NEVER_REPEATED = ("2pc-ot",)
"""Protocols whose programs are not recorded: a second step shows nothing new, and is slow."""


def steps(mpc: Session) -> int:
    """How often a step is run."""
    return 1 if mpc.name in NEVER_REPEATED else STEPS


@recorded
def linear_step(mpc: Session, w: SharedTensor, x: SharedTensor, y: SharedTensor) -> SharedTensor:
    """A step of least squares: w - (x^T (x w - y)) / 8."""
    with mpc.scope("forward"):
        error = x @ w - y
    with mpc.scope("backward"):
        return w - x.bilinear(MatMul(True, False), error) * 0.125


@program
def linear_training(mpc: Session, edges: SharedTensor) -> Results:
    """A linear layer trained for four steps: run, recorded twice, repeated."""
    w, x, y = shared(mpc, "w", 5, 3), shared(mpc, "x", 4, 5), shared(mpc, "y", 4, 3)
    found: Results = {}
    for step in range(steps(mpc)):
        w = linear_step(mpc, w, x, y)
        found[f"w {step}"] = w
    return found | {"opened": mpc.reveal(w, "weights")}


@recorded
def lenet_step(
    mpc: Session,
    kernel: SharedTensor,
    w: SharedTensor,
    images: SharedTensor,
    labels: SharedTensor,
) -> tuple[SharedTensor, SharedTensor]:
    """Convolution, ReLU, max-pooling, linear layer, softmax; backwards; new parameters."""
    conv, linear, pool = Conv2d(1, 0), MatMul(False, True), ops.PoolTree(2, 30)
    with mpc.scope("conv"):
        z = images.bilinear(conv, kernel)
    with mpc.scope("relu"):
        a, positive = ops.relu_with_bits(z, 30)
    with mpc.scope("pool"):
        p = pool.forward(a)
    flat = p.reshape(p.shape[0], -1)
    with mpc.scope("linear"):
        logits = flat.bilinear(linear, w)
    with mpc.scope("loss"):
        gradient = logits.softmax() - labels
    with mpc.scope("backward"):
        dw, dp = bilinear_many(
            [
                (linear.grad_y(flat.shape, w.shape), flat, gradient),
                (linear.grad_x(flat.shape, w.shape), gradient, w),
            ]
        )
        dz = positive.times(pool.backward(dp.reshape(*p.shape)))
        dk = images.bilinear(conv.grad_y(images.shape, kernel.shape), dz)
    with mpc.scope("update"):
        return kernel - dk * 0.05, w - dw * 0.05


@program
def lenet_training(mpc: Session, edges: SharedTensor) -> Results:
    """A small convolutional network trained for four steps: run, recorded twice, repeated."""
    kernel, w = shared(mpc, "lenet kernel", 2, 1, 3, 3), shared(mpc, "lenet w", 3, 8)
    images, labels = shared(mpc, "lenet images", 2, 1, 6, 6), mpc.share(np.eye(3)[:2], owner=0)
    found: Results = {}
    for step in range(steps(mpc)):
        kernel, w = lenet_step(mpc, kernel, w, images, labels)
        found |= {f"kernel {step}": kernel, f"w {step}": w}
    return found | {"opened": mpc.reveal(w, "weights")}
