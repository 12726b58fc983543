// Finds races in kernels on a CPU: g++ -DEMULATED_RACES -fsanitize=thread, without the sanitizer's own library.
//
// The compiler then calls __tsan_read8(p), __tsan_write8(p), .. at every access; the functions below take these calls.
// They keep who touched which bytes since the launch began. Two accesses of one launch conflict if they touch one byte,
// at least one writes, not both are atomic, and no barrier lies between them: none of the block (threads of one block),
// none of the warp (lanes of one warp), or they are in different blocks. Which threads ran first does not matter, so a
// missing barrier is found in whatever order threads run. Shuffles and votes are no barriers, as in CUDA. Shared memory
// that is read before its block has written it is reported, too.
#pragma once
#include <cstdio>
#include <unordered_map>

#define EMULATED_HOOK extern "C" __attribute__((no_sanitize("thread"), visibility("hidden")))

namespace emulated {

struct Access {
    unsigned block, thread, block_turn, warp_turn;
    unsigned char bytes;  // of the aligned 8, as a mask
    bool write, atomic;
};

struct Cell {  // the last accesses to 8 bytes
    Access seen[4];
    unsigned count = 0, next = 0, writer = ~0u;
    unsigned char written = 0;  // of shared memory: bytes that block `writer` wrote
};

struct Watch {
    unsigned block = 0;
    std::vector<Turn> turns;
    std::unordered_map<std::uintptr_t, Cell> cells;
    char report[256] = "";
};

inline thread_local Watch watch;

inline Kept watched() { return kept(watch); }
inline const char* report() { return watch.report; }

// Code of the emulation, not of a kernel.
struct Pause {
    __attribute__((no_sanitize("thread"))) Pause() { shared_range.watching = false; }
    __attribute__((no_sanitize("thread"))) ~Pause() { shared_range.watching = true; }
};

inline bool is_state(std::uintptr_t address) {
    const char* p = (const char*)address;
    for (const Kept& state : {kept(block), kept(owned), kept(shared_range), kept(watch)})
        if (p >= state.first && p < state.second) return true;
    return false;
}
inline void describe(std::uintptr_t address, const Access& a, const Access& b) {
    if (watch.report[0]) return;
    char place[64];
    int argument = -1;  // the array that begins nearest before the address
    for (int i = 0; i < block->count; i++)
        if (block->arguments[i] <= address && (argument < 0 || block->arguments[i] > block->arguments[argument])) argument = i;
    if (is_shared(address) || argument < 0)
        std::snprintf(place, sizeof place, "shared memory");
    else
        std::snprintf(place, sizeof place, "argument %d, byte %llu", argument, address - block->arguments[argument]);
    std::snprintf(watch.report, sizeof watch.report, "race: thread %u of block %u %s and thread %u of block %u %s %s",
                  a.thread, a.block, a.write ? "writes" : "reads", b.thread, b.block, b.write ? "writes" : "reads", place);
}

inline bool ordered(const Access& before, const Access& now, bool shared) {
    if (before.block != now.block) return shared;  // each block has shared memory of its own
    if (before.thread == now.thread || now.block_turn > before.block_turn) return true;
    return before.thread / WARP == now.thread / WARP && now.warp_turn > before.warp_turn;
}

inline void note(std::uintptr_t granule, unsigned char bytes, bool write, bool atomic) {
    const unsigned thread = linear();
    const Access now{watch.block, thread, watch.turns[thread].block, watch.turns[thread].warp, bytes, write, atomic};
    const bool shared = is_shared(granule);
    Cell& cell = watch.cells[granule];
    if (shared && cell.writer != now.block) cell.written = 0, cell.writer = now.block;
    if (shared && write) cell.written |= bytes;
    if (shared && !write && bytes & ~cell.written && !watch.report[0])
        std::snprintf(watch.report, sizeof watch.report, "thread %u of block %u reads shared memory that nobody wrote",
                      thread, now.block);
    for (unsigned i = 0; i < cell.count; i++) {
        const Access& before = cell.seen[i];
        if (!(before.bytes & bytes) || !(before.write || write) || (before.atomic && atomic)) continue;
        if (!ordered(before, now, shared)) describe(granule, before, now);
    }
    for (unsigned i = 0; i < cell.count; i++)  // one of each kind per thread is enough
        if (cell.seen[i].thread == thread && cell.seen[i].block == now.block && cell.seen[i].write == write) {
            const unsigned char both = cell.seen[i].bytes | bytes;
            cell.seen[i] = now;
            cell.seen[i].bytes = both;
            return;
        }
    unsigned at = cell.count < 4 ? cell.count++ : cell.next++ % 4;
    cell.seen[at] = now;
}

EMULATED_HOOK void emulated_access(const void* where, std::size_t size, bool write, bool atomic) {
    if (!shared_range.watching) return;
    shared_range.watching = false;  // from here on it is not the kernel that touches memory
    const std::uintptr_t first = (std::uintptr_t)where, stack = (std::uintptr_t)block->running->stack.get();
    const bool own = first - stack < STACK_BYTES;  // a thread's variables
    for (std::uintptr_t at = first; !own && at < first + size;) {
        const std::uintptr_t granule = at & ~(std::uintptr_t)7, end = std::min(first + size, granule + 8);
        if (!is_state(granule)) note(granule, (unsigned char)(((1u << (end - at)) - 1) << (at - granule)), write, atomic);
        at = end;
    }
    shared_range.watching = true;
}

inline void begin_watch() { watch.cells.clear(), watch.report[0] = 0; }
inline void begin_block(unsigned number, unsigned threads) { watch.block = number, watch.turns.assign(threads, Turn{}); }
inline void begin_thread() { shared_range.watching = true; }
inline void end_thread() { shared_range.watching = false; }
inline void passed_barrier(bool of_block) { (of_block ? watch.turns[linear()].block : watch.turns[linear()].warp)++; }
inline void note_atomic(const void* address) { emulated_access(address, 8, true, true); }

}  // namespace emulated

#define EMULATED_ACCESS(size)                                                                                      \
    EMULATED_HOOK void __tsan_read##size(void* p) { emulated::emulated_access(p, size, false, false); }            \
    EMULATED_HOOK void __tsan_write##size(void* p) { emulated::emulated_access(p, size, true, false); }            \
    EMULATED_HOOK void __tsan_unaligned_read##size(void* p) { emulated::emulated_access(p, size, false, false); }  \
    EMULATED_HOOK void __tsan_unaligned_write##size(void* p) { emulated::emulated_access(p, size, true, false); }
EMULATED_ACCESS(1)
EMULATED_ACCESS(2)
EMULATED_ACCESS(4)
EMULATED_ACCESS(8)
EMULATED_ACCESS(16)
EMULATED_HOOK void __tsan_read_range(void* p, unsigned long size) { emulated::emulated_access(p, size, false, false); }
EMULATED_HOOK void __tsan_write_range(void* p, unsigned long size) { emulated::emulated_access(p, size, true, false); }
EMULATED_HOOK void __tsan_vptr_update(void**, void*) {}
EMULATED_HOOK void __tsan_init() {}
