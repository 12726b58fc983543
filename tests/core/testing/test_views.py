"""What one party sees says nothing: its messages, its components and all PRG streams whose keys it
holds.

Three kinds of evidence. Every array taken alone has uniform bytes. All arrays of a party together,
read as rows of bits, do not span a single bit of a secret, in any linear combination over GF(2)
(this finds every mask that was used twice or forgotten); as a control, the rows of two parties
together do. And under equal keys, only what must depend on a secret does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

from helpers import EVERY, SECURE, Wiretap, cluster, product, rng, share_words, words
from party_views import N, chi_square, span_of, to_int, watch
from wwfl_core import LocalCluster, MPCBackend, Mul, Session, SharedTensor
from wwfl_core.channel.cost import Phase
from wwfl_core.errors import Misuse
from wwfl_core.numbers.algebra import BITS, RING
from wwfl_core.randomness.keystream import KeyStreams
from wwfl_core.randomness.prg import Prg
from wwfl_core.sharing.share import Share
from wwfl_core.testing.statistics import Span

F = 20


def operations(mpc: Session, x: SharedTensor, y: SharedTensor, what: str) -> list[Any]:
    """One operation; returns this party's components of the operands and of the result."""
    s = mpc.protocol.sign(x.data, 9) if what in ("bit to ring", "injection") else None
    results = {
        "share": lambda: [],
        "product": lambda: [
            mpc.protocol.bilinear(Mul(), x.data, y.data),
            mpc.protocol.bilinear(Mul(), x.data, x.data),
        ],
        "truncated product": lambda: [mpc.protocol.bilinear(Mul(), x.data, y.data, F)],
        "two steps": lambda: [
            mpc.protocol.bilinear(Mul(), mpc.protocol.bilinear(Mul(), x.data, y.data, F), y.data, F)
        ],
        "truncation": lambda: [mpc.protocol.truncate(x.data, F)],
        "sign": lambda: [mpc.protocol.sign(x.data, 17)],
        "is zero": lambda: [mpc.protocol.is_zero(x.data, 6)],
        "bit to ring": lambda: [s, mpc.protocol.bit_to_ring(s, x.shape)],
        "injection": lambda: [s, mpc.protocol.inject(s, y.data)],
        "generic truncation": lambda: [MPCBackend.truncate(mpc.protocol, x.data, F)],
        "generic sign": lambda: [MPCBackend.sign(mpc.protocol, x.data, 9)],
        "generic injection": lambda: [
            MPCBackend.inject(mpc.protocol, mpc.protocol.sign(x.data, 5), y.data)
        ],
        "together": lambda: mpc.protocol.bilinear_many(
            [(Mul(), x.data, y.data), (Mul(), y.data, y.data)], F
        ),
    }[what]()
    return [
        (s.algebra, {c: np.array(a) for c, a in s.parts.items()})
        for s in (x.data, y.data, *results)
    ]


OPERATIONS = [
    "share",
    "product",
    "truncated product",
    "two steps",
    "truncation",
    "sign",
    "is zero",
    "bit to ring",
    "injection",
    "generic truncation",
    "generic sign",
    "generic injection",
    "together",
]


def secret_rows(x: np.ndarray, y: np.ndarray) -> list[int]:
    """Bits of everything that is computed: the inputs, their product, their truncations."""
    values = [x, y, x * y, x * x, *((v.view(np.int64) >> F).view(np.uint64) for v in (x, x * y))]
    return [
        to_int(v >> np.uint64(bit))
        for v in values
        for bit in (0, 1, 2, 4, 5, 8, 16, 17, 31, 62, 63)
    ]


@pytest.fixture(scope="module", params=SECURE)
def c(request: pytest.FixtureRequest) -> Any:
    with cluster(request.param) as started:
        yield started


# ---------------------------------------------------------------------- uniform, alone and together


