// The carry tree of comparisons, replicated sharing: one kernel per round.
#include "carry.cuh"

// Takes the product in (if there is one), writes the state after it (ditto), and the masked next product.
template <class U> DEVICE void round_of(Level<U, 2> level, U* message, Stream s0, Stream s1) {
    level.merge();
    with_masks<Bits>(
        level.units() * sizeof(U),
        [&](u32 block, u64 words[8]) {
            chacha20_block(s0, block, words);
            sub_block<Bits>(s1, block, words);
        },
        [&](i64 i, Two<Bits> mask) {
            level.each(i, [&](i64 e, const U x[2], const U y[2], int u) {
                message[e] = (x[0] & (y[0] ^ y[1])) ^ (x[1] & y[0]) ^ unit_of<U>(mask, u);
            });
        });
}

#define ROUND(name, U)                                                                                                \
    KERNEL __launch_bounds__(THREADS) name(const U* g0, const U* g1, const U* p0, const U* p1, const U* z0,           \
                                           const U* z1, i64 k, i64 row, U* out_g0, U* out_g1, U* out_p0, U* out_p1,   \
                                           U* message, STREAM(s0), STREAM(s1)) {                                      \
        round_of<U>({{{g0, p0, z0, k, row}, {g1, p1, z1, k, row}}, {{out_g0, out_p0}, {out_g1, out_p1}}, k, row},      \
                    message, OPEN_STREAM(s0), OPEN_STREAM(s1));                                                        \
    }

ROUND(round_words, u64)
ROUND(round_bytes, u8)
