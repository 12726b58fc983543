"""Ways to convert, and which one is taken: the cheapest that applies, or the one that the caller
names.

A path is one small class: a name, when it applies, and its plan (two party programs, exact bytes,
who learns what; see `plan.Plan`). Whatever path is taken, its plan passes the joint check of
`joint_knowledge.check` first."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import ClassVar

from wwfl_core.errors import Misuse
from wwfl_core.plugins import did_you_mean
from wwfl_core.randomness import KEY_BYTES

from .convert import Dealing
from .plan import Plan, Side
from .same_hosts import SameHosts, find_words


class Path(ABC):
    """One way to convert. Stateless."""

    name: ClassVar[str]
    automatic: ClassVar[bool] = True  # False: taken only when the caller names it
    when: ClassVar[str]  # in words, for errors

    @abstractmethod
    def applies(self, source: Side, target: Side, value_bytes: int) -> bool:
        """Whether this path can convert a value of `value_bytes` from `source` to `target`."""

    @abstractmethod
    def plan(self, source: Side, target: Side) -> Plan:
        """The plan; only asked for where the path applies."""


class Generic(Path):
    """Every word is dealt afresh by source servers; a lying dealer of a malicious-secure source is
    outvoted."""

    name = "generic"
    when = "always"

    def applies(self, source: Side, target: Side, value_bytes: int) -> bool:
        return True

    def plan(self, source: Side, target: Side) -> Plan:
        return Dealing(source, target, _majority(source))


class Small(Path):
    """The generic path with masks themselves instead of their seeds."""

    name = "small"
    when = (
        f"the value has fewer than {KEY_BYTES} bytes, so that its masks are smaller than their "
        "seeds"
    )

    def applies(self, source: Side, target: Side, value_bytes: int) -> bool:
        return value_bytes < KEY_BYTES and len(target.sharing.components) > 1

    def plan(self, source: Side, target: Side) -> Plan:
        return Dealing(source, target, _majority(source), masks_in_full=True)


class Together(Path):
    """Target servers deal the words that their own hosts know from the source (`same_hosts.py`)."""

    name = "same hosts"
    when = (
        "every word of the source is known to hosts that also run servers of the target (and "
        "enough of them to vouch for it, if the source is malicious-secure; then the target must "
        "be, too)"
    )

    def applies(self, source: Side, target: Side, value_bytes: int) -> bool:
        return find_words(source, target) is not None

    def plan(self, source: Side, target: Side) -> Plan:
        words = find_words(source, target)
        assert words is not None
        return SameHosts(source, target, words)


class Detect(Path):
    """Half the dealers, so fewer words: a lying dealer of a malicious-secure source stops the run,
    unnamed."""

    name = "detect"
    automatic = False
    when = "the source is malicious-secure"

    def applies(self, source: Side, target: Side, value_bytes: int) -> bool:
        return source.sharing.security.malicious

    def plan(self, source: Side, target: Side) -> Plan:
        return Dealing(source, target, source.sharing.security.corruptions + 1)


def _majority(source: Side) -> int:
    """Dealers per word: if they may lie, so many that the honest ones are a majority."""
    security = source.sharing.security
    return 2 * security.corruptions + 1 if security.malicious else 1


class Paths:
    """The paths that `reshare` knows. Names are unique."""

    def __init__(self, paths: Iterable[Path] = ()) -> None:
        self._known: dict[str, Path] = {}
        for path in paths:
            self.register(path)

    def register(self, path: Path) -> Callable[[], None]:
        """Adds a path; the result removes it again.

        Raises:
            Misuse: when the name is taken.
        """
        if path.name in self._known:
            raise Misuse(
                f"a path named {path.name!r} is registered already; give {type(path).__name__} "
                "another name"
            )
        self._known[path.name] = path

        def unregister() -> None:
            self._known.pop(path.name, None)

        return unregister

    def names(self) -> tuple[str, ...]:
        return tuple(self._known)

    def choose(
        self, source: Side, target: Side, value_bytes: int, path: str | Path | None
    ) -> tuple[Path, Plan]:
        """The named path, or the one that sends fewest bytes over the network (the earlier
        registered one of equals).

        Raises:
            Misuse: an unknown name, or a named path that does not apply.
        """
        if path is not None:
            chosen = path if isinstance(path, Path) else self._named(path)
            if not chosen.applies(source, target, value_bytes):
                raise Misuse(
                    f"the path {chosen.name!r} does not apply here: it needs that {chosen.when}. "
                    f'Leave path out, or use path="generic"'
                )
            return chosen, chosen.plan(source, target)
        able = [
            p
            for p in self._known.values()
            if p.automatic and p.applies(source, target, value_bytes)
        ]
        plans = [(p, p.plan(source, target)) for p in able]
        return min(plans, key=lambda item: item[1].bytes_sent(value_bytes))

    def _named(self, name: str) -> Path:
        if name not in self._known:
            raise Misuse(
                f"there is no path named {name!r}; {did_you_mean(name, self._known)}known are "
                f"{', '.join(map(repr, self._known))}"
            )
        return self._known[name]


PATHS = Paths([Generic(), Small(), Together(), Detect()])


def register(path: Path) -> Callable[[], None]:
    """Makes a path known to `reshare`, by name and (if `automatic`) by cost; the result removes it
    again."""
    return PATHS.register(path)
