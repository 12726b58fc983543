// Bit planes, packed bits, and words packed to fewer bits. Bit i of a packed array is bit i % 8 of byte i / 8.
#include "common.cuh"

#define TILE 1024          // elements that a block turns at once
#define TILE_BYTES 128     // and the bytes of one plane that they fill
#define WARPS 8

// Transposes a 32x32 bit matrix whose row t is the word of lane t.
DEVICE u32 transpose(u32 x) {
    const int lane = threadIdx.x & 31;
    u32 mask = 0x0000ffff;
#pragma unroll
    for (int half = 16; half > 0; half >>= 1) {
        const u32 other = __shfl_xor_sync(0xffffffffu, x, half);
        x = lane & half ? (x & ~mask) | (other >> half & mask) : (x & mask) | (other << half & ~mask);
        mask ^= mask << (half >> 1);
    }
    return x;
}

// planes[j - low] = packed bit j of a x + b y (y may be null); rows are `row_bytes` = ceil(n / 8) long.
KERNEL __launch_bounds__(32 * WARPS) to_planes(const u64* x, const u64* y, u64 a, u64 b, u8* planes, i64 n, i64 low,
        i64 high, i64 row_bytes) {
    __shared__ u32 tile[64][TILE / 32 + 1];
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    for (i64 start = (i64)blockIdx.x * TILE; start < n; start += (i64)gridDim.x * TILE) {
        for (int group = warp; group < TILE / 32; group += WARPS) {
            const i64 i = start + 32 * group + lane;
            const u64 word = i < n ? a * x[i] + (y ? b * y[i] : 0) : 0;
            tile[lane][group] = transpose((u32)word);
            tile[32 + lane][group] = transpose((u32)(word >> 32));
        }
        __syncthreads();
        const i64 at = start / 8;
        const i64 live = row_bytes - at < TILE_BYTES ? row_bytes - at : TILE_BYTES;
        for (i64 j = low + warp; j < high; j += WARPS) {
            u8* row = planes + (j - low) * row_bytes + at;
            const u32 word = tile[j][lane];
            if (row_bytes % 4 == 0) {
                if (4 * lane < live) ((u32*)row)[lane] = word;
            } else {
                for (int k = 0; k < 4; k++)
                    if (4 * lane + k < live) row[4 * lane + k] = (u8)(word >> 8 * k);
            }
        }
        __syncthreads();
    }
}

// Bit j of x[i] = bit i of row j; rows from `rows` on are zero.
KERNEL __launch_bounds__(32 * WARPS) from_planes(const u8* planes, u64* x, i64 n, i64 rows, i64 row_bytes) {
    __shared__ u32 tile[64][TILE / 32 + 1];
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    for (i64 start = (i64)blockIdx.x * TILE; start < n; start += (i64)gridDim.x * TILE) {
        const i64 at = start / 8;
        for (int j = warp; j < 64; j += WARPS) {
            u32 word = 0;
            for (int k = 0; k < 4; k++)
                if (j < rows && at + 4 * lane + k < row_bytes)
                    word |= (u32)planes[j * row_bytes + at + 4 * lane + k] << 8 * k;
            tile[j][lane] = word;
        }
        __syncthreads();
        for (int group = warp; group < TILE / 32; group += WARPS) {
            const u64 low = transpose(tile[lane][group]), high = transpose(tile[32 + lane][group]);
            const i64 i = start + 32 * group + lane;
            if (i < n) x[i] = low | high << 32;
        }
        __syncthreads();
    }
}

// packed = lowest bits of x: a warp makes 4 bytes.
KERNEL pack(const u64* x, u8* packed, i64 n) {
    const int lane = threadIdx.x & 31;
    for (i64 base = first_index() - lane; base < n; base += stride()) {
        const i64 i = base + lane;
        const u32 word = __ballot_sync(0xffffffffu, i < n && (x[i < n ? i : 0] & 1));
        if (lane < 4 && base + 8 * lane < n) packed[base / 8 + lane] = (u8)(word >> 8 * lane);
    }
}

// packed = bits of `source` at offset + sum of index times stride, over up to 6 axes: a warp makes 4 bytes.
KERNEL pick(const u8* source, u8* packed, i64 n, i64 offset, i64 n1, i64 n2, i64 n3, i64 n4, i64 n5, i64 s0, i64 s1,
        i64 s2, i64 s3, i64 s4, i64 s5) {
    const int lane = threadIdx.x & 31;
    for (i64 base = first_index() - lane; base < n; base += stride()) {
        i64 rest = base + lane;
        const bool inside = rest < n;
        i64 at = offset;
        at += rest % n5 * s5, rest /= n5;
        at += rest % n4 * s4, rest /= n4;
        at += rest % n3 * s3, rest /= n3;
        at += rest % n2 * s2, rest /= n2;
        at += rest % n1 * s1 + rest / n1 * s0;
        const u32 word = __ballot_sync(0xffffffffu, inside && bit(source, inside ? at : 0));
        if (lane < 4 && base + 8 * lane < n) packed[base / 8 + lane] = (u8)(word >> 8 * lane);
    }
}

KERNEL expand(const u8* packed, u64* x, i64 n) {
    for (i64 i = first_index(); i < n; i += stride()) x[i] = packed[i >> 3] >> (i & 7) & 1;
}

// Word t of the output: bits 64 t .. 64 t + 63 of the elements' low `width` bits in a row.
KERNEL pack_words(const u64* x, u64* data, i64 n, i64 width, i64 out_words) {
    const u64 mask = ~0ull >> (64 - width);
    for (i64 t = first_index(); t < out_words; t += stride()) {
        u64 word = 0;
        i64 i = 64 * t / width;
        for (i64 at = i * width - 64 * t; at < 64 && i < n; at += width, i++) {
            const u64 value = x[i] & mask;
            word |= at < 0 ? value >> -at : value << at;
        }
        data[t] = word;
    }
}

KERNEL unpack_words(const u8* data, u64* x, i64 n, i64 width, i64 bytes) {
    for (i64 i = first_index(); i < n; i += stride()) x[i] = unpacked(data, i, width, bytes);
}

// (1 - 2 b) value, and value + b - 2 b value, for packed bits b.
KERNEL negate_where(const u64* value, const u8* packed, u64* out, i64 n) {
    for (i64 i = first_index(); i < n; i += stride()) out[i] = bit(packed, i) ? 0 - value[i] : value[i];
}

KERNEL xor_where(const u64* value, const u8* packed, u64* out, i64 n) {
    for (i64 i = first_index(); i < n; i += stride()) out[i] = bit(packed, i) ? 1 - value[i] : value[i];
}
