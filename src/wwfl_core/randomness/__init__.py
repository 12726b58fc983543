"""Secret randomness: ChaCha20 streams keyed per set of parties, and sampling from them.

Everything here is deterministic in a key. Keys come from the operating system (`fresh_key`) or from
another key (`derive_key`). Public, predictable randomness does not belong here."""

from .keystream import chacha20, check_size
from .prg import KEY_BYTES, Prg, derive_key, fresh_key, subset_name
from .uniform import UniformIntegers, UniformWords, accepted, permutation

__all__ = [
    "KEY_BYTES",
    "Prg",
    "UniformIntegers",
    "UniformWords",
    "accepted",
    "chacha20",
    "check_size",
    "derive_key",
    "fresh_key",
    "permutation",
    "subset_name",
]
