// One bit per spike: 16 or 32 times less to keep for the backward pass than bfloat16 or float32.

#include <omp.h>

#include "layer.h"
#include "levels.h"

#define LOOPS "bits_loops.h"
#include "every_level.h"

extern "C" {

// Returns 1 if all of x is 0 or 1 and stands in words now; 0 if not, and words are of no use. size is a multiple of 32.
int32_t bitspike_bits_pack(int32_t bf16, const void* x, int64_t size, uint32_t* words, int32_t threads) {
    if (bf16) return AT_LEVEL(pack(static_cast<const uint16_t*>(x), size, words, threads));
    return AT_LEVEL(pack(static_cast<const float*>(x), size, words, threads));
}

void bitspike_bits_unpack(int32_t bf16, const uint32_t* words, int64_t size, void* x, int32_t threads) {
    if (bf16) AT_LEVEL(unpack(words, size, static_cast<uint16_t*>(x), threads));
    else AT_LEVEL(unpack(words, size, static_cast<float*>(x), threads));
}

int32_t bitspike_abi() { return 2; }
}
