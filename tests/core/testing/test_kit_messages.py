"""A mistake that a newcomer makes in a protocol is named where it is, not where it shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pytest

from backends import Replicated3PC
from wwfl_core import LocalCluster, SharingSemantics
from wwfl_core.errors import DeadlineExceeded, Misuse
from wwfl_core.sharing.share import Share
from wwfl_core.testing import conformance, programs, views


class Wrong(Replicated3PC):
    """A product whose result `spoil` changes at party 1."""

    def bilinear(self, f: Any, x: Share, y: Share, truncate: int = 0) -> Any:
        z = super().bilinear(f, x, y, truncate)
        return self.spoil(z, x) if self.me == 1 else z

    def spoil(self, z: Share, x: Share) -> Any:
        raise NotImplementedError


class Forgets(Wrong):
    def spoil(self, z: Share, x: Share) -> Any:
        return Share(z.algebra, z.shape, {1: z.parts[1]})


class HasTooMany(Wrong):
    def spoil(self, z: Share, x: Share) -> Any:
        return Share(z.algebra, z.shape, {**z.parts, 0: z.parts[1]})


class OfOneOperand(Wrong):
    def spoil(self, z: Share, x: Share) -> Any:
        return Share(z.algebra, (*x.shape, 1), z.parts)


class Nothing(Wrong):
    def spoil(self, z: Share, x: Share) -> Any:
        return None


class Raises(Wrong):
    def spoil(self, z: Share, x: Share) -> Any:
        return {}["nowhere"]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (Forgets, "returned a Share with components [1] at party 1, not"),
        (HasTooMany, "returned a Share with components [0, 1, 2] at party 1, not"),
        (
            OfOneOperand,
            "returned a Share of shape (81, 1) with parts of shapes [(81,), (81,)] at party 1, not",
        ),
        (
            Nothing,
            "returned NoneType at party 1, not a Share of shape (81,) with the components [1, 2]",
        ),
        (Raises, "KeyError: 'nowhere' (test_kit_messages.py, line "),
    ],
    ids=lambda p: p.__name__ if isinstance(p, type) else "",
)
def test_a_product_that_returns_no_share_of_its_party_is_told_what_it_returned(
    wrong: type[Wrong], said: str
) -> None:
    report = conformance(wrong, only="correctness/product")
    assert not report.ok and said in report["correctness/product"].detail, report


class ReceivesFirst(Replicated3PC):
    def bilinear(self, f: Any, x: Share, y: Share, truncate: int = 0) -> Share:
        op = self.party.op("swap")
        if self.me:
            op.recv(3 - self.me, np.uint8, (1,))
            op.send(3 - self.me, np.zeros(1, np.uint8))
        return super().bilinear(f, x, y, truncate)


def test_of_parties_that_wait_for_each_other_the_first_operation_is_named() -> None:
    with LocalCluster(ReceivesFirst(), deadline_s=0.5) as c:
        x = c.share(np.ones(2))
        with pytest.raises(
            DeadlineExceeded, match=r"did not send .* 'swap' .*: send before you receive"
        ):
            c.run(lambda mpc, x: x * x, x)


class Debugs(Replicated3PC):
    def bilinear(self, f: Any, x: Share, y: Share, truncate: int = 0) -> Share:
        z = super().bilinear(f, x, y, truncate)
        self.open(z, "debug")
        return z


def test_an_opening_too_many_is_shown_once_and_counted() -> None:
    detail = conformance(Debugs, only="ledger")["ledger"].detail
    assert (
        "(reason, to whom, shape) ('debug', 'all', (19,))" in detail and detail.count("debug") == 1
    ), detail


class Tuples(Replicated3PC):
    declared_costs: ClassVar[Mapping[str, Any]] = {"product": (0, 192, 1)}


def test_a_declared_cost_that_is_none_is_told_what_it_must_be() -> None:
    detail = conformance(Tuples, only="cost/product")["cost/product"].detail
    assert "declared_costs['product'] is (0, 192, 1), not a DeclaredCost(" in detail


def test_a_table_may_be_written_with_lists_and_sets() -> None:
    table: Any = [[2, 0], {0, 1}, (1, 2)]
    signs: Any = [1, 1, 1]
    offline: Any = {1}
    mine = SharingSemantics("mine", 3, table, signs, offline=offline)
    same = SharingSemantics(
        "mine", 3, (frozenset({2, 0}), frozenset({0, 1}), frozenset({1, 2})), (1, 1, 1)
    )
    assert (
        mine.holders == same.holders
        and mine.deal_plan([0]).receivers == same.deal_plan([0]).receivers
    )
    with pytest.raises(Misuse, match=r"offline are components 0..2, got \[7\]"):
        SharingSemantics("mine", 3, table, signs, offline=frozenset({7}))


def test_sums_of_what_a_coalition_sees_that_are_left_out_are_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(programs, "OPERATIONS", {"product": programs.OPERATIONS["product"]})
    assert "left" not in conformance(Replicated3PC, only="views/alike")["views/alike"].detail
    monkeypatch.setattr(views, "PAIRS", 2)
    assert (
        "sums left to --thorough"
        in conformance(Replicated3PC, only="views/alike")["views/alike"].detail
    )
