"""Can hosts that take part in both clusters open a value that neither cluster's corrupt parties
could open alone?

The adversary corrupts any set K of hosts with at most t of the source's hosts and at most t' of the
target's, where t and t' are what the two sharings withstand; a corrupt host brings all its servers.
Everything that a server sees in a conversion is a linear form in independent uniform variables
(source components and fresh masks), so the question is one of linear algebra
(docs/explanation/security.md, "Conversions").

Over a finite field, K knows nothing about the secret s exactly when s is not in the span of K's
forms. Z_2^64 is no field: K could know 2^j s and with it the low bits of s. Over R = Z_p^k, K's
view is independent of s exactly when p^(k-1) s, the smallest nonzero multiple, is not in K's span:
R is a principal ideal ring and self-injective, so {u(s) : u is orthogonal to K's forms} is the
annihilator of {a : a s in the span}, and it is all of R exactly when that is zero. Elimination over
R pivots on entries of least p-adic valuation and is exact; no rational or floating-point numbers
are involved."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import combinations

from wwfl_core.errors import InsecureNotAllowed

from .plan import Form, Plan, Side

MODULI: tuple[tuple[int, int], ...] = ((2, 64), (2, 1), ((1 << 61) - 1, 1))
"""(p, k) of the rings that values live in: Z_2^64, GF(2), and a prime field (coefficients are +-1
in all of them)."""


def check(plan: Plan) -> None:
    """Refuses a conversion in which hosts that both clusters permit to be corrupt could together
    learn the value.

    Raises:
        InsecureNotAllowed: naming the hosts, what they would hold, and what to change.
    """
    hosts = openers(plan)
    if hosts is not None:
        raise InsecureNotAllowed(_explained(plan, hosts))


@lru_cache(maxsize=1024)
def openers(plan: Plan) -> tuple[str, ...] | None:
    """A permitted set of hosts that learns something about the value, or None."""
    if not plan.linear:
        return _openers_of_words(plan)
    knowledge = plan.knowledge()
    secret = plan.word(tuple(plan.source.components))
    for hosts in coalitions(plan.here, plan.there):
        forms = [form for address in servers(plan, hosts) for form in knowledge[address]]
        if any(reveals(forms, secret, p, k) for p, k in MODULI):
            return hosts
    return None


def _openers_of_words(plan: Plan) -> tuple[str, ...] | None:
    """The same question where the modulus changes or components are points of a polynomial.

    What is dealt of a word is a function of it, with fresh masks of its own, and the target
    combines dealt words by its own protocol. So K learns the words that its source servers know
    and, of the others, what its target servers can reconstruct: nothing about the value, if K's
    servers reveal it in neither sharing."""
    for hosts in coalitions(plan.here, plan.there):
        for side in (plan.here, plan.there):
            if side.sharing.reveals(i for i, host in enumerate(side.hosts) if host in hosts):
                return hosts
    return None


def coalitions(here: Side, there: Side) -> Iterator[tuple[str, ...]]:
    """The largest sets of hosts that both clusters permit to be corrupt together."""
    everyone = tuple(dict.fromkeys((*here.hosts, *there.hosts)))

    def permitted(hosts: tuple[str, ...]) -> bool:
        return all(
            len({*hosts} & {*side.hosts}) <= side.sharing.security.corruptions
            for side in (here, there)
        )

    most = here.sharing.security.corruptions + there.sharing.security.corruptions
    for size in range(min(most, len(everyone)), -1, -1):
        for hosts in combinations(everyone, size):
            if permitted(hosts) and not any(
                permitted((*hosts, other)) for other in everyone if other not in hosts
            ):
                yield hosts


def servers(plan: Plan, hosts: Sequence[str]) -> tuple[str, ...]:
    """All servers that these hosts run, in both clusters."""
    return tuple(
        address
        for side in (plan.here, plan.there)
        for host, address in zip(side.hosts, side.addresses, strict=True)
        if host in hosts
    )


def reveals(forms: Sequence[Form], secret: Form, p: int, k: int) -> bool:
    """Whether someone who knows `forms` of independent uniform variables over Z_p^k learns anything
    about `secret`."""
    variables = sorted({name for form in (*forms, secret) for name in form})
    modulus = p**k
    rows = {tuple(form.get(name, 0) % modulus for name in variables) for form in forms}
    goal = [secret.get(name, 0) * p ** (k - 1) % modulus for name in variables]
    pending = [list(row) for row in sorted(rows)]
    free = list(range(len(variables)))
    while pending and free:
        row, column = min(
            ((r, c) for r in range(len(pending)) for c in free),
            key=lambda rc: _valuation(pending[rc[0]][rc[1]], p, k),
        )
        pivot = pending.pop(row)
        level = _valuation(pivot[column], p, k)
        if level == k:  # only zeros are left
            break
        # The pivot's entry divides all entries that are left, so one multiple of its row clears
        # each of them.
        inverse = pow(pivot[column] // p**level, -1, modulus)
        for other in (*pending, goal):
            if _valuation(other[column], p, k) < level:
                # only the goal can be: its entry is no multiple of anything left in this column
                return False
            factor = other[column] // p**level * inverse
            other[:] = [(a - factor * b) % modulus for a, b in zip(other, pivot, strict=True)]
        free.remove(column)
    return not any(goal)


def _valuation(value: int, p: int, k: int) -> int:
    """The largest v <= k such that p^v divides the value."""
    level = 0
    while level < k and value % p == 0:
        if value == 0:
            return k
        value //= p
        level += 1
    return level


def _explained(plan: Plan, hosts: Sequence[str]) -> str:
    runs = servers(plan, hosts)
    held: list[str] = []
    for what, side in (("source", plan.here), ("target", plan.there)):
        theirs = [i for i, address in enumerate(side.addresses) if address in runs]
        components = sorted({c for i in theirs for c in side.sharing.held_by(i)})
        held.append(f"components {components} of {len(side.sharing.components)} at the {what}")
    return (
        f"reshare: the hosts {', '.join(map(repr, hosts))} may be corrupt at the same time in "
        "both clusters, and with "
        f"this plan ({type(plan).__name__}) they would learn the value: they run "
        f"{', '.join(runs)} and hold "
        f'{" and ".join(held)}, with what is dealt on the way. Choose path="generic", or let '
        "other hosts run one of "
        f"the clusters"
    )
