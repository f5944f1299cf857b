// The time loop of IF, LIF, PLIF and signed IF neurons over [T, M] memory, forward and backward, each in one pass, alone or with
// the norm before it and a residual.
//
// Plain C++ with OpenMP and a C interface; no header of torch or Python. The membrane never leaves the cache: elements
// are taken in blocks, and all T steps of a block run before the next. The backward pass recomputes the potentials of its
// block from the input instead of reading them from memory.
//
// Forward is compiled here and backward in neuron_backward.cpp, so that two processors share the longest part.

#include <omp.h>

#include "levels.h"
#include "neuron.h"

#define LOOPS "neuron_forward_loops.h"
#include "every_level.h"

extern "C" {

// x, residual and out are [steps, total]; residual may be null, and is without a norm.
void bitspike_neuron_forward(const Neuron* n, const Layer* layer, const Affine* affine, const void* x, const void* residual, void* out) {
    AT_LEVEL(forward(*n, *layer, affine, x, residual, out));
}

int32_t bitspike_abi() { return 3; }
}
