"""The differencing experiment: what leaks, what does not, and that its measures would notice."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from backends import ADDITIVE_2PC, REPLICATED_3PC, TETRAD_4PC
from helpers import rng, words
from wwfl.reproduce import differencing
from wwfl.reproduce._differencing_mpc import TwoClusters
from wwfl.reproduce._differencing_net import Net, auc, psnr
from wwfl.reproduce.differencing import coupled, secure_sum
from wwfl_core.numbers.algebra import RING
from wwfl_core.testing.statistics import LIMIT


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("pictures")
    out = io.StringIO()
    found = differencing.run(Console(file=out, width=140), seed=3, folder=str(folder))
    assert (
        "AUC over 40 games" in out.getvalue()
        and "opened in WW-FL before the reveals: nothing" in out.getvalue()
    )
    return json.loads(json.dumps(found))


def test_secure_aggregation_of_two_leaks_the_update_and_the_digit(result: dict[str, Any]) -> None:
    two, three, ten = result["secure_aggregation"]
    assert two["relative_error"] < 1e-3 and two["cosine"] > 0.9999 and two["psnr_db"] > 60
    assert 0.4 < three["relative_error"] < ten["relative_error"]
    assert result["game_auc"]["auc"]["secure aggregation, party 1"] > 0.99


def test_no_server_of_wwfl_learns_it_and_nothing_is_opened(result: dict[str, Any]) -> None:
    seen = result["wwfl"]
    assert seen["opened"] == [] and len(seen["servers"]) == 7
    for name, server in seen["servers"].items():
        assert abs(server["correlation"]) < 6 * server["correlation_sd"], name
        assert server["uniformity_score"] < LIMIT, name
        assert server["relative_error"] > 1e6 and server["arrays"] > 3, name
        assert server["psnr_best_row_db"] < 15, name
    for who, value in result["game_auc"]["auc"].items():
        if who.startswith("WW-FL, server"):
            assert abs(value - 0.5) < 5 * result["game_auc"]["standard_error"], who


def test_revealing_every_round_brings_the_leak_back(result: dict[str, Any]) -> None:
    revealed = result["wwfl"]["revealing_every_round"]
    assert (
        revealed["relative_error"] < 0.01
        and revealed["cosine"] > 0.999
        and revealed["psnr_db"] > 40
    )
    assert revealed["opened"] == ["the model before the round", "the model after the round"]
    assert result["game_auc"]["auc"]["WW-FL that reveals every round"] > 0.99


def test_the_digits_are_written_side_by_side(result: dict[str, Any]) -> None:
    image = pytest.importorskip("PIL.Image").open(Path(result["picture"]))
    pixels = np.asarray(image, np.float64)
    victim, fl, wwfl, revealed = np.split(pixels, 4, axis=1)
    assert (
        np.abs(victim - fl).mean() < 2
        and np.abs(victim - revealed).mean() < 2 < 20 < np.abs(victim - wwfl).mean()
    )


def test_the_numpy_step_is_the_step_that_clusters_take() -> None:
    g = rng()
    net = Net.initial(9, 5, seed=1)
    images, labels = g.uniform(size=(2, 9)), np.array([3, 7])
    with TwoClusters(net, 0.5, None) as clusters:
        clusters.round(images, labels, record=False)
        moved = clusters.revealed_difference()
    expected = sum(net.update(images[i : i + 1], labels[i : i + 1], 0.5) for i in (0, 1)) / 2
    assert np.abs(moved - expected).max() < 1e-4 < np.abs(expected).max()


@pytest.mark.parametrize("parties", [2, 3, 7])
def test_pairwise_masks_cancel(parties: int) -> None:
    updates = rng().normal(size=(parties, 50))
    assert np.abs(secure_sum(updates, bytes(32)) - updates.sum(0)).max() < parties * 2.0**-22


@pytest.mark.parametrize(
    "sharing", [ADDITIVE_2PC, REPLICATED_3PC, TETRAD_4PC], ids=lambda s: s.name
)
def test_every_view_of_one_server_fits_every_value(sharing: Any) -> None:
    g = rng()
    one, other = words(g, 6), words(g, 6)
    drawn = {c: words(g, 6) for c in sharing.seeded}
    parts = {**drawn, **sharing.complete(RING, one, drawn)}
    for party in range(sharing.parties):
        twin = coupled(sharing, parts, other - one, party)
        total = RING.sum([RING.scale(sharing.coefficients[c], twin[c]) for c in sharing.components])
        assert np.array_equal(total, other)
        assert all(np.array_equal(twin[c], parts[c]) for c in sharing.held_by(party))
        back = coupled(sharing, twin, one - other, party)
        assert all(np.array_equal(back[c], parts[c]) for c in sharing.components), (
            "the map is one to one"
        )


def test_the_measures_would_notice() -> None:
    truth = np.array([0, 1] * 50)
    assert auc(truth.astype(float), truth) == 1 and auc(-truth.astype(float), truth) == 0
    assert auc(np.zeros(100), truth) == 0.5
    digit = rng().uniform(size=784)
    assert psnr(digit, digit) == 200 and 35 < psnr(digit + 0.01, digit) < 45
    net = Net.initial(784, 64, seed=2)
    blind, rows = net.recover_digits(net.update(digit[None], np.array([4]), 0.1))
    assert len(rows) > 5 and all(np.abs(row - digit).max() < 1e-9 for row in (blind, *rows))


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_full_game_is_not_won() -> None:
    found = differencing.run(Console(file=io.StringIO()), full=True)
    games = found["game_auc"]
    assert games["games"] >= 2000
    for who, value in games["auc"].items():
        if who.startswith("WW-FL, server"):
            assert abs(value - 0.5) < 4 * games["standard_error"], who
