"""All that is recorded: by file, and in it by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from . import conversions, federations, programs, recorder

Cases = Mapping[str, Callable[[], recorder.Record]]


def _protocol(name: str) -> Cases:
    made = programs.PROTOCOLS[name]
    found: dict[str, Callable[[], recorder.Record]] = {
        title: partial(recorder.record_program, name, made, program, programs.EDGES)
        for title, program in programs.PROGRAMS.items()
    }
    return found | {"client": partial(conversions.record_client, name)}


CASES: Mapping[str, Cases] = {
    **{name: _protocol(name) for name in programs.PROTOCOLS},
    "reshare": {
        **{pair: partial(conversions.record_conversion, pair) for pair in conversions.PAIRS},
        **{
            f"{pair} on the same hosts": partial(conversions.record_conversion, pair, True)
            for pair in conversions.ON_SAME_HOSTS
        },
    },
    "federation": {
        name: partial(federations.record_federation, name) for name in federations.FEDERATIONS
    },
}
