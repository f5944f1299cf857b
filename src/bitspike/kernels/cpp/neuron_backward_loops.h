// The backward pass of neurons; see neuron_loops.h.
#include "neuron_loops.h"

double backward(const Neuron& n, const Layer& layer, const Affine* affine, const void* x, const void* residual, const void* grad, void* out, double* sums) {
    return affine ? run_any<true, true>(n, layer, affine, x, residual, grad, out, sums)
                  : run_any<true, false>(n, layer, affine, x, residual, grad, out, sums);
}
