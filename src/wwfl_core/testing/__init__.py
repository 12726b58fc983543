"""The conformance kit judges any protocol: correct, exact in cost, leaking nothing that tests see,
noticing cheats?

    from wwfl_core.testing import conformance
    print(conformance(MyProtocol))              # one line per check; .ok, .to_json()

    for check in check_backend(MyProtocol):     # or one by one
        print(check.run())

    class TestMyProtocol(BackendSuite):         # or in pytest: one test per check
        factory = MyProtocol

Neither pytest nor hypothesis is needed, except by `BackendSuite` and by
`wwfl_core.testing.strategies`."""

from wwfl_core.protocol.declared_cost import DeclaredCost, Sizes

from .bench import Bench, Samples, Wiretap
from .checks import NAMES, Provider, check_backend, conformance
from .suite import BackendSuite
from .verdict import Check, Failed, NotPromised, Report, Verdict

__all__ = [
    "NAMES",
    "BackendSuite",
    "Bench",
    "Check",
    "DeclaredCost",
    "Failed",
    "NotPromised",
    "Provider",
    "Report",
    "Samples",
    "Sizes",
    "Verdict",
    "Wiretap",
    "check_backend",
    "conformance",
]
