"""Arguments and results of programs: shared tensors inside tuples, lists and dicts, and everything
else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

from wwfl_core.numbers.algebra import Algebra
from wwfl_core.numbers.arrays import Array, Shape
from wwfl_core.sharing import Share
from wwfl_core.tensors import Session, SharedBits, SharedTensor


@dataclass(frozen=True)
class _Held:
    """A share without its arrays."""

    algebra: Algebra
    shape: Shape
    components: tuple[int, ...]


@dataclass(frozen=True)
class _Numbers:
    """A tensor of share number `share`."""

    share: int
    frac_bits: int


@dataclass(frozen=True)
class _Truths:
    """Bits of share number `share`."""

    share: int
    shape: Shape


@dataclass(frozen=True)
class _Public:
    """Anything else, which is the same in every run."""

    kind: type
    value: Any


@dataclass(frozen=True)
class _Branch:
    """A tuple, list or dict: its type, its keys if it has some, and what is in it."""

    kind: type
    keys: tuple[Any, ...]
    items: tuple[Any, ...]

    def build(self, leaf: Callable[[Any], Any]) -> Any:
        found = [
            item.build(leaf) if isinstance(item, _Branch) else leaf(item) for item in self.items
        ]
        if self.keys:
            return self.kind(zip(self.keys, found, strict=True))
        return self.kind(*found) if hasattr(self.kind, "_fields") else self.kind(found)


@dataclass(frozen=True)
class Form:
    """A tree without its arrays, equal for equal shapes and equal public values. Hashable if those
    values are."""

    tree: Any
    shares: tuple[_Held, ...]

    def build(self, mpc: Session, arrays: Sequence[Array]) -> Any:
        """The tree with these arrays, shared by the parties of `mpc`."""
        left = iter(arrays)
        shares = [
            Share(of.algebra, of.shape, {c: next(left) for c in of.components})
            for of in self.shares
        ]

        def leaf(item: Any) -> Any:
            if isinstance(item, _Numbers):
                return SharedTensor(mpc, shares[item.share], item.frac_bits)
            if isinstance(item, _Truths):
                return SharedBits(mpc, shares[item.share], item.shape)
            return item.value

        return self.tree.build(leaf) if isinstance(self.tree, _Branch) else leaf(self.tree)


def taken_apart(tree: Any) -> tuple[Form, list[Array]]:
    """The form of a tree, and its arrays. Tensors that are one object (or have one share) stay
    so."""
    shares: list[Share] = []
    places: dict[int, int] = {}

    def place(share: Share) -> int:
        if id(share) not in places:
            places[id(share)] = len(shares)
            shares.append(share)
        return places[id(share)]

    def form(item: object) -> Any:
        kind = type(item)
        if isinstance(item, SharedTensor):
            return _Numbers(place(item.data), item.frac_bits)
        if isinstance(item, SharedBits):
            return _Truths(place(item.data), item.shape)
        if isinstance(item, dict):
            known = cast(dict[Any, Any], item)
            return _Branch(dict, tuple(known), tuple(map(form, known.values())))
        if isinstance(item, tuple | list):
            return _Branch(kind, (), tuple(map(form, cast(Sequence[Any], item))))
        return _Public(kind, item)

    made = form(tree)
    held = tuple(_Held(share.algebra, share.shape, tuple(share.parts)) for share in shares)
    return Form(made, held), [array for share in shares for array in share.parts.values()]
