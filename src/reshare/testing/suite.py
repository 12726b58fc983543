"""All checks of conversion, as the conformance kit takes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

from reshare import reshare
from wwfl_core.cluster import Handle, LocalCluster
from wwfl_core.testing import Bench, Check, Factory, Provider, claim

from .faults import FAULTS
from .pairs import Convert, Pairs
from .values import VALUES


def convert(x: Handle, to: LocalCluster) -> Handle:
    """The converter under test by default: the only place of the kit that calls `reshare`."""
    return reshare(x, to, allow_weaker=True)


def conversion(others: Mapping[str, Factory], convert: Convert = convert) -> Provider:
    """Checks "reshare/..." for `wwfl_core.testing.conformance(..., extra=[...])`.

    Every check converts between the protocol under test and each of `others` (by name), in both
    directions. One that does not start is left out and named in the verdict of "reshare/value"."""

    def checks(bench: Bench) -> Iterator[Check]:
        pairs = Pairs(bench, dict(others), convert)
        for name, body in {**VALUES, **FAULTS}.items():
            native = not bench.runtime or name in ("reshare/value", "reshare/linear")
            yield Check(
                name, claim(body), partial(body, pairs) if native else bench.not_started_often
            )

    return checks
