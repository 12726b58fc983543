"""Differencing: secure aggregation among few parties leaks their updates and images; WW-FL does
not, unless it reveals.

Plain FL with secure aggregation: parties add pairwise masks to their updates, so that only the sum
is seen, and the new model is released. Party 1 subtracts what it knows from the difference of two
models. WW-FL: the same data and the same step, but client 1 and client 2 share their data with
clusters of different protocols, and one server of any of them (curious, not deviating) looks at its
own shares and messages. Last, the global servers reveal the model every round.

Measures, as in the table: M1 relative error and cosine of the estimated update; M2 the victim's
digit from the estimate (a row of the first layer's gradient divided by its bias), PSNR; M3 a game,
does the victim hold a 0 or a 1, AUC; M4 are a server's shares and messages uniform bytes, and
uncorrelated with the update; M5 for every single server, the same view under other randomness fits
another digit of the victim. An AUC near 0.5 is a sanity check; the reason is M5, and the protocols'
own proofs. Two models in clear, or all servers of one cluster together, do leak."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from backends import ADDITIVE_2PC, REPLICATED_3PC, TETRAD_4PC
from wwfl.data import Dataset, mnist
from wwfl_core.errors import ConfigError
from wwfl_core.numbers.algebra import RING
from wwfl_core.numbers.fixed_point import FixedPoint
from wwfl_core.randomness.prg import Prg, derive_key
from wwfl_core.sharing.semantics import SharingSemantics
from wwfl_core.testing.statistics import uniformity

from ._differencing_mpc import GLOBAL, TwoClusters, View
from ._differencing_net import Net, auc, cosine, decide, psnr, relative_error

F64 = npt.NDArray[np.float64]
FRAC_BITS = 22
SECURE_AGGREGATION = FixedPoint(FRAC_BITS)
LR = 0.1
PIXELS, HIDDEN = 784, 64
BLOCK = 4
GAME_PIXELS, GAME_HIDDEN = PIXELS // BLOCK**2, 16
"""The game is played thousands of times, so its digits are 7 x 7."""
SMALL = {"trials": 10, "games": 40, "parties": (2, 3, 10)}
FULL = {"trials": 20, "games": 2000, "parties": (2, 3, 5, 10, 50)}


def run(
    console: Console, *, full: bool = False, seed: int = 0, folder: str | None = None
) -> dict[str, Any]:
    """Runs all measures and prints them; returns them as plain data.

    The small form takes about ten seconds, the full one some minutes. Experiments are seeded, keys
    are derived from the seed. With `folder`, the digits are written side by side to
    differencing.png (needs Pillow)."""
    size: dict[str, Any] = FULL if full else SMALL
    train, _ = mnist(pad=0, standardise=False)
    console.print(
        f"data: {train.name}, {train.source}; model {_large(seed)}, one step of SGD on one digit "
        "each"
    )
    rows = [_plain_fl(train, n, size["trials"], seed) for n in size["parties"]]
    wwfl, digits = _wwfl(train, seed)
    games = _games(train, size["games"], seed)
    couplings = _couplings(train, seed)
    result: dict[str, Any] = {
        "data": {"name": train.name, "source": train.source, "sha256": train.sha256},
        "full": full,
        "seed": seed,
        "secure_aggregation": rows,
        "wwfl": wwfl,
        "game_auc": games,
        "coupling": couplings,
    }
    _print(console, result)
    if folder is not None:
        data = _pick(train, wwfl["digits"])
        estimate, _ = _round_of_fl(_large(seed), data, derive_key(b"wwfl", "picture", str(seed)))
        shown, _ = _large(seed).recover_digits(estimate)
        result["picture"] = _write(Path(folder), [digits[0], shown, digits[1], digits[2]])
        console.print(
            "victim, secure aggregation, WW-FL, WW-FL that reveals every round: "
            f"{result['picture']}"
        )
    return result


def _large(seed: int) -> Net:
    return Net.initial(PIXELS, HIDDEN, seed)


def _pick(train: Dataset, indices: list[int]) -> tuple[F64, npt.NDArray[np.int64]]:
    """Digits as rows [n, pixels] in [0, 1], and their labels."""
    chosen = train.take(indices)
    return chosen.images.reshape(len(indices), -1).astype(np.float64), chosen.labels


# ----------------------------------------------------------------- plain FL with secure aggregation


def secure_sum(updates: F64, key: bytes) -> F64:
    """What secure aggregation releases of updates [n, d]: their sum, in fixed point. Every pair of
    parties has a mask that one adds and the other subtracts, so a masked update alone is
    uniform."""
    n = len(updates)
    masked = [SECURE_AGGREGATION.encode(update, "an update") for update in updates]
    for i in range(n):
        for j in range(i + 1, n):
            mask = Prg(derive_key(key, "pair", str(i), str(j))).draw(0, "m", RING, updates[i].shape)
            masked[i], masked[j] = masked[i] + mask, masked[j] - mask
    return SECURE_AGGREGATION.decode(RING.sum(masked))


def _round_of_fl(net: Net, data: tuple[F64, npt.NDArray[np.int64]], key: bytes) -> tuple[F64, F64]:
    """A round among the owners of one digit each: the first's estimate of the second's update, and
    the truth."""
    images, labels = data
    n = len(images)
    updates = np.stack([net.update(images[i : i + 1], labels[i : i + 1], LR) for i in range(n)])
    after = _rounded(net.flat + secure_sum(updates, key) / n)
    before = _rounded(net.flat)
    return (n * (after - before) - updates[0]) / (n - 1), updates[1]


def _rounded(model: F64) -> F64:
    """A model as it is released."""
    return SECURE_AGGREGATION.decode(SECURE_AGGREGATION.encode(model))


def _plain_fl(train: Dataset, parties: int, trials: int, seed: int) -> dict[str, Any]:
    """Medians over trials with fresh digits and fresh initial models."""
    found: list[tuple[float, float, float, float]] = []
    for trial in range(trials):
        people = decide(seed, f"digits {parties} {trial}", len(train), parties)
        data = _pick(train, people)
        net = _large(seed + trial)
        estimate, truth = _round_of_fl(net, data, derive_key(b"wwfl", str(seed), str(trial)))
        blind, candidates = net.recover_digits(estimate)
        victim = data[0][1]
        best = max(psnr(c, victim) for c in candidates)
        found.append(
            (relative_error(estimate, truth), cosine(estimate, truth), psnr(blind, victim), best)
        )
    middle = [float(v) for v in np.median(np.array(found), axis=0)]
    keys = ("relative_error", "cosine", "psnr_db", "psnr_best_row_db")
    return {"parties": parties, "trials": trials, **dict(zip(keys, middle, strict=True))}


# ---------------------------------------------------------------------- WW-FL


def _wwfl(train: Dataset, seed: int) -> tuple[dict[str, Any], list[F64]]:
    """One round among real clusters: what every server sees, and what the reveal of two models
    gives away."""
    people = decide(seed, "wwfl", len(train), 2)
    images, labels = _pick(train, people)
    net = _large(seed)
    mine, victims = (net.update(images[i : i + 1], labels[i : i + 1], LR) for i in (0, 1))
    servers: dict[str, Any] = {}
    with TwoClusters(net, LR, seed) as clusters:
        views = clusters.round(images, labels, record=True)
        for view in views:
            servers[view.server] = _look(view, victims, net, images[1])
        opened = clusters.opened()
        estimate = 2 * clusters.revealed_difference() - mine
        reasons = clusters.opened()
    blind, candidates = net.recover_digits(estimate)
    victim = images[1]
    at_server = next(v for v in views if v.server.startswith(GLOBAL))
    seen, _ = net.recover_digits(at_server.difference)
    revealed = {
        "relative_error": relative_error(estimate, victims),
        "cosine": cosine(estimate, victims),
        "psnr_db": psnr(blind, victim),
        "psnr_best_row_db": max(psnr(c, victim) for c in candidates),
        "opened": reasons,
    }
    outcome = {
        "digits": people,
        "servers": servers,
        "opened": opened,
        "revealing_every_round": revealed,
    }
    return outcome, [victim, seen, blind]


def _look(view: View, update: F64, net: Net, digit: F64) -> dict[str, Any]:
    """M1, M2 and M4 for one server: the difference of its own shares as an estimate of the victim's
    update."""
    share = view.difference
    blind, candidates = net.recover_digits(share)
    return {
        "psnr_db": psnr(blind, digit),
        "psnr_best_row_db": max(psnr(c, digit) for c in candidates),
        "relative_error": relative_error(share, update),
        "cosine": cosine(share, update),
        "correlation": float(np.corrcoef(share, update)[0, 1]),
        "correlation_sd": 1 / float(np.sqrt(len(update))),
        "uniformity_score": max(uniformity(a) for a in view.arrays),
        "arrays": len(view.arrays),
        "values": int(sum(a.size for a in view.arrays)),
    }


def _games(train: Dataset, games: int, seed: int) -> dict[str, Any]:
    """M3: is it a 0 or a 1? The estimate's last biases tell: they rise for the label that was
    trained."""
    train = train.pooled(BLOCK)
    pools = [np.flatnonzero(train.labels == label) for label in (0, 1)]
    truth = np.arange(games) % 2
    scores: dict[str, list[float]] = {"secure aggregation, party 1": []}
    net = Net.initial(GAME_PIXELS, GAME_HIDDEN, seed)
    with TwoClusters(net, LR, seed + 1) as clusters:
        for game in range(games):
            pool = pools[truth[game]]
            first = decide(seed, f"own {game}", len(train), 1)[0]
            second = int(pool[decide(seed, f"victim {game}", len(pool), 1)[0]])
            images, labels = _pick(train, [first, second])
            estimate, _ = _round_of_fl(
                net, (images, labels), derive_key(b"wwfl", str(seed), f"game {game}")
            )
            scores["secure aggregation, party 1"].append(net.leaning(estimate))
            for view in clusters.round(images, labels, record=False):
                scores.setdefault(f"WW-FL, server {view.server}", []).append(
                    net.leaning(view.difference)
                )
            mine = net.update(images[:1], labels[:1], LR)
            revealed = 2 * clusters.revealed_difference() - mine
            scores.setdefault("WW-FL that reveals every round", []).append(net.leaning(revealed))
    half = games / 2
    return {
        "games": games,
        "model": str(net),
        "standard_error": float(np.sqrt((games + 1) / (12 * half * half))),
        "auc": {who: auc(np.array(s), truth) for who, s in scores.items()},
    }


# ---------------------------------------------------------------------- M5


def coupled(
    sharing: SharingSemantics,
    components: dict[int, npt.NDArray[np.uint64]],
    change: npt.NDArray[np.uint64],
    party: int,
) -> dict[int, npt.NDArray[np.uint64]]:
    """A sharing of the value plus `change` whose components at `party` are the same. Components are
    uniform apart from their sum, and this map is one to one, so the party's view has the same
    distribution for both values."""
    free = next(c for c in sharing.components if party not in sharing.holders[c])
    moved = RING.add(components[free], RING.scale(sharing.coefficients[free], change))
    return components | {free: moved}


def _couplings(train: Dataset, seed: int) -> dict[str, int]:
    """For every server of three sharings, the view of one digit is a view of another one. How many
    were checked."""
    images, _ = _pick(train, decide(seed, "coupling", len(train), 2))
    one, other = (FixedPoint(20).encode(image) for image in images)
    checked: dict[str, int] = {}
    for sharing in (ADDITIVE_2PC, REPLICATED_3PC, TETRAD_4PC):
        key = derive_key(b"wwfl", "coupling", str(seed))
        drawn = {
            c: Prg(derive_key(key, str(c))).draw(0, "m", RING, one.shape) for c in sharing.seeded
        }
        components = {**drawn, **sharing.complete(RING, one, drawn)}
        for party in range(sharing.parties):
            twin = coupled(sharing, components, other - one, party)
            value = RING.sum(
                [RING.scale(sharing.coefficients[c], twin[c]) for c in sharing.components]
            )
            same = all(np.array_equal(twin[c], components[c]) for c in sharing.held_by(party))
            if not (same and np.array_equal(value, other)):
                raise AssertionError(
                    f"{sharing.name}: the view of party {party} fits one digit only"
                )
        checked[sharing.name] = sharing.parties
    return checked


# ---------------------------------------------------------------------- output


def _print(console: Console, result: dict[str, Any]) -> None:
    table = Table(title="who estimates the victim's update and digit, from what")
    for head in ("adversary", "M1 rel. error", "cosine", "M2 PSNR, dB", "best row, dB"):
        table.add_column(head, justify="left" if head == "adversary" else "right")
    for row in result["secure_aggregation"]:
        _row(
            table, f"secure aggregation, {row['parties']} parties (median of {row['trials']})", row
        )
    for name, seen in result["wwfl"]["servers"].items():
        _row(table, f"WW-FL, server {name}", seen)
    _row(table, "WW-FL that reveals every round, client 1", result["wwfl"]["revealing_every_round"])
    console.print(table)
    console.print(
        "best row: chosen with the victim's digit in hand, an upper bound; M2 otherwise takes the "
        "largest bias"
    )
    console.print(f"opened in WW-FL before the reveals: {result['wwfl']['opened'] or 'nothing'}")
    games = result["game_auc"]
    error = f"standard error {games['standard_error']:.3f} at 0.5"
    console.print(f"M3: 0 or 1? AUC over {games['games']} games, model {games['model']} ({error})")
    for who, value in games["auc"].items():
        console.print(f"  {value:.3f}  {who}")
    worst = max(s["uniformity_score"] for s in result["wwfl"]["servers"].values())
    console.print(
        f"M4: worst chi-square of bytes in any share or message of any server: {worst:.1f} "
        "standard deviations"
    )
    console.print(
        f"M5: views that fit another digit as well: all of {result['coupling']} (sharing: servers)"
    )


def _row(table: Table, who: str, found: dict[str, Any]) -> None:
    numbers = f"{found['relative_error']:.2g}", f"{found['cosine']:.4f}"
    table.add_row(who, *numbers, f"{found['psnr_db']:.0f}", f"{found['psnr_best_row_db']:.0f}")


def _write(folder: Path, digits: list[F64]) -> str:
    """The digits side by side, enlarged."""
    try:
        from PIL import Image
    except ImportError:
        raise ConfigError(
            "pictures need Pillow, which is not installed; `pip install pillow`, or leave folder "
            "out"
        ) from None
    edge = int(np.sqrt(PIXELS))
    tiles = [np.pad(np.clip(d, 0, 1).reshape(edge, edge), 2, constant_values=0.5) for d in digits]
    pixels = (
        (np.kron(np.concatenate(tiles, axis=1), np.ones((8, 8))) * 255).round().astype(np.uint8)
    )
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "differencing.png"
    Image.fromarray(pixels).save(path)
    return str(path)


__all__ = ["coupled", "run", "secure_sum"]
