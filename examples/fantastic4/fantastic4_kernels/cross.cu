// The cross term of Fantastic Four: z = x_i y_j + x_j y_i, less F(hiding) if `masking`. In both rings.
#include "masked.cuh"

template <class A>
DEVICE void cross_of(const u64* x_i, const u64* x_j, const u64* y_i, const u64* y_j, u64* z, i64 bytes, i64 masking,
                     Stream hiding) {
    with_masks<A>(
        bytes,
        [&](u32 block, u64 words[8]) {
            if (masking) chacha20_block(hiding, block, words);
            else no_block(words);
        },
        [&](i64 i, Two<A> mask) {
            save(z, i, bytes,
                 load<A>(x_i, i, bytes) * load<A>(y_j, i, bytes) + load<A>(x_j, i, bytes) * load<A>(y_i, i, bytes) -
                     mask);
        });
}

#define CROSS(name, A)                                                                                        \
    KERNEL __launch_bounds__(THREADS) name(const u64* x_i, const u64* x_j, const u64* y_i, const u64* y_j, u64* z, \
            i64 bytes, i64 masking, STREAM(hiding)) {                                                         \
        cross_of<A>(x_i, x_j, y_i, y_j, z, bytes, masking, OPEN_STREAM(hiding));                              \
    }

CROSS(cross_ring, Ring)
CROSS(cross_bits, Bits)
