// The quantized ReLU with a learned clip and the clip-floor-shift activation, forward and backward, each in one pass; the
// first alone or with the norm before it and a residual. The backward pass computes the codes again from the input.

#include <omp.h>

#include "layer.h"
#include "levels.h"

extern "C" {

// a = clip * q, q = round(min(relu(x) / clip, 1) * levels) / levels. Mirrored in kernels/activation.py.
struct QuantReLU {
    float clip, levels;
};

// y = clip * floor(clamp(x steps / clip + shift, 0, steps)) / steps; the gradient passes where low clip < x < high clip.
// `clips` are [channels], or null where one clip serves all. Mirrored in kernels/clip_floor.py.
struct ClipFloor {
    const float* clips;
    float clip, steps, shift, low, high;
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

void bitspike_clip_floor_forward(const ClipFloor* f, const Layer* layer, const void* x, void* out) { AT_LEVEL(forward(*f, *layer, x, out)); }

// Returns clip times the gradient of the one clip; with a clip per channel, adds theirs to sums[0 .. C) instead.
double bitspike_clip_floor_backward(const ClipFloor* f, const Layer* layer, const void* x, const void* grad, void* out, double* sums) {
    return AT_LEVEL(backward(*f, *layer, x, grad, out, sums));
}

int32_t bitspike_abi() { return 3; }
}
