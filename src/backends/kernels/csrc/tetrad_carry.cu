// The carry tree of comparisons in Tetrad: a level's local steps, one kernel each. Each takes the last product in and
// writes the state after it; components are those that the party holds, in order. Names as in tetrad.cu.
#include "carry.cuh"

#define LEVEL(U)                                                                                                      \
    const U *g0, const U *g1, const U *g2, const U *p0, const U *p1, const U *p2, const U *z0, const U *z1,           \
        const U *z2, i64 k, i64 row, U *after_g0, U *after_g1, U *after_g2, U *after_p0, U *after_p1, U *after_p2
#define OPEN_LEVEL(U)                                                                                                 \
    Level<U, 3>{{{g0, p0, z0, k, row}, {g1, p1, z1, k, row}, {g2, p2, z2, k, row}},                                   \
                {{after_g0, after_p0}, {after_g1, after_p1}, {after_g2, after_p2}}, k, row}
#define BOTH_UNITS(name, U_parameters, U_arguments)                                                                   \
    KERNEL __launch_bounds__(THREADS) name##_words(U_parameters(u64)) { name##_of<u64>(U_arguments(u64)); }           \
    KERNEL __launch_bounds__(THREADS) name##_bytes(U_parameters(u8)) { name##_of<u8>(U_arguments(u8)); }

// words ^= F(s), which is written as well.
DEVICE void add_and_store(const Stream& s, u32 block, u64 words[8], u64* out, i64 bytes) {
    u64 more[8];
    chacha20_block(s, block, more);
    store_block(out, block, bytes, more);
#pragma unroll
    for (int i = 0; i < 8; i++) words[i] ^= more[i];
}

DEVICE void draw_and_store(const Stream& s, u32 block, u64* out, i64 bytes) {
    u64 words[8];
    chacha20_block(s, block, words);
    store_block(out, block, bytes, words);
}

// CS4 (l1, l2, l3): l1 = gamma3 ^ F(u1) ^ F(u2) ^ F(f2) of the product, w = gamma1 ^ gamma2 ^ F(s), and the drawn
// l2 = F(f2), l3 = F(f3).
template <class U>
DEVICE void offline_of(Level<U, 3> level, U* l1, U* w, U* l2, U* l3, Stream u1, Stream u2, Stream f2, Stream s,
        Stream f3) {
    level.merge();
    const i64 bytes = level.units() * sizeof(U);
    with_several_masks<Bits, 2>(
        bytes,
        [&](u32 block, u64 words[2][8]) {
            chacha20_block(u1, block, words[0]);
            add_block<Bits>(u2, block, words[0]);
            add_and_store(f2, block, words[0], (u64*)l2, bytes);
            chacha20_block(s, block, words[1]);
            draw_and_store(f3, block, (u64*)l3, bytes);
        },
        [&](i64 i, Two<Bits> m[2]) {
            level.each(i, [&](i64 e, const U x[3], const U y[3], int u) {
                const U gamma3 = (x[0] & (y[0] ^ y[1])) ^ (x[1] & y[0]);
                l1[e] = gamma3 ^ unit_of<U>(m[0], u);
                w[e] = ((x[0] ^ x[1] ^ x[2]) & (y[0] ^ y[1] ^ y[2])) ^ gamma3 ^ unit_of<U>(m[1], u);
            });
        });
}
#define PARAMETERS(U) LEVEL(U), U *l1, U *w, U *l2, U *l3, STREAM(u1), STREAM(u2), STREAM(f2), STREAM(s), STREAM(f3)
#define ARGUMENTS(U)                                                                                                  \
    OPEN_LEVEL(U), l1, w, l2, l3, OPEN_STREAM(u1), OPEN_STREAM(u2), OPEN_STREAM(f2), OPEN_STREAM(s), OPEN_STREAM(f3)
BOTH_UNITS(offline, PARAMETERS, ARGUMENTS)
#undef PARAMETERS
#undef ARGUMENTS

