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

// coefficient v x + a0 + a1 + a2 (- F(hiding)) for packed bits v; x is an array, a stream or, without both, 1; the
// arrays a0.. may be null.
KERNEL __launch_bounds__(THREADS) gated(const u8* v, const u64* x, const u64* a0, const u64* a1, const u64* a2,
        u64* out, i64 n, u64 coefficient, i64 drawn, i64 masking, STREAM(xs), STREAM(hiding)) {
    const Stream s0 = OPEN_STREAM(xs), s1 = OPEN_STREAM(hiding);
    const i64 bytes = 8 * n;
    with_several_masks<Ring, 2>(
        bytes,
        [&](u32 block, u64 words[2][8]) {
            if (drawn) chacha20_block(s0, block, words[0]);
            else no_block(words[0]);
            if (masking) chacha20_block(s1, block, words[1]);
            else no_block(words[1]);
        },
        [&](i64 i, Two<Ring> m[2]) {
            const Two<Ring> factor = x ? load<Ring>(x, i, bytes) : drawn ? m[0] : Two<Ring>{1, 1};
            Two<Ring> sum = {i < n && bit(v, i) ? coefficient * factor.a : 0,
                             i + 1 < n && bit(v, i + 1) ? coefficient * factor.b : 0};
            if (a0) sum = sum + load<Ring>(a0, i, bytes);
            if (a1) sum = sum + load<Ring>(a1, i, bytes);
            if (a2) sum = sum + load<Ring>(a2, i, bytes);
            save(out, i, bytes, sum - m[1]);
        });
}

// x0 y0 + x1 y1 + x2 y2 - F(hiding)
KERNEL __launch_bounds__(THREADS) products(const u64* x0, const u64* x1, const u64* x2, const u64* y0, const u64* y1,
        const u64* y2, u64* out, i64 n, STREAM(hiding)) {
    const Stream stream = OPEN_STREAM(hiding);
    const i64 bytes = 8 * n;
    with_masks<Ring>(
        bytes, [&](u32 block, u64 words[8]) { chacha20_block(stream, block, words); },
        [&](i64 i, Two<Ring> m) {
            save(out, i, bytes,
                 load<Ring>(x0, i, bytes) * load<Ring>(y0, i, bytes) +
                     load<Ring>(x1, i, bytes) * load<Ring>(y1, i, bytes) +
                     load<Ring>(x2, i, bytes) * load<Ring>(y2, i, bytes) - m);
        });
}

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

// Truncation. What leaves is packed, f bits each; a lane makes 8 elements of it.
#define EACH_EIGHT(block) for (i64 block = first_index(); 8 * block < n; block += stride())

// CS1 and CS4: r* - F(e), with r* the top bit of r.
KERNEL __launch_bounds__(THREADS) wrap_rest(const u64* r, u8* packed, i64 n, i64 f, STREAM(e)) {
    const Stream stream = OPEN_STREAM(e);
    EACH_EIGHT(block) {
        u64 values[8];
        chacha20_block(stream, (u32)block, values);
#pragma unroll
        for (int k = 0; k < 8; k++) values[k] = (8 * block + k < n ? r[8 * block + k] >> 63 : 0) - values[k];
        pack_eight(values, packed, block, n, f);
    }
}

// CS4: the same, and the seed sigma r* + F(s) with sigma = F(sg).
KERNEL __launch_bounds__(THREADS) wrap_rest_and_seed(const u64* r, u8* rest, u8* seed, i64 n, i64 f, STREAM(e),
        STREAM(sg), STREAM(s)) {
    const Stream s0 = OPEN_STREAM(e), s1 = OPEN_STREAM(sg), s2 = OPEN_STREAM(s);
    EACH_EIGHT(block) {
        u64 sigma[8], values[8], seeds[8];
        chacha20_block(s0, (u32)block, values);
        chacha20_block(s1, (u32)(block / 64), sigma);
        chacha20_block(s2, (u32)block, seeds);
        const u64 bits = byte_of(sigma, block);
#pragma unroll
        for (int k = 0; k < 8; k++) {
            const u64 high = 8 * block + k < n ? r[8 * block + k] >> 63 : 0;
            values[k] = high - values[k];
            seeds[k] += (bits >> k & 1) * high;
        }
        pack_eight(values, rest, block, n, f);
        pack_eight(seeds, seed, block, n, f);
    }
}

// An evaluator: c* e + F(u), with e packed or, where that is null, F(es).
KERNEL __launch_bounds__(THREADS) wrap_share(const u64* c, const u8* e, u8* packed, i64 n, i64 f, STREAM(es),
        STREAM(u)) {
    const Stream s0 = OPEN_STREAM(es), s1 = OPEN_STREAM(u);
    EACH_EIGHT(block) {
        u64 factor[8], values[8];
        if (e) no_block(factor);
        else chacha20_block(s0, (u32)block, factor);
        chacha20_block(s1, (u32)block, values);
#pragma unroll
        for (int k = 0; k < 8; k++) {
            const i64 i = 8 * block + k;
            if (i >= n) continue;
            values[k] += ((c[i] - (1ull << 62)) >> 63) * (e ? unpacked(e, i, f, (n * f + 7) / 8) : factor[k]);
        }
        pack_eight(values, packed, block, n, f);
    }
}

// and then, with W = mine + theirs, its half (c >> f) - 2^(64 - f) (W + base), and its check value
// W + (1 - 2 flip) F(s).
KERNEL __launch_bounds__(THREADS) wrap_conclude(const u64* c, const u8* mine, const u8* theirs, const u8* flip,
        u64* half, u8* check, i64 n, i64 f,
        STREAM(s)) {
    const Stream stream = OPEN_STREAM(s);
    const i64 bytes = (n * f + 7) / 8;
    EACH_EIGHT(block) {
        u64 values[8];
        chacha20_block(stream, (u32)block, values);
#pragma unroll
        for (int k = 0; k < 8; k++) {
            const i64 i = 8 * block + k;
            if (i >= n) continue;
            const u64 wrap = unpacked(mine, i, f, bytes) + unpacked(theirs, i, f, bytes);
            const u64 base = c[i] >> 63 | (c[i] >> 62 & 1);
            half[i] = (c[i] >> f) - ((wrap + base) << (64 - f));
            values[k] = wrap + (bit(flip, i) ? 0 - values[k] : values[k]);
        }
        pack_eight(values, check, block, n, f);
    }
}

// CS1's check value: d r* + (1 - 2 d) w + F(u1) + F(u2).
KERNEL __launch_bounds__(THREADS) wrap_check(const u64* r, const u8* d, const u8* w, u8* packed, i64 n, i64 f,
        STREAM(u1), STREAM(u2)) {
    const Stream s1 = OPEN_STREAM(u1), s2 = OPEN_STREAM(u2);
    EACH_EIGHT(block) {
        u64 values[8];
        chacha20_block(s1, (u32)block, values);
        add_block<Ring>(s2, (u32)block, values);
#pragma unroll
        for (int k = 0; k < 8; k++) {
            const i64 i = 8 * block + k;
            if (i >= n) continue;
            const u64 seed = unpacked(w, i, f, (n * f + 7) / 8);
            values[k] += bit(d, i) ? (r[i] >> 63) - seed : seed;
        }
        pack_eight(values, packed, block, n, f);
    }
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
