"""Tensors: the session that programs talk to, what it shares, and what is computed on that.

    mpc.share(x, owner=0)  ->  SharedTensor  ->  operators, methods, `ops`  ->  mpc.reveal(...)

Here belongs everything that a program may say, whatever the protocol: no message, no key and no
device is named here. What is done with shares is the protocol's (`Session.protocol`). The functions
of `ops` are public here, too, but for `abs`, `max` and `min`, which are methods of tensors."""

from . import ops
from .arithmetic import Public
from .computation import Computation, Secret, decoded
from .hidden_selection import permuters, secret_selection
from .ops import (
    INNER,
    By,
    Method,
    PoolTree,
    all_of,
    argmax,
    bilinear_many,
    choose,
    clip,
    concatenate,
    divide,
    exact_product,
    exp,
    inv_sqrt,
    log,
    maximum,
    median,
    minimum,
    one_hot_argmax,
    product,
    ranks,
    reciprocal,
    relu,
    relu_with_bits,
    sigmoid,
    softmax,
    sort,
    sqrt,
    stack_tensors,
    sum_of_ranks_between,
    top_k_mask,
    weighted_sum,
    where,
    wide_inv_sqrt,
    wide_reciprocal,
)
from .session import Session
from .tensor import SharedBits, SharedTensor

__all__ = [
    "INNER",
    "By",
    "Computation",
    "Method",
    "PoolTree",
    "Public",
    "Secret",
    "Session",
    "SharedBits",
    "SharedTensor",
    "all_of",
    "argmax",
    "bilinear_many",
    "choose",
    "clip",
    "concatenate",
    "decoded",
    "divide",
    "exact_product",
    "exp",
    "inv_sqrt",
    "log",
    "maximum",
    "median",
    "minimum",
    "one_hot_argmax",
    "ops",
    "permuters",
    "product",
    "ranks",
    "reciprocal",
    "relu",
    "relu_with_bits",
    "secret_selection",
    "sigmoid",
    "softmax",
    "sort",
    "sqrt",
    "stack_tensors",
    "sum_of_ranks_between",
    "top_k_mask",
    "weighted_sum",
    "where",
    "wide_inv_sqrt",
    "wide_reciprocal",
]
