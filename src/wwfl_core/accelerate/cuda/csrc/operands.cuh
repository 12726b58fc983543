// Matrices with any strides, and a sum of two products as one product over a concatenated inner dimension.
#pragma once
#include "common.cuh"

struct Product {  // a: (m, k), b: (k, n), strides in elements
    const u64 *a, *b;
    i64 k, a_row, a_col, b_row, b_col;
};

#define PRODUCT(p) \
    const u64 *p##_a, const u64 *p##_b, i64 p##_k, i64 p##_a_batch, i64 p##_a_row, i64 p##_a_col, i64 p##_b_batch, \
        i64 p##_b_row, i64 p##_b_col
#define OPEN_PRODUCT(p) \
    Product{p##_a + blockIdx.z * p##_a_batch, p##_b + blockIdx.z * p##_b_batch, p##_k, p##_a_row, p##_a_col, \
            p##_b_row, p##_b_col}

// One of two products, field by field: a reference to either would put both into local memory.
DEVICE Product pick(bool second, const Product& p, const Product& q) {
    return {second ? q.a : p.a,         second ? q.b : p.b,         second ? q.k : p.k,
            second ? q.a_row : p.a_row, second ? q.a_col : p.a_col, second ? q.b_row : p.b_row,
            second ? q.b_col : p.b_col};
}

// Steps of `depth` along both inner dimensions, one after the other; a step never straddles the two.
struct Steps {
    i64 first, total;  // of the first product, of both

    static __device__ __forceinline__ Steps of(const Product& p, const Product& q, i64 depth) {
        const i64 first = (p.k + depth - 1) / depth;
        return {first, first + (q.k + depth - 1) / depth};
    }
    // The part of the work that block row blockIdx.y of gridDim.y does.
    __device__ __forceinline__ i64 begin() const { return total * blockIdx.y / gridDim.y; }
    __device__ __forceinline__ i64 end() const { return total * (blockIdx.y + 1) / gridDim.y; }
};

// A result: stored if one block computes it, added if several do (the ring's addition is exact, so in any order).
DEVICE void deliver(u64* out, u64 value, bool adding) {
    if (adding) atomicAdd(out, value);
    else *out = value;
}
