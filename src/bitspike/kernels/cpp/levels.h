// What a native part needs once: names for the compiler's features, and the instruction set that this machine has.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
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

// A result of more than half the last cache is written around it: with what it is made from it would not stay there, and
// reading a line only to overwrite it costs half as much again. The C library is not asked: it gives nonsense in virtual machines.
inline bool larger_than_cache(int64_t bytes) {
    static const int64_t cache = [] {
        long long kilobytes = 0;
        if (FILE* file = std::fopen("/sys/devices/system/cpu/cpu0/cache/index3/size", "r")) {
            if (std::fscanf(file, "%lldK", &kilobytes) != 1) kilobytes = 0;
            std::fclose(file);
        }
        return kilobytes > 0 ? static_cast<int64_t>(kilobytes) << 10 : int64_t{1} << 25;
    }();
    return bytes > cache / 2;
}

}  // namespace
