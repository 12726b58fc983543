"""What the coordinator holds instead of values: handles with their guarantees; and who operates the
servers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from wwfl_core.errors import Misuse
from wwfl_core.numbers.arrays import Shape
from wwfl_core.sharing.semantics import Security, SharingSemantics

from .server import Ref, map_tree

if TYPE_CHECKING:
    from .local import LocalCluster


class Handle:
    """A shared tensor that lives at the servers of `cluster`.

    `guarantee` is what its value was protected against on its whole way: the weakest among the
    cluster, the clusters that it came from, and everything that it was computed from."""

    def __init__(self, cluster: LocalCluster, ref: Ref, guarantee: Security) -> None:
        self.cluster = cluster
        self.ref = ref
        self.guarantee = guarantee

    @property
    def shape(self) -> Shape:
        return self.ref.shape

    def __repr__(self) -> str:
        return f"Handle(shape={self.ref.shape}, at {self.cluster.name})"

    def __del__(self) -> None:
        self.cluster.forget(self.ref)


@dataclass(frozen=True)
class PerParty:
    """An argument that differs between parties: `values[i]` goes to party i."""

    values: tuple[Any, ...] = field(repr=False)


def guarantees_in(args: tuple[Any, ...]) -> list[Security]:
    """The guarantees of all handles in a program's arguments."""
    found: list[Security] = []

    def leaf(item: Any) -> None:
        if isinstance(item, Handle):
            found.append(item.guarantee)

    map_tree(args, leaf)
    return found


def checked_hosts(
    hosts: tuple[str, ...], addresses: tuple[str, ...], sharing: SharingSemantics
) -> tuple[str, ...]:
    """Refuses a host that would be several parties, before any server starts."""
    if len(hosts) != len(addresses) or not all(isinstance(h, str) and h for h in hosts):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise Misuse(
            f"hosts={hosts!r}: name one host for each of the servers {', '.join(addresses)}"
        )
    for host in dict.fromkeys(hosts):
        mine = [i for i, h in enumerate(hosts) if h == host]
        if len(mine) > 1:
            all_of_it = ", which together hold every component" if sharing.reveals(mine) else ""
            raise Misuse(
                f"host {host!r} would run the servers "
                f"{', '.join(addresses[i] for i in mine)}{all_of_it}: one corrupt "
                f"host would be {len(mine)} corrupt parties of {sharing.name!r}; let another host "
                "run one of them"
            )
    return hosts
