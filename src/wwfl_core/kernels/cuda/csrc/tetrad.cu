// The local steps of the 4PC protocol Tetrad. Components m, l1, l2, l3 of x (a) and y (b); names as in the backend.
#include "masked.cuh"

#define BOTH_RINGS(name, parameters, arguments)                                                     \
    KERNEL __launch_bounds__(THREADS) name##_ring parameters { name##_of<Ring> arguments; }         \
    KERNEL __launch_bounds__(THREADS) name##_bits parameters { name##_of<Bits> arguments; }

// CS1 and CS4: r = gamma3 - F(u1) - F(u2) with gamma3 = a1 (b1 + b2) + a2 b1.
template <class A>
DEVICE void offline_of(const u64* a1, const u64* a2, const u64* b1, const u64* b2, u64* r, i64 bytes, Stream u1,
        Stream u2) {
    with_masks<A>(
        bytes,
        [&](u32 block, u64 words[8]) {
            chacha20_block(u1, block, words);
            add_block<A>(u2, block, words);
        },
        [&](i64 i, Two<A> u) {
            const Two<A> y = load<A>(b1, i, bytes);
            save(r, i, bytes, load<A>(a1, i, bytes) * (y + load<A>(b2, i, bytes)) + load<A>(a2, i, bytes) * y - u);
        });
}
BOTH_RINGS(offline, (const u64* a1, const u64* a2, const u64* b1, const u64* b2, u64* r, i64 bytes, STREAM(u1),
        STREAM(u2)),
           (a1, a2, b1, b2, r, bytes, OPEN_STREAM(u1), OPEN_STREAM(u2)))

// CS4: w = gamma1 + gamma2 + F(s): all cross terms of the lambdas but those of gamma3.
template <class A>
DEVICE void seed_of(const u64* a1, const u64* a2, const u64* a3, const u64* b1, const u64* b2, const u64* b3, u64* w,
                    i64 bytes, Stream s) {
    with_masks<A>(
        bytes, [&](u32 block, u64 words[8]) { chacha20_block(s, block, words); },
        [&](i64 i, Two<A> mask) {
            const Two<A> x1 = load<A>(a1, i, bytes), x2 = load<A>(a2, i, bytes), x3 = load<A>(a3, i, bytes);
            const Two<A> y1 = load<A>(b1, i, bytes), y2 = load<A>(b2, i, bytes), y3 = load<A>(b3, i, bytes);
            save(w, i, bytes, x2 * y2 + (x1 + x2) * y3 + x3 * (y1 + y2 + y3) + mask);
        });
}
BOTH_RINGS(seed, (const u64* a1, const u64* a2, const u64* a3, const u64* b1, const u64* b2, const u64* b3, u64* w,
        i64 bytes, STREAM(s)),
           (a1, a2, a3, b1, b2, b3, w, bytes, OPEN_STREAM(s)))

// CS1: v = w + F(u1) + F(u2) - (a1 + a2) bm - am (b1 + b2), its check value.
template <class A>
DEVICE void check_of(const u64* am, const u64* a1, const u64* a2, const u64* bm, const u64* b1, const u64* b2,
                     const u64* w, u64* v, i64 bytes, Stream u1, Stream u2) {
    with_masks<A>(
        bytes,
        [&](u32 block, u64 words[8]) {
            chacha20_block(u1, block, words);
            add_block<A>(u2, block, words);
        },
        [&](i64 i, Two<A> u) {
            const Two<A> lost = (load<A>(a1, i, bytes) + load<A>(a2, i, bytes)) * load<A>(bm, i, bytes) +
                                load<A>(am, i, bytes) * (load<A>(b1, i, bytes) + load<A>(b2, i, bytes));
            save(v, i, bytes, load<A>(w, i, bytes) + u - lost);
        });
}
BOTH_RINGS(check, (const u64* am, const u64* a1, const u64* a2, const u64* bm, const u64* b1, const u64* b2,
        const u64* w, u64* v, i64 bytes, STREAM(u1), STREAM(u2)),
           (am, a1, a2, bm, b1, b2, w, v, bytes, OPEN_STREAM(u1), OPEN_STREAM(u2)))

// CS2 (own = l2) and CS3 (own = l1): y = own (b3 - bm) + (a3 - am) own' + F(u), and a3 b3 at CS3, own own' at CS2.
template <class A>
DEVICE void evaluate_of(const u64* am, const u64* a3, const u64* ao, const u64* bm, const u64* b3, const u64* bo,
                        u64* y, i64 bytes, i64 third, Stream u) {
    with_masks<A>(
        bytes, [&](u32 block, u64 words[8]) { chacha20_block(u, block, words); },
        [&](i64 i, Two<A> mask) {
            const Two<A> x = load<A>(ao, i, bytes), z = load<A>(bo, i, bytes);
            const Two<A> x3 = load<A>(a3, i, bytes), z3 = load<A>(b3, i, bytes);
            const Two<A> square = third ? x3 * z3 : x * z;
            save(y, i, bytes,
                 x * (z3 - load<A>(bm, i, bytes)) + (x3 - load<A>(am, i, bytes)) * z + square + mask);
        });
}
BOTH_RINGS(evaluate, (const u64* am, const u64* a3, const u64* ao, const u64* bm, const u64* b3, const u64* bo,
        u64* y, i64 bytes, i64 third, STREAM(u)),
           (am, a3, ao, bm, b3, bo, y, bytes, third, OPEN_STREAM(u)))

