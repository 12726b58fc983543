"""Private inference as a service: a client shares a query, and alone learns the answer.

The servers see how many images of which shape a client asks about, and nothing of the answer. A
rate limit per client bounds what anyone can learn about the model by asking (model extraction,
membership inference), and a query ledger says who asked when, how much, and what was returned:
counts, never contents. Both are kept by the service, the process that takes the queries; names of
clients are whatever that process authenticated."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from threading import Lock
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from reshare import reshare_with_report
from wwfl.nn import Model
from wwfl.privacy import reveal_policy as policy
from wwfl_core.channel import Cost
from wwfl_core.cluster import Handle, LocalCluster
from wwfl_core.errors import ConfigError, Misuse, Refused, WwflError

from . import server_programs as programs

Returned = Literal["labels", "logits"]
BATCH = 100
_PROGRAMS = {"labels": programs.labels, "logits": programs.logits}


class ModelSource(Protocol):
    """What a service serves; a `Federation` is one."""

    allow_weaker: bool

    @property
    def model(self) -> Model:
        """What it computes."""
        ...

    @property
    def current_model(self) -> Handle:
        """The flat model, shared at some cluster."""
        ...


@dataclass(frozen=True)
class RateLimit:
    """A token bucket per client: `burst` images at once, refilled by `per_s` images a second.

    The unit is one image, not one call, since every answered image tells something about the model.
    """

    burst: int = 1000
    per_s: float = 10.0

    def __post_init__(self) -> None:
        if not self.burst >= 1 or not 0 <= self.per_s < float("inf"):
            raise ConfigError(
                f"RateLimit(burst={self.burst}, per_s={self.per_s}): burst >= 1 and per_s >= 0 "
                "are needed"
            )


@dataclass
class _Bucket:
    tokens: float
    at_s: float

    def refill(self, limit: RateLimit, now_s: float) -> None:
        self.tokens = min(limit.burst, self.tokens + max(0.0, now_s - self.at_s) * limit.per_s)
        self.at_s = now_s


@dataclass(frozen=True)
class Query:
    """One entry of the query ledger. `refused_by` names the rule, if there was no answer."""

    client: str
    at_s: float
    images: int
    returned: Returned
    values: int
    cluster: str
    refused_by: str = ""


@dataclass(frozen=True)
class Answer:
    """What the client learnt: labels int64 [n] or logits float64 [n, classes]; and what it cost.

    `cost` has the upload, the computation and the answer; `outvoted` names servers whose components
    were outvoted."""

    values: npt.NDArray[Any]
    cost: Cost = field(repr=False)
    outvoted: tuple[str, ...] = ()


class InferenceService:
    """Answers clients' queries at the cluster that holds the model, or at another cluster `at` (the
    model is reshared there once per version).

    `clock` gives seconds that never go back; tests inject one. Without `limits` nobody is limited.
    Servers learn how many images of which shape are asked about, and nothing of the answer.

    >>> import numpy as np
    >>> from backends import Replicated3PC
    >>> from wwfl.federation import InferenceService, SharedModel
    >>> from wwfl.nn import Model, spec
    >>> from wwfl_core import LocalCluster
    >>> with LocalCluster(Replicated3PC()) as cluster:
    ...     flat = cluster.share([1.0, 0.0, 0.0, 1.0])
    ...     service = InferenceService(
    ...         SharedModel(flat, Model.of([spec.Linear("", (2, 2), bias=False)]))
    ...     )
    ...     answer = service.ask("alice", np.array([[0.3, 0.1], [0.1, 0.3]]))
    >>> answer.values.tolist(), service.totals()["alice"]["images"]
    ([0, 1], 2)
    """

    def __init__(
        self,
        source: ModelSource,
        at: LocalCluster | None = None,
        *,
        limits: RateLimit | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.source = source
        self.at = at
        self.limits = limits
        self.queries: list[Query] = []  # the query ledger, oldest first
        self._clock = clock
        self._buckets: dict[str, _Bucket] = {}
        self._lock = Lock()
        self._turn = Lock()  # one query at a time: a cluster's servers run programs in order anyway
        self._served: tuple[Handle, Handle] | None = (
            None  # a version of the model, and its shares where it is served
        )

    def ask(self, client: str, images: npt.ArrayLike, returned: Returned = "labels") -> Answer:
        """Classifies images [n, c, h, w] for `client`, whom the caller acts as.

        `returned` is "labels" (int64 [n]) or "logits" (float64 [n, classes]; of an ensemble its
        votes). One query is computed at a time, 100 images in the rounds of one.

        Raises:
            Misuse, ConfigError, RangeError: images that are no batch of the model's inputs; before
                anything is sent.
            Refused: over the client's rate limit (rule "rate limit"), before anything is sent; or
                by the servers' reveal policy.
            VerificationFailed: servers that contradict each other.
        """
        batch = self._checked(images, returned)
        model = self.source.current_model
        cluster = self.at or model.cluster
        self._charge(client, len(batch), returned, cluster.name)
        try:
            with self._turn:
                answer = self._answer(client, self._model_at(model, cluster), batch, returned)
        except WwflError as error:
            rule = error.rule if isinstance(error, Refused) else type(error).__name__
            self._note(client, len(batch), returned, 0, cluster.name, rule)
            raise
        self._note(client, len(batch), returned, answer.values.size, cluster.name)
        return answer

    def totals(self) -> dict[str, dict[str, int]]:
        """Per client: answered queries, images, values returned, and refused queries."""
        found: dict[str, dict[str, int]] = {}
        for query in list(self.queries):
            mine = found.setdefault(
                query.client, {"queries": 0, "images": 0, "values": 0, "refused": 0}
            )
            if query.refused_by:
                mine["refused"] += 1
                continue
            mine["queries"] += 1
            mine["images"] += query.images
            mine["values"] += query.values
        return found

    def to_json(self) -> list[dict[str, Any]]:
        """The query ledger as plain dicts."""
        return [asdict(query) for query in list(self.queries)]

    # ------------------------------------------------------------------ steps

    def _checked(self, images: npt.ArrayLike, returned: str) -> npt.NDArray[Any]:
        if returned not in _PROGRAMS:
            raise Misuse(f"returned={returned!r}: a client can ask for {' or '.join(_PROGRAMS)}")
        batch = np.asarray(images)
        if batch.ndim < 2 or not len(batch):
            raise Misuse(
                f"a query is a batch of at least one input, got an array of shape {batch.shape}"
            )
        if len(self.source.model.output_shape(batch.shape[1:])) != 1:
            raise Misuse(f"the model does not classify inputs of shape {batch.shape[1:]}")
        return batch

    def _charge(self, client: str, images: int, returned: Returned, cluster: str) -> None:
        """Takes tokens; a query that is refused takes none."""
        if self.limits is None:
            return
        with self._lock:
            now_s = self._clock()
            bucket = self._buckets.setdefault(client, _Bucket(self.limits.burst, now_s))
            bucket.refill(self.limits, now_s)
            enough = bucket.tokens >= images
            if enough:
                bucket.tokens -= images
            left, wait_s = bucket.tokens, self._wait_s(images - bucket.tokens)
        if not enough:
            self._note(client, images, returned, 0, cluster, "rate limit")
            again = (
                f"ask again in {wait_s:.1f} s"
                if images <= self.limits.burst and self.limits.per_s
                else "ask about fewer at a time"
            )
            raise Refused(
                f"client {client} may ask about {int(left)} images now, not {images} (rate limit: "
                f"{self.limits.burst} at once, {self.limits.per_s:g} a second); {again}",
                "rate limit",
            )

    def _wait_s(self, missing: float) -> float:
        assert self.limits is not None
        return missing / self.limits.per_s if self.limits.per_s else float("inf")

    def _model_at(self, model: Handle, cluster: LocalCluster) -> Handle:
        if model.cluster is cluster:
            return model
        if (
            self._served is None
            or self._served[0] is not model
            or self._served[1].cluster is not cluster
        ):
            moved = reshare_with_report(model, cluster, allow_weaker=self.source.allow_weaker)
            self._served = (model, moved.handle)
        return self._served[1]

    def _answer(
        self, client: str, model: Handle, batch: npt.NDArray[Any], returned: Returned
    ) -> Answer:
        cluster = model.cluster
        shared = cluster.share(batch)
        cost = cluster.last_cost
        result: Handle = cluster.run(_PROGRAMS[returned], self.source.model, model, shared, BATCH)
        cost = cost + cluster.last_cost
        revealed = cluster.reveal_to_client(
            result, client, f"predicted {returned}", policy.hand_over
        )
        return Answer(revealed.value, cost + cluster.last_cost, revealed.outvoted)

    def _note(
        self,
        client: str,
        images: int,
        returned: Returned,
        values: int,
        cluster: str,
        refused_by: str = "",
    ) -> None:
        self.queries.append(
            Query(client, self._clock(), images, returned, values, cluster, refused_by)
        )


@dataclass(frozen=True)
class SharedModel:
    """A flat model that lives at some cluster, without a federation around it.

    `current_model` is the handle of its parameters [model.size]. `allow_weaker` permits serving it
    at a cluster that protects it less."""

    current_model: Handle
    model: Model
    allow_weaker: bool = False


__all__ = ["Answer", "InferenceService", "ModelSource", "Query", "RateLimit", "SharedModel"]
