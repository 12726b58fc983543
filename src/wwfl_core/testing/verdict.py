"""What a check is, what it says, and what all checks together say."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wwfl_core.errors import WwflError

_LONGEST = 400
_SOURCES = Path(__file__).parents[2]
_NOT_THE_PROTOCOL = (
    _SOURCES / "wwfl_core",
    _SOURCES / "reshare",
    _SOURCES / "wwfl",
    Path(np.__file__).parent,
)


class Failed(AssertionError):
    """Raised inside a check: the protocol does not do what it promises; the message says what was
    seen."""


class NotPromised(Exception):
    """Raised inside a check that does not apply: the protocol does not promise this; the message
    says why."""


def _where(error: Exception) -> str:
    """The last line of the protocol's own that an unforeseen error went through, if any."""
    if isinstance(error, WwflError):  # its message says what to do
        return ""
    own = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not any(Path(frame.filename).is_relative_to(folder) for folder in _NOT_THE_PROTOCOL)
    ]
    return (
        f" ({Path(own[-1].filename).name}, line {own[-1].lineno}, in {own[-1].name})" if own else ""
    )


@dataclass(frozen=True)
class Verdict:
    """The outcome of one check. `passed` is None when the protocol promises nothing here; `detail`
    says why.

    `known` is the reason that the protocol itself gives for a failure (`MPCBackend.known_defects`).
    """

    name: str
    passed: bool | None
    detail: str
    seconds: float
    known: str = ""

    @property
    def mark(self) -> str:
        """One character: passed, failed, failed as the protocol says that it would, or not
        promised."""
        if self.passed is None:
            return "–"
        return "✓" if self.passed else "!" if self.known else "✗"

    def to_json(self) -> dict[str, Any]:
        """A plain dict that `json.dumps` accepts."""
        return {
            "name": self.name,
            "passed": self.passed,
            "known": self.known,
            "detail": self.detail,
            "seconds": round(self.seconds, 3),
        }

    def __str__(self) -> str:
        known = f"known: {self.known}; seen: " if self.known else ""
        return f"{self.mark} {self.name:<26} {self.seconds:6.2f} s  {known}{self.detail}"


@dataclass(frozen=True)
class Check:
    """One named claim about a protocol; `run` tests it. Running twice is fine: nothing is kept in
    between."""

    name: str
    claim: str
    body: Callable[[], str]
    known: str = ""  # why it is known to fail

    def run(self) -> Verdict:
        """Tests the claim. Never raises: whatever goes wrong in the protocol is a failed
        verdict."""
        begun = time.perf_counter()
        passed: bool | None = True
        try:
            detail = self.body()
        except NotPromised as reason:
            passed, detail = None, str(reason)
        except Failed as finding:
            passed, detail = False, str(finding)
        except Exception as error:
            passed, detail = False, f"{type(error).__name__}: {error}{_where(error)}"
        detail = detail.strip().replace("\n", " ")
        if len(detail) > _LONGEST:
            detail = detail[: _LONGEST - 3] + "..."
        known = self.known if passed is False else ""
        return Verdict(self.name, passed, detail, time.perf_counter() - begun, known)

    def __repr__(self) -> str:
        return f"Check({self.name!r})"


@dataclass(frozen=True)
class Report:
    """The verdicts of all checks of one protocol. `str(report)` is one line per check."""

    protocol: str
    security: str
    verdicts: tuple[Verdict, ...]
    thorough: bool = False
    seed: int = 0

    @property
    def ok(self) -> bool:
        """Whether there are verdicts and none failed (checks that do not apply count as
        neither)."""
        return bool(self.verdicts) and not self.failures

    @property
    def failures(self) -> tuple[Verdict, ...]:
        """The verdicts that failed, without known defects."""
        return tuple(v for v in self.verdicts if v.passed is False and not v.known)

    @property
    def known(self) -> tuple[Verdict, ...]:
        """The verdicts that failed as the protocol itself declares."""
        return tuple(v for v in self.verdicts if v.known)

    @property
    def seconds(self) -> float:
        """The time that all checks took."""
        return sum(v.seconds for v in self.verdicts)

    def summary(self) -> str:
        """One line: how many checks passed, failed, and do not apply."""
        passed = sum(v.passed is True for v in self.verdicts)
        silent = sum(v.passed is None for v in self.verdicts)
        verdict = "conforms" if self.ok else "DOES NOT CONFORM"
        known = f", {len(self.known)} known defects" if self.known else ""
        return (
            f"{self.protocol} ({self.security}): "
            f"{verdict}{' but for known defects' if known and self.ok else ''}. {passed} passed, "
            f"{len(self.failures)} failed{known}, {silent} not promised, {self.seconds:.1f} s"
        )

    def to_json(self) -> dict[str, Any]:
        """A plain dict that `json.dumps` accepts."""
        return {
            "protocol": self.protocol,
            "security": self.security,
            "ok": self.ok,
            "thorough": self.thorough,
            "seed": self.seed,
            "seconds": round(self.seconds, 3),
            "checks": [v.to_json() for v in self.verdicts],
        }

    def __iter__(self) -> Iterator[Verdict]:
        return iter(self.verdicts)

    def __getitem__(self, name: str) -> Verdict:
        for verdict in self.verdicts:
            if verdict.name == name:
                return verdict
        raise KeyError(name)

    def __str__(self) -> str:
        return "\n".join([*map(str, self.verdicts), self.summary()])
