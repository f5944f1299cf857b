// The time loop of IF, LIF and PLIF neurons over [T, M] memory, forward and backward, each in one pass.
//
// Plain C++ with OpenMP and a C interface; no header of torch or Python. The membrane never leaves the cache: elements
// are taken in blocks, and all T steps of a block run before the next. The backward pass recomputes the potentials of its
// block from the input instead of reading them from memory.
//
// Floating-point contraction is off (-ffp-contract=off): products and sums round one by one, as the plain path does, so
// spikes are equal bit for bit.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define CLONES
#endif

// Helpers must melt into the cloned functions, or they would keep the plain instruction set.
#if defined(__GNUC__)
#define INLINE inline __attribute__((always_inline))
#else
#define INLINE inline
#endif

extern "C" {

enum Flags : int32_t { HARD = 1, STRICT = 2, LEAK_AFTER = 4, DECAY_INPUT = 8, DETACH = 16, LEAKS = 32, LEARNED_LEAK = 64 };
enum Surrogate : int32_t { RECTANGLE = 0, TRIANGLE = 1, ARCTAN = 2 };

// One neuron layer. `input_gain` is 1, or 1 - decay; `a` and `b` are the surrogate's two numbers, see `slope`.
struct Neuron {
    float decay, input_gain, threshold, v_reset, initial, resolution, center, a, b;
    int32_t flags, surrogate;
};
}

