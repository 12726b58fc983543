"""Programs for servers in processes of their own.

Such a process imports the module of its program, so nothing heavy (torch, pytest, a federation) is
imported here: that would take longer than the program."""

from __future__ import annotations

from typing import Any

from wwfl_core import Session, SharedTensor


def square(mpc: Session, x: SharedTensor) -> SharedTensor:
    """The squares of the elements, still shared."""
    return x * x


def squares(mpc: Session, x: SharedTensor) -> list[Any]:
    """Opens the squares of the elements, and whether each of them is below 1."""
    y = x * x
    return [mpc.reveal(y), mpc.reveal(y < 1.0)]


def relu_of_product(mpc: Session, x: SharedTensor, y: SharedTensor) -> Any:
    """Opens the positive part of a product."""
    z = x * y
    return mpc.reveal((~z.negative()).times(z))
