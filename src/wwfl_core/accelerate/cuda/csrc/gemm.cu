// Matrix product modulo 2^64 on the integer units: 64 x 64 tiles, 4 x 4 results per thread.
#include "operands.cuh"

#define TILE 64
#define DEPTH 16
#define SIDE 16            // threads are SIDE x SIDE
#define EACH (TILE / SIDE) // results per thread and dimension
#define LOADS (TILE * DEPTH / (SIDE * SIDE))

// Element (row, k) of a tile that thread t loads at its i-th turn, along the dimension that is contiguous in memory.
DEVICE void position(int t, int i, bool along_k, int& row, int& k) {
    const int q = t + i * SIDE * SIDE;
    row = along_k ? q / DEPTH : q % TILE;
    k = along_k ? q % DEPTH : q / TILE;
}

struct Loader {
    const u64* base;
    i64 row_stride, k_stride, rows, depth;

    __device__ __forceinline__ u64 at(i64 row, i64 k) const {
        return row < rows && k < depth ? base[row * row_stride + k * k_stride] : 0;
    }
};

DEVICE void load_tile(const Loader& x, i64 first_row, i64 first_k, u64 held[LOADS]) {
#pragma unroll
    for (int i = 0; i < LOADS; i++) {
        int row, k;
        position(threadIdx.x, i, x.k_stride == 1, row, k);
        held[i] = x.at(first_row + row, first_k + k);
    }
}

DEVICE void store_tile(u64 (*tile)[TILE + 1], bool along_k, const u64 held[LOADS]) {
#pragma unroll
    for (int i = 0; i < LOADS; i++) {
        int row, k;
        position(threadIdx.x, i, along_k, row, k);
        tile[k][row] = held[i];
    }
}

KERNEL __launch_bounds__(SIDE * SIDE, 2) gemm(PRODUCT(p), PRODUCT(q), u64* out, i64 m, i64 n, i64 adding) {
    __shared__ u64 left[DEPTH][TILE + 1], right[DEPTH][TILE + 1];
    const Product first = OPEN_PRODUCT(p), second = OPEN_PRODUCT(q);
    const Steps steps = Steps::of(first, second, DEPTH);
    const i64 tiles = (n + TILE - 1) / TILE;
    const i64 row = blockIdx.x / tiles * TILE, column = blockIdx.x % tiles * TILE;
    const int tx = threadIdx.x % SIDE, ty = threadIdx.x / SIDE;
    u64 sum[EACH][EACH] = {};
    u64 held_a[LOADS], held_b[LOADS];
    auto fetch = [&](i64 step) {
        const Product now = pick(step >= steps.first, first, second);
        const i64 k = DEPTH * (step < steps.first ? step : step - steps.first);
        load_tile({now.a, now.a_row, now.a_col, m, now.k}, row, k, held_a);
        load_tile({now.b, now.b_col, now.b_row, n, now.k}, column, k, held_b);
    };
    if (steps.begin() < steps.end()) fetch(steps.begin());
    for (i64 step = steps.begin(); step < steps.end(); step++) {
        const Product now = pick(step >= steps.first, first, second);
        store_tile(left, now.a_col == 1, held_a);
        store_tile(right, now.b_row == 1, held_b);
        __syncthreads();
        if (step + 1 < steps.end()) fetch(step + 1);
#pragma unroll
        for (int k = 0; k < DEPTH; k++) {
            u64 a[EACH], b[EACH];
#pragma unroll
            for (int i = 0; i < EACH; i++) {
                a[i] = left[k][ty + SIDE * i];
                b[i] = right[k][tx + SIDE * i];
            }
#pragma unroll
            for (int i = 0; i < EACH; i++)
#pragma unroll
                for (int j = 0; j < EACH; j++) sum[i][j] += a[i] * b[j];
        }
        __syncthreads();
    }
#pragma unroll
    for (int i = 0; i < EACH; i++)
#pragma unroll
        for (int j = 0; j < EACH; j++) {
            const i64 r = row + ty + SIDE * i, c = column + tx + SIDE * j;
            if (r < m && c < n) deliver(out + (blockIdx.z * m + r) * n + c, sum[i][j], adding);
        }
}
