// What every kernel file starts from. Kernels take 8-byte arguments only (pointers, i64, u64), are extern "C" and
// walk their work with a stride of the whole grid, so that any grid gives the same result.
#pragma once

typedef unsigned long long u64;
typedef long long i64;
typedef unsigned int u32;
typedef unsigned char u8;
typedef signed char i8;

#define KERNEL extern "C" __global__ void
#define DEVICE static __device__ __forceinline__

DEVICE i64 first_index() { return (i64)blockIdx.x * blockDim.x + threadIdx.x; }
DEVICE i64 stride() { return (i64)gridDim.x * blockDim.x; }

// Packed bits, and element i of words that are packed to `width` bits each, in `bytes` bytes.
DEVICE u64 bit(const u8* packed, i64 i) { return packed[i >> 3] >> (i & 7) & 1; }

DEVICE u64 unpacked(const u8* data, i64 i, i64 width, i64 bytes) {
    const i64 first = i * width >> 3, shift = i * width & 7;
    u64 word = 0;
    for (i64 k = 0; k < 8 && first + k < bytes; k++) word |= (u64)data[first + k] << 8 * k;
    word >>= shift;
    if (shift + width > 64) word |= (u64)data[first + 8] << (64 - shift);
    return word & ~0ull >> (64 - width);
}

// The two rings that protocols compute in, behind the same four operations. A Word of Bits is 64 (or 8) packed bits.
struct Ring {
    static __device__ __forceinline__ u64 add(u64 a, u64 b) { return a + b; }
    static __device__ __forceinline__ u64 sub(u64 a, u64 b) { return a - b; }
    static __device__ __forceinline__ u64 mul(u64 a, u64 b) { return a * b; }
};

struct Bits {
    static __device__ __forceinline__ u64 add(u64 a, u64 b) { return a ^ b; }
    static __device__ __forceinline__ u64 sub(u64 a, u64 b) { return a ^ b; }
    static __device__ __forceinline__ u64 mul(u64 a, u64 b) { return a & b; }
};
