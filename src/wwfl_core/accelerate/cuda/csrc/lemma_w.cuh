// Exact truncation of one word by Lemma W (wwfl_core/protocol/truncation.py).
#pragma once
#include "common.cuh"

DEVICE u64 star_of(u64 a) { return (a - (1ull << 62)) >> 63; }
DEVICE u64 base_of(u64 a) { return a >> 63 | (a >> 62 & 1); }
DEVICE u64 shifted(u64 word, i64 f, u64 wrap) { return (word >> f) - (wrap << (64 - f)); }
DEVICE u64 signed_by(u64 negative, u64 value) { return negative ? 0 - value : value; }

