// The forward pass of neurons; see neuron_loops.h.
#include "neuron_loops.h"

double forward(const Neuron& n, const Layer& layer, const Affine* affine, const void* x, const void* residual, void* out) {
    return affine ? run_any<false, true>(n, layer, affine, x, residual, nullptr, out, nullptr)
                  : run_any<false, false>(n, layer, affine, x, residual, nullptr, out, nullptr);
}
