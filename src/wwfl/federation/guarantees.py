"""What a federation's model is protected against, and which transfers would take some of it away.

Here belongs whatever follows from the tree and its protocols alone, before anything is sent."""

from __future__ import annotations

from collections.abc import Iterable

from reshare import is_weaker
from wwfl_core.sharing import Security, weaker_of

from .topology import LocalTrainers, Place


def downgrades(
    top: Security,
    clusters: Iterable[tuple[str, Security]],
    *,
    above: str = "global",
    guarantee: Security | None = None,
) -> list[str]:
    """All transfers that take protection away, in words, for servers `above` that withstand `top`
    and members as (name, what it withstands): the model comes with `guarantee` (by default that of
    the servers), and what a member returns has the weaker one of both."""
    start = top if guarantee is None else guarantee
    found: list[str] = []
    for name, own in clusters:
        for way, held, source, target in (
            (f"{above} -> {name}", start, top, own),
            (f"{name} -> {above}", weaker_of(start, own), own, top),
        ):
            found.extend(f"{way} loses {lost}" for lost in is_weaker(held, source, target))
    return found


def downgrades_in(place: Place, guarantee: Security | None = None) -> list[str]:
    """The same for a whole tree. Local trainers are left out: that they see the model is what they
    are for."""
    start = place.security if guarantee is None else weaker_of(guarantee, place.security)
    servers = [child for child in place.children if not isinstance(child.spec, LocalTrainers)]
    found = downgrades(
        place.security, [(c.name, c.security) for c in servers], above=place.name, guarantee=start
    )
    for child in servers:
        found += downgrades_in(child, start)
    return found


def refusal(found: Iterable[str], consent: str) -> str:
    """What to tell whoever asked for these transfers; `consent` is how they can be allowed."""
    return (
        f"the model would lose protection on its way: {'; '.join(found)}. Use protocols that "
        f"protect it as much, or {consent}"
    )


def opened(place: Place) -> tuple[str, ...]:
    """Caveats of a model that local trainers see."""
    trainers = (p.name for p in place.walk() if isinstance(p.spec, LocalTrainers))
    return tuple(f"opened to the clients of {name} in every round" for name in trainers)


def guarantee(place: Place) -> Security:
    """What the model is protected against at its weakest, wherever it goes."""
    servers = [p.security for p in place.walk() if not isinstance(p.spec, LocalTrainers)]
    weakest = weaker_of(*servers)
    return Security(
        weakest.malicious, weakest.corruptions, tuple(sorted({*weakest.caveats, *opened(place)}))
    )
