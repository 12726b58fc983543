"""Correlated oblivious transfer between two parties, in both directions at once: bits times words,
words times words.

`Transfers` is one party's end. Of a bit r at the receiver and a vector v at the sender it makes
additive shares of r v: with the rows q_j = t_j ^ r_j delta of the extension (softspoken.py) and x_j
= H(j, q_j), the sender sends

    y_j = x_j + v - H(j, q_j ^ delta);

the receiver has H(j, t_j) + r_j y_j = x_j + r_j v, the sender -x_j.

(Asharov et al., CCS'13.) A word is its bits: the sum over i of 2^i times the product for bit i,
where bit i needs the low 64 - i bits of y only (Gilboa, CRYPTO'99): 2080 bits for the 64 bits of a
word.

H is fixed-key AES in the TMMO construction, H(j, x) = pi(pi(x) ^ j) ^ pi(x) (Guo, Katz, Wang, Yu,
S&P'20, Section 7.4), tweakable circular correlation robust for an ideal permutation; the key comes
from the transcript of the base OTs. The tweak j is (operation number, row, block): operation
numbers never repeat and every batch is its own operation.

Security: semi-honest, one of the two parties; assumptions of base_ot.py, ChaCha20 and AES as above.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes

from wwfl_core import kernels
from wwfl_core.numbers import BITS, U8, U64
from wwfl_core.party import OFFLINE, Op, Party
from wwfl_core.protocol import packed

from . import base_ot, softspoken
from .base_ot import COUNT, KEY_BYTES, POINT_BYTES, PUBLIC_SHAPE

ROWS = 1 << 17
"""Rows of one batch of single bits; bounds the memory of a batch to some tens of MB."""
HASH_BLOCKS = 1 << 13
"""AES blocks that are hashed at a time, so that they stay in the cache."""
WORD_WIDTHS = tuple(64 - i for i in range(64))
"""Bits of the payload for bit i of a word."""


class Take(NamedTuple):
    """What the receiving end brings: packed choice bits, and how many words (or bits) each is
    multiplied with."""

    choices: U8
    length: int

    def __repr__(self) -> str:
        return f"Take({self.choices.size} bytes, length={self.length})"


@dataclass
class _Session:
    """What is left of a set-up: the two ends of the extension, and for each the permutation of its
    hash."""

    receiver: softspoken.Receiver
    sender: softspoken.Sender
    taking: CipherContext
    giving: CipherContext


class Transfers:
    """One party's end of correlated OT with `peer`; keeps what the base OTs gave between commands.

    The base OTs run with the first transfer. At its first transfer in every run, each party tells
    which set-up it has completed (8 bytes); if they differ, because a run failed in between, both
    start over."""

    def __init__(self, party: Party, peer: int) -> None:
        self._party, self._peer = party, peer
        self._session: _Session | None = None
        self._serial = 0  # the operation that completed the set-up, 0 if none did
        self._agreed = 0  # the run in which the peer confirmed it

    # ------------------------------------------------------------------ products

    def multiply(
        self, rows: int, take: Take | None, give: U64 | None, widths: tuple[int, ...] = WORD_WIDTHS
    ) -> tuple[U64 | None, U64 | None]:
        """Shares of u_j v_j for `rows` numbers u_j of len(widths) bits at one end and vectors v_j
        at the other.

        `take` are the own numbers' bits (all bits of number 0 first), `give` [rows, length] the own
        vectors; either end may be unused, equally at the peer. Bit i counts 2^i, and its products
        are right modulo 2^widths[i].

        Returns: own shares [rows, length] of what was taken, and of what was given. Sends 128 / K
        bits per bit taken, sum(widths) bits per word given (each width rounded up to bytes); 2
        rounds, offline."""
        session, op = self._ready(), self._party.op("ot")
        t = q = taken = given = None
        if take is not None:
            t = session.receiver.extend(op, self._peer, take.choices, rows * len(widths))
        if give is not None:
            q = session.sender.extend(op, self._peer, rows * len(widths))
            given = self._give(op, session, _by_bit(q, len(widths)), give, widths)
        if take is not None and t is not None:
            pads = _hash(session.taking, op.number, _by_bit(t, len(widths)), take.length)
            bits = _bits(take.choices, rows, len(widths))
            taken = self._take(op, pads.reshape(len(widths), rows, take.length), bits, widths)
        return taken, given

    def _give(self, op: Op, session: _Session, q: U64, v: U64, widths: tuple[int, ...]) -> U64:
        shape = (len(widths), *v.shape)
        x = _hash(session.giving, op.number, q, v.shape[1]).reshape(shape)
        y = (
            x
            + v
            - _hash(session.giving, op.number, q ^ session.sender.delta, v.shape[1]).reshape(shape)
        )
        message = [kernels.pack_words(plane, width) for plane, width in zip(y, widths, strict=True)]
        op.send(self._peer, np.concatenate(message), OFFLINE)
        return np.negative(_weighted(x))

    def _take(self, op: Op, pads: U64, bits: U64, widths: tuple[int, ...]) -> U64:
        n = pads[0].size
        sizes = [packed(n * width) for width in widths]
        message = op.recv(self._peer, np.uint8, (sum(sizes),), OFFLINE)
        start = 0
        for plane, bit, width, size in zip(pads, bits, widths, sizes, strict=True):
            y = kernels.unpack_words(message[start : start + size], n, width).reshape(plane.shape)
            plane += bit[:, None] * y
            start += size
        return _weighted(pads)

    def conjoin(self, take: Take | None, give: U8 | None, size: int) -> tuple[U8 | None, U8 | None]:
        """The same over GF(2): XOR shares of (bit j of u) AND (bit j of every row of v), for 8 *
        size bits j.

        `take.choices` [size], `give` [length, size], results [length, size], all packed. Sends 128
        / K bits per bit taken and 1 bit per bit given."""
        session, op = self._ready(), self._party.op("ot")
        t = taken = given = None
        if take is not None:
            t = session.receiver.extend(op, self._peer, take.choices, 8 * size)
        if give is not None:
            q = session.sender.extend(op, self._peer, 8 * size)
            given = _hash_bits(session.giving, op.number, q, len(give))
            other = _hash_bits(session.giving, op.number, q ^ session.sender.delta, len(give))
            op.send(self._peer, given ^ other ^ give, OFFLINE)
        if take is not None and t is not None:
            pads = _hash_bits(session.taking, op.number, t, take.length)
            taken = pads ^ (take.choices & op.recv(self._peer, np.uint8, pads.shape, OFFLINE))
        return taken, given

    # ------------------------------------------------------------------ set-up

    def _ready(self) -> _Session:
        """The session that the peer has, too."""
        if self._session is None or self._agreed != self._party.run:
            op = self._party.op("ot.ready")
            op.send(self._peer, np.array([self._serial], np.uint64), OFFLINE)
            theirs = int(op.recv(self._peer, np.uint64, (1,), OFFLINE)[0])
            if self._session is None or theirs != self._serial:
                self._session, self._serial = (
                    None,
                    0,
                )  # so that a failure from here on leaves nothing half-done
                op = self._party.op("ot.base")
                self._session, self._serial = self._set_up(op), op.number
            self._agreed = self._party.run
        return self._session

    def _set_up(self, op: Op) -> _Session:
        """Base OTs and trees for both directions: 8192 + 8224 bytes from each party, 2 rounds,
        offline."""
        me, peer = op.party.index, self._peer
        delta = np.unpackbits(op.random([me], "dlt", BITS, (COUNT // 8,)), bitorder="little")
        roots = op.random([me], "root", BITS, (softspoken.BLOCKS, KEY_BYTES))
        chooser = base_ot.choose(op, softspoken.base_choices(delta))
        op.send(peer, chooser.public, OFFLINE)
        public = op.recv(peer, np.uint8, PUBLIC_SHAPE, OFFLINE)
        answered, keys = base_ot.answer(op, public)
        receiver, sums = softspoken.Receiver.plant(roots, keys)
        op.send(peer, np.concatenate([answered, sums.reshape(-1)]), OFFLINE)
        reply = op.recv(peer, np.uint8, (POINT_BYTES + sums.size,), OFFLINE)
        theirs, their_sums = reply[:POINT_BYTES], reply[POINT_BYTES:].reshape(softspoken.SUMS_SHAPE)
        sender = softspoken.Sender.harvest(delta, base_ot.finish(op, chooser, theirs), their_sums)
        return _Session(
            receiver, sender, _permutation(public, answered), _permutation(chooser.public, theirs)
        )


def batches(total: int) -> Iterator[slice]:
    """Consecutive pieces of `total` rows, each small enough for one batch and starting at a
    multiple of 8."""
    for start in range(0, total, ROWS):
        yield slice(start, min(start + ROWS, total))


def _bits(choices: U8, rows: int, count: int) -> U64:
    """Packed bits, all of number 0 first, as 0/1 words [count, rows]."""
    return np.ascontiguousarray(kernels.expand(choices, rows * count).reshape(rows, count).T)


def _by_bit(rows: U64, count: int) -> U64:
    """Rows of the extension, all bits of number 0 first, reordered: bit 0 of all numbers first."""
    return np.ascontiguousarray(rows.reshape(-1, count, rows.shape[1]).transpose(1, 0, 2)).reshape(
        rows.shape
    )


def _weighted(planes: U64) -> U64:
    """sum_i 2^i planes[i]."""
    total = np.array(planes[0])
    for i in range(1, len(planes)):
        total += planes[i] << np.uint64(i)
    return total


def _permutation(public: U8, answered: U8) -> CipherContext:
    """AES-128 under a public key that is fixed by the transcript of one direction's base OTs."""
    key = hashlib.sha256(b"wwfl TMMO|" + public.tobytes() + answered.tobytes()).digest()[:16]
    return Cipher(
        algorithms.AES(key), modes.ECB()
    ).encryptor()  # ECB: a block is one evaluation of the permutation


