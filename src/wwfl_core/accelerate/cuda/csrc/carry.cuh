// A level of the carry tree of comparisons on bit planes (wwfl_core/protocol/bit_planes.py), for a party with N components.
//
// k positions are k rows of g and k - 1 rows of p (without the lowest). A level's product z has even - 1 rows,
// even = k - k % 2: even / 2 rows that complete g and even / 2 - 1 that are the new p.
#pragma once
#include "masked.cuh"

// One component after a product: row r of g or p, computed from what was there before it.
template <class U> struct Merged {
    const U *g, *p, *z;  // z is null where there is no product to take in
    i64 k, row;          // positions before, units per row

    __device__ __forceinline__ U generate(i64 r, i64 c) const {
        const i64 even = k - k % 2;
        if (!z) return g[r * row + c];
        if (r < even / 2) return g[(2 * r + 1) * row + c] ^ z[r * row + c];
        return g[(even + r - even / 2) * row + c];
    }
    __device__ __forceinline__ U propagate(i64 r, i64 c) const {
        const i64 even = k - k % 2;
        if (!z) return p[r * row + c];
        if (r < even / 2 - 1) return z[(even / 2 + r) * row + c];
        return p[(even - 1 + r - (even / 2 - 1)) * row + c];
    }
};

template <class U> struct Planes {  // one component, where it is written
    U *g, *p;
};

template <class U, int N> struct Level {
    Merged<U> part[N];
    Planes<U> after[N];
    i64 k, row;

    __device__ __forceinline__ i64 positions() const { return part[0].z ? (k + 1) / 2 : k; }
    __device__ __forceinline__ i64 even() const { return positions() - positions() % 2; }
    // Of the next product.
    __device__ __forceinline__ i64 units() const { return positions() < 2 ? 0 : (even() - 1) * row; }

    // Writes the state after the product, if there is one.
    __device__ __forceinline__ void merge() const {
        if (!part[0].z) return;
        const i64 rows = positions();
        for (i64 e = first_index(); e < rows * row; e += stride()) {
            const i64 r = e / row, c = e % row;
#pragma unroll
            for (int n = 0; n < N; n++) {
                after[n].g[e] = part[n].generate(r, c);
                if (r + 1 < rows) after[n].p[e] = part[n].propagate(r, c);
            }
        }
    }

    // The factors of unit e of the next product: the upper p with the lower g, then with the lower p.
    __device__ __forceinline__ void factors(i64 e, U x[N], U y[N]) const {
        const i64 r = e / row, c = e % row, q = r - even() / 2;
        const bool first = q < 0;
        const i64 high = first ? 2 * r : 2 * q + 2, low = first ? 2 * r : 2 * q + 1;
#pragma unroll
        for (int n = 0; n < N; n++) {
            x[n] = part[n].propagate(high, c);
            y[n] = first ? part[n].generate(low, c) : part[n].propagate(low, c);
        }
    }

    // Calls use(e, x, y, u) for the units of words i and i + 1 of the product; u is a unit's number among those.
    template <class Use> __device__ __forceinline__ void each(i64 i, Use use) const {
        constexpr int count = 16 / sizeof(U);
#pragma unroll 2
        for (int u = 0; u < count; u++) {
            const i64 e = i * count / 2 + u;
            if (e >= units()) break;
            U x[N], y[N];
            factors(e, x, y);
            use(e, x, y, u);
        }
    }
};

// Unit u of two words.
template <class U> DEVICE U unit_of(Two<Bits> m, int u) {
    constexpr int each = 8 / sizeof(U);
    return (U)((u < each ? m.a : m.b) >> 8 * sizeof(U) * (u % each));
}
