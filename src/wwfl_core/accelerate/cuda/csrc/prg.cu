// Sums of arrays, a product and random streams: random elements, masked values, components of dealt values.
#include "masked.cuh"

// out = x y + a0 + a1 + .. - .. + F(s0) + .. - ..: x and y may be null; of at most 4 arrays the first `added` are added
// and the next `taken` ones subtracted, of at most 3 streams likewise `plus` and `minus`. out may be one of the arrays.
template <class A>
DEVICE void combine(const u64* x, const u64* y, const u64* a0, const u64* a1, const u64* a2, const u64* a3, u64* out,
        i64 bytes, i64 added, i64 taken, i64 plus, i64 minus, Stream s0, Stream s1, Stream s2) {
    with_masks<A>(
        bytes,
        [&](u32 block, u64 words[8]) {
            no_block(words);
            if (plus > 0) add_block<A>(s0, block, words);
            else if (minus > 0) sub_block<A>(s0, block, words);
            if (plus > 1) add_block<A>(s1, block, words);
            else if (plus + minus > 1) sub_block<A>(s1, block, words);
            if (plus > 2) add_block<A>(s2, block, words);
            else if (plus + minus > 2) sub_block<A>(s2, block, words);
        },
        [&](i64 i, Two<A> sum) {
            const u64* arrays[4] = {a0, a1, a2, a3};
            if (x) sum = sum + load<A>(x, i, bytes) * load<A>(y, i, bytes);
#pragma unroll
            for (int k = 0; k < 4; k++) {
                if (k < added) sum = sum + load<A>(arrays[k], i, bytes);
                else if (k < added + taken) sum = sum - load<A>(arrays[k], i, bytes);
            }
            save(out, i, bytes, sum);
        });
}

#define COMBINE(name, A)                                                                                              \
    KERNEL __launch_bounds__(THREADS) name(const u64* x, const u64* y, const u64* a0, const u64* a1, const u64* a2,   \
            const u64* a3, u64* out, i64 bytes, i64 added, i64 taken, i64 plus, i64 minus, STREAM(s0), STREAM(s1),    \
            STREAM(s2)) {                                                                                             \
        combine<A>(x, y, a0, a1, a2, a3, out, bytes, added, taken, plus, minus, OPEN_STREAM(s0), OPEN_STREAM(s1),     \
                   OPEN_STREAM(s2));                                                                                  \
    }

COMBINE(combine_ring, Ring)
COMBINE(combine_bits, Bits)
