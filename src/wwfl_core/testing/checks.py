"""All checks of a protocol, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

from wwfl_core.errors import Misuse
from wwfl_core.plugins import did_you_mean

from . import (
    correctness,
    cost,
    failure,
    ledger,
    lies,
    repeated,
    streams,
    table,
    tamper,
    truncation,
    views,
)
from .bench import Bench, Factory
from .verdict import Check, Report, Verdict

Body = Callable[[Bench], str]

BODIES: dict[str, Body] = {
    "table/privacy": table.privacy,
    "table/reconstruct": table.reconstructability,
    "table/dealing": table.dealing,
    "correctness/share": correctness.share,
    "correctness/linear": correctness.linear,
    "correctness/product": correctness.product,
    "correctness/matmul": correctness.matmul,
    "correctness/conv2d": correctness.conv2d,
    "correctness/bilinear_many": correctness.bilinear_many,
    "correctness/shapes": correctness.shapes,
    "correctness/bits": correctness.bits,
    "correctness/sign": correctness.sign,
    "correctness/is_zero": correctness.is_zero,
    "correctness/bit_to_ring": correctness.bit_to_ring,
    "correctness/inject": correctness.inject,
    "correctness/relu": correctness.relu,
    "correctness/softmax": correctness.softmax,
    "correctness/copies": correctness.copies,
    "correctness/repeated": repeated.repeated,
    "truncation/error": truncation.error,
    "truncation/bias": truncation.bias,
    "cost/declared": cost.declared_names,
    **{f"cost/{name}": partial(cost.check, operation=name) for name in cost.OPERATIONS},
    "views/uniform": views.uniform,
    "views/fresh": views.fresh,
    "views/alike": views.indistinguishable,
    "views/span": views.unspanned,
    "views/offline": views.offline,
    "streams": streams.streams,
    "ledger": ledger.openings,
    **{f"tamper/{name}": partial(tamper.check, name=name) for name in tamper.PROGRAMS},
    "tamper/many": tamper.many,
    "tamper/selective": tamper.selective,
    "tamper/wrong-copy": lies.wrong_copy,
    "failure/lost-party": failure.lost,
    "failure/stalled-party": failure.stalled,
    "failure/desync": failure.diverged,
}
NAMES = tuple(BODIES)
"""The names of all checks, in the order in which they run."""


Provider = Callable[[Bench], Iterable[Check]]
"""Adds checks that the kit cannot have itself, since they need packages above the core: conversion,
training."""


def claim(body: Callable[..., str]) -> str:
    """What a check asserts: the first paragraph of its docstring."""
    function = body.func if isinstance(body, partial) else body
    return (function.__doc__ or "").strip().split("\n\n")[0]


def check_backend(
    factory: Factory, *, thorough: bool = False, seed: int = 0, extra: Sequence[Provider] = ()
) -> Iterator[Check]:
    """The checks of a protocol, to be run one by one; `factory` makes unbound protocols (usually
    the class itself).

    `thorough` enumerates what the bounded form samples: every tampered message in every way, every
    point of failure, millions of truncations. `seed` varies the test values; keys are fresh in any
    case. The checks of every provider of `extra` follow those of the kit, in order."""
    bench = Bench(factory, thorough, seed)
    known = _known_defects(bench)
    for name, body in BODIES.items():
        yield Check(name, claim(body), partial(body, bench), known.get(name, ""))
    for provider in extra:
        for check in provider(bench):
            yield replace(check, known=known.get(check.name, ""))


def _known_defects(bench: Bench) -> Mapping[str, str]:
    """What the protocol says of itself; nothing for one that cannot be made (every check will say
    so)."""
    try:
        return bench.protocol.known_defects
    except Exception:
        return {}


def select(checks: Iterable[Check], only: str) -> list[Check]:
    """The checks whose name starts with `only`.

    Raises:
        Misuse: there is none; a report without verdicts would look as if nothing were wrong.
    """
    every = list(checks)
    chosen = [check for check in every if check.name.startswith(only)]
    if chosen:
        return chosen
    names = [check.name for check in every]
    groups = list(dict.fromkeys(name.split("/")[0] for name in names))
    hint = did_you_mean(only, [*groups, *names], at_most=3)
    raise Misuse(
        f"no check has a name that starts with {only!r}; {hint}The groups are {', '.join(groups)}"
    )


def conformance(
    factory: Factory,
    thorough: bool = False,
    *,
    seed: int = 0,
    only: str = "",
    extra: Sequence[Provider] = (),
    progress: Callable[[str], None] | None = None,
) -> Report:
    """Runs all checks (those whose name starts with `only`) and collects the verdicts; `progress`
    gets each line.

    Arguments as in `check_backend`.

    Raises:
        Misuse: no check has such a name; whatever goes wrong in the protocol is a failed verdict
            and never raised.
    """
    verdicts: list[Verdict] = []
    for check in select(check_backend(factory, thorough=thorough, seed=seed, extra=extra), only):
        verdict = check.run()
        verdicts.append(verdict)
        if progress is not None:
            progress(str(verdict))
    try:
        protocol = factory()
        name, security = protocol.name, str(protocol.sharing.security)
    except Exception as error:
        name, security = (
            getattr(factory, "__name__", repr(factory)),
            f"{type(error).__name__}: {error}",
        )
    return Report(name, security, tuple(verdicts), thorough, seed)
