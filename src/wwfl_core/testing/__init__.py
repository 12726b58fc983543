"""The conformance kit judges any protocol: correct, exact in cost, leaking nothing that tests see,
noticing cheats?

    from wwfl_core.testing import conformance
    print(conformance(MyProtocol))              # one line per check; .ok, .to_json()

    for check in check_backend(MyProtocol):     # or one by one
        print(check.run())

    class TestMyProtocol(BackendSuite):         # or in pytest: one test per check
        factory = MyProtocol

Neither pytest nor hypothesis is needed, except by `BackendSuite` and by
`wwfl_core.testing.strategies`. What checks of another package are written with (`reshare.testing`
is one) is public, too."""

from wwfl_core.protocol.declared_cost import DeclaredCost, Sizes

from .bench import Bench, Factory, Samples, Wiretap, expect_equal, succeeded
from .checks import NAMES, Provider, check_backend, claim, conformance
from .statistics import LIMIT, Span, bit_row, bit_rows, uniformity
from .suite import BackendSuite
from .tamper import SEED, SLOWEST_S, Attack, Frames, altering, attacks, patience
from .verdict import Check, Failed, NotPromised, Report, Verdict

__all__ = [
    "LIMIT",
    "NAMES",
    "SEED",
    "SLOWEST_S",
    "Attack",
    "BackendSuite",
    "Bench",
    "Check",
    "DeclaredCost",
    "Factory",
    "Failed",
    "Frames",
    "NotPromised",
    "Provider",
    "Report",
    "Samples",
    "Sizes",
    "Span",
    "Verdict",
    "Wiretap",
    "altering",
    "attacks",
    "bit_row",
    "bit_rows",
    "check_backend",
    "claim",
    "conformance",
    "expect_equal",
    "patience",
    "succeeded",
    "uniformity",
]
