"""A recording: the lines of a program at one party, as a function that repeats them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from wwfl_core.numbers.arrays import Array, to_host
from wwfl_core.party import Party

from .recorder import Recorder
from .traced import is_array


@dataclass(frozen=True)
class Recording:
    """What a party does in a program of public shape: `source` is Python, and names what it
    computes with.

    Constants (peers, labels, shapes, kernels, public arrays) are `k0`, `k1`, ...; `first` is the
    number of the party's last operation before. Its `repr` does not show constants."""

    source: str
    constants: tuple[Any, ...] = field(repr=False)
    operations: int
    run: Callable[..., tuple[Array, ...]]

    @classmethod
    def of(
        cls, recorder: Recorder, inputs: int, outputs: Sequence[int], operations: int
    ) -> Recording:
        """The recording of a finished run with the given numbers of arguments and operations, and
        what it returns."""
        source = _source(recorder, inputs, outputs)
        names: dict[str, Any] = {f"k{i}": constant for i, constant in enumerate(recorder.constants)}
        exec(
            compile(source, "<recorded program>", "exec"), names
        )  # the text is ours, from what has just been run
        return cls(source, tuple(recorder.constants), operations, names["run"])

    def repeat(self, party: Party, inputs: Sequence[Array]) -> tuple[Array, ...]:
        """Runs it on other arguments, of the same shapes: the same messages in the same order, with
        fresh masks."""
        first = party.ops
        party.ops = first + self.operations  # these numbers are taken, whatever happens
        return self.run(first, *inputs)

    def same(self, other: Recording) -> bool:
        """Whether both do the same."""
        return (
            self.source == other.source
            and len(self.constants) == len(other.constants)
            and all(map(_same, self.constants, other.constants))
        )


def _source(recorder: Recorder, inputs: int, outputs: Sequence[int]) -> str:
    """A function of the first operation number and the inputs. Every variable is deleted after its
    last use."""
    last: dict[int, int] = {}
    for at, line in enumerate(recorder.lines):
        last.update(dict.fromkeys(line.uses | line.makes, at))
    kept = set(outputs)
    text = [f"def run({', '.join(['first', *(f'v{i}' for i in range(inputs))])}):"]
    for at, line in enumerate(recorder.lines):
        done = sorted(v for v in line.uses | line.makes if last[v] == at and v not in kept)
        text.append(f"    {line.text}{'; del ' * bool(done)}{', '.join(f'v{v}' for v in done)}")
    text.append(f"    return ({''.join(f'v{i}, ' for i in outputs)})")
    return "\n".join(text) + "\n"


def _same(one: Any, other: Any) -> bool:
    if is_array(one) and is_array(other):
        a, b = to_host(one), to_host(other)
        return a.dtype == b.dtype and np.array_equal(a, b)
    return one is other or (type(one) is type(other) and bool(one == other))
