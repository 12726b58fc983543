"""All checks of a protocol, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from . import correctness, cost, failure, ledger, lies, streams, table, tamper, truncation, views
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


def _claim(body: Body) -> str:
    function = body.func if isinstance(body, partial) else body
    return (function.__doc__ or "").strip().split("\n\n")[0]


def check_backend(factory: Factory, *, thorough: bool = False, seed: int = 0) -> Iterator[Check]:
    """The checks of a protocol, to be run one by one; `factory` makes unbound protocols (usually the class itself).

    `thorough` enumerates what the bounded form samples: every tampered message in every way, every point of failure,
    millions of truncations. `seed` varies the test values; keys are fresh in any case.
    """
    bench = Bench(factory, thorough, seed)
    for name, body in BODIES.items():
        yield Check(name, _claim(body), partial(body, bench))


def conformance(
    factory: Factory,
    thorough: bool = False,
    *,
    seed: int = 0,
    only: str = "",
    progress: Callable[[str], None] | None = None,
) -> Report:
    """Runs all checks (those whose name starts with `only`) and collects the verdicts; `progress` gets each line."""
    verdicts: list[Verdict] = []
    for check in check_backend(factory, thorough=thorough, seed=seed):
        if not check.name.startswith(only):
            continue
        verdict = check.run()
        verdicts.append(verdict)
        if progress is not None:
            progress(str(verdict))
    try:
        protocol = factory()
        name, security = protocol.name, str(protocol.sharing.security)
    except Exception as error:
        name, security = getattr(factory, "__name__", repr(factory)), f"{type(error).__name__}: {error}"
    return Report(name, security, tuple(verdicts), thorough, seed)
