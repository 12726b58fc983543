// Real numbers as ring elements round(v 2^f), and back.
#include "common.cuh"

// bad: the smallest index of a value whose magnitude does not stay below 2^(headroom - f), or untouched.
KERNEL encode(const double* real, u64* ring, u64* bad, i64 n, i64 f, i64 headroom) {
    const double factor = (double)(1ull << f), limit = (double)(1ull << headroom) / factor;
    for (i64 i = first_index(); i < n; i += stride()) {
        const double value = real[i];
        const bool fits = fabs(value) < limit;  // false for a NaN
        ring[i] = fits ? (u64)(i64)rint(value * factor) : 0;
        if (!fits) atomicMin(bad, (u64)i);
    }
}

KERNEL decode(const u64* ring, double* real, i64 n, i64 f) {
    const double unit = 1.0 / (double)(1ull << f);
    for (i64 i = first_index(); i < n; i += stride()) real[i] = (double)(i64)ring[i] * unit;
}
