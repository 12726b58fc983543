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
