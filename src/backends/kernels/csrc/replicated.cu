// The local steps of the 3PC replicated protocol.
#include "masked.cuh"

// z = x0 (y0 + y1) + x1 y0 + F(own) - F(following): what party i sends, with (x0, x1) its components i and i + 1.
template <class A>
DEVICE void product(const u64* x0, const u64* x1, const u64* y0, const u64* y1, u64* z, i64 bytes, Stream own,
                    Stream following) {
    with_masks<A>(
        bytes,
        [&](u32 block, u64 words[8]) {
            chacha20_block(own, block, words);
            sub_block<A>(following, block, words);
        },
        [&](i64 i, Two<A> alpha) {
            Two<A> y = load<A>(y0, i, bytes);
            save(z, i, bytes,
                 load<A>(x0, i, bytes) * (y + load<A>(y1, i, bytes)) + load<A>(x1, i, bytes) * y + alpha);
        });
}

KERNEL __launch_bounds__(THREADS) product_ring(const u64* x0, const u64* x1, const u64* y0, const u64* y1, u64* z,
        i64 bytes, STREAM(own), STREAM(following)) {
    product<Ring>(x0, x1, y0, y1, z, bytes, OPEN_STREAM(own), OPEN_STREAM(following));
}

KERNEL __launch_bounds__(THREADS) product_bits(const u64* x0, const u64* x1, const u64* y0, const u64* y1, u64* z,
        i64 bytes, STREAM(own), STREAM(following)) {
    product<Bits>(x0, x1, y0, y1, z, bytes, OPEN_STREAM(own), OPEN_STREAM(following));
}

// u = b1 ^ b2 and D = u (x1 + x2), less the masks of both: out holds n words of u, then (with x) n words of D.
KERNEL __launch_bounds__(THREADS) lift(const u8* b1, const u8* b2, const u64* x1, const u64* x2, u64* out, i64 n,
        i64 rows, STREAM(mask)) {
    const Stream s = OPEN_STREAM(mask);
    with_masks<Ring>(
        8 * rows * n, [&](u32 block, u64 words[8]) { chacha20_block(s, block, words); },
        [&](i64 i, Two<Ring> m) {
            u64 value[2] = {0, 0};
            for (int k = 0; k < 2; k++) {
                const i64 at = i + k < n ? i + k : i + k - n;
                if (i + k >= rows * n) continue;
                const u64 u = bit(b1, at) ^ bit(b2, at);
                value[k] = i + k < n ? u : u * (x1[at] + x2[at]);
            }
            save(out, i, 8 * rows * n, Two<Ring>{value[0], value[1]} - m);
        });
}

// (1 - 2 v) (d + u x3) + v (rest0 + rest1), of u and d stacked; rest1 may be absent; less F(hiding) if `masking`.
KERNEL __launch_bounds__(THREADS) inject(const u64* u, const u64* x3, const u8* v, const u64* rest0, const u64* rest1,
        u64* out, i64 n, i64 masking, STREAM(hiding)) {
    const Stream stream = OPEN_STREAM(hiding);
    const auto value = [&](i64 i) -> u64 {
        if (i >= n) return 0;
        const u64 inner = u[n + i] + u[i] * x3[i];
        return bit(v, i) ? rest0[i] + (rest1 ? rest1[i] : 0) - inner : inner;
    };
    with_masks<Ring>(
        8 * n,
        [&](u32 block, u64 words[8]) {
            if (masking) chacha20_block(stream, block, words);
            else no_block(words);
        },
        [&](i64 i, Two<Ring> m) { save(out, i, 8 * n, Two<Ring>{value(i), value(i + 1)} - m); });
}
