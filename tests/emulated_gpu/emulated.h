// CUDA's execution model on a CPU, for kernels written for a GPU: g++ -include emulated.h -x c++ kernel.cu.
//
// A block's threads run one after another on one fibre until one of them meets a barrier; that fibre then waits, and
// another one takes up the remaining threads. A barrier opens when all live threads of its block (or warp) have come.
// Blocks run one after another; all state is per OS thread, so parties may launch at the same time. A barrier that not
// all threads reach is an error. Shared memory is filled with rubbish before every block. With -DEMULATED_REVERSED blocks
// and threads run in the opposite order; with -DEMULATED_RACES (see races.h) accesses without a barrier between them are
// errors.
#pragma once
#include <algorithm>
#include <cmath>
#include <csetjmp>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <link.h>
#include <memory>
#include <string>
#include <ucontext.h>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __shared__ static thread_local

struct uint3 { unsigned x, y, z; };
struct dim3 { unsigned x, y, z; };
struct alignas(16) ulonglong2 { unsigned long long x, y; };
static inline ulonglong2 make_ulonglong2(unsigned long long x, unsigned long long y) { return {x, y}; }

namespace emulated {

#ifdef EMULATED_REVERSED
constexpr bool REVERSED = true;
#else
constexpr bool REVERSED = false;
#endif
// The i-th of n in the order of this build.
inline unsigned in_order(unsigned i, unsigned n) { return REVERSED ? n - 1 - i : i; }

constexpr std::size_t STACK_BYTES = 256 * 1024;
constexpr unsigned WARP = 32;
constexpr int MAX_ARGUMENTS = 56;

// Where a fibre (or the scheduler) goes on. ucontext starts fibres; setjmp switches them, as it makes no system call.
struct Context {
    ucontext_t start;
    jmp_buf jump;
    bool begun = false;
};
inline void switch_to(Context& from, Context& to) {
#ifdef __SANITIZE_ADDRESS__
    swapcontext(&from.start, &to.start);
#else
    from.begun = true;
    if (_setjmp(from.jump) == 0) {
        if (to.begun) _longjmp(to.jump, 1);
        setcontext(&to.start);
    }
#endif
}

struct Gate {  // a barrier: how many threads it waits for, and the fibres that have come
    unsigned live = 0;
    std::vector<struct Fibre*> waiting;
};

struct Fibre {
    Context context;
    std::unique_ptr<char[]> stack{new char[STACK_BYTES]};
    uint3 thread{};
    Gate* gate = nullptr;
};

// What the lanes of one warp show each other. Lanes read after the gate; two sets take turns, so that a lane that is
// ahead does not write over what another one still has to read.
struct Exchange {
    unsigned long long value[2][WARP];
    unsigned fragments[2][WARP][6];
    unsigned turn[WARP] = {};
};

struct Turn { unsigned block = 0, warp = 0; };  // barriers that a thread has passed

struct Block {
    void (*body)(void*, unsigned long long*) = nullptr;
    void* kernel = nullptr;
    unsigned long long* arguments = nullptr;
    int count = 0;  // of arguments
    dim3 grid{}, size{};
    uint3 index{};
    unsigned threads = 0, started = 0, finished = 0;
    Context scheduler;
    Fibre* running = nullptr;
    Gate whole;
    std::vector<Gate> warps;
    std::vector<Exchange> exchanges;
    std::deque<Fibre*> ready;
    std::vector<std::unique_ptr<Fibre>> all;
    std::vector<Fibre*> idle;
};

inline thread_local Block* block = nullptr;  // of this OS thread; a plain pointer, as kernels read it
inline thread_local std::unique_ptr<Block> owned;

inline unsigned linear() {
    const uint3& t = block->running->thread;
    return t.x + block->size.x * (t.y + block->size.y * t.z);
}

// Where this OS thread has the variables of kernels that are __shared__: this library's thread-local storage.
struct Range {
    char *begin = nullptr, *end = nullptr;
    bool watching = false;  // whether code of a kernel runs (races.h)
};
inline int find_shared(dl_phdr_info* info, std::size_t, void* found) {
    Range& range = *(Range*)found;
    char *start = (char*)info->dlpi_tls_data, *state = (char*)&block;
    for (int i = 0; start && i < info->dlpi_phnum; i++)
        if (info->dlpi_phdr[i].p_type == PT_TLS && state >= start && state < start + info->dlpi_phdr[i].p_memsz)
            range.begin = start, range.end = start + info->dlpi_phdr[i].p_memsz;
    return range.begin != nullptr;
}
inline thread_local Range shared_range;
inline const Range& shared_memory() {
    if (!shared_range.begin) dl_iterate_phdr(find_shared, &shared_range);
    return shared_range;
}
inline bool is_shared(std::uintptr_t address) {
    return address - (std::uintptr_t)shared_memory().begin < (std::size_t)(shared_memory().end - shared_memory().begin);
}
using Kept = std::pair<char*, char*>;
template <class T> Kept kept(T& object) { return {(char*)&object, (char*)(&object + 1)}; }

}  // namespace emulated

