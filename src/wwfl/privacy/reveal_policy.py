"""Who may learn what of a federation's model, when, and after how many contributors: decided at
every server.

A `RevealPolicy` is installed as the guard (`wwfl_core.party.party.Guard`) of every server of a
federation. From then on an opening needs a purpose (the model, the accuracy, predictions, or
anything else) that the policy permits, for what the server itself knows: how many aggregations it
ran and how many models went into them. How many clients contributed, and who asks, a server is told
by the coordinator. A policy cannot be replaced or taken back, and shares move only between the
federation's own servers. What this does not stop is said in docs/explanation/privacy.md.

No torch here: server processes stay small.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence, Set
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Literal, get_args
from weakref import WeakValueDictionary

from wwfl_core.cluster import LocalCluster
from wwfl_core.cluster import hand_over as hand_over_components
from wwfl_core.errors import ConfigError, Misuse, Refused
from wwfl_core.numbers import Shape
from wwfl_core.tensors import Session, SharedBits, SharedTensor

Kind = Literal["model", "trainers", "accuracy", "predictions", "other"]
KINDS: tuple[Kind, ...] = get_args(Kind)
EVERY = "every:"
ROUNDS = "rounds"
"""Under this name a server notes how many aggregations the model went through."""
RELEASES = "releases"
"""Under this name a server notes how many noisy sums it released (`wwfl.privacy`)."""


@dataclass(frozen=True)
class Permission:
    """When something may be opened, to whom, and how many must have contributed.

    when: "always", "never", "final" (from the policy's `last_round` on) or "every:k" (after rounds
    k, 2k, ...). min_clients, min_clusters: how many contributed to a round since the model was last
    opened (the fullest such round
        counts): a difference of two opened models is at least their joint work.
    who: names that may ask; None means everybody.
    """

    when: str = "always"
    min_clients: int = 0
    min_clusters: int = 0
    who: Set[str] | None = None

    def __post_init__(self) -> None:
        if self.when not in ("always", "never", "final") and self.period < 1:
            raise ConfigError(
                f'Permission.when={self.when!r}: choose "always", "never", "final" or "every:k", '
                "k >= 1"
            )
        if self.min_clients < 0 or self.min_clusters < 0:
            raise ConfigError("Permission: min_clients and min_clusters must not be negative")
        if isinstance(self.who, str):
            raise ConfigError(
                f"Permission.who is the text {self.who!r}: give a set of names, {{{self.who!r}}}"
            )
        if self.who is not None:
            object.__setattr__(self, "who", frozenset(self.who))

    @property
    def period(self) -> int:
        """k of "every:k", otherwise 0."""
        text = self.when.removeprefix(EVERY)
        return int(text) if self.when.startswith(EVERY) and text.isdecimal() else 0


@dataclass(frozen=True)
class Facts:
    """What a decision rests on: the round that was aggregated last, and the contributors since the
    last opening."""

    round: int = 0
    clusters: int = 0
    clients: int = 0


@dataclass(frozen=True)
class RevealPolicy:
    """What may be opened. `trainers` is the model, opened to local trainers before each round
    (`LocalTrainers`, who see it by design). `other` covers all that has no purpose of its own, such
    as what an aggregation rule opens.

    `last_round` is the round after which "final" permissions hold. No round is aggregated after it.
    """

    model: Permission = field(default_factory=Permission)
    trainers: Permission = field(default_factory=lambda: Permission("never"))
    accuracy: Permission = field(default_factory=Permission)
    predictions: Permission = field(default_factory=Permission)
    other: Permission = field(default_factory=lambda: Permission("never"))
    last_round: int | None = None

    def __post_init__(self) -> None:
        if self.last_round is None and any(getattr(self, kind).when == "final" for kind in KINDS):
            raise ConfigError(
                'RevealPolicy: "final" needs last_round, so that servers know which round is the '
                "last"
            )
        if self.last_round is not None and self.last_round < 1:
            raise ConfigError(f"RevealPolicy: last_round must be at least 1, got {self.last_round}")

    def decide(self, kind: Kind, who: str, facts: Facts) -> str:
        """The grounds on which `who` may learn this now.

        Raises:
            Refused: with the name of the rule, for example "model.min_clusters".
        """
        permission: Permission = getattr(self, kind)
        missing = self._objection(permission, who, facts)
        if missing is not None:
            rule, why = missing
            raise Refused(
                f"the reveal policy refuses {kind} to {who} ({kind}.{rule}): {why}",
                f"{kind}.{rule}",
            )
        return (
            f"{kind} to {who} after round {facts.round}: {permission.when}, {facts.clusters} "
            f"clusters (at least {permission.min_clusters}), {facts.clients} clients (at least "
            f"{permission.min_clients})"
        )

    def _objection(self, permission: Permission, who: str, facts: Facts) -> tuple[str, str] | None:
        """The rule that refuses, and why."""
        if permission.who is not None and who not in permission.who:
            return "who", f"only {', '.join(sorted(permission.who)) or 'nobody'} may ask"
        if permission.when == "never":
            return "when", "it is never opened"
        if permission.when == "final" and facts.round < (self.last_round or 0):
            return (
                "when",
                f"it is opened after round {self.last_round}, the last one was {facts.round}",
            )
        if permission.period and (facts.round == 0 or facts.round % permission.period):
            return (
                "when",
                (
                    f"it is opened after every {permission.period} rounds, the last one was "
                    f"{facts.round}"
                ),
            )
        for what in ("clients", "clusters"):
            needed, have = getattr(permission, f"min_{what}"), getattr(facts, what)
            if have < needed:
                return (
                    f"min_{what}",
                    f"{have} {what} contributed since the last opening, {needed} are needed",
                )
        return None


def _seat(address: str) -> tuple[str, str]:
    """A server's place in the federation and its number there, by its address: "place/number", or
    for servers that replaced others "place/generation/number" (`topology.Place.servers_name`; names
    of places have no "/")."""
    parts = address.split("/")
    return parts[0], parts[-1]


class PolicyGuard:
    """A policy at one server, with what this server knows. `top`: it is one of the global servers,
    the only ones that open the model: contributors since the last opening can be counted at one
    place only."""

    def __init__(self, policy: RevealPolicy, servers: Sequence[str], top: bool = True) -> None:
        self.policy = policy
        self.servers = frozenset(map(_seat, servers))
        self.top = top
        self.facts = Facts()
        self._predictions: WeakValueDictionary[int, SharedTensor] = WeakValueDictionary()
        self._asked: tuple[Kind, str] | None = None
        self._opened = False  # the model was, and no round was aggregated since
        self._aggregates = False

    def admit(self, reason: str, to: str, shape: Shape) -> str:
        """The policy's decision about an opening in the current purpose."""
        kind, who = self._asked or ("other", to)
        grounds = self.policy.decide(kind, who, self.facts)
        if kind == "model" and not self.top:
            why = "only the global servers open it"
            raise Refused(
                f"the reveal policy refuses model to {who} (model.where): {why}", "model.where"
            )
        self._opened = self._opened or kind in ("model", "trainers")
        return grounds

    def admit_move(self, to: Sequence[str]) -> None:
        """Shares stay at the federation's servers."""
        strangers = sorted(address for address in to if _seat(address) not in self.servers)
        if strangers:
            raise Refused(
                f"shares are not converted to servers outside of the federation: {strangers}",
                "servers",
            )

    def predicted(self, x: SharedTensor) -> None:
        """This server computed predictions: they, and nothing else, may be handed over as such."""
        self._predictions[id(x)] = x

    def admit_prediction(self, x: SharedTensor | SharedBits, who: str) -> None:
        """Refuses to hand over what is no prediction of this server's."""
        if self._predictions.get(id(x)) is not x:
            why = "this server did not compute it as a prediction"
            raise Refused(
                f"the reveal policy refuses predictions to {who} (predictions.what): {why}",
                "predictions.what",
            )

    @contextmanager
    def purpose(self, kind: Kind, who: str) -> Generator[None]:
        """Openings inside are of this kind, asked for by `who`."""
        outer = self._asked
        self._asked = (kind, who)
        try:
            yield
        finally:
            self._asked = outer

    @contextmanager
    def aggregating(self, rounds: int, clusters: int) -> Generator[None]:
        """This server takes part in the aggregation of a round, the `rounds`-th, of so many models.
        One that fails was none."""
        last = self.policy.last_round
        if (
            self.top and last is not None and rounds > last
        ):  # a group may have been asked again in a round that failed
            raise Refused(
                f"round {last} was the last one that the reveal policy allows", "last_round"
            )
        self._aggregates = True
        before = self.facts, self._opened
        try:
            self._round(Facts(rounds, clusters, self.facts.clients))
            yield
        except BaseException:
            self.facts, self._opened = before
            raise

    def restored(self, rounds: int) -> None:
        """This server's share files were written after so many rounds; who contributed is not in
        them."""
        self.facts = replace(self.facts, round=max(self.facts.round, rounds))

    def told(self, facts: Facts) -> None:
        """The coordinator reports who contributed; what this server counted itself is not
        overruled."""
        if not self._aggregates:
            self._round(facts)
        elif facts.round != self.facts.round:
            raise Refused(
                f"round {facts.round} was reported, but {self.facts.round} were aggregated here",
                "facts",
            )
        else:
            self.facts = replace(self.facts, clients=max(self.facts.clients, facts.clients))

    def _round(self, new: Facts) -> None:
        if new.round < self.facts.round:
            raise Refused(f"round {new.round} was reported after round {self.facts.round}", "facts")
        if self._opened:
            self._opened, self.facts = False, Facts()
            new = (
                replace(new, clients=0) if self._aggregates else new
            )  # they are reported after the aggregation
        clusters, clients = (
            max(self.facts.clusters, new.clusters),
            max(self.facts.clients, new.clients),
        )
        self.facts = Facts(new.round, clusters, clients)


