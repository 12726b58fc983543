// The local functions of exact truncation (Lemma W, wwfl_core/protocol/truncation.py).
#include "lemma_w.cuh"

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
