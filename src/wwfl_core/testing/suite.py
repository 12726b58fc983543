"""The kit as a pytest class: one parametrised test per check."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from .bench import Factory
from .checks import Provider, check_backend
from .verdict import Check


class BackendSuite:
    """Subclass it in a test file, and pytest collects one test per check:

        class TestMyProtocol(BackendSuite):
            factory = MyProtocol

    Checks of what the protocol does not promise are skipped with the reason. `thorough` and `seed`
    as in `check_backend` (`extra` too); `skip` names checks to leave out (say why in your file).
    """

    factory: ClassVar[Factory]
    thorough: ClassVar[bool] = False
    seed: ClassVar[int] = 0
    extra: ClassVar[Sequence[Provider]] = ()
    skip: ClassVar[frozenset[str]] = frozenset()

    def pytest_generate_tests(self, metafunc: Any) -> None:
        """Called by pytest for every test of the class."""
        if "conformance_check" not in metafunc.fixturenames:
            return
        suite: Any = metafunc.cls
        checks = [
            c
            for c in check_backend(
                suite.factory, thorough=suite.thorough, seed=suite.seed, extra=suite.extra
            )
            if c.name not in suite.skip
        ]
        metafunc.parametrize("conformance_check", checks, ids=[c.name for c in checks])

    def test_conforms(self, conformance_check: Check) -> None:
        """One check of the protocol."""
        import pytest  # only here: the kit itself works without it

        verdict = conformance_check.run()
        if verdict.passed is None:
            pytest.skip(verdict.detail)
        if verdict.known:
            pytest.xfail(f"{verdict.known}; seen: {verdict.detail}")
        assert verdict.passed, f"{conformance_check.claim}\n{verdict}"
