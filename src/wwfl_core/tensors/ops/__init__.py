"""Operations on shared tensors, written once for every protocol, as functions.

Here belongs what is computed from tensors by their operators and a few of the protocol's
operations, and opens nothing. Functions are written over `tensors.arithmetic` (the operators of
`SharedTensor`) and give back the kind of tensor that they are given; those that read better as
methods are methods of `SharedTensor`, too. Names are NumPy's where NumPy has one."""

from .approx import INNER, divide, exp, inv_sqrt, log, reciprocal, sigmoid, softmax, sqrt
from .joining import bilinear_many, concatenate, stack_tensors, weighted_sum
from .nonlinear import PoolTree, relu, relu_with_bits
from .rank import median, ranks, sort, sum_of_ranks_between, top_k_mask
from .select import abs, all_of, argmax, clip, max, maximum, min, minimum, one_hot_argmax, where
from .sorting_network import By, Method, choose
from .wide_range import exact_product, product, wide_inv_sqrt, wide_reciprocal

__all__ = [
    "INNER",
    "By",
    "Method",
    "PoolTree",
    "abs",
    "all_of",
    "argmax",
    "bilinear_many",
    "choose",
    "clip",
    "concatenate",
    "divide",
    "exact_product",
    "exp",
    "inv_sqrt",
    "log",
    "max",
    "maximum",
    "median",
    "min",
    "minimum",
    "one_hot_argmax",
    "product",
    "ranks",
    "reciprocal",
    "relu",
    "relu_with_bits",
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
