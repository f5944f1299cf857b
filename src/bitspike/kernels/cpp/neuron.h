// A layer of neurons as Python describes it. Mirrored in kernels/neuron.py.
#pragma once
#include "layer.h"

extern "C" {

enum Flags : int32_t {
    HARD = 1, LEAK_AFTER = 2, DECAY_INPUT = 4, DETACH = 8, LEAKS = 16, LEARNED_LEAK = 32, SIGNED = 64, LEARNED_WORTH = 128
};
enum Surrogate : int32_t { RECTANGLE = 0, TRIANGLE = 1, ARCTAN = 2, SIGMOID = 3, EXPONENTIAL = 4 };

// One neuron layer. `input_gain` is 1, or 1 - decay; `a` and `b` are the surrogate's two numbers, see `slope`. The pointers
// give one threshold, bar and start per channel, or are null. A spike is sent where h >= bar: the threshold, or for a
// comparison by > the next number above it. Currents are divided by `worth`, and so much is sent for a spike.
struct Neuron {
    float decay, input_gain, threshold, bar, v_reset, initial, resolution, center, a, b, retract, worth;
    int32_t flags, surrogate;
    const float *thresholds, *bars, *initials;
};
}
