"""How a round trains, and what is known about it afterwards.

`Schedule` is also the table [schedule] of a configuration; the text below a field is the comment of
its key. How a round is carried out is in `run_round`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from wwfl.bounds import Count, Positive, check_bounds
from wwfl.nn import SGD
from wwfl_core.errors import ConfigError, DataError, Misuse

Sampling = Literal["public", "hidden"]
"""Whether it is known which clients take part in a round."""

Batches = list[list[list[int]]]
"""Per leaf, the batches in order, as row numbers of the training set."""


@dataclass(frozen=True)
class Schedule:
    """How rounds train, and how many there are.

    Every leaf (a cluster, or a set of local trainers) samples `clients_per_round` of its clients.
    `data_policy` says on whose data a cluster trains (Alg. 1 line 9): "fresh" (the clients of this
    round), "accumulate" (all that took part so far) or "window:k" (those of the last k rounds). A
    leaf that needs longer than `cluster_deadline_s` of wall time is left out of the round; at least
    `min_clusters` leaves must answer.

    `sampling` is "public" (a joint coin says who takes part) or "hidden": every client shares its
    data once, the servers of a cluster select the data of `clients_per_round` clients in MPC,
    uniformly, and nobody learns whose (`wwfl_core.tensors.secret_selection`). All clients of a
    cluster then have equally many rows, and there are no local trainers, who see the model in every
    round and submit theirs by name. A pool of several rounds ("accumulate", "window:k") is that of
    their samples, one after the other: a client that was drawn twice is in it twice, since how many
    different clients it has is a secret. Engine "float", where nothing is secret, draws by its
    server's key."""

    samples_per_client: Count = 50
    """images that a sampled client contributes"""
    clients_per_round: Count = 2
    """clients sampled per cluster and round"""
    epochs: Count = 5
    """passes over the pooled data per round"""
    batch: Count = 20
    """batch size"""
    sgd: SGD = field(default_factory=SGD)
    data_policy: str = "fresh"
    """fresh, accumulate or window:k: which rounds' data a cluster trains on"""
    sampling: Sampling = "public"
    """hidden: nobody learns which clients a round uses; all share their data once"""
    cluster_deadline_s: Positive | None = None
    """leave a cluster out of a round after this long"""
    min_clusters: Count = 1
    """fewest clusters that a round may go on with"""
    rounds: Count = 10
    """rounds of federated training"""

    def __post_init__(self) -> None:
        check_bounds(self)
        _ = self.window
        if self.sampling not in get_args(Sampling):
            raise ConfigError(
                f"Schedule.sampling is {self.sampling!r}; choose 'public' or 'hidden'"
            )

    @property
    def hidden(self) -> bool:
        """Whether nobody knows who takes part."""
        return self.sampling == "hidden"

    @property
    def window(self) -> int | None:
        """Over how many rounds a cluster's data goes back; None without a limit."""
        kind, _, size = self.data_policy.partition(":")
        if kind == "window" and size.isdecimal() and int(size) > 0:
            return int(size)
        try:
            return {"fresh": 1, "accumulate": None}[self.data_policy]
        except KeyError:
            raise ConfigError(
                f"Schedule.data_policy is {self.data_policy!r}; choose 'fresh', 'accumulate' or "
                "'window:k', k > 0"
            ) from None


@dataclass
class Round:
    """What happened in one round.

    `participants[k]` are the clients of leaf k whose data or models counted, and `coins[k]` the
    public coin (hex) that they and their batches were drawn from. With hidden sampling nobody knows
    these clients: `participants[k]` is empty and `hidden[k]` says how many there were (otherwise it
    is 0). `absent` says why a leaf, a group or one client's model was left out. `bytes_sent` is the
    payload of all parties per stage; `seconds` is wall time, and no part of equality."""

    number: int
    accuracy: float | None = None
    participants: list[list[int]] = field(default_factory=list)
    hidden: list[int] = field(default_factory=list)
    coins: list[str] = field(default_factory=list)
    absent: dict[str, str] = field(default_factory=dict)
    outvoted: list[str] = field(default_factory=list)
    bytes_sent: dict[str, int] = field(default_factory=dict)
    seconds: float = field(default=0.0, compare=False)

    def __post_init__(self) -> None:
        self._drawn: Callable[[Round], Batches] | None = None

    @property
    def contributors(self) -> list[int]:
        """How many clients of every leaf took part, whether it is known who they are or not."""
        return [
            len(people) + count
            for people, count in zip(self.participants, self.hidden, strict=True)
        ]

    def drawn_by(self, draw: Callable[[Round], Batches]) -> None:
        """Tells how the batches are drawn again: a round keeps no list of them, since a long run
        has millions."""
        self._drawn = draw

    @property
    def batches(self) -> Batches:
        """`batches[k]` are the batches of leaf k in order, as rows of the training set (rows that
        clients added later count on from its end); those of local trainers follow each other,
        client by client. With hidden sampling there are none, since nobody knows which rows they
        had."""
        if self._drawn is None:
            raise Misuse(
                f"the batches of restored round {self.number} are known again once fit() has got "
                "the data"
            )
        return self._drawn(self)

    def to_json(self) -> dict[str, Any]:
        """A plain dict that `json.dumps` accepts."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Round:
        """The inverse of `to_json`.

        Raises:
            DataError: fields that a round does not have: another version wrote it.
        """
        try:
            return cls(**record)
        except TypeError as error:
            raise DataError(
                f"the record of a round cannot be read ({error}); another version wrote it"
            ) from None
