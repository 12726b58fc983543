// Elementwise expressions with masks from ChaCha20 streams, for both rings.
//
// A lane makes one block of the stream, 8 consecutive words, but memory wants 32 lanes to touch 512 consecutive bytes.
// A warp therefore passes its 256 mask words through shared memory; everything else is read and written 16 bytes per
// lane, consecutive lanes at consecutive addresses.
#pragma once
#include "chacha.cuh"

// Two consecutive words of a ring, with its arithmetic.
template <class A> struct Two {
    u64 a, b;
};
template <class A> DEVICE Two<A> operator+(Two<A> x, Two<A> y) { return {A::add(x.a, y.a), A::add(x.b, y.b)}; }
template <class A> DEVICE Two<A> operator-(Two<A> x, Two<A> y) { return {A::sub(x.a, y.a), A::sub(x.b, y.b)}; }
template <class A> DEVICE Two<A> operator*(Two<A> x, Two<A> y) { return {A::mul(x.a, y.a), A::mul(x.b, y.b)}; }

// Arrays are 16-byte aligned and `bytes` long, which need not be whole words.
template <class A> DEVICE Two<A> load(const u64* p, i64 i, i64 bytes) {
    if (8 * (i + 2) <= bytes) {
        ulonglong2 v = *(const ulonglong2*)(p + i);
        return {v.x, v.y};
    }
    Two<A> v = {0, 0};
    const u8* data = (const u8*)(p + i);
#pragma unroll 1
    for (i64 k = 0; k < bytes - 8 * i; k++) {
        if (k < 8) v.a |= (u64)data[k] << 8 * k;
        else v.b |= (u64)data[k] << 8 * (k - 8);
    }
    return v;
}

template <class A> DEVICE void save(u64* p, i64 i, i64 bytes, Two<A> v) {
    if (8 * (i + 2) <= bytes) {
        *(ulonglong2*)(p + i) = make_ulonglong2(v.a, v.b);
        return;
    }
    u8* data = (u8*)(p + i);
#pragma unroll 1
    for (i64 k = 0; k < bytes - 8 * i; k++) data[k] = (u8)(k < 8 ? v.a >> 8 * k : v.b >> 8 * (k - 8));
}

// Word i of a block of a stream, of which a lane has all words: registers cannot be indexed.
DEVICE u64 word_of(const u64 block[8], int i) {
    u64 found = 0;
#pragma unroll
    for (int k = 0; k < 8; k++) found = k == i ? block[k] : found;
    return found;
}

// Of a stream of packed bits, block number `at / 64`, the byte number `at`: bits 8 at .. 8 at + 7.
DEVICE u64 byte_of(const u64 block[8], i64 at) { return word_of(block, (int)(at >> 3 & 7)) >> 8 * (at & 7) & 255; }

// Elements 8 block .. 8 block + 7 of n, `width` bits each, packed: `width` bytes.
DEVICE void pack_eight(const u64 values[8], u8* packed, i64 block, i64 n, i64 width) {
    const i64 size = (n * width + 7) / 8;
    u64 waiting = 0;  // bits that are not written yet, `count` of them
    i64 count = 0, byte = block * width;
#pragma unroll
    for (int k = 0; k < 8; k++) {
        const u64 value = 8 * block + k < n ? values[k] & (~0ull >> (64 - width)) : 0;
        for (i64 done = 0; done < width;) {  // a byte's worth at a time: width may be 64
            const i64 take = width - done < 8 - count ? width - done : 8 - count;
            waiting |= (value >> done & ((1ull << take) - 1)) << count;
            count += take;
            done += take;
            if (count < 8) continue;
            if (byte < size) packed[byte] = (u8)waiting;
            byte++;
            waiting = 0;
            count = 0;
        }
    }
}

// A warp's mask words in shared memory. Chunk c (two words) of lane t is kept where neither the lanes that write nor
// those that read meet in a bank.
struct MaskWords {
    ulonglong2 chunks[128];
    static __device__ __forceinline__ int place(int t, int c) { return 4 * t + ((c + (t >> 1)) & 3); }
};

#define THREADS 256

// Calls use(i, m) for all pairs of words i, i + 1 of `bytes` bytes; make(block, words) gives N masks, of which m are the
// words of that pair. All lanes of a warp call it, some perhaps for pairs beyond the end, where `load` gives zeros and
// `save` does nothing.
template <class A, int N, class Make, class Use> DEVICE void with_several_masks(i64 bytes, Make make, Use use) {
    __shared__ MaskWords shared[N][THREADS / 32];
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    const i64 blocks = (bytes + 63) / 64;
    for (i64 base = first_index() - lane; base < blocks; base += stride()) {
        u64 words[N][8];
        make((u32)(base + lane), words);
#pragma unroll
        for (int m = 0; m < N; m++)
#pragma unroll
            for (int c = 0; c < 4; c++)
                shared[m][warp].chunks[MaskWords::place(lane, c)] =
                    make_ulonglong2(words[m][2 * c], words[m][2 * c + 1]);
        __syncwarp();
#pragma unroll
        for (int j = 0; j < 4; j++) {
            const int q = 32 * j + lane;
            Two<A> masks[N];
#pragma unroll
            for (int m = 0; m < N; m++) {
                const ulonglong2 v = shared[m][warp].chunks[MaskWords::place(q >> 2, q & 3)];
                masks[m] = {v.x, v.y};
            }
            use(8 * base + 2 * q, masks);
        }
        __syncwarp();
    }
}

// The same with one mask.
template <class A, class Make, class Use> DEVICE void with_masks(i64 bytes, Make make, Use use) {
    with_several_masks<A, 1>(
        bytes, [&](u32 block, u64 words[1][8]) { make(block, words[0]); },
        [&](i64 i, Two<A> masks[1]) { use(i, masks[0]); });
}

// A lane writes its own block, 64 consecutive bytes.
DEVICE void store_block(u64* out, i64 block, i64 bytes, const u64 words[8]) {
#pragma unroll
    for (int c = 0; c < 8; c += 2) save(out, 8 * block + c, bytes, Two<Bits>{words[c], words[c + 1]});
}

DEVICE void no_block(u64 words[8]) {
#pragma unroll
    for (int i = 0; i < 8; i++) words[i] = 0;
}

// words = F(s), or sums and differences of such.
template <class A> DEVICE void add_block(const Stream& s, u32 block, u64 words[8]) {
    u64 more[8];
    chacha20_block(s, block, more);
#pragma unroll
    for (int i = 0; i < 8; i++) words[i] = A::add(words[i], more[i]);
}
template <class A> DEVICE void sub_block(const Stream& s, u32 block, u64 words[8]) {
    u64 less[8];
    chacha20_block(s, block, less);
#pragma unroll
    for (int i = 0; i < 8; i++) words[i] = A::sub(words[i], less[i]);
}