namespace {

constexpr int64_t BLOCK = 512;  // elements whose potentials stay in the first-level cache

INLINE float widen(uint16_t x) {
    uint32_t bits = static_cast<uint32_t>(x) << 16;
    float out;
    std::memcpy(&out, &bits, 4);
    return out;
}
INLINE float widen(float x) { return x; }

template <class T> INLINE T narrow(float x);
template <> INLINE float narrow<float>(float x) { return x; }
template <> INLINE uint16_t narrow<uint16_t>(float x) {  // round to nearest, ties to even
    uint32_t bits;
    std::memcpy(&bits, &x, 4);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return 0x7fc0;
    return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

template <int KIND> INLINE float slope(float x, const Neuron& n) {
    x -= n.center;
    if (KIND == RECTANGLE) return (std::fabs(x) < n.a ? 1.0f : 0.0f) * n.b;               // a = width/2, b = 1/width
    if (KIND == TRIANGLE) return std::max(1.0f - std::fabs(x) * n.a, 0.0f) * n.b;        // a = 1/width, b = height
    const float y = n.a * x;                                                             // a = pi*alpha/2, b = alpha/2
    return n.b / (1.0f + y * y);
}

// h[j] from v[j] and x[j]; the order of every product and sum is that of ops.dynamics.integrate.
template <class T>
INLINE void integrate(const Neuron& n, const T* x, const float* v, float* h, int64_t size) {
    const float in = n.input_gain;
    if (!(n.flags & LEAKS)) {
#pragma omp simd
        for (int64_t j = 0; j < size; ++j) h[j] = v[j] + widen(x[j]) * in;
    } else if (n.resolution > 0) {
        const bool after = n.flags & LEAK_AFTER;
        for (int64_t j = 0; j < size; ++j) {
            const float i = widen(x[j]) * in;
            const float leaked = std::floor((after ? v[j] + i : v[j]) * n.decay / n.resolution) * n.resolution;
            h[j] = after ? leaked : leaked + i;
        }
    } else if (n.flags & LEAK_AFTER) {
#pragma omp simd
        for (int64_t j = 0; j < size; ++j) h[j] = (v[j] + widen(x[j]) * in) * n.decay;
    } else {
#pragma omp simd
        for (int64_t j = 0; j < size; ++j) h[j] = v[j] * n.decay + widen(x[j]) * in;
    }
}

INLINE void reset(const Neuron& n, const float* h, float* s, float* v, int64_t size) {
    const float theta = n.threshold, back = n.v_reset;
    if (n.flags & STRICT) {
#pragma omp simd
        for (int64_t j = 0; j < size; ++j) s[j] = h[j] - theta > 0.0f ? 1.0f : 0.0f;
    } else {
#pragma omp simd
        for (int64_t j = 0; j < size; ++j) s[j] = h[j] - theta >= 0.0f ? 1.0f : 0.0f;
    }
    if (n.flags & HARD) {
#pragma omp simd
        for (int64_t j = 0; j < size; ++j) v[j] = s[j] > 0.0f ? back : h[j];
    } else {
#pragma omp simd
        for (int64_t j = 0; j < size; ++j) v[j] = s[j] > 0.0f ? h[j] - theta : h[j];
    }
}

template <class T>
CLONES void forward_block(const Neuron& n, const T* x, T* out, int64_t steps, int64_t stride, int64_t total, int64_t size) {
    alignas(64) float v[BLOCK], h[BLOCK], s[BLOCK];
    std::fill(v, v + size, n.initial);
    for (int64_t t = 0; t < steps; ++t) {
        integrate(n, x + t * stride, v, h, size);
        reset(n, h, s, v, size);
        T* o = out + t * total;
#pragma omp simd
        for (int64_t j = 0; j < size; ++j) o[j] = narrow<T>(s[j]);
    }
}

template <class T, int KIND, bool STRICTLY, bool LEARNED>
INLINE float backward_steps(const Neuron& n, const T* x, const T* grad, T* dx, int64_t steps, int64_t stride, int64_t total,
                            int64_t size, float* hs, float* vs) {
    alignas(64) float s[BLOCK], gv[BLOCK];
    // vs[t] is the potential before step t, hs[t] the one that is compared.
    std::fill(vs, vs + size, n.initial);
    for (int64_t t = 0; t < steps; ++t) {
        integrate(n, x + t * stride, vs + t * size, hs + t * size, size);
        reset(n, hs + t * size, s, vs + (t + 1) * size, size);
    }
    std::fill(gv, gv + size, 0.0f);
    const bool hard = n.flags & HARD, detach = n.flags & DETACH, after = n.flags & LEAK_AFTER, leaks = n.flags & LEAKS;
    const float theta = n.threshold, decay = n.decay, in = n.input_gain;
    const float to_x = in * (after && leaks ? decay : 1.0f), to_v = leaks ? decay : 1.0f;
    // dv/dh with the spike held is 1 - fired * kept; dv/ds is jump + slant * h.
    const float kept = hard ? 1.0f : 0.0f, slant = hard && !detach ? -1.0f : 0.0f;
    const float jump = detach ? 0.0f : (hard ? n.v_reset : -theta);
    const float inside = (n.flags & DECAY_INPUT) ? 1.0f : 0.0f;  // x is scaled by 1 - decay
    float ddecay = 0.0f;
    for (int64_t t = steps - 1; t >= 0; --t) {
        const float *h = hs + t * size, *v = vs + t * size;
        const T *g = grad + t * total, *xt = x + t * stride;
        T* d = dx + t * total;
#pragma omp simd reduction(+ : ddecay)
        for (int64_t j = 0; j < size; ++j) {
            const float distance = h[j] - theta;
            const float fired = (STRICTLY ? distance > 0.0f : distance >= 0.0f) ? 1.0f : 0.0f;
            const float gh = (widen(g[j]) + gv[j] * (jump + slant * h[j])) * slope<KIND>(distance, n) +
                             gv[j] * (1.0f - fired * kept);
            if (LEARNED) {
                const float i = widen(xt[j]);
                ddecay += gh * (v[j] - inside * i + (after ? i * in - inside * (decay - 1.0f) * i : 0.0f));
            }
            gv[j] = gh * to_v;
            d[j] = narrow<T>(gh * to_x);
        }
    }
    return ddecay;
}

template <class T, int KIND>
INLINE float backward_kind(const Neuron& n, const T* x, const T* grad, T* dx, int64_t steps, int64_t stride, int64_t total,
                           int64_t size, float* hs, float* vs) {
    const bool strict = n.flags & STRICT;
    if (n.flags & LEARNED_LEAK)
        return strict ? backward_steps<T, KIND, true, true>(n, x, grad, dx, steps, stride, total, size, hs, vs)
                      : backward_steps<T, KIND, false, true>(n, x, grad, dx, steps, stride, total, size, hs, vs);
    return strict ? backward_steps<T, KIND, true, false>(n, x, grad, dx, steps, stride, total, size, hs, vs)
                  : backward_steps<T, KIND, false, false>(n, x, grad, dx, steps, stride, total, size, hs, vs);
}

template <class T>
CLONES float backward_block(const Neuron& n, const T* x, const T* grad, T* dx, int64_t steps, int64_t stride, int64_t total,
                            int64_t size, float* hs, float* vs) {
    switch (n.surrogate) {
        case RECTANGLE: return backward_kind<T, RECTANGLE>(n, x, grad, dx, steps, stride, total, size, hs, vs);
        case TRIANGLE: return backward_kind<T, TRIANGLE>(n, x, grad, dx, steps, stride, total, size, hs, vs);
        default: return backward_kind<T, ARCTAN>(n, x, grad, dx, steps, stride, total, size, hs, vs);
    }
}

template <class T> void forward(const Neuron& n, const T* x, T* out, int64_t steps, int64_t stride, int64_t total, int threads) {
    const int64_t blocks = (total + BLOCK - 1) / BLOCK;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t i = 0; i < blocks; ++i) {
        const int64_t at = i * BLOCK;
        forward_block(n, x + at, out + at, steps, stride, total, std::min(BLOCK, total - at));
    }
}

template <class T>
double backward(const Neuron& n, const T* x, const T* grad, T* dx, int64_t steps, int64_t stride, int64_t total, int threads) {
    // Long runs take smaller blocks, so that all their potentials still fit the second-level cache.
    const int64_t block = std::max<int64_t>(16, std::min(BLOCK, (int64_t{1} << 16) / (2 * steps + 1) / 16 * 16));
    const int64_t blocks = (total + block - 1) / block;
    double ddecay = 0.0;
#pragma omp parallel num_threads(threads) reduction(+ : ddecay)
    {
        std::vector<float> memory(static_cast<size_t>((2 * steps + 1) * block));
        float *hs = memory.data(), *vs = hs + steps * block;
#pragma omp for schedule(static)
        for (int64_t i = 0; i < blocks; ++i) {
            const int64_t at = i * block;
            ddecay += backward_block(n, x + at, grad + at, dx + at, steps, stride, total, std::min(block, total - at), hs, vs);
        }
    }
    return ddecay;
}

}  // namespace

extern "C" {

// x and out are [steps, total]; steps of x lie `stride` elements apart (0 for an input that is constant in time).
void bitspike_forward(const Neuron* n, int32_t bf16, const void* x, void* out, int64_t steps, int64_t stride, int64_t total,
                      int32_t threads) {
    if (bf16)
        forward(*n, static_cast<const uint16_t*>(x), static_cast<uint16_t*>(out), steps, stride, total, threads);
    else
        forward(*n, static_cast<const float*>(x), static_cast<float*>(out), steps, stride, total, threads);
}

// Returns the gradient of the decay; dx receives that of x, [steps, total].
double bitspike_backward(const Neuron* n, int32_t bf16, const void* x, const void* grad, void* dx, int64_t steps, int64_t stride,
                         int64_t total, int32_t threads) {
    if (bf16)
        return backward(*n, static_cast<const uint16_t*>(x), static_cast<const uint16_t*>(grad), static_cast<uint16_t*>(dx),
                        steps, stride, total, threads);
    return backward(*n, static_cast<const float*>(x), static_cast<const float*>(grad), static_cast<float*>(dx), steps, stride,
                    total, threads);
}

int32_t bitspike_abi() { return 1; }
}
