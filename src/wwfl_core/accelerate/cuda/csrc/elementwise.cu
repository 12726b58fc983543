// Products and sums modulo 2^64.
#include "common.cuh"

// out = x0 y0 (+ x1 y1 (+ x2 y2)) (+ out)
KERNEL mul_sum(const u64* x0, const u64* y0, const u64* x1, const u64* y1, const u64* x2, const u64* y2, u64* out,
               i64 n, i64 pairs, i64 adding) {
    for (i64 i = first_index(); i < n; i += stride()) {
        u64 sum = adding ? out[i] : 0;
        sum += x0[i] * y0[i];
        if (pairs > 1) sum += x1[i] * y1[i];
        if (pairs > 2) sum += x2[i] * y2[i];
        out[i] = sum;
    }
}

// out = a x + b y
KERNEL linear(const u64* x, const u64* y, u64* out, i64 n, u64 a, u64 b) {
    for (i64 i = first_index(); i < n; i += stride()) out[i] = a * x[i] + b * y[i];
}

// out = a x
KERNEL scale(const u64* x, u64* out, i64 n, u64 a) {
    for (i64 i = first_index(); i < n; i += stride()) out[i] = a * x[i];
}
