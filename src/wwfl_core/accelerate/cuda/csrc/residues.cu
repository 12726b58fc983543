// Matrix product modulo 2^64 from residues: what comes before and after one int8 product per modulus (residues.py).
//
// A word stands for the integer X = sum_i x_i 256^i of its 8 balanced base-256 digits (as in digits.cu), so that
// |X| <= B = 128 (2^64 - 1) / 255. The entries of a product of inner dimension K <= 8192 are integers Y with
// |Y| <= K B^2 < 0.369 P, where P is the product of the moduli m_i (the Chinese remainder theorem; Ootomo, Ozaki,
// Yokota: Ozaki scheme II, arXiv 2504.08009, uses it for float64). From Y modulo m_i, that is any z_i = Y (mod m_i),
//     Y = sum_i z_i v_i P/m_i - q P,    v_i P/m_i = 1 (mod m_i), 0 <= v_i < m_i,
// and q = round(sum_i z_i v_i / m_i), as Y / P is less than 0.5 from zero. Only Y modulo 2^64 is computed. The sum for
// q is taken in units of 2^-48: every v_i / m_i is rounded by at most half a unit, |z_i| <= 264 (below), so the sum
// of 18 is off by less than 2^-36, and 0.5 - 0.369 would forgive 0.131.
#include "common.cuh"

#define THREADS 256
#define ROWS 16     // of a tile of words
#define DEPTH 128   // inner elements of a tile, so that a warp writes whole cache lines
#define LOADS (ROWS * DEPTH / THREADS)
#define GROUPS (LOADS / 4)  // of 4 consecutive inner elements per thread
#define BALANCE 0x8080808080808080ull
#define EVERY_BYTE 0x01010101u

static constexpr int MODULI[] = {256, 255, 253, 251, 247, 241, 239, 233, 229,
                                 227, 223, 217, 211, 199, 197, 193, 191, 181};  // pairwise coprime
static constexpr int COUNT = sizeof MODULI / sizeof MODULI[0];

// The product of all moduli but number `left_out`, modulo 2^64 or modulo m.
static __device__ constexpr u64 product_of_others(int left_out, u64 m = 0) {
    u64 product = 1;
    for (int i = 0; i < COUNT; i++)
        if (i != left_out) product = m ? product * MODULI[i] % m : product * MODULI[i];
    return product;
}
static __device__ constexpr u64 inverse(u64 x, u64 m) {
    for (u64 v = 1; v < m; v++)
        if (x * v % m == 1) return v;
    return 0;
}
// 256^i modulo m, from -(m / 2) on: four digits' coefficients as the bytes of a word.
static __device__ constexpr u32 coefficients(int first, int m) {
    u32 packed = 0;
    for (int i = first; i < first + 4; i++) {
        int power = 1;
        for (int j = 0; j < i; j++) power = power * 256 % m;
        packed |= (u32)(u8)((power + m / 2) % m - m / 2) << 8 * (i - first);
    }
    return packed;
}

template <int I> struct Modulus {
    static constexpr int M = MODULI[I], HALF = M / 2;
    static constexpr u32 LOW = coefficients(0, M), HIGH = coefficients(4, M);
    // |sum of 8 products of bytes| <= 2^17, so this multiple of M makes it positive; HALF centres the remainder.
    static constexpr int OFFSET = ((1 << 17) + M - 1) / M * M + HALF;
    static constexpr u32 RECIPROCAL = ((1ull << 32) + M - 1) / M;  // exact for quotients of numbers below 2^24
    static constexpr int FLOOR_RECIPROCAL = (1ull << 32) / M;
    static constexpr u64 INVERSE = inverse(product_of_others(I, M), M);
    static constexpr u64 WEIGHT = INVERSE * product_of_others(I);
    static constexpr i64 SHARE = ((INVERSE << 48) + HALF) / M;

    // Residues of four words, given as digits, in [-HALF, M - HALF): int8, four to a word.
    static __device__ __forceinline__ u32 residues(const u32 low[4], const u32 high[4]) {
        u32 rest[4];
#pragma unroll
        for (int e = 0; e < 4; e++) {
            const u32 sum = (u32)__dp4a((int)low[e], (int)LOW, __dp4a((int)high[e], (int)HIGH, OFFSET));
            rest[e] = sum - __umulhi(sum, RECIPROCAL) * M;  // 0 .. M - 1, HALF more than the residue
        }
        const u32 first = __byte_perm(rest[0], rest[1], 0x0040), second = __byte_perm(rest[2], rest[3], 0x0040);
        // Less HALF in every byte without a borrow between bytes: plus 128 - HALF, which none overflows, less 128.
        return (__byte_perm(first, second, 0x5410) + EVERY_BYTE * (128 - HALF)) ^ EVERY_BYTE * 128;
    }

    // A z = sum (mod M): |sum| <= 2^27, so the quotient is at most 1 + 1/32 too small, and |z| <= 264.
    static __device__ __forceinline__ int reduce(int sum) { return sum - __mulhi(sum, FLOOR_RECIPROCAL) * M; }
};

