// Patches of images as columns, and the adjoint.
#include "common.cuh"

// cols[(c, i, j), (b, oy, ox)] = x[b, c, oy stride + i - padding, ox stride + j - padding], zero outside.
KERNEL im2col(const u64* x, u64* cols, i64 b, i64 c, i64 h, i64 w, i64 kh, i64 kw, i64 oh, i64 ow, i64 step,
        i64 padding) {
    const i64 width = b * oh * ow, total = c * kh * kw * width;
    for (i64 at = first_index(); at < total; at += stride()) {
        const i64 row = at / width, column = at % width;
        const i64 ox = column % ow, oy = column / ow % oh, image = column / (ow * oh);
        const i64 j = row % kw, i = row / kw % kh, channel = row / (kw * kh);
        const i64 y = oy * step + i - padding, z = ox * step + j - padding;
        cols[at] = y >= 0 && y < h && z >= 0 && z < w ? x[((image * c + channel) * h + y) * w + z] : 0;
    }
}

// Every pixel gathers the columns that it went to, so that nothing is added by two threads.
KERNEL col2im(const u64* cols, u64* x, i64 b, i64 c, i64 h, i64 w, i64 kh, i64 kw, i64 oh, i64 ow, i64 step,
        i64 padding) {
    const i64 width = b * oh * ow, total = b * c * h * w;
    for (i64 at = first_index(); at < total; at += stride()) {
        const i64 z = at % w, y = at / w % h, channel = at / (w * h) % c, image = at / (w * h * c);
        u64 sum = 0;
        for (i64 i = 0; i < kh; i++) {
            const i64 top = y + padding - i;
            if (top < 0 || top % step || top / step >= oh) continue;
            for (i64 j = 0; j < kw; j++) {
                const i64 left = z + padding - j;
                if (left < 0 || left % step || left / step >= ow) continue;
                const i64 row = (channel * kh + i) * kw + j;
                sum += cols[row * width + (image * oh + top / step) * ow + left / step];
            }
        }
        x[at] = sum;
    }
}
