"""Operations on shared tensors, written once for every protocol."""

from .approx import divide, exp, inv_sqrt, log, reciprocal, sigmoid, softmax, sqrt
from .nonlinear import PoolTree, relu, relu_with_bits
from .rank import median, ranks, sort, sum_of_ranks_between, top_k_mask
from .select import abs, argmax, clip, max, maximum, min, minimum, one_hot_argmax, where
from .shuffle import permuters, secret_selection

__all__ = [
    "PoolTree",
    "abs",
    "argmax",
    "clip",
    "divide",
    "exp",
    "inv_sqrt",
    "log",
    "max",
    "maximum",
    "median",
    "min",
    "minimum",
    "one_hot_argmax",
    "permuters",
    "ranks",
    "reciprocal",
    "relu",
    "relu_with_bits",
    "secret_selection",
    "sigmoid",
    "softmax",
    "sort",
    "sqrt",
    "sum_of_ranks_between",
    "top_k_mask",
    "where",
]
