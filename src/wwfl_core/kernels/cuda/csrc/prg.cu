// Random elements, and values with masks added to them or taken from them.
#include "masked.cuh"

// out = value + F(s1) + .. - .. : `plus` streams are added, the following `minus` ones subtracted (at most 3 together).
template <class A>
DEVICE void masked(const u64* value, u64* out, i64 bytes, i64 plus, i64 minus, Stream s0, Stream s1, Stream s2) {
    with_masks<A>(
        bytes,
        [&](u32 block, u64 words[8]) {
#pragma unroll
            for (int i = 0; i < 8; i++) words[i] = 0;
            if (plus > 0) add_block<A>(s0, block, words);
            else if (minus > 0) sub_block<A>(s0, block, words);
            if (plus > 1) add_block<A>(s1, block, words);
            else if (plus + minus > 1) sub_block<A>(s1, block, words);
            if (plus > 2) add_block<A>(s2, block, words);
            else if (plus + minus > 2) sub_block<A>(s2, block, words);
        },
        [&](i64 i, Two<A> mask) { save(out, i, bytes, value ? load<A>(value, i, bytes) + mask : mask); });
}

KERNEL __launch_bounds__(THREADS) masked_ring(const u64* value, u64* out, i64 bytes, i64 plus, i64 minus, STREAM(s0),
        STREAM(s1), STREAM(s2)) {
    masked<Ring>(value, out, bytes, plus, minus, OPEN_STREAM(s0), OPEN_STREAM(s1), OPEN_STREAM(s2));
}

KERNEL __launch_bounds__(THREADS) masked_bits(const u64* value, u64* out, i64 bytes, i64 plus, i64 minus, STREAM(s0),
        STREAM(s1), STREAM(s2)) {
    masked<Bits>(value, out, bytes, plus, minus, OPEN_STREAM(s0), OPEN_STREAM(s1), OPEN_STREAM(s2));
}
