// Exact truncation between two parties (backends/correlated/truncation.py). Words a at X, b at Y, packed opened bits.
// A word may come as two summands (the second may be null), a mask as an array or, where that is null, as a stream.
#include "masked.cuh"
#include "lemma_w.cuh"

// Two words from either summand.
DEVICE Two<Ring> sum_of(const u64* first, const u64* second, i64 i, i64 bytes) {
    const Two<Ring> word = load<Ring>(first, i, bytes);
    return second ? word + load<Ring>(second, i, bytes) : word;
}

// The message of either side: its private bit, packed and masked. left: 1 for a's star bit, 0 for b's top bit. A warp
// makes 64 bytes, for which it needs one block of the mask's stream.
KERNEL __launch_bounds__(THREADS) wrap_message(const u64* first, const u64* second, const u8* mask, u8* message,
        i64 n, i64 left, STREAM(hiding)) {
    const Stream stream = OPEN_STREAM(hiding);
    const int lane = threadIdx.x & 31;
    for (i64 chunk = first_index() >> 5; 512 * chunk < n; chunk += stride() >> 5) {
        u64 block[8];
        if (mask) no_block(block);
        else chacha20_block(stream, (u32)chunk, block);
        u32 mine = 0;  // lane t keeps the bits of elements 32 t .. 32 t + 31 of the chunk
#pragma unroll 4
        for (int t = 0; t < 16; t++) {
            const i64 i = 512 * chunk + 32 * t + lane;
            const u64 value = i < n ? first[i] + (second ? second[i] : 0) : 0;
            const u32 bits = __ballot_sync(0xffffffffu, i < n && (left ? star_of(value) : value >> 63));
            if (lane == t) mine = bits;
        }
        if (lane < 16) mine ^= (u32)(word_of(block, lane >> 1) >> 32 * (lane & 1));
        for (int k = 0; k < 4; k++) {
            const i64 at = 64 * chunk + 4 * lane + k;
            if (lane < 16 && 8 * at < n) message[at] = (u8)(mine >> 8 * k) ^ (mask ? mask[at] : 0);
        }
    }
}

// X's share of a >> f: wrap = db a* + (-1)^(da ^ db) c + base; less F(hiding) if `masking`.
KERNEL __launch_bounds__(THREADS) truncate_left(const u64* first, const u64* second, const u8* da, const u8* db,
        const u64* c, u64* out, i64 n, i64 f, i64 masking, STREAM(dealt), STREAM(hiding)) {
    const Stream s0 = OPEN_STREAM(dealt), s1 = OPEN_STREAM(hiding);
    const auto half = [&](i64 i, u64 a, u64 share) -> u64 {
        if (i >= n) return 0;
        const u64 d = bit(db, i);
        return shifted(a, f, d * star_of(a) + signed_by(d ^ bit(da, i), share) + base_of(a));
    };
    with_several_masks<Ring, 2>(
        8 * n,
        [&](u32 block, u64 words[2][8]) {
            if (c) no_block(words[0]);
            else chacha20_block(s0, block, words[0]);
            if (masking) chacha20_block(s1, block, words[1]);
            else no_block(words[1]);
        },
        [&](i64 i, Two<Ring> m[2]) {
            const Two<Ring> a = sum_of(first, second, i, 8 * n), share = c ? load<Ring>(c, i, 8 * n) : m[0];
            save(out, i, 8 * n, Two<Ring>{half(i, a.a, share.a), half(i + 1, a.b, share.b)} - m[1]);
        });
}

// Y's: wrap = (1 - 2 db) da beta + (-1)^(da ^ db) c, and the 1 that makes floor - 1 floor. c is packed, f bits each.
KERNEL __launch_bounds__(THREADS) truncate_right(const u64* first, const u64* second, const u8* da, const u8* db,
        const u8* beta, const u8* c, u64* out, i64 n, i64 f, i64 masking, STREAM(own), STREAM(hiding)) {
    const Stream s0 = OPEN_STREAM(own), s1 = OPEN_STREAM(hiding);
    const i64 packed_bytes = (n * f + 7) / 8;
    u64 betas[8];  // the block of beta's stream that has the bits of this warp's 256 elements
    const auto half = [&](i64 i, u64 b) -> u64 {
        if (i >= n) return 0;
        const u64 x = bit(da, i), y = bit(db, i);
        const u64 z = beta ? bit(beta, i) : word_of(betas, (int)(i >> 6 & 7)) >> (i & 63) & 1;
        return shifted(b, f, signed_by(y, x & z) + signed_by(x ^ y, unpacked(c, i, f, packed_bytes))) + 1;
    };
    with_masks<Ring>(
        8 * n,
        [&](u32 block, u64 words[8]) {
            if (!beta) chacha20_block(s0, block / 64, betas);
            if (masking) chacha20_block(s1, block, words);
            else no_block(words);
        },
        [&](i64 i, Two<Ring> m) {
            const Two<Ring> b = sum_of(first, second, i, 8 * n);
            save(out, i, 8 * n, Two<Ring>{half(i, b.a), half(i + 1, b.b)} - m);
        });
}

// The helper's correction F(alpha) F(beta) - F(c0) for n elements, `width` bits each, packed. A lane makes 8 elements,
// which are `width` bytes.
KERNEL __launch_bounds__(THREADS) correction(u8* packed, i64 n, i64 width, STREAM(alpha), STREAM(beta), STREAM(c0)) {
    const Stream s0 = OPEN_STREAM(alpha), s1 = OPEN_STREAM(beta), s2 = OPEN_STREAM(c0);
    for (i64 block = first_index(); 8 * block < n; block += stride()) {
        u64 a[8], b[8], values[8];
        chacha20_block(s0, (u32)(block / 64), a);
        chacha20_block(s1, (u32)(block / 64), b);
        chacha20_block(s2, (u32)block, values);
        const u64 both = byte_of(a, block) & byte_of(b, block);
#pragma unroll
        for (int k = 0; k < 8; k++) values[k] = (both >> k & 1) - values[k];
        pack_eight(values, packed, block, n, width);
    }
}
