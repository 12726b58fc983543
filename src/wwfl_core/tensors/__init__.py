"""Tensors: the session that programs talk to, what it shares, and what is computed on that.

    mpc.share(x, owner=0)  ->  SharedTensor  ->  operators, methods, `ops`  ->  mpc.reveal(...)

Here belongs everything that a program may say, whatever the protocol: no message, no key and no
device is named here. What is done with shares is the protocol's (`Session.protocol`)."""

from . import ops
from .arithmetic import Public
from .computation import Computation, Secret, decoded
from .ops.several import bilinear_many, concatenate, stack_tensors, weighted_sum
from .selection import permuters, secret_selection
from .session import Session
from .tensor import SharedBits, SharedTensor

__all__ = [
    "Computation",
    "Public",
    "Secret",
    "Session",
    "SharedBits",
    "SharedTensor",
    "bilinear_many",
    "concatenate",
    "decoded",
    "ops",
    "permuters",
    "secret_selection",
    "stack_tensors",
    "weighted_sum",
]
