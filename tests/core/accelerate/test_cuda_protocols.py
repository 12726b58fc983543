"""The kernels that protocols bring give what the protocols' own code gives.

A party of a protocol runs alone: its streams are real, what it receives is made up, what it sends
and vouches for is written down. The kernels get the same operands, streams and received arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.correlated.dealer import Roles
from backends.correlated.truncation import PairTruncation
from backends.kernels import pair, replicated, tetrad
from backends.replicated3pc import P1, P2, P3, Replicated3PC
from backends.tetrad4pc import (
    CS1,
    CS2,
    CS3,
    CS4,
    EVALUATORS,
    K1,
    K2,
    K3,
    OFFLINE_PAIR,
    Held,
    Tetrad4PC,
)
from emulated_gpu.devices import device, everywhere, same
from kernel_inputs import words
from wwfl_core import kernels as cpu
from wwfl_core.accelerate import HOST, cuda
from wwfl_core.numbers.algebra import BITS, RING, Algebra
from wwfl_core.numbers.bilinear import Mul
from wwfl_core.randomness.prg import chacha20, derive_key
from wwfl_core.sharing.share import Share

relaxed = settings(deadline=None, max_examples=12)
seeds = st.integers(0, 2**32)
sizes = st.one_of(st.integers(1, 40), st.sampled_from([64, 255, 256, 257, 1029]))
algebras = st.sampled_from([RING, BITS])


def stream(subset: Any, number: int, label: str) -> cuda.Stream:
    """The stream of a subset's key in an operation, with the nonce of
    `wwfl_core.randomness.prg.Prg.draw`."""
    key = derive_key(bytes(32), ",".join(map(str, sorted(subset))))
    return cuda.Stream(key, number.to_bytes(8, "little") + label.encode().ljust(4, b"\0"))


class LoneOp:
    """An operation of a party that runs alone."""

    def __init__(self, party: LoneParty, name: str) -> None:
        self.party, self.number, self.name = party, party.count, name

    def random(self, subset: Any, label: str, algebra: Algebra, shape: Any) -> np.ndarray:
        s = stream(subset, self.number, label)
        return algebra.from_bytes(chacha20(s.key, s.nonce, algebra.random_bytes(shape)), shape)

    mask = random

    def send(self, to: int, value: np.ndarray, phase: Any = None) -> None:
        self.party.sent.append(value)

    def recv(self, frm: int, dtype: Any, shape: Any, phase: Any = None) -> np.ndarray:
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        made = words(self.number, size).view(np.uint8)[:size].view(dtype).reshape(shape)
        self.party.received.append(made)
        return made

    def joint_send(
        self, senders: Any, to: int, value: Any, dtype: Any, shape: Any, *a: Any, **k: Any
    ) -> Any:
        return self.recv(senders[0], dtype, shape) if to == self.party.index else None


class LoneParty:
    """Party `index` of a protocol, without the others."""

    def __init__(self, index: int) -> None:
        self.index, self.count, self.device = index, -1, HOST
        self.sent: list[np.ndarray] = []
        self.received: list[np.ndarray] = []
        self.vouched: list[np.ndarray] = []
        self.transcript = self

    def op(self, name: str) -> LoneOp:
        self.count += 1
        return LoneOp(self, name)

    def put(self, array: np.ndarray) -> np.ndarray:
        return array

    def zeros(self, shape: Any, dtype: Any) -> np.ndarray:
        return np.zeros(shape, dtype)

    def vouch(self, to: int, number: int, value: np.ndarray) -> None:
        self.vouched.append(value)

    expect = vouch


def value(seed: int, algebra: Algebra, n: int) -> np.ndarray:
    """Some elements."""
    return words(seed, n) if algebra is RING else words(seed, n).view(np.uint8)[:n].copy()


def shared(seed: int, algebra: Algebra, n: int, components: Any) -> Share:
    return Share(algebra, (n,), {c: value(seed + c, algebra, n) for c in components})


# ---- replicated


@everywhere
@relaxed
@given(seed=seeds, n=sizes, me=st.integers(0, 2), algebra=algebras)
def test_the_product_of_3pc(where: str, seed: int, n: int, me: int, algebra: Algebra) -> None:
    put, party = device(where).put, LoneParty(me)
    x, y = (shared(seed + s, algebra, n, (me, (me + 1) % 3)) for s in (0, 50))
    mpc = Replicated3PC().at(party)  # type: ignore[arg-type]
    mpc.bilinear(Mul(), x, y)
    masks = [stream(mpc.sharing.holders[c], 0, "zero") for c in (me, (me + 1) % 3)]
    parts = [tuple(put(s.parts[c]) for c in (me, (me + 1) % 3)) for s in (x, y)]
    same(replicated.product(parts[0], parts[1], masks[0], masks[1]), party.sent[0], where)


@everywhere
@relaxed
@given(seed=seeds, n=sizes, me=st.integers(0, 2), positions=st.integers(1, 63))
def test_the_carry_tree_of_3pc(where: str, seed: int, n: int, me: int, positions: int) -> None:
    """Every message and every bit of the tree whose levels are products, one kernel per round."""
    put, party, nb = device(where).put, LoneParty(me), -(-n // 8)
    held = (me, (me + 1) % 3)
    g, p = (
        Share(BITS, (k, nb), {c: value(seed + s + c, BITS, k * nb).reshape(k, nb) for c in held})
        for s, k in ((0, positions), (50, positions - 1))
    )
    mpc = Replicated3PC().at(party)  # type: ignore[arg-type]
    result = mpc.carry_out(g, p)
    state = [tuple(put(s.parts[c]) for c in held) for s in (g, p)]
    product = None
    for number, (sent, received) in enumerate(zip(party.sent, party.received, strict=True)):
        masks = [stream(mpc.sharing.holders[c], number, "zero") for c in held]
        *state, message = replicated.level(*state, product, *masks)  # type: ignore[arg-type]
        same(message, sent, where)
        product = message, put(received)
    root, _, message = replicated.level(*state, product)  # type: ignore[arg-type]
    assert message.size == 0, "after the last round nothing is left to send"
    for mine, c in zip(root, held, strict=True):
        same(mine[0], result.parts[c], where)


@everywhere
@relaxed
@given(
    seed=seeds,
    n=sizes,
    f=st.integers(1, 62),
    summands=st.integers(1, 2),
    drawn=st.booleans(),
    hide=st.booleans(),
)
def test_exact_truncation_between_two_parties(
    where: str, seed: int, n: int, f: int, summands: int, drawn: bool, hide: bool
) -> None:
    """Words in one piece or two, correlated randomness stored or drawn in the kernel, results
    masked or not."""
    put, nb = device(where).put, -(-n // 8)
    word = tuple(words(seed + i, n) for i in range(summands))
    own, dealt, hiding = (stream((P1, P2), seed % 99, label) for label in ("be", "c0", "m"))
    mask = chacha20(own.key, own.nonce, nb)
    shares = {
        P1: chacha20(dealt.key, dealt.nonce, 8 * n).view(np.uint64),
        P2: cpu.pack_words(words(seed + 4, n), f),
    }
    taken = chacha20(hiding.key, hiding.nonce, 8 * n).view(np.uint64) if hide else None
    for me in (P1, P2):
        party = LoneParty(me)
        op, total = party.op("truncate"), RING.sum(word)
        made = PairTruncation().truncate(op, (P1, P2), total, f, mask, shares[me])  # type: ignore[arg-type]
        mine, theirs = party.sent[0], party.received[0]
        there, held = tuple(map(put, word)), own if drawn else put(mask)
        same(pair.wrap_message(there, held, left=me == P1), mine, where)
        last = hiding if hide else None
        if me == P1:
            c = dealt if drawn else put(shares[P1])
            actual = pair.truncate_left(there, f, put(mine), put(theirs), c, last)
        else:
            actual = pair.truncate_right(
                there, f, put(theirs), put(mine), held, put(shares[P2]), last
            )
        same(actual, made if taken is None else made - taken, where)


@everywhere
@relaxed
@given(seed=seeds, n=sizes, f=st.integers(1, 64))
def test_the_helpers_correction_of_private_products(where: str, seed: int, n: int, f: int) -> None:
    party = LoneParty(P3)
    PairTruncation().private_product(party.op("truncate"), Roles(P1, P2, P3), f, n)  # type: ignore[arg-type]
    alpha, c0, beta = (
        stream(key, 0, name) for key, name in (((P1, P3), "al"), ((P1, P3), "c0"), ((P2, P3), "be"))
    )
    actual = pair.correction(alpha, beta, c0, n, f, launcher=device(where).launcher)
    same(actual, party.sent[0], where)


@everywhere
@relaxed
@given(seed=seeds, n=sizes)
def test_bits_enter_the_ring_in_3pc(where: str, seed: int, n: int) -> None:
    put, nb = device(where).put, -(-n // 8)
    b1, b2, v = (value(seed + i, BITS, nb) for i in range(3))
    x1, x2, x3, rest = (words(seed + 3 + i, n) for i in range(4))
    s = stream((0, 2), 7, "u")
    mask = chacha20(s.key, s.nonce, 16 * n).view(np.uint64)
    u, bit = cpu.expand(b1 ^ b2, n), cpu.expand(v, n)
    same(replicated.lift((put(b1), put(b2)), n, s), u - mask[:n], where)
    both = np.stack([u, u * (x1 + x2)]) - mask.reshape(2, n)
    same(replicated.lift((put(b1), put(b2)), n, s, (put(x1), put(x2))), both, where)
    flipped = x1 - ((bit * x1) << np.uint64(1))
    same(cuda.negate_where(put(x1), put(v)), flipped, where)
    same(cuda.xor_where(put(x1), put(v)), flipped + bit, where)
    np.testing.assert_array_equal(cpu.negate_where(x1, v), flipped)
    np.testing.assert_array_equal(cpu.xor_where(x1, v), flipped + bit)
    for parts, hiding in (([rest], None), ([rest, x2], None), ([rest, x2], s)):
        expected = Replicated3PC()._injected(both, x3, v, parts)
        expected = expected if hiding is None else expected - mask[:n]
        same(
            replicated.inject(put(both), put(x3), put(v), [put(r) for r in parts], hiding),
            expected,
            where,
        )


# ---- Tetrad


def named(put: Any, share: Share) -> dict[str, Any]:
    return {name: put(part) for name, part in vars(Held.of(share)).items()}


def tetrad_streams(number: int) -> dict[str, cuda.Stream]:
    return {name: stream(key, number, name) for name, key in (("u1", K1), ("u2", K2), ("s", K3))}


@everywhere
@relaxed
@given(seed=seeds, n=sizes, algebra=algebras)
def test_the_product_of_4pc(where: str, seed: int, n: int, algebra: Algebra) -> None:
    put = device(where).put
    for me in (CS1, CS2, CS3, CS4):
        party = LoneParty(me)
        mpc = Tetrad4PC().at(party)  # type: ignore[arg-type]
        x, y = (shared(seed + s, algebra, n, mpc.sharing.held_by(me)) for s in (0, 50))
        op, f, s = party.op("mul"), Mul(), tetrad_streams(0)
        r = mpc._offline(op, f, x, y, (n,)) if me in OFFLINE_PAIR else None  # type: ignore[arg-type]
        c = mpc._online(op, f, x, y, (n,)) if me in EVALUATORS else None  # type: ignore[arg-type]
        a, b = named(put, x), named(put, y)
        if r is not None:
            same(tetrad.offline(a, b, s["u1"], s["u2"]), r, where)
        if me == CS4:
            same(tetrad.seed(a, b, s["s"]), party.sent[0], where)
        if me == CS1:
            same(
                tetrad.check(a, b, put(party.received[0]), s["u1"], s["u2"]),
                party.vouched[0],
                where,
            )
        if c is not None:
            own = "l1" if me == CS3 else "l2"
            mine = tetrad.evaluate(a, b, own, s["u1" if me == CS3 else "u2"])
            same(mine, party.sent[0], where)
            concluded, v = tetrad.conclude(a, b, mine, put(party.received[0]), s["s"])
            same(concluded, c, where)
            same(v, party.vouched[0], where)


@everywhere
@relaxed
@given(seed=seeds, n=sizes, f=st.integers(1, 62), drawn=st.booleans())
def test_truncation_steps_of_4pc(where: str, seed: int, n: int, f: int, drawn: bool) -> None:
    put, s = device(where).put, tetrad_streams(3)
    second, third = (Tetrad4PC().at(LoneParty(me)) for me in (CS2, CS3))  # type: ignore[arg-type]
    c, r = (words(seed + i, n) for i in range(2))
    mine, theirs, w = (cpu.pack_words(words(seed + 3 + i, n), f) for i in range(3))
    flip = value(seed + 6, BITS, -(-n // 8))
    u1, u2, t = (chacha20(s[k].key, s[k].nonce, 8 * n).view(np.uint64) for k in ("u1", "u2", "s"))
    sigma = chacha20(s["s"].key, s["s"].nonce, -(-n // 8))
    same(tetrad.wrap_rest(put(r), s["u1"], f), second._wrap_rest(r, u1, f), where)
    made = tetrad.wrap_rest_and_seed(put(r), s["u1"], s["s"], s["u2"], f)
    for got, want in zip(made, second._wrap_rest_and_seed(r, u1, sigma, u2, f), strict=True):
        same(got, want, where)
    factor = (s["u2"], u2) if drawn else (put(w), w)
    same(
        tetrad.wrap_share(put(c), factor[0], s["u1"], f),
        (third if drawn else second)._wrap_share(c, factor[1], u1, f),
        where,
    )
    made = tetrad.wrap_conclude(put(c), put(mine), put(theirs), put(flip), s["s"], f)
    for got, want in zip(made, second._wrap_concluded(c, mine, theirs, flip, t, f), strict=True):
        same(got, want, where)
    check = tetrad.wrap_check(put(r), put(flip), put(w), s["u1"], s["u2"], f)
    same(check, second._wrap_check(r, flip, w, u1 + u2, f), where)
    same(
        tetrad.shift_right_half(put(r), s["u1"], s["u2"], f),
        second._right_half(r, u1 + u2, f),
        where,
    )


@everywhere
@relaxed
@given(
    seed=seeds,
    n=sizes,
    kind=st.sampled_from(["array", "stream", "one"]),
    added=st.integers(0, 3),
    hide=st.booleans(),
)
def test_injection_steps_of_4pc(
    where: str, seed: int, n: int, kind: str, added: int, hide: bool
) -> None:
    put, s = device(where).put, tetrad_streams(3)
    x, y, z, gamma, lx = (words(seed + i, n) for i in range(5))
    mb = value(seed + 5, BITS, -(-n // 8))
    u1, u2 = (chacha20(s[k].key, s[k].nonce, 8 * n).view(np.uint64) for k in ("u1", "u2"))
    mask, taken = (s["u1"], u1) if hide else (None, None)
    factor = {"array": (put(x), x), "stream": (s["u2"], u2), "one": (None, None)}[kind]
    terms = [y, z, gamma][:added]
    bits = cpu.expand(mb, n)
    expected = RING.scale(-2, bits if factor[1] is None else bits * factor[1])
    expected = RING.difference([expected, *terms], [] if taken is None else [taken])
    same(tetrad.gated(put(mb), factor[0], -2, [put(a) for a in terms], n, mask), expected, where)
    three = (x, y, z), (gamma, lx, x)
    actual = tetrad.products(*(tuple(map(put, group)) for group in three), s["u1"])
    mpc = Tetrad4PC()
    same(actual, mpc._products(*zip(*three, strict=True)) - u1, where)
    piece = tetrad.inject_piece(put(mb), put(x), put(y), put(gamma), put(lx), mask)
    same(piece, mpc._injected(mb, x, y, gamma, lx, taken), where)
