// Batch statistics for what a neuron or an activation reads, and the gradient through them; see kernels/norm.py.
// The affine map itself is part of the loops of neuron.cpp and activation.cpp.

#include <omp.h>

#include <type_traits>

#include "layer.h"
#include "levels.h"

extern "C" {

// A batch norm: float [channels] each, null where there is none. Mirrored in kernels/norm.py.
struct Norm {
    const float *gain, *shift;
    float *running_mean, *running_var;
    double momentum, eps;
    int32_t batch, update;  // statistics of this batch; the running ones follow
};
}

#define LOOPS "norm_loops.h"
#include "every_level.h"

extern "C" {

// Fills four rows of [channels]: mean, 1 / sqrt(var + eps), gain and shift of the map y = (x - mean) * gain + shift.
void bitspike_norm_begin(const Layer* layer, const Norm* norm, const void* x, float* rows) {
    const int64_t channels = layer->channels;
    const auto size = static_cast<size_t>(channels);
    std::vector<double> mean(size), var(size);
    if (norm->batch) AT_LEVEL(any_moments(*layer, x, mean.data(), var.data()));
    const double count = static_cast<double>(layer->steps * (layer->total / channels));
    for (int64_t c = 0; c < channels; ++c) {
        const auto i = static_cast<size_t>(c);
        if (!norm->batch) mean[i] = norm->running_mean[c], var[i] = norm->running_var[c];
        const double inverse = 1.0 / std::sqrt(var[i] + norm->eps);
        rows[c] = static_cast<float>(mean[i]);
        rows[channels + c] = static_cast<float>(inverse);
        rows[2 * channels + c] = static_cast<float>(inverse * (norm->gain ? norm->gain[c] : 1.0));
        rows[3 * channels + c] = norm->shift ? norm->shift[c] : 0.0f;
        if (!norm->update) continue;
        const double m = norm->momentum, unbiased = var[i] * count / (count - 1);
        norm->running_mean[c] = static_cast<float>((1 - m) * norm->running_mean[c] + m * mean[i]);
        norm->running_var[c] = static_cast<float>((1 - m) * norm->running_var[c] + m * unbiased);
    }
}

// From the gradient at the norm's output and its sums, plain and times x - mean, to those of x (`out`, which may be `grad`),
// gain and shift. `rows` as bitspike_norm_begin filled them; `batch` as it was then.
void bitspike_norm_end(const Layer* layer, int32_t batch, const void* x, const void* grad, const float* rows, const double* sums,
                       void* out, float* dgain, float* dshift) {
    const int64_t channels = layer->channels;
    const double count = static_cast<double>(layer->steps * (layer->total / channels));
    std::vector<float> slant(static_cast<size_t>(channels)), base(static_cast<size_t>(channels));
    for (int64_t c = 0; c < channels; ++c) {
        const double inverse = rows[channels + c], gain = rows[2 * channels + c];
        dgain[c] = static_cast<float>(sums[channels + c] * inverse);
        dshift[c] = static_cast<float>(sums[c]);
        slant[static_cast<size_t>(c)] = static_cast<float>(-gain * inverse * inverse * sums[channels + c] / count);
        base[static_cast<size_t>(c)] = static_cast<float>(-gain * sums[c] / count);
    }
    AT_LEVEL(any_through(*layer, !batch, x, grad, out, rows, rows + 2 * channels, slant.data(), base.data()));
}

int32_t bitspike_abi() { return 2; }
}