// CS1 (m, l1, l2): l1 as CS4, the check value v = w ^ F(u1) ^ F(u2) ^ (l1 ^ l2)_x m_y ^ m_x (l1 ^ l2)_y, and the drawn
// l2.
template <class U>
DEVICE void check_of(Level<U, 3> level, const U* w, U* l1, U* v, U* l2, Stream u1, Stream u2, Stream f2) {
    level.merge();
    const i64 bytes = level.units() * sizeof(U);
    with_several_masks<Bits, 2>(
        bytes,
        [&](u32 block, u64 words[2][8]) {
            chacha20_block(u1, block, words[1]);
            add_block<Bits>(u2, block, words[1]);
#pragma unroll
            for (int i = 0; i < 8; i++) words[0][i] = words[1][i];
            add_and_store(f2, block, words[0], (u64*)l2, bytes);
        },
        [&](i64 i, Two<Bits> m[2]) {
            level.each(i, [&](i64 e, const U x[3], const U y[3], int u) {
                l1[e] = (x[1] & (y[1] ^ y[2])) ^ (x[2] & y[1]) ^ unit_of<U>(m[0], u);
                v[e] = w[e] ^ ((x[1] ^ x[2]) & y[0]) ^ (x[0] & (y[1] ^ y[2])) ^ unit_of<U>(m[1], u);
            });
        });
}
#define PARAMETERS(U) LEVEL(U), const U *w, U *l1, U *v, U *l2, STREAM(u1), STREAM(u2), STREAM(f2)
#define ARGUMENTS(U) OPEN_LEVEL(U), w, l1, v, l2, OPEN_STREAM(u1), OPEN_STREAM(u2), OPEN_STREAM(f2)
BOTH_UNITS(check, PARAMETERS, ARGUMENTS)
#undef PARAMETERS
#undef ARGUMENTS

// CS2 and CS3 (m, own, l3): own (l3 ^ m)' ^ (l3 ^ m) own' ^ F(u), and l3 l3' at CS3 (`third`), own own' at CS2.
template <class U> DEVICE void evaluate_of(Level<U, 3> level, U* message, i64 third, Stream own) {
    level.merge();
    with_masks<Bits>(
        level.units() * sizeof(U), [&](u32 block, u64 words[8]) { chacha20_block(own, block, words); },
        [&](i64 i, Two<Bits> m) {
            level.each(i, [&](i64 e, const U x[3], const U y[3], int u) {
                const U square = third ? x[2] & y[2] : x[1] & y[1];
                message[e] =
                    (x[1] & (y[2] ^ y[0])) ^ ((x[2] ^ x[0]) & y[1]) ^ square ^ unit_of<U>(m, u);
            });
        });
}
#define PARAMETERS(U) LEVEL(U), U *message, i64 third, STREAM(own)
#define ARGUMENTS(U) OPEN_LEVEL(U), message, third, OPEN_STREAM(own)
BOTH_UNITS(evaluate, PARAMETERS, ARGUMENTS)
#undef PARAMETERS
#undef ARGUMENTS

// CS2 and CS3 after the swap: m = c ^ F(f3) with c = mine ^ theirs ^ (l3 ^ m)_x m_y ^ m_x l3_y, the check value
// v = mine ^ theirs ^ F(s), and the drawn l3 = F(f3), l2 = F(f2) (at CS3 l2 is null).
template <class U>
DEVICE void conclude_of(Level<U, 3> level, const U* mine, const U* theirs, U* made, U* v, U* l3, U* l2, Stream f3,
        Stream s, Stream f2) {
    const i64 bytes = level.units() * sizeof(U);
    with_several_masks<Bits, 2>(
        bytes,
        [&](u32 block, u64 words[2][8]) {
            no_block(words[0]);
            add_and_store(f3, block, words[0], (u64*)l3, bytes);
            chacha20_block(s, block, words[1]);
            if (l2) draw_and_store(f2, block, (u64*)l2, bytes);
        },
        [&](i64 i, Two<Bits> masks[2]) {
            level.each(i, [&](i64 e, const U x[3], const U y[3], int u) {
                const U both = mine[e] ^ theirs[e];
                made[e] = both ^ ((x[2] ^ x[0]) & y[0]) ^ (x[0] & y[2]) ^ unit_of<U>(masks[0], u);
                v[e] = both ^ unit_of<U>(masks[1], u);
            });
        });
}
#define PARAMETERS(U)                                                                                                 \
    LEVEL(U), const U *mine, const U *theirs, U *made, U *v, U *l3, U *l2, STREAM(f3), STREAM(s), STREAM(f2)
#define ARGUMENTS(U) OPEN_LEVEL(U), mine, theirs, made, v, l3, l2, OPEN_STREAM(f3), OPEN_STREAM(s), OPEN_STREAM(f2)
BOTH_UNITS(conclude, PARAMETERS, ARGUMENTS)
