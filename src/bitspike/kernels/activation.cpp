// The quantized ReLU with a learned clip, forward and backward, each in one pass, alone or with the norm before it and a
// residual. The backward pass computes the codes again from the input.

#include <omp.h>

#include "layer.h"
#include "levels.h"

extern "C" {

// a = clip * q, q = round(min(relu(x) / clip, 1) * levels) / levels. Mirrored in kernels/activation.py.
struct QuantReLU {
    float clip, levels;
};
}

#define LOOPS "activation_loops.h"
#include "every_level.h"

extern "C" {

// x, residual and out are [total], one step; residual may be null, and is without a norm.
void bitspike_activation_forward(const QuantReLU* q, const Layer* layer, const Affine* affine, const void* x, const void* residual, void* out) {
    AT_LEVEL(forward(*q, *layer, affine, x, residual, out));
}

// Returns the gradient of the clip; `out` receives that of what was read. With a norm its sums per channel, plain and
// times x - mean, are added to sums[0 .. C) and sums[C .. 2C).
double bitspike_activation_backward(const QuantReLU* q, const Layer* layer, const Affine* affine, const void* x, const void* residual,
                                    const void* grad, void* out, double* sums) {
    return AT_LEVEL(backward(*q, *layer, affine, x, residual, grad, out, sums));
}

int32_t bitspike_abi() { return 2; }
}
