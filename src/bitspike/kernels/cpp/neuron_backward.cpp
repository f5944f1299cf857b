// The backward half of neuron.cpp.

#include <omp.h>

#include "levels.h"
#include "neuron.h"

#define LOOPS "neuron_backward_loops.h"
#include "every_level.h"

extern "C" {

// Returns the gradient of the number that is learned, the decay or the worth; `out` receives that of what the neuron read. With a norm its sums per channel, plain
// and times x - mean, are added to sums[0 .. C) and sums[C .. 2C).
double bitspike_neuron_backward(const Neuron* n, const Layer* layer, const Affine* affine, const void* x, const void* residual,
                                const void* grad, void* out, double* sums) {
    return AT_LEVEL(backward(*n, *layer, affine, x, residual, grad, out, sums));
}
}