@pytest.mark.parametrize("what", OPERATIONS)
def test_every_message_and_every_component_alone_is_uniform(
    c: LocalCluster, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """All secrets are 0, so that whatever is not masked stands out. A component may also be 0 by
    design."""
    zero = np.zeros(N, np.uint64)
    for party, arrays in watch(c, monkeypatch, what, zero, zero, operations).items():
        for name, array in arrays:
            trivial = name.startswith("component") and not np.any(array)
            assert trivial or array.size == 0 or abs(chi_square(array)) < 9, (party, name)


@pytest.mark.parametrize("what", OPERATIONS)
def test_all_that_one_party_sees_together_spans_no_bit_of_a_secret(
    c: LocalCluster, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    g = rng()
    x, y = (g.integers(-(1 << 30), 1 << 30, N).view(np.uint64) for _ in range(2))
    view = watch(c, monkeypatch, what, x, y, operations)
    secrets = secret_rows(x, y)
    for party in range(c.sharing.parties):
        span = span_of(view[party])
        assert len(span) < N - 200, "too many rows for a meaningful test; raise N"
        alone = Span()
        alone.add((1 << N) - 1)
        for row in (
            secrets
        ):  # a row that is independent of the other secrets is independent of them and the view
            assert span.add(row) == alone.add(row), (
                f"party {party} can compute a combination of secret bits"
            )


def test_two_parties_together_do_span_the_secret(
    c: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: the method above does see what is there."""
    g = rng()
    x, y = words(g, N), words(g, N)
    view = watch(c, monkeypatch, "product", x, y, operations)
    both = span_of([*view[0], *view[1]])
    for value in (x, y, x * y):
        assert both.reduce(to_int(value)) == 0


def test_a_mask_that_is_used_twice_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second control: a PRG that ignores the operation number makes the third party of 3PC see
    x - y."""
    g = rng()
    x, y = words(g, N), words(g, N)
    monkeypatch.setattr(MPCBackend, "deal", _deal_with_one_mask)
    with cluster("3pc", insecure_seed=1) as c:
        outcomes = c.submit(share_two, x, y).outcomes()
    seen = [(f"{i}", a) for i, share in enumerate(outcomes[2].value) for a in share.values()]
    assert span_of(seen).reduce(to_int(x ^ y)) == 0


def _deal_with_one_mask(
    mpc: Session, value: Any, dealers: Any, shape: Any, *args: Any, **kwargs: Any
) -> Any:
    mask = chacha_mask(shape)
    parts = {0: value - mask if value is not None else None, 1: mask, 2: np.zeros(shape, np.uint64)}
    op = mpc.party.op("bad")
    if mpc.me == 0:
        op.send(2, parts[0])
    if mpc.me == 2:
        parts[0] = op.recv(0, np.uint64, shape)
    return Share(RING, shape, {c: parts[c] for c in mpc.sharing.held_by(mpc.me)})


def chacha_mask(shape: tuple[int, ...]) -> np.ndarray:
    return Prg(b"k" * 32).draw(1, "m", RING, shape)


def share_two(mpc: Session, x: np.ndarray, y: np.ndarray) -> Any:
    return [dict(share_words(mpc, v, 0).parts) for v in (x, y)]


# ---------------------------------------------------------- coupling: equal keys, different secrets


def shared_by(mpc: Session, ring: np.ndarray, owner: int) -> Any:
    return {c: np.array(a) for c, a in share_words(mpc, ring, owner).parts.items()}


@pytest.mark.parametrize("name", EVERY)
def test_under_equal_keys_only_the_correction_depends_on_a_shared_secret(name: str) -> None:
    g = rng()
    secrets = words(g, 50), words(g, 50)
    with cluster(name) as probe:
        sharing = probe.sharing
    for owner in sharing.evaluators:
        plan = sharing.deal_plan((owner,))
        runs = []
        for secret in secrets:
            with cluster(name, name="coupled", insecure_seed=3) as c:
                runs.append([o.value for o in c.submit(shared_by, secret, owner).outcomes()])
        for party in range(sharing.parties):
            for component in sharing.held_by(party):
                first, second = (run[party][component] for run in runs)
                if component == plan.computed:
                    sign = sharing.coefficients[component]
                    assert (RING.scale(sign, second - first) == secrets[1] - secrets[0]).all()
                else:
                    assert first.tobytes() == second.tobytes(), (owner, party, component)


def all_gates(mpc: Session, x: np.ndarray, y: np.ndarray, owner: int) -> None:
    a, b = mpc.share(x, owner), mpc.share(y, owner)
    s = a.negative(12)
    _ = (
        a * b,
        product(mpc, a, b),
        a.truncate(3),
        s & s,
        s.to_integers(),
        s.times(b),
        b.equals(a),
        (a @ b) @ b,
    )


def of_clients(mpc: Session, a: SharedTensor, b: SharedTensor) -> None:
    s = a.negative(12)
    _ = (
        a * b,
        product(mpc, a, b),
        a.truncate(3),
        s & s,
        s.to_integers(),
        s.times(b),
        b.equals(a),
        (a @ b) @ b,
    )


def offline(name: str, x: np.ndarray, y: np.ndarray, owner: int | None) -> list[list[bytes]]:
    with cluster(name, name="coupled", insecure_seed=4) as c:
        c.memory.tamper = tap = Wiretap()
        if owner is None:
            c.run(of_clients, c.share(x), c.share(y))
        else:
            c.run(all_gates, x, y, owner)
    rows = [
        (s, r, f.payload.tobytes()) for s, r, _, f in tap.frames if f.tag.phase == Phase.OFFLINE
    ]
    return [
        [p for s, r, p in rows if (s, r) == link] for link in sorted({(s, r) for s, r, _ in rows})
    ]


CASES = [
    ("2pc", 0),
    ("2pc", 1),
    ("3pc", 0),
    ("3pc", 1),
    ("3pc", 2),
    ("4pc", 0),
    ("4pc", 1),
    ("4pc", 2),
    ("4pc", 3),
]


@pytest.mark.parametrize(("name", "owner"), [*CASES, ("2pc", None), ("3pc", None), ("4pc", None)])
def test_offline_messages_do_not_depend_on_the_inputs(name: str, owner: int | None) -> None:
    """So they can be sent before the inputs are known."""
    g = rng()
    runs = [offline(name, g.normal(size=(8, 8)), g.normal(size=(8, 8)), owner) for _ in range(2)]
    assert runs[0] and runs[0] == runs[1]


# ---------------------------------------------------------------------- masks after a failure


def third_party_shares(mpc: Session, ring: np.ndarray) -> None:
    if mpc.me == 1:
        raise RuntimeError("before anything was drawn")
    share_words(mpc, ring, 2)


def second_party_shares(mpc: Session, ring: np.ndarray) -> None:
    share_words(mpc, ring, 1)


def test_no_mask_is_reused_by_another_party_after_a_failure() -> None:
    """P2 and P3 of 3PC both mask for P1 with their common key. `Prg` refuses reuse by one party;
    this is by two.

    The second run is queued before the failure of the first is known (`submit` permits it), so that
    the parties start it with different operation counters."""
    g = rng()
    x, y = words(g, 64), words(g, 64)
    with cluster("3pc", deadline_s=2.0) as c:
        c.memory.tamper = tap = Wiretap()
        for pending in [c.submit(third_party_shares, x), c.submit(second_party_shares, y)]:
            pending.outcomes()
    seen = [
        f.payload for _, receiver, _, f in tap.frames if receiver == 0 and f.tag.name == "share"
    ]
    assert len(seen) == 2
    assert not np.array_equal(seen[0] - seen[1], x - y), "P1 learns x - y"


# ---------------------------------------------------------------------- streams


def test_no_stream_is_drawn_twice() -> None:
    prg = Prg(b"\7" * 32)
    first = prg.draw(5, "a", RING, (4,))
    assert not np.array_equal(first, prg.draw(5, "b", RING, (4,)))
    for op, label in ((5, "a"), (5, "b"), (4, "a"), (4, "new"), (0, "")):
        with pytest.raises(Misuse, match="masks are never reused") as refused:
            prg.draw(op, label, BITS, (1,))
        assert ("comes too late: operation 5" if op < 5 else "was already used") in str(
            refused.value
        )
    assert not np.array_equal(first, prg.draw(6, "a", RING, (4,)))
    with pytest.raises(Misuse, match="longer than 4"):
        prg.draw(7, "abcde", RING, (1,))
    assert np.array_equal(first, Prg(b"\7" * 32).draw(5, "a", RING, (4,)))


def test_streams_of_one_key_are_those_of_a_fresh_cipher_each_whatever_was_drawn_before() -> None:
    """In and out of step with blocks of 64 bytes, and with the pieces in which long streams are
    made."""
    keyed = KeyStreams(bytes(range(32)))
    for number, size in enumerate((1, 63, 64, 65, 0, 32768, 7, 32769, 100_000, 3)):
        nonce = number.to_bytes(12, "big")
        cipher = Cipher(
            algorithms.ChaCha20(bytes(range(32)), bytes(4) + nonce), mode=None
        ).encryptor()
        assert keyed.stream(nonce, size).tobytes() == cipher.update(bytes(size))


def test_streams_of_different_keys_operations_and_labels_differ() -> None:
    keys = [bytes([i]) * 32 for i in range(4)]
    draws = {
        Prg(k).draw(op, label, RING, (2,)).tobytes()
        for k in keys
        for op in (0, 1, 1 << 40)
        for label in ("", "a", "ab")
    }
    assert len(draws) == 4 * 3 * 3


def test_a_party_cannot_draw_from_a_key_that_it_does_not_hold() -> None:
    def steal(mpc: Session) -> None:
        if mpc.me == 2:
            mpc.party.op("steal").random((0, 1), "x", RING, (1,))

    with cluster("3pc") as c:
        outcomes = c.submit(steal).outcomes()
    assert isinstance(
        outcomes[2].error, Misuse
    ) and "does not hold the key of parties {0,1}" in str(outcomes[2].error)
