"""Who operates the servers of a cluster: no host may be several of its parties."""

from __future__ import annotations

from wwfl_core.errors import Misuse
from wwfl_core.sharing import SharingSemantics


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
                f"{', '.join(addresses[i] for i in mine)}{all_of_it}: one corrupt host would be "
                f"{len(mine)} corrupt parties of {sharing.name!r}; let another host run one of "
                "them"
            )
    return hosts