#ifdef EMULATED_RACES
#include "races.h"
#else
namespace emulated {
struct Pause {  // code of the emulation, not of a kernel
    ~Pause() {}
};
inline void begin_watch() {}
inline void begin_block(unsigned, unsigned) {}
inline void begin_thread() {}
inline void end_thread() {}
inline void passed_barrier(bool) {}
inline void note_atomic(const void*) {}
inline const char* report() { return ""; }
inline Kept watched() { return kept(shared_range); }
}  // namespace emulated
#endif

namespace emulated {

constexpr int RUBBISH = 1;  // in every byte; the compiler's flags of what is initialised are there too, and stay true

inline void spoil_shared_memory() {  // all of it but the emulation's own state
    Kept states[] = {kept(block), kept(owned), kept(shared_range), watched()};
    std::sort(std::begin(states), std::end(states));
    char* at = shared_memory().begin;
    for (const Kept& state : states) {
        if (state.first > at) std::memset(at, RUBBISH, state.first - at);
        at = std::max(at, state.second);
    }
    std::memset(at, RUBBISH, shared_memory().end - at);
}

inline void open_if_full(Gate& gate) {
    if (gate.live == 0 || gate.waiting.size() < gate.live) return;
    for (Fibre* fibre : gate.waiting) block->ready.push_back(fibre);
    gate.waiting.clear();
}
inline void wait(Gate& gate) {
    Fibre* self = block->running;
    gate.waiting.push_back(self);
    open_if_full(gate);
    switch_to(self->context, block->scheduler);
}
inline void run_threads() {  // a fibre's life: threads that nobody has started yet
    for (;;) {
        while (block->started < block->threads) {
            unsigned id = in_order(block->started++, block->threads);
            block->running->thread = {id % block->size.x, id / block->size.x % block->size.y,
                                     id / (block->size.x * block->size.y)};
            begin_thread();
            block->body(block->kernel, block->arguments);
            end_thread();
            block->finished++;
        }
        block->idle.push_back(block->running);
        switch_to(block->running->context, block->scheduler);
    }
}
inline Fibre* fresh() {
    if (!block->idle.empty()) {
        Fibre* fibre = block->idle.back();
        block->idle.pop_back();
        return fibre;
    }
    block->all.emplace_back(new Fibre);
    Fibre* fibre = block->all.back().get();
    ucontext_t& start = fibre->context.start;
    getcontext(&start);
    start.uc_stack.ss_sp = fibre->stack.get();
    start.uc_stack.ss_size = STACK_BYTES;
    start.uc_link = nullptr;
    makecontext(&start, run_threads, 0);
    return fibre;
}
inline bool run_block() {  // false: some threads wait at a barrier that the others never reach
    spoil_shared_memory();
    block->started = block->finished = 0;
    block->whole.live = block->threads;
    unsigned warps = (block->threads + WARP - 1) / WARP;
    block->warps.assign(warps, Gate{});
    block->exchanges.resize(warps);
    for (unsigned w = 0; w < warps; w++)
        block->warps[w].live = block->threads - w * WARP < WARP ? block->threads - w * WARP : WARP;
    while (!block->ready.empty() || block->started < block->threads) {
        Fibre* next;
        if (block->ready.empty()) {
            next = fresh();
        } else {
            next = REVERSED ? block->ready.back() : block->ready.front();
            if (REVERSED) block->ready.pop_back();
            else block->ready.pop_front();
        }
        block->running = next;
        switch_to(block->scheduler, next->context);
    }
    bool complete = block->finished == block->threads;
    if (!complete) {  // the stuck fibres are lost; start over with new ones
        block->whole.waiting.clear();
        block->idle.clear();
        block->all.clear();
    }
    return complete;
}

inline Gate& my_warp() { return block->warps[linear() / WARP]; }
inline Exchange& my_exchange() { return block->exchanges[linear() / WARP]; }
inline unsigned lane() { return linear() % WARP; }

template <class T, class Choose> T exchange(T value, Choose choose) {  // every lane shows a value, then reads
    Pause pause;
    Exchange& all = my_exchange();
    unsigned self = lane();
    unsigned long long* shown = all.value[all.turn[self]++ & 1];
    shown[self] = 0;
    std::memcpy(&shown[self], &value, sizeof value);
    wait(my_warp());
    T result;
    unsigned long long seen = choose(shown);
    std::memcpy(&result, &seen, sizeof result);
    return result;
}

// PTX mma.sync.m16n8k32.row.col.s32.s8.s8.s32, without saturation; fragments as in the PTX manual: lane 4 g + t holds
// a[e]: row g + 8 (e % 2), k = 4 t + 16 (e / 2) ..+3; b[e]: column g, k = 4 t + 16 e ..+3; c[e]: row g + 8 (e / 2),
// column 2 t + e % 2.
inline void mma_m16n8k32(int c[4], const unsigned a[4], const unsigned b[2]) {
    Pause pause;
    Exchange& all = my_exchange();
    unsigned self = lane(), g = self / 4, t = self % 4;
    unsigned(*shown)[6] = all.fragments[all.turn[self]++ & 1];
    for (int e = 0; e < 4; e++) shown[self][e] = a[e];
    for (int e = 0; e < 2; e++) shown[self][4 + e] = b[e];
    wait(my_warp());
    for (int e = 0; e < 4; e++) {
        unsigned sum = (unsigned)c[e];
        for (unsigned word = 0; word < 8; word++) {
            unsigned left = shown[4 * g + word % 4][e / 2 + 2 * (word / 4)];
            unsigned right = shown[4 * (2 * t + e % 2) + word % 4][4 + word / 4];
            for (unsigned k = 0; k < 4; k++)
                sum += (unsigned)((int)(signed char)(left >> 8 * k) * (int)(signed char)(right >> 8 * k));
        }
        c[e] = (int)sum;
    }
}

template <std::size_t... I> void call(void* kernel, unsigned long long* a, std::index_sequence<I...>) {
    reinterpret_cast<void (*)(decltype((void)I, 0ULL)...)>(kernel)(a[I]...);
}
template <int N> void call_n(void* kernel, unsigned long long* a) { call(kernel, a, std::make_index_sequence<N>{}); }
using Caller = void (*)(void*, unsigned long long*);
template <std::size_t... N> Caller caller(int count, std::index_sequence<N...>) {
    static constexpr Caller callers[] = {&call_n<N>...};
    return callers[count];
}

}  // namespace emulated

