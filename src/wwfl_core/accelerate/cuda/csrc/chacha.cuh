// ChaCha20 (RFC 8439): block t of a stream is elements 8 t .. 8 t + 7 of 64 bits, the stream of wwfl_core/prg.py.
#pragma once
#include "common.cuh"

struct Stream {
    u32 key[8];
    u32 nonce[3];
};

// A stream as kernel parameters: the key in four words, the nonce as operation number and label.
#define STREAM(s) u64 s##_k0, u64 s##_k1, u64 s##_k2, u64 s##_k3, u64 s##_op, u64 s##_label
#define OPEN_STREAM(s) make_stream(s##_k0, s##_k1, s##_k2, s##_k3, s##_op, s##_label)

DEVICE Stream make_stream(u64 k0, u64 k1, u64 k2, u64 k3, u64 op, u64 label) {
    return {{(u32)k0, (u32)(k0 >> 32), (u32)k1, (u32)(k1 >> 32), (u32)k2, (u32)(k2 >> 32), (u32)k3, (u32)(k3 >> 32)},
            {(u32)op, (u32)(op >> 32), (u32)label}};
}

DEVICE u32 rotate(u32 x, int n) { return x << n | x >> (32 - n); }

DEVICE void quarter_round(u32& a, u32& b, u32& c, u32& d) {
    a += b; d = rotate(d ^ a, 16);
    c += d; b = rotate(b ^ c, 12);
    a += b; d = rotate(d ^ a, 8);
    c += d; b = rotate(b ^ c, 7);
}

// The 8 words of block `counter`.
DEVICE void chacha20_block(const Stream& s, u32 counter, u64 out[8]) {
    const u32 start[16] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574, s.key[0],   s.key[1],   s.key[2],
                           s.key[3],   s.key[4],   s.key[5],   s.key[6],   s.key[7],   counter,    s.nonce[0],
                           s.nonce[1], s.nonce[2]};
    u32 x[16];
#pragma unroll
    for (int i = 0; i < 16; i++) x[i] = start[i];
#pragma unroll 1  // a double round is about 100 instructions; more of them at once only compile for longer
    for (int round = 0; round < 10; round++) {
        quarter_round(x[0], x[4], x[8], x[12]);
        quarter_round(x[1], x[5], x[9], x[13]);
        quarter_round(x[2], x[6], x[10], x[14]);
        quarter_round(x[3], x[7], x[11], x[15]);
        quarter_round(x[0], x[5], x[10], x[15]);
        quarter_round(x[1], x[6], x[11], x[12]);
        quarter_round(x[2], x[7], x[8], x[13]);
        quarter_round(x[3], x[4], x[9], x[14]);
    }
#pragma unroll
    for (int i = 0; i < 8; i++)
        out[i] = (u64)(x[2 * i] + start[2 * i]) | (u64)(x[2 * i + 1] + start[2 * i + 1]) << 32;
}