def _permute(pi: CipherContext, blocks: U64) -> U64:
    """pi of every block (two words); OpenSSL wants room for one block more than it writes."""
    out = np.empty(blocks.nbytes + 16, np.uint8)
    pi.update_into(blocks.view(np.uint8).reshape(-1).data, out.data)
    return out[: blocks.nbytes].view(np.uint64).reshape(blocks.shape)


def _hash(pi: CipherContext, op: int, rows: U64, words: int) -> U64:
    """`words` pseudorandom words per row [n, words], two per block of TMMO with the tweak (op, row
    * 2^32 + block)."""
    n, count = len(rows), -(-words // 2)
    out = np.empty((n, count, 2), np.uint64)
    step = max(1, HASH_BLOCKS // max(1, count))
    for start in range(0, n, step):
        piece = slice(start, min(start + step, n))
        inner = _permute(pi, rows[piece])
        row = np.arange(piece.start, piece.stop, dtype=np.uint64) << np.uint64(32)
        blocks = np.empty((len(inner), count, 2), np.uint64)
        blocks[:, :, 0] = inner[:, :1] ^ np.uint64(op)
        np.bitwise_xor(
            (inner[:, 1] ^ row)[:, None], np.arange(count, dtype=np.uint64), out=blocks[:, :, 1]
        )
        outer = _permute(pi, blocks)
        for lane in (0, 1):  # (a broadcast over the lanes would have inner loops of length 2)
            np.bitwise_xor(outer[:, :, lane], inner[:, lane : lane + 1], out=out[piece, :, lane])
    return np.ascontiguousarray(out.reshape(n, 2 * count)[:, :words])


def _hash_bits(pi: CipherContext, op: int, rows: U64, length: int) -> U8:
    """`length` pseudorandom bits per row, packed by bit: [length, n / 8]."""
    pads = _hash(pi, op, rows, -(-length // 64))
    return np.stack([kernels.pack(pads[:, i // 64] >> np.uint64(i % 64)) for i in range(length)])
