// What a native part needs once: names for the compiler's features, and the instruction set that this machine has.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#if defined(__GNUC__)
#define INLINE inline __attribute__((always_inline))  // helpers must melt into code of a higher instruction set
#else
#define INLINE inline
#endif

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define X86 1
#include <immintrin.h>
#endif

#if defined(__linux__)
#include <sys/mman.h>
#include <unistd.h>
#endif

namespace {

// 5: AVX-512 with bfloat16 conversions; 3: AVX2 with fused multiply-add; 1: anything else.
inline int level() {
#if X86
    static const int found = [] {
        const char* asked = std::getenv("BITSPIKE_KERNELS");  // so that the loops of older machines can be tested on this one
        if (asked && !std::strcmp(asked, "portable")) return 1;
        const bool newest = !asked || std::strcmp(asked, "avx2");
        __builtin_cpu_init();
        if (newest && __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
            __builtin_cpu_supports("avx512dq"))
            return 5;
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? 3 : 1;
    }();
    return found;
#else
    return 1;
#endif
}

// Fresh memory costs a page fault every 4 KiB; asked for big pages, the system gives 2 MiB at a time.
inline void big_pages(void* data, int64_t bytes) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    constexpr intptr_t page = intptr_t{1} << 21;
    const intptr_t first = (reinterpret_cast<intptr_t>(data) + page - 1) / page * page;
    const intptr_t last = (reinterpret_cast<intptr_t>(data) + bytes) / page * page;
    if (last - first >= 2 * page) madvise(reinterpret_cast<void*>(first), static_cast<size_t>(last - first), MADV_HUGEPAGE);
#else
    (void)data, (void)bytes;
#endif
}

// Results larger than the last cache are written around it: reading a line before it is overwritten costs half as much again.
inline bool larger_than_cache(int64_t bytes) {
#if defined(_SC_LEVEL3_CACHE_SIZE)
    static const int64_t found = sysconf(_SC_LEVEL3_CACHE_SIZE);
    return bytes > (found > 0 ? found : int64_t{1} << 25);
#else
    return bytes > int64_t{1} << 25;
#endif
}

}  // namespace
