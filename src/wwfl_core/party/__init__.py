"""Party: one server of a cluster, whatever protocol it runs.

Here belongs what a server has and does beside computing: numbered operations with their messages
and masks, keys, the transcript of what it vouched for, check points, the public coin, the ledger of
openings, and the guard that may refuse one."""

from .ledger import Ledger, Opening
from .party import OFFLINE, ONLINE, Guard, Op, Party
from .public_coin import coin
from .transcript import DIGEST_BYTES, Transcript, digest
from .verification import CHECK_LABELS, agree

__all__ = [
    "CHECK_LABELS",
    "DIGEST_BYTES",
    "OFFLINE",
    "ONLINE",
    "Guard",
    "Ledger",
    "Op",
    "Opening",
    "Party",
    "Transcript",
    "agree",
    "coin",
    "digest",
]
