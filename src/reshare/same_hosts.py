"""When the hosts that know a word also run servers of the target, nobody has to be told it over the
network.

Every word of the source goes from a host's source server to its target server, inside the host, and
the target deals it by `MPCBackend.deal_many`: masks come from the target's own PRG keys, and the
computed component is sent at most once per holder. From 3PC on hosts A, B, C to 2PC on A and B this
costs nothing (A knows x1 + x2, B knows x3), and back 16 instead of 32 bytes per element."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, combinations
from typing import ClassVar

from wwfl_core.numbers.arrays import Array
from wwfl_core.party import ONLINE
from wwfl_core.protocol.backend import MPCBackend
from wwfl_core.sharing import Share

from .modulus_change import Change
from .plan import Form, Plan, Side

NAME = "reshare"
LABEL = "reshare (same host)"
_MANY = (
    6  # source components of which all partitions are tried; beyond, only those that `groups` finds
)


@dataclass(frozen=True)
class Word:
    """Components whose sum is dealt at once, and who deals it: (party of the source, party of the
    target) per host."""

    components: tuple[int, ...]
    dealers: tuple[tuple[int, int], ...]

    @property
    def targets(self) -> tuple[int, ...]:
        return tuple(sorted(t for _, t in self.dealers))


@dataclass(frozen=True)
class SameHosts(Plan):
    """The target's servers deal the words that their own hosts know.

    Where the source is malicious-secure, so is the target, and each word has so many dealers that
    the honest ones are a majority: they vouch for it in `deal`'s joint sends, compared at the
    target's next check point (detection, not correction: nobody is outvoted)."""

    words: tuple[Word, ...]
    chained: ClassVar[bool] = True

    def send(self, mpc: MPCBackend, x: Share, change: Change) -> int:
        """Hands words to the target servers of the same hosts: no network bytes, no round."""
        sent = 0
        for number, word in enumerate(self.words):
            for source, target in word.dealers:
                if source == mpc.me:
                    value = mpc.partial(x, word.components)
                    mpc.party.endpoint.send(
                        self.targets[target], number, NAME, ONLINE, value, label=LABEL, control=True
                    )
                    sent += value.nbytes
        return sent

    def receive(self, mpc: MPCBackend, change: Change) -> tuple[Share, tuple[str, ...]]:
        """Deals all words in one round (or none)."""
        algebra, shape = change.target, change.dealt
        jobs: list[tuple[Array | None, tuple[int, ...]]] = []
        for number, word in enumerate(self.words):
            value = None
            for source, target in word.dealers:
                if target == mpc.me:
                    value = mpc.party.endpoint.recv(
                        self.sources[source], number, NAME, ONLINE, dtype=algebra.dtype, shape=shape
                    )
            jobs.append((value, word.targets))
        first, *others = mpc.deal_many(jobs, shape, algebra, name=NAME)
        return sum(others, first), ()

    def bytes_sent(self, value_bytes: int) -> int:
        """The computed components that are sent."""
        return value_bytes * sum(_messages(self.there, word.targets) for word in self.words)

    def local_bytes(self, value_bytes: int) -> int:
        return value_bytes * sum(len(word.dealers) for word in self.words)

    def learned(self) -> dict[str, tuple[Form, ...]]:
        """Dealers hear words that their hosts know; masks are known to whole subsets of the
        target's parties."""
        known: dict[str, list[Form]] = {}
        signs = self.target.coefficients
        for number, word in enumerate(self.words):
            plan = self.target.deal_plan(word.targets)
            rest = self.word(word.components)
            for target in word.targets:
                known.setdefault(self.targets[target], []).append(dict(rest))
            for component, key in plan.masks:
                name = f"mask {number}.{component}"
                rest[name] = -signs[component]
                for party in key:
                    known.setdefault(self.targets[party], []).append({name: 1})
            dealt = {name: signs[plan.computed] * k for name, k in rest.items()}
            for party in plan.receivers:
                known.setdefault(self.targets[party], []).append(dealt)
        return {address: tuple(forms) for address, forms in known.items()}


def _messages(there: Side, dealers: tuple[int, ...]) -> int:
    return len(there.sharing.deal_plan(dealers).receivers)


@lru_cache(maxsize=256)
def find_words(here: Side, there: Side) -> tuple[Word, ...] | None:
    """The cheapest way to cover all source components with words whose dealers' hosts all serve the
    target, or None."""
    if here.algebra != there.algebra or not (
        here.sharing.independent and there.sharing.independent
    ):
        return None
    security = here.sharing.security
    if security.malicious and not there.sharing.security.malicious:
        return None  # nobody in the target would compare what the dealers say
    least = 2 * security.corruptions + 1 if security.malicious else 1
    found: list[tuple[int, int, tuple[Word, ...]]] = []
    for partition in _partitions(here):
        words = [_cheapest(here, there, components, least) for components in partition]
        if all(words):
            chosen = tuple(word for word in words if word)
            cost = sum(_messages(there, word.targets) for word in chosen)
            found.append((cost, sum(len(word.dealers) for word in chosen), chosen))
    return min(found, key=lambda item: item[:2])[2] if found else None


def _cheapest(here: Side, there: Side, components: tuple[int, ...], least: int) -> Word | None:
    """Who should deal a word: as few messages as possible, then as few dealers."""
    position = {host: i for i, host in enumerate(there.hosts)}
    know = frozenset.intersection(*(here.sharing.holders[c] for c in components))
    able = [(s, position[here.hosts[s]]) for s in sorted(know) if here.hosts[s] in position]
    choices = chain.from_iterable(combinations(able, size) for size in range(least, len(able) + 1))
    return min(
        (Word(components, chosen) for chosen in choices),
        key=lambda word: (_messages(there, word.targets), len(word.dealers)),
        default=None,
    )


def _partitions(here: Side) -> Iterator[tuple[tuple[int, ...], ...]]:
    components = tuple(here.sharing.components)
    if len(components) <= _MANY:
        yield from _set_partitions(components)
        return
    yield tuple((c,) for c in components)
    for vouchers in range(1, min(map(len, here.sharing.holders)) + 1):
        yield tuple(group.components for group in here.sharing.groups(vouchers))


def _set_partitions(items: tuple[int, ...]) -> Iterator[tuple[tuple[int, ...], ...]]:
    if not items:
        yield ()
        return
    first, rest = items[0], items[1:]
    for size in range(len(rest) + 1):
        for mates in combinations(rest, size):
            for others in _set_partitions(tuple(c for c in rest if c not in mates)):
                yield ((first, *mates), *others)
