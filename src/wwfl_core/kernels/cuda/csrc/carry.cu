// The carry tree of comparisons on bit planes, replicated sharing: one kernel per round (wwfl_core/derived.carry_out).
//
// k positions are k rows of g and k - 1 rows of p (without the lowest), two components each. A round's product z has
// even - 1 rows, even = k - k % 2: even / 2 rows that complete g and even / 2 - 1 that are the new p.
#include "masked.cuh"

// The state after a product: row r of g or p, computed from the state before it.
template <class U> struct Merged {
    const U *g, *p, *z;  // one component; z is null where there is no product to take in
    i64 k, even, row;    // positions before, the even part of them, units per row

    __device__ __forceinline__ U generate(i64 r, i64 c) const {
        if (!z) return g[r * row + c];
        if (r < even / 2) return g[(2 * r + 1) * row + c] ^ z[r * row + c];
        return g[(even + r - even / 2) * row + c];
    }
    __device__ __forceinline__ U propagate(i64 r, i64 c) const {
        if (!z) return p[r * row + c];
        if (r < even / 2 - 1) return z[(even / 2 + r) * row + c];
        return p[(even - 1 + r - (even / 2 - 1)) * row + c];
    }
};

// Takes the product in (if there is one), writes the state after it (ditto), and the masked next product.
template <class U>
DEVICE void round_of(Merged<U> own, Merged<U> next, U* g0, U* g1, U* p0, U* p1, U* message, i64 positions, Stream s0,
        Stream s1) {
    const i64 row = own.row, even = positions - positions % 2, units = (even - 1) * row;
    if (own.z)
        for (i64 e = first_index(); e < positions * row; e += stride()) {
            const i64 r = e / row, c = e % row;
            g0[e] = own.generate(r, c);
            g1[e] = next.generate(r, c);
            if (r + 1 == positions) continue;
            p0[e] = own.propagate(r, c);
            p1[e] = next.propagate(r, c);
        }
    if (positions < 2) return;
    with_masks<Bits>(
        units * sizeof(U),
        [&](u32 block, u64 words[8]) {
            chacha20_block(s0, block, words);
            sub_block<Bits>(s1, block, words);
        },
        [&](i64 i, Two<Bits> mask) {
            constexpr int each = 8 / sizeof(U);
#pragma unroll 2
            for (int u = 0; u < 2 * each; u++) {
                const i64 e = i * each + u;
                if (e >= units) break;
                const i64 r = e / row, c = e % row, q = r - even / 2;
                const bool first = q < 0;
                const i64 high = first ? 2 * r : 2 * q + 2, low = first ? 2 * r : 2 * q + 1;
                const U x0 = own.propagate(high, c), x1 = next.propagate(high, c);
                const U y0 = first ? own.generate(low, c) : own.propagate(low, c);
                const U y1 = first ? next.generate(low, c) : next.propagate(low, c);
                const u64 word = u < each ? mask.a : mask.b;
                message[e] = (U)((x0 & (y0 ^ y1)) ^ (x1 & y0) ^ (U)(word >> 8 * sizeof(U) * (u % each)));
            }
        });
}

#define ROUND(name, U)                                                                                                \
    KERNEL __launch_bounds__(THREADS) name(const U* g0, const U* g1, const U* p0, const U* p1, const U* z0, const U* z1, \
                                           i64 k, i64 row, U* out_g0, U* out_g1, U* out_p0, U* out_p1, U* message,     \
                                           STREAM(s0), STREAM(s1)) {                                                   \
        const i64 even = k - k % 2, positions = z0 ? (k + 1) / 2 : k;                                                  \
        round_of<U>({g0, p0, z0, k, even, row}, {g1, p1, z1, k, even, row}, out_g0, out_g1, out_p0, out_p1, message,   \
                    positions, OPEN_STREAM(s0), OPEN_STREAM(s1));                                                      \
    }

ROUND(round_words, u64)
ROUND(round_bytes, u8)
