"""Deliberately broken protocols, one file each: defects seen in released systems, as subclasses of the built-in ones.

The conformance kit must catch each of them, with the check named in `CAUGHT_BY` (tests/test_testing.py).
"""

from wwfl_core import MPCBackend

from .biased_truncation import BiasedTruncation
from .constant_keys import ConstantKeys
from .constant_triples import ConstantTriples
from .continue_after_loss import ContinueAfterLoss
from .hidden_open import HiddenOpen
from .leaky_table import LeakyTable
from .local_truncation import LocalTruncation
from .online_as_offline import OnlineAsOffline
from .print_and_continue import PrintAndContinue
from .restarted_generator import RestartedGenerator
from .reused_mask import ReusedMask
from .silent_open import SilentOpen
from .stale_copy import StaleCopy
from .traffic_depends_on_secret import TrafficDependsOnSecret
from .unmasked_resend import UnmaskedResend
from .unvouched_message import UnvouchedMessage
from .wrong_cost import WrongCost
from .wrong_cross_term import WrongCrossTerm

CAUGHT_BY: dict[type[MPCBackend], str] = {
    UnmaskedResend: "views/uniform",
    ConstantTriples: "views/span",
    ConstantKeys: "views/fresh",
    ReusedMask: "views/fresh",
    RestartedGenerator: "streams",
    OnlineAsOffline: "views/offline",
    WrongCrossTerm: "correctness/product",
    PrintAndContinue: "tamper/product",
    UnvouchedMessage: "tamper/wrong-copy",
    BiasedTruncation: "truncation/bias",
    LocalTruncation: "truncation/error",
    HiddenOpen: "ledger",
    SilentOpen: "views/alike",
    WrongCost: "cost/product",
    TrafficDependsOnSecret: "cost/relu",
    StaleCopy: "correctness/copies",
    LeakyTable: "table/privacy",
    ContinueAfterLoss: "failure/lost-party",
}
