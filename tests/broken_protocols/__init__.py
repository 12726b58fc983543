"""Deliberately broken protocols, one file each: defects seen in released systems, as subclasses of
the built-in ones.

The conformance kit must catch each of them, with the check named in `CAUGHT_BY`
(tests/core/testing/test_testing.py)."""

from wwfl_core import MPCBackend

from .adds_public_twice import AddsPublicTwice
from .biased_truncation import BiasedTruncation
from .constant_keys import ConstantKeys
from .constant_triples import ConstantTriples
from .continue_after_loss import ContinueAfterLoss
from .counts_its_products import CountsItsProducts
from .dealt_in_the_clear import DealtInTheClear
from .float_matmul import FloatMatMul
from .forgets_the_signs import ForgetsTheSigns
from .hidden_open import HiddenOpen
from .leaky_table import LeakyTable
from .local_truncation import LocalTruncation
from .looks_at_half import LooksAtHalf
from .no_scalars import NoScalars
from .online_as_offline import OnlineAsOffline
from .other_branch import OtherBranch
from .print_and_continue import PrintAndContinue
from .restarted_generator import RestartedGenerator
from .reused_mask import ReusedMask
from .selective_failure import SelectiveFailure
from .short_window import ShortWindow
from .silent_open import SilentOpen
from .stale_copy import StaleCopy
from .swallows_the_deadline import SwallowsTheDeadline
from .traffic_depends_on_secret import TrafficDependsOnSecret
from .truncates_the_first import TruncatesTheFirst
from .trusts_the_opener import TrustsTheOpener
from .unknown_cost import UnknownCost
from .unmasked_resend import UnmaskedResend
from .untagged_messages import UntaggedMessages
from .unvouched_message import UnvouchedMessage
from .unvouched_table import UnvouchedTable
from .wrong_cost import WrongCost
from .wrong_cross_term import WrongCrossTerm
from .xor_is_no_sum import XorIsNoSum

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
    AddsPublicTwice: "correctness/linear",
    CountsItsProducts: "correctness/repeated",
    DealtInTheClear: "table/dealing",
    FloatMatMul: "correctness/matmul",
    ForgetsTheSigns: "correctness/share",
    LooksAtHalf: "correctness/is_zero",
    NoScalars: "correctness/shapes",
    OtherBranch: "correctness/inject",
    SelectiveFailure: "tamper/selective",
    ShortWindow: "correctness/sign",
    SwallowsTheDeadline: "failure/stalled-party",
    TruncatesTheFirst: "correctness/bilinear_many",
    TrustsTheOpener: "tamper/reveal",
    UnknownCost: "cost/declared",
    UntaggedMessages: "failure/desync",
    UnvouchedTable: "table/reconstruct",
    XorIsNoSum: "correctness/bit_to_ring",
}

ALSO_CAUGHT_BY: dict[str, type[MPCBackend]] = {
    "correctness/conv2d": FloatMatMul,
    "correctness/bits": AddsPublicTwice,
    "correctness/relu": OtherBranch,
    "correctness/softmax": OtherBranch,
    "tamper/share": PrintAndContinue,
    "tamper/inject": PrintAndContinue,
    "tamper/many": PrintAndContinue,
    "tamper/truncation": PrintAndContinue,
    "tamper/sign": PrintAndContinue,
    "tamper/relu": PrintAndContinue,
    "trains/demo": BiasedTruncation,
}
"""Checks that no protocol is made for, but that one made for another check fails, too."""
