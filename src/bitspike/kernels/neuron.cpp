// The time loop of IF, LIF, PLIF and signed IF neurons over [T, M] memory, forward and backward, each in one pass, alone or with
// the norm before it and a residual.
//
// Plain C++ with OpenMP and a C interface; no header of torch or Python. The membrane never leaves the cache: elements
// are taken in blocks, and all T steps of a block run before the next. The backward pass recomputes the potentials of its
// block from the input instead of reading them from memory.

#include <omp.h>

#include "layer.h"
#include "levels.h"

extern "C" {

enum Flags : int32_t {
    HARD = 1, LEAK_AFTER = 2, DECAY_INPUT = 4, DETACH = 8, LEAKS = 16, LEARNED_LEAK = 32, SIGNED = 64
};
enum Surrogate : int32_t { RECTANGLE = 0, TRIANGLE = 1, ARCTAN = 2, SIGMOID = 3, EXPONENTIAL = 4 };

// One neuron layer. `input_gain` is 1, or 1 - decay; `a` and `b` are the surrogate's two numbers, see `slope`. The pointers
// give one threshold, bar and start per channel, or are null. A spike is sent where h >= bar: the threshold, or for a
// comparison by > the next number above it. Mirrored in kernels/neuron.py.
struct Neuron {
    float decay, input_gain, threshold, bar, v_reset, initial, resolution, center, a, b, retract;
    int32_t flags, surrogate;
    const float *thresholds, *bars, *initials;
};
}

#define LOOPS "neuron_loops.h"
#include "every_level.h"

extern "C" {

// x, residual and out are [steps, total]; residual may be null, and is without a norm.
void bitspike_neuron_forward(const Neuron* n, const Layer* layer, const Affine* affine, const void* x, const void* residual, void* out) {
    AT_LEVEL(forward(*n, *layer, affine, x, residual, out));
}

// Returns the gradient of the decay; `out` receives that of what the neuron read. With a norm its sums per channel, plain
// and times x - mean, are added to sums[0 .. C) and sums[C .. 2C).
double bitspike_neuron_backward(const Neuron* n, const Layer* layer, const Affine* affine, const void* x, const void* residual,
                                const void* grad, void* out, double* sums) {
    return AT_LEVEL(backward(*n, *layer, affine, x, residual, grad, out, sums));
}

int32_t bitspike_abi() { return 2; }
}