// CS2 and CS3 after the swap: c = mine + theirs - (a3 - am) bm - am b3, and the check value mine + theirs + F(s).
template <class A>
DEVICE void conclude_of(const u64* am, const u64* a3, const u64* bm, const u64* b3, const u64* mine, const u64* theirs,
                        u64* c, u64* v, i64 bytes, Stream s) {
    with_masks<A>(
        bytes, [&](u32 block, u64 words[8]) { chacha20_block(s, block, words); },
        [&](i64 i, Two<A> mask) {
            const Two<A> both = load<A>(mine, i, bytes) + load<A>(theirs, i, bytes);
            const Two<A> x = load<A>(am, i, bytes), z = load<A>(bm, i, bytes);
            save(v, i, bytes, both + mask);
            save(c, i, bytes, both - (load<A>(a3, i, bytes) - x) * z - x * load<A>(b3, i, bytes));
        });
}
BOTH_RINGS(conclude, (const u64* am, const u64* a3, const u64* bm, const u64* b3, const u64* mine, const u64* theirs,
        u64* c, u64* v, i64 bytes, STREAM(s)),
           (am, a3, bm, b3, mine, theirs, c, v, bytes, OPEN_STREAM(s)))

// A piece of `inject`: (1 - 2 mb)(mx lb - gamma) - mb lx (+ F(u)).
KERNEL __launch_bounds__(THREADS) inject_piece(const u8* mb, const u64* mx, const u64* lb, const u64* gamma,
        const u64* lx, u64* out, i64 n, i64 masking, STREAM(u)) {
    const Stream stream = OPEN_STREAM(u);
    const auto value = [&](i64 i) -> u64 {
        if (i >= n) return 0;
        const u64 inner = mx[i] * lb[i] - gamma[i];
        return bit(mb, i) ? 0 - inner - lx[i] : inner;
    };
    with_masks<Ring>(
        8 * n,
        [&](u32 block, u64 words[8]) {
            if (masking) chacha20_block(stream, block, words);
            else for (int i = 0; i < 8; i++) words[i] = 0;
        },
        [&](i64 i, Two<Ring> m) { save(out, i, 8 * n, Two<Ring>{value(i), value(i + 1)} + m); });
}

// Truncation at an evaluator: c* e + F(u), whose low bits it sends.
KERNEL __launch_bounds__(THREADS) wrap_share(const u64* c, const u64* e, u64* out, i64 n, STREAM(u)) {
    const Stream stream = OPEN_STREAM(u);
    const auto star = [&](i64 i) { return i < n ? ((c[i] - (1ull << 62)) >> 63) * e[i] : 0; };
    with_masks<Ring>(
        8 * n, [&](u32 block, u64 words[8]) { chacha20_block(stream, block, words); },
        [&](i64 i, Two<Ring> m) { save(out, i, 8 * n, Two<Ring>{star(i), star(i + 1)} + m); });
}

// and its half: (c >> f) - 2^(64 - f) (wrap + base).
KERNEL shift_left_half(const u64* c, const u64* wrap, u64* out, i64 n, i64 f) {
    for (i64 i = first_index(); i < n; i += stride())
        out[i] = (c[i] >> f) - ((wrap[i] + (c[i] >> 63 | (c[i] >> 62 & 1))) << (64 - f));
}

// The half of CS1 and CS4: (r >> f) + 1 + 2^(64 - f) (F(u1) + F(u2)).
KERNEL __launch_bounds__(THREADS) shift_right_half(const u64* r, u64* out, i64 n, i64 f, STREAM(u1), STREAM(u2)) {
    const Stream s1 = OPEN_STREAM(u1), s2 = OPEN_STREAM(u2);
    with_masks<Ring>(
        8 * n,
        [&](u32 block, u64 words[8]) {
            chacha20_block(s1, block, words);
            add_block<Ring>(s2, block, words);
        },
        [&](i64 i, Two<Ring> m) {
            const Two<Ring> x = load<Ring>(r, i, 8 * n);
            save(out, i, 8 * n, Two<Ring>{(x.a >> f) + 1 + (m.a << (64 - f)), (x.b >> f) + 1 + (m.b << (64 - f))});
        });
}
