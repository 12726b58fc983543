"""Which transfers of a federation would take protection away from the model."""

from __future__ import annotations

from collections.abc import Iterable

from reshare import is_weaker
from wwfl_core.sharing import Security, weaker_of


def downgrades(top: Security, clusters: Iterable[tuple[str, Security]]) -> list[str]:
    """All transfers that take protection away, in words, for global servers that withstand `top` and clusters as
    (name, what it withstands): the model starts with the global servers' guarantee, and what a cluster trains has the
    weaker one of both."""
    found: list[str] = []
    for name, own in clusters:
        for way, guarantee, source, target in (
            (f"global -> {name}", top, top, own),
            (f"{name} -> global", weaker_of(top, own), own, top),
        ):
            found.extend(f"{way} loses {lost}" for lost in is_weaker(guarantee, source, target))
    return found


def refusal(found: Iterable[str], consent: str) -> str:
    """What to tell whoever asked for these transfers; `consent` is how they can be allowed."""
    return (
        f"the model would lose protection on its way: {'; '.join(found)}. Use protocols that protect it as much, "
        f"or {consent}"
    )
