// Matrix product modulo 2^64 on the int8 tensor cores, exact.
//
// A word is its 8 balanced base-256 digits, x = sum_i x_i 256^i modulo 2^64 with -128 <= x_i < 128: the bytes of
// (x + 0x8080808080808080) ^ 0x8080808080808080. Then x y = sum_d 256^d sum_{i+j=d} x_i y_j with d < 8: 36 products of
// digits, summed per diagonal d in int32. Diagonals 4 to 7 are needed modulo 2^32 only, so wrapping is harmless; a sum
// on diagonals 0 to 3 has at most 4 K terms of at most 2^14 and is exact for K <= 32736, MAX_STEPS steps.
#include "operands.cuh"

#define TILE 64
#define DEPTH 32
#define DIGITS 8
#define WARPS 8            // 2 x 4 warps of 32 x 16 results
#define THREADS (32 * WARPS)
#define GROUPS 2           // groups of 4 consecutive k that a thread loads, per operand
#define BALANCE 0x8080808080808080ull

// A tile's digits: plane, row, and 32 bytes along k as 8 words. The two halves of a row change places in rows 4 to 7 of
// 8, so that neither the stores nor the fragment loads of a warp meet in a bank.
typedef u32 Planes[DIGITS][TILE][DEPTH / 4];
DEVICE int place(int row, int word) { return word ^ (row & 4); }

struct Side {
    const u64* base;
    i64 row_stride, k_stride, rows, depth;
};

// Row and group of 4 k that thread t loads at turn i: 8 neighbours share a row, or take 8 rows, whatever is contiguous.
DEVICE void position(int i, bool along_k, int& row, int& group) {
    const int q = threadIdx.x + i * THREADS;
    row = along_k ? q / 8 : q % 8 + q / 64 * 8;
    group = along_k ? q % 8 : q / 8 % 8;
}

DEVICE void fetch(const Side& x, i64 first_row, i64 first_k, u64 held[GROUPS][4]) {
#pragma unroll
    for (int i = 0; i < GROUPS; i++) {
        int row, group;
        position(i, x.k_stride == 1, row, group);
        const i64 r = first_row + row, k = first_k + 4 * group;
#pragma unroll
        for (int e = 0; e < 4; e++)
            held[i][e] = r < x.rows && k + e < x.depth ? x.base[r * x.row_stride + (k + e) * x.k_stride] : 0;
    }
}

// 4 words -> for each digit, a word of that digit of all four.
DEVICE void split(const u64 x[4], u32 digit[DIGITS]) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
        u32 w[4];
#pragma unroll
        for (int e = 0; e < 4; e++) w[e] = (u32)(((x[e] + BALANCE) ^ BALANCE) >> 32 * half);
        const u32 low01 = __byte_perm(w[0], w[1], 0x5140), low23 = __byte_perm(w[2], w[3], 0x5140);
        const u32 high01 = __byte_perm(w[0], w[1], 0x7362), high23 = __byte_perm(w[2], w[3], 0x7362);
        digit[4 * half + 0] = __byte_perm(low01, low23, 0x5410);
        digit[4 * half + 1] = __byte_perm(low01, low23, 0x7632);
        digit[4 * half + 2] = __byte_perm(high01, high23, 0x5410);
        digit[4 * half + 3] = __byte_perm(high01, high23, 0x7632);
    }
}

DEVICE void store(Planes& planes, bool along_k, const u64 held[GROUPS][4]) {
#pragma unroll
    for (int i = 0; i < GROUPS; i++) {
        int row, group;
        position(i, along_k, row, group);
        u32 digit[DIGITS];
        split(held[i], digit);
#pragma unroll
        for (int d = 0; d < DIGITS; d++) planes[d][row][place(row, group)] = digit[d];
    }
}

// c += a b for a 16 x 32 (row major) and a 32 x 8 tile (column major) of int8, one warp.
DEVICE void multiply(int c[4], const u32 a[4], const u32 b[2]) {
#ifdef __CUDA_ARCH__
    asm volatile(
        "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
    mma_m16n8k32(c, a, b);  // of whoever compiles this for something else than a GPU
#endif
}

KERNEL __launch_bounds__(THREADS, 1) gemm_digits(PRODUCT(p), PRODUCT(q), u64* out, i64 m, i64 n, i64 adding) {
    __shared__ Planes left, right;
    const Product first = OPEN_PRODUCT(p), second = OPEN_PRODUCT(q);
    const Steps steps = Steps::of(first, second, DEPTH);
    const i64 tiles = (n + TILE - 1) / TILE;
    const i64 row = blockIdx.x / tiles * TILE, column = blockIdx.x % tiles * TILE;
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    const int g = lane / 4, t = lane % 4, top = warp / 4 * 32, start = warp % 4 * 16;
    int sum[DIGITS][2][2][4] = {};  // diagonal, 16-row tile, 8-column tile, the lane's results
    u64 held_a[GROUPS][4], held_b[GROUPS][4];
    auto load = [&](i64 step) {
        const Product now = pick(step >= steps.first, first, second);
        const i64 k = DEPTH * (step < steps.first ? step : step - steps.first);
        fetch({now.a, now.a_row, now.a_col, m, now.k}, row, k, held_a);
        fetch({now.b, now.b_col, now.b_row, n, now.k}, column, k, held_b);
    };
    if (steps.begin() < steps.end()) load(steps.begin());
    for (i64 step = steps.begin(); step < steps.end(); step++) {
        const Product now = pick(step >= steps.first, first, second);
        store(left, now.a_col == 1, held_a);
        store(right, now.b_row == 1, held_b);
        __syncthreads();
        if (step + 1 < steps.end()) load(step + 1);
        u32 b[DIGITS][2][2];
#pragma unroll
        for (int d = 0; d < DIGITS; d++)
#pragma unroll
            for (int y = 0; y < 2; y++)
#pragma unroll
                for (int half = 0; half < 2; half++) {
                    const int r = start + 8 * y + g;
                    b[d][y][half] = right[d][r][place(r, t + 4 * half)];
                }
#pragma unroll
        for (int i = 0; i < DIGITS; i++)
#pragma unroll
            for (int x = 0; x < 2; x++) {
                u32 a[4];
#pragma unroll
                for (int e = 0; e < 4; e++) {
                    const int r = top + 16 * x + 8 * (e & 1) + g;
                    a[e] = left[i][r][place(r, t + 4 * (e >> 1))];
                }
#pragma unroll
                for (int j = 0; j < DIGITS - i; j++)
#pragma unroll
                    for (int y = 0; y < 2; y++) multiply(sum[i + j][x][y], a, b[j][y]);
            }
        __syncthreads();
    }
#pragma unroll
    for (int x = 0; x < 2; x++)
#pragma unroll
        for (int y = 0; y < 2; y++)
#pragma unroll
            for (int e = 0; e < 4; e++) {
                u64 value = 0;
#pragma unroll
                for (int d = 0; d < DIGITS; d++) value += (u64)(i64)sum[d][x][y][e] << 8 * d;
                const i64 r = row + top + 16 * x + g + 8 * (e >> 1), c = column + start + 8 * y + 2 * t + (e & 1);
                if (r < m && c < n) deliver(out + (blockIdx.z * m + r) * n + c, value, adding);
            }
}
