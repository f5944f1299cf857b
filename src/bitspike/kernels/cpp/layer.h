// What Python hands to the native parts about memory; mirrored in memory.py.
#pragma once
#include <cstdint>

extern "C" {

// Steps of one layer. Each step is one dense piece of `total` elements, [outer, channels, inner] in the order of memory:
// inner is 1 where channels are innermost (channels last), H * W where they are not. Steps of x lie `x_step` elements apart,
// those of the residual `residual_step`, those of the
// gradient that comes in `grad_step` (0 for what is constant in time); of everything else, `total`.
struct Layer {
    int64_t steps, total, channels, inner, x_step, residual_step, grad_step;
    int32_t bf16, threads;
};

// The affine map of a norm, per channel: y = (x - mean) * gain + shift. Null pointers: no norm.
struct Affine {
    const float *mean, *gain, *shift;
};
}