# ---------------------------------------------------------------------- programs, and their parts


def _guard(mpc: Session) -> PolicyGuard | None:
    """The policy at this server, if there is one."""
    guard = mpc.party.guard
    return guard if isinstance(guard, PolicyGuard) else None


def install(mpc: Session, policy: RevealPolicy, servers: Sequence[str], top: bool = True) -> None:
    """Makes a policy this server's guard, for good; `top` as in `PolicyGuard`.

    Raises:
        Misuse: when there is another one.
    """
    guard = mpc.party.guard
    if guard is not None and not (isinstance(guard, PolicyGuard) and guard.policy == policy):
        raise Misuse(
            f"{mpc.party.addresses[mpc.me]} has a guard already; it stays until the server stops"
        )
    if guard is None:
        mpc.party.guard = PolicyGuard(policy, servers, top)


def report(mpc: Session, facts: Facts) -> None:
    """The coordinator's report of a round."""
    if guard := _guard(mpc):
        guard.told(facts)


@contextmanager
def aggregation(mpc: Session, models: int) -> Generator[None]:
    """Counts a round at a server that aggregates, unless it fails there; refuses one too many."""
    notes, guard = mpc.party.notes, _guard(mpc)
    rounds = notes.get(ROUNDS, 0) + 1
    with nullcontext() if guard is None else guard.aggregating(rounds, models):
        yield
    notes[ROUNDS] = rounds