template <int I> DEVICE void store(const u32 low[4], const u32 high[4], i8* at, i64 plane) {
    *(u32*)at = Modulus<I>::residues(low, high);
    if constexpr (I + 1 < COUNT) store<I + 1>(low, high, at + plane, plane);
}

template <int I> DEVICE void add_terms(const int* sums, i64 plane, u64& value, i64& quotient) {
    const int z = Modulus<I>::reduce(*sums);
    value += (u64)(i64)z * Modulus<I>::WEIGHT;
    quotient += z * Modulus<I>::SHARE;
    if constexpr (I + 1 < COUNT) add_terms<I + 1>(sums + plane, plane, value, quotient);
}

// Residues of a stack of matrices x (rows, k): out[i][batch][row][offset + c] for c < part, with zeros from row `rows`
// and from c = k on. out is [COUNT][gridDim.z][out_rows][depth]; out_rows, depth, offset and part are multiples of 16.
KERNEL __launch_bounds__(THREADS) split_residues(const u64* x, i64 x_batch, i64 x_row, i64 x_col, i64 rows, i64 k,
                                                 i8* out, i64 out_rows, i64 depth, i64 offset, i64 part) {
    __shared__ u64 tile[ROWS][DEPTH + 1];
    const u32 across = (u32)(part + DEPTH - 1) / DEPTH;
    const i64 row = blockIdx.x / across * ROWS, first = blockIdx.x % across * DEPTH;
    const u64* base = x + blockIdx.z * x_batch + row * x_row + first * x_col;
#pragma unroll
    for (int i = 0; i < LOADS; i++) {  // along the dimension that is contiguous in memory
        const int q = threadIdx.x + i * THREADS;
        const int r = x_col == 1 ? q / DEPTH : q % ROWS, c = x_col == 1 ? q % DEPTH : q / ROWS;
        const u64 word = row + r < rows && first + c < k ? base[r * x_row + c * x_col] : 0;
        tile[r][c] = (word + BALANCE) ^ BALANCE;
    }
    __syncthreads();
#pragma unroll
    for (int i = 0; i < GROUPS; i++) {
        const int q = threadIdx.x + i * THREADS, r = q / (DEPTH / 4), c = q % (DEPTH / 4) * 4;
        if (first + c >= part) continue;
        u32 low[4], high[4];
#pragma unroll
        for (int e = 0; e < 4; e++) {
            const u64 digits = tile[r][c + e];
            low[e] = (u32)digits;
            high[e] = (u32)(digits >> 32);
        }
        store<0>(low, high, out + (blockIdx.z * out_rows + row + r) * depth + offset + first + c,
                 gridDim.z * out_rows * depth);
    }
}

// Stores or adds to out[batch][row][column] what sums[COUNT][batch][sums_rows][sums_columns] say of it. The numbers of
// sums of one modulus must be below 2^32.
KERNEL combine_residues(const int* sums, u64* out, i64 batch, i64 m, i64 n, i64 out_batch, i64 out_row, i64 sums_rows,
                        i64 sums_columns, i64 adding) {
    const i64 plane = batch * sums_rows * sums_columns;
    for (i64 i = first_index(); i < plane; i += stride()) {
        const u32 line = (u32)i / (u32)sums_columns, column = (u32)i - line * (u32)sums_columns;
        const u32 number = line / (u32)sums_rows, row = line - number * (u32)sums_rows;
        if (row >= m || column >= n) continue;
        u64 value = 0;
        i64 quotient = 0;
        add_terms<0>(sums + i, plane, value, quotient);
        value -= (u64)((quotient + (1ll << 47)) >> 48) * product_of_others(-1);
        u64* at = out + number * out_batch + row * out_row + column;
        *at = adding ? *at + value : value;
    }
}
