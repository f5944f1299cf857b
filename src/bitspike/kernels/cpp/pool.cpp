// Mean and maximum over windows that lie side by side, channels last, forward and backward. Where the maximum was is kept
// in one byte per result.

#include <omp.h>

#include "layer.h"
#include "levels.h"

extern "C" {

// `rows` rows of `width` results each, over all images; a window is `kernel` pixels high and wide. Mirrored in kernels/pool.py.
struct Pool {
    int64_t rows, width, channels, kernel;
    int32_t largest, bf16, threads;
};
}

#define LOOPS "pool_loops.h"
#include "every_level.h"

extern "C" {

// x is [rows * kernel, width * kernel, channels], out and where [rows, width, channels]; where may be null.
void bitspike_pool_forward(const Pool* p, const void* x, void* out, uint8_t* where) {
    if (p->bf16) AT_LEVEL(forward(*p, static_cast<const uint16_t*>(x), static_cast<uint16_t*>(out), where));
    else AT_LEVEL(forward(*p, static_cast<const float*>(x), static_cast<float*>(out), where));
}

// Writes every element of dx.
void bitspike_pool_backward(const Pool* p, const void* grad, const uint8_t* where, void* dx) {
    if (p->bf16) AT_LEVEL(backward(*p, static_cast<const uint16_t*>(grad), where, static_cast<uint16_t*>(dx)));
    else AT_LEVEL(backward(*p, static_cast<const float*>(grad), where, static_cast<float*>(dx)));
}

int32_t bitspike_abi() { return 2; }
}