def note_restored(mpc: Session, rounds: int) -> None:
    """A server continues from share files of its own that were written after so many rounds."""
    notes = mpc.party.notes
    for name in (ROUNDS, RELEASES):
        notes[name] = max(notes.get(name, 0), rounds)
    if guard := _guard(mpc):
        guard.restored(rounds)


@contextmanager
def purpose(mpc: Session, kind: Kind, who: str) -> Generator[None]:
    """Openings inside have this purpose; without a policy it makes no difference."""
    guard = _guard(mpc)
    with nullcontext() if guard is None else guard.purpose(kind, who):
        yield


def consent(mpc: Session, kind: Kind, who: str) -> None:
    """Refuses at the start of a program what would be refused at its end."""
    if guard := _guard(mpc):
        guard.policy.decide(kind, who, guard.facts)


def predicted(mpc: Session, x: SharedTensor) -> SharedTensor:
    """The same tensor, which from now on `hand_over` knows as predictions."""
    if guard := _guard(mpc):
        guard.predicted(x)
    return x


def open_model(mpc: Session, flat: SharedTensor, who: str, reason: str) -> object:
    """The model in clear, at every server and the caller."""
    with purpose(mpc, "model", who):
        return mpc.reveal(flat, reason)


def open_for_trainers(mpc: Session, flat: SharedTensor, who: str, reason: str) -> object:
    """The model in clear, for clients who train on their own; every server sees it, too."""
    with purpose(mpc, "trainers", who):
        return mpc.reveal(flat, reason)


def hand_over(mpc: Session, x: SharedTensor | SharedBits, client: str, reason: str) -> object:
    """Predictions for a client (`wwfl_core.cluster.client`)."""
    if guard := _guard(mpc):
        guard.admit_prediction(x, client)
    with purpose(mpc, "predictions", client):
        return hand_over_components(mpc, x, client, reason)


# ---------------------------------------------------------------------- what the coordinator calls


def enforce(
    policy: RevealPolicy | None,
    clusters: Sequence[LocalCluster],
    servers: Sequence[str] | None = None,
    top: bool = True,
) -> None:
    """Installs a policy at every server of these clusters; None changes nothing: whoever commands
    servers may open.

    `servers` are all addresses of the federation, by default those of the clusters; `top` as in
    `PolicyGuard`."""
    if policy is not None:
        addresses = servers or [address for cluster in clusters for address in cluster.addresses]
        for cluster in clusters:
            cluster.run(install, policy, addresses, top)


def tell(
    policy: RevealPolicy | None,
    clusters: Sequence[LocalCluster],
    number: int,
    participants: Sequence[int],
) -> None:
    """Tells all servers how many clients of every cluster contributed to a round, if there is a
    policy."""
    if policy is None:
        return
    facts = Facts(number, sum(1 for n in participants if n), sum(participants))
    for cluster in clusters:
        cluster.run(report, facts)