using emulated::mma_m16n8k32;

#define threadIdx (emulated::block->running->thread)
#define blockIdx (emulated::block->index)
#define blockDim (emulated::block->size)
#define gridDim (emulated::block->grid)

inline void __syncthreads() {
    emulated::Pause pause;
    emulated::wait(emulated::block->whole);
    emulated::passed_barrier(true);
}
inline void __syncwarp(unsigned = 0xffffffffu) {
    emulated::Pause pause;
    emulated::wait(emulated::my_warp());
    emulated::passed_barrier(false);
}
template <class T> T __shfl_xor_sync(unsigned, T value, int mask) {
    unsigned from = emulated::lane() ^ mask;
    return emulated::exchange(value, [=](const unsigned long long* shown) { return shown[from]; });
}
template <class T> T __shfl_sync(unsigned, T value, int from) {
    return emulated::exchange(value, [=](const unsigned long long* shown) { return shown[from]; });
}
inline unsigned __ballot_sync(unsigned, int predicate) {
    unsigned long long bit = predicate != 0;
    return (unsigned)emulated::exchange(bit, [](const unsigned long long* shown) {
        unsigned long long all = 0;
        for (unsigned i = 0; i < emulated::WARP; i++) all |= (shown[i] & 1) << i;
        return all;
    });
}
// A launch runs in one OS thread, so nothing interrupts these.
template <class Change> unsigned long long atomically(unsigned long long* address, Change change) {
    emulated::note_atomic(address);
    emulated::Pause pause;
    unsigned long long old = *address;
    *address = change(old);
    return old;
}
inline unsigned long long atomicAdd(unsigned long long* address, unsigned long long value) {
    return atomically(address, [=](unsigned long long old) { return old + value; });
}
inline unsigned long long atomicMin(unsigned long long* address, unsigned long long value) {
    return atomically(address, [=](unsigned long long old) { return std::min(old, value); });
}
inline unsigned __byte_perm(unsigned x, unsigned y, unsigned selector) {
    unsigned long long both = (unsigned long long)y << 32 | x;
    unsigned result = 0;
    for (int i = 0; i < 4; i++) result |= (unsigned)(both >> 8 * (selector >> 4 * i & 7) & 255) << 8 * i;
    return result;
}
inline int __dp4a(int a, int b, int sum) {
    for (int i = 0; i < 4; i++) sum += (int)(signed char)(a >> 8 * i) * (int)(signed char)(b >> 8 * i);
    return sum;
}
inline int __mulhi(int x, int y) { return (int)((long long)x * y >> 32); }
inline unsigned __umulhi(unsigned x, unsigned y) { return (unsigned)((unsigned long long)x * y >> 32); }
// Returns 0, 1: a barrier was not reached by all threads, 2: too many arguments, 3: what emulated_report says.
extern "C" int emulated_launch(void* kernel, const unsigned* grid, const unsigned* size, unsigned long long* arguments,
                               int count) {
    using namespace emulated;
    if (count > MAX_ARGUMENTS) return 2;
    if (!owned) owned.reset(block = new Block);
    block->body = caller(count, std::make_index_sequence<MAX_ARGUMENTS + 1>{});
    block->kernel = kernel;
    block->arguments = arguments;
    block->count = count;
    block->grid = {grid[0], grid[1], grid[2]};
    block->size = {size[0], size[1], size[2]};
    block->threads = size[0] * size[1] * size[2];
    begin_watch();
    unsigned number = 0;
    for (unsigned z = 0; z < grid[2]; z++)
        for (unsigned y = 0; y < grid[1]; y++)
            for (unsigned x = 0; x < grid[0]; x++) {
                block->index = {in_order(x, grid[0]), in_order(y, grid[1]), in_order(z, grid[2])};
                begin_block(number++, block->threads);
                if (!run_block()) return 1;
            }
    return report()[0] ? 3 : 0;
}
extern "C" const char* emulated_report() { return emulated::report(); }
