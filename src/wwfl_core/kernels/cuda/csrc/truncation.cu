// The local steps of exact truncation (Lemma W, wwfl_core/truncation.py). Words a at X, b at Y, packed opened bits.
#include "common.cuh"

DEVICE u64 bit(const u8* packed, i64 i) { return packed[i >> 3] >> (i & 7) & 1; }
DEVICE u64 star_of(u64 a) { return (a - (1ull << 62)) >> 63; }
DEVICE u64 base_of(u64 a) { return a >> 63 | (a >> 62 & 1); }
DEVICE u64 shifted(u64 word, i64 f, u64 wrap) { return (word >> f) - (wrap << (64 - f)); }
DEVICE u64 signed_by(u64 negative, u64 value) { return negative ? 0 - value : value; }

KERNEL left_bits(const u64* a, u64* star, u64* base, i64 n) {
    for (i64 i = first_index(); i < n; i += stride()) {
        star[i] = star_of(a[i]);
        base[i] = base_of(a[i]);
    }
}

KERNEL right_bits(const u64* b, u64* high, i64 n) {
    for (i64 i = first_index(); i < n; i += stride()) high[i] = b[i] >> 63;
}

KERNEL shift_correct(const u64* a, const u64* wrap, u64* out, i64 n, i64 f) {
    for (i64 i = first_index(); i < n; i += stride()) out[i] = shifted(a[i], f, wrap[i]);
}

// The message of either side: its private bit, packed and masked. left: 1 for a's star bit, 0 for b's top bit.
KERNEL wrap_message(const u64* word, const u8* mask, u8* message, i64 n, i64 left) {
    const int lane = threadIdx.x & 31;
    for (i64 base = first_index() - lane; base < n; base += stride()) {
        const i64 i = base + lane;
        const u64 value = word[i < n ? i : 0];
        const u32 bits = __ballot_sync(0xffffffffu, i < n && (left ? star_of(value) : value >> 63));
        if (lane < 4 && base + 8 * lane < n)
            message[base / 8 + lane] = (u8)(bits >> 8 * lane) ^ mask[base / 8 + lane];
    }
}

// X's share of a >> f: wrap = db a* + (-1)^(da ^ db) c + base.
KERNEL truncate_left(const u64* a, const u8* da, const u8* db, const u64* c, u64* out, i64 n, i64 f) {
    for (i64 i = first_index(); i < n; i += stride()) {
        const u64 d = bit(db, i);
        out[i] = shifted(a[i], f, d * star_of(a[i]) + signed_by(d ^ bit(da, i), c[i]) + base_of(a[i]));
    }
}

// Y's: wrap = (1 - 2 db) da beta + (-1)^(da ^ db) c, and the 1 that makes floor - 1 floor.
KERNEL truncate_right(const u64* b, const u8* da, const u8* db, const u8* beta, const u64* c, u64* out, i64 n, i64 f) {
    for (i64 i = first_index(); i < n; i += stride()) {
        const u64 x = bit(da, i), y = bit(db, i);
        out[i] = shifted(b[i], f, signed_by(y, x & bit(beta, i)) + signed_by(x ^ y, c[i])) + 1;
    }
}
