"""What objects show of themselves in logs and messages has no values of shares, masks or choices in
it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from backends.additive2pc import Mask
from backends.correlated.base_ot import Chooser
from backends.correlated.ot import Take
from emulated_gpu import EMULATED
from reshare.convert import _Dealt
from wwfl_core.accelerate import named
from wwfl_core.channel.cost import Phase
from wwfl_core.channel.frames import Frame, Tag
from wwfl_core.cluster.local import PerParty
from wwfl_core.cluster.server import Command, Outcome
from wwfl_core.numbers.algebra import RING
from wwfl_core.randomness.prg import Prg
from wwfl_core.sharing.semantics import Security
from wwfl_core.sharing.share import Share

WORDS = np.array([77777, 77777], np.uint64)
BYTES = np.array([7, 7, 7, 7, 7], np.uint8)
NOT_ASKED: Any = None
DEVICE = named(EMULATED)
OBJECTS: dict[str, Any] = {
    "share": Share(RING, (2,), {0: WORDS}),
    "mask": Mask(WORDS, WORDS),
    "choices of a transfer": Take(BYTES, 7777),
    "choices of base transfers": Chooser(BYTES, [], BYTES),
    "dealt word": _Dealt(NOT_ASKED, (0,), NOT_ASKED, {0: WORDS}, {1: WORDS}),
    "message": Frame(Tag(1, 1, "mul", Phase.ONLINE), "test", 1, 0.0, WORDS),
    "arguments of parties": PerParty(({0: WORDS}, {1: b"77777"})),
    "command": Command(1, print, (WORDS,), 1.0, None, Security()),
    "outcome": Outcome(value={0: WORDS}),
    "mask that is not drawn yet": DEVICE.mask(Prg(b"77777" + bytes(27)), 1, "m", RING, (2,)),
}


@pytest.mark.parametrize("what", OBJECTS)
def test_no_value_is_shown(what: str) -> None:
    shown = repr(OBJECTS[what]) + str(OBJECTS[what]) + f"{[OBJECTS[what]]}"
    assert (
        "77777" not in shown.replace("7777)", "") and "7, 7" not in shown and "[7 7" not in shown
    ), shown
