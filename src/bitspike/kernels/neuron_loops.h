// The time loop of a neuron, forward and backward, over blocks of elements whose state stays in the first-level cache.
// The order of every product and sum is that of ops/dynamics.py, so spikes are equal bit for bit.

enum Reset { SOFT = 0, HARD_RESET = 1, SIGNED_RESET = 2 };
enum Leakage { NONE = 0, BEFORE = 1, OTHER = 2 };

template <int LEAKAGE> INLINE V integrate(const Neuron& n, V v, V x) {
    if (LEAKAGE == NONE) return v + x;
    x = x * n.input_gain;
    if (LEAKAGE == BEFORE) return v * n.decay + x;
    const bool after = n.flags & LEAK_AFTER;
    V leaked = (after ? v + x : v) * n.decay;
    if (n.resolution > 0) leaked = floor_of(leaked / n.resolution) * n.resolution;
    return after ? leaked : leaked + x;
}

// -1 where the threshold is reached; `equal` is -1 for >=, 0 for >.
INLINE I reaches(V distance, I equal) { return (distance > 0.0f) | ((distance == 0.0f) & equal); }

template <int RESET> INLINE V after_reset(const Neuron& n, V h, V theta, I fired, I back) {
    if (RESET == HARD_RESET) return fired ? all(n.v_reset) : h;
    const V v = fired ? h - theta : h;
    return RESET == SIGNED_RESET ? (back ? h + theta : v) : v;
}

// A signed neuron takes a spike back below -retract, if one is out.
template <int RESET> INLINE I takes_back(const Neuron& n, V h, V emitted) {
    return RESET == SIGNED_RESET ? (-h - n.retract >= 0.0f) & (emitted > 0.0f) : I{};
}

INLINE V as_spikes(I fired, I back) { return __builtin_convertvector(back - fired, V); }
template <bool AROUND> INLINE void store_spikes(float* p, I fired, I back) { store<AROUND>(p, as_spikes(fired, back)); }
template <bool AROUND> INLINE void store_spikes(uint16_t* p, I fired, I back) { store<AROUND>(p, as_spikes(fired, back)); }

struct Scratch {
    std::vector<float> memory;
    float *v, *emitted, *h, *able;  // [block], [block], [steps, block], [steps, block]
    const float *theta, *initial;   // of the block at hand
};

// All steps of one block. With SPIKES, spikes go to b.out and state stays in v; without, h (and for a signed neuron the
// spikes that were out before each step) of every step are kept for the way back.
template <class T, bool SPIKES, int RESET, int LEAKAGE, bool NORMED, bool AROUND>
INLINE void advance(const Neuron& n, const Block<T>& b, Scratch& s) {
    const I equal = I{} - !(n.flags & STRICT);
    for (int64_t t = 0; t < b.steps; ++t) {
        const bool first = t == 0;
        float *ht = s.h + t * b.size, *able = s.able + t * b.size;
        const float* before = SPIKES || first ? s.v : ht - b.size;
        for (int64_t j = 0; j < b.size; j += LANES) {
            const V theta = load(s.theta + j);
            V v, emitted{};
            if (first) {
                v = load(s.initial + j);
            } else if (SPIKES) {
                v = load(s.v + j);
                if (RESET == SIGNED_RESET) emitted = load(s.emitted + j);
            } else {  // from the potential before the last reset
                const V h = load(before + j), out = RESET == SIGNED_RESET ? load(able - b.size + j) : V{};
                const I fired = reaches(h - theta, equal), back = takes_back<RESET>(n, h, out);
                v = after_reset<RESET>(n, h, theta, fired, back);
                if (RESET == SIGNED_RESET) emitted = out + as_spikes(fired, back);
            }
            const V h = integrate<LEAKAGE>(n, v, input_of<T, NORMED>(b, t, j));
            if (SPIKES) {
                const I fired = reaches(h - theta, equal), back = takes_back<RESET>(n, h, emitted);
                store(s.v + j, after_reset<RESET>(n, h, theta, fired, back));
                if (RESET == SIGNED_RESET) store(s.emitted + j, emitted + as_spikes(fired, back));
                store_spikes<AROUND>(b.out + t * b.out_step + j, fired, back);
            } else {
                store(ht + j, h);
                if (RESET == SIGNED_RESET) store(able + j, emitted);
            }
        }
    }
}

template <int KIND> INLINE V slope(V x, const Neuron& n) {
    x = x - n.center;
    if (KIND == RECTANGLE) return magnitude(x) < n.a ? all(n.b) : all(0.0f);  // a = width/2, b = 1/width
    if (KIND == TRIANGLE) {                                                    // a = 1/width, b = height
        const V tent = 1.0f - magnitude(x) * n.a;
        return (tent > 0.0f ? tent : all(0.0f)) * n.b;
    }
    if (KIND == ARCTAN) {  // a = pi*alpha/2, b = alpha/2
        const V y = x * n.a;
        return reciprocal(1.0f + y * y) * n.b;
    }
    const V e = exp_of_negative(magnitude(x) * -n.a);  // a = alpha
    if (KIND == EXPONENTIAL) return e * n.b;           // b = alpha/2
    const V r = reciprocal(1.0f + e);                  // sigmoid: alpha * s * (1 - s), the same on both sides; b = alpha
    return e * r * r * n.b;
}

// From the last step to the first: b.out receives the gradient of what the neuron read. With NORMED its sums, plain and
// times x - mean, are added to `plain` and `centered`. Returns the block's share of the gradient of a learned decay.
template <class T, int KIND, bool SIGNED, bool NORMED, bool AROUND>
INLINE double retrace(const Neuron& n, const Block<T>& b, Scratch& s, float* plain, float* centered) {
    const bool hard = n.flags & HARD, detach = n.flags & DETACH, after = n.flags & LEAK_AFTER, leaks = n.flags & LEAKS;
    const I equal = I{} - !(n.flags & STRICT);
    const float in = leaks ? n.input_gain : 1.0f, to_v = leaks ? n.decay : 1.0f, to_x = in * (after && leaks ? n.decay : 1.0f);
    // dv/dh with the spike held is 1, or 0 after a hard reset; dv/ds is jump + by_theta * theta + by_h * h.
    const float jump = !detach && hard ? n.v_reset : 0.0f, by_theta = detach || hard ? 0.0f : -1.0f;
    const float by_h = hard && !detach ? -1.0f : 0.0f;
    const I held = I{} - !hard;
    const float inside = (n.flags & DECAY_INPUT) ? 1.0f : 0.0f;  // x is scaled by 1 - decay
    V ddecay{};
    for (int64_t t = b.steps - 1; t >= 0; --t) {
        const bool last = t == b.steps - 1;
        const float *ht = s.h + t * b.size, *able = s.able + t * b.size;
        for (int64_t j = 0; j < b.size; j += LANES) {
            const V h = load(ht + j), theta = load(s.theta + j), distance = h - theta;
            const I passes = ~reaches(distance, equal) | held;
            const V gv = last ? V{} : load(s.v + j);
            const V gs = load(b.grad + t * b.grad_step + j) + gv * (jump + by_theta * theta + by_h * h);
            V steep = slope<KIND>(distance, n);
            if (SIGNED) {
                const V below = slope<KIND>(-h - n.retract, n);
                steep = steep + (load(able + j) > 0.0f ? below : all(0.0f));
            }
            const V gh = gs * steep + (passes ? gv : all(0.0f));
            store(s.v + j, gh * to_v);
            const V gx = gh * to_x;
            store<AROUND>(b.out + t * b.out_step + j, gx);
            if (NORMED) {
                store(plain + j, load(plain + j) + gx);
                store(centered + j, load(centered + j) + gx * (load(b.x + t * b.x_step + j) - load(b.mean + j)));
            }
            if (n.flags & LEARNED_LEAK) {
                V v = load(s.initial + j);
                if (t > 0) {
                    const V earlier = load(ht - b.size + j);
                    const I fired = reaches(earlier - theta, equal);
                    v = hard ? after_reset<HARD_RESET>(n, earlier, theta, fired, I{}) : after_reset<SOFT>(n, earlier, theta, fired, I{});
                }
                const V x = input_of<T, NORMED>(b, t, j);
                ddecay = ddecay + gh * (v - inside * x + (after ? x * in - inside * (n.decay - 1.0f) * x : V{}));
            }
        }
    }
    return sum_of(ddecay);
}

// ------------------------------------------------------------------------------------------- every choice, once per block

template <class T, bool SPIKES, int RESET, int LEAKAGE, bool NORMED>
INLINE void advance_to(const Neuron& n, const Block<T>& b, Scratch& s, bool around) {
    if (SPIKES && around) advance<T, SPIKES, RESET, LEAKAGE, NORMED, true>(n, b, s);
    else advance<T, SPIKES, RESET, LEAKAGE, NORMED, false>(n, b, s);
}

template <class T, bool SPIKES, int RESET, bool NORMED>
void advance_leaking(const Neuron& n, const Block<T>& b, Scratch& s, bool around) {
    if (!(n.flags & LEAKS)) advance_to<T, SPIKES, RESET, NONE, NORMED>(n, b, s, around);
    else if ((n.flags & LEAK_AFTER) || n.resolution > 0) advance_to<T, SPIKES, RESET, OTHER, NORMED>(n, b, s, around);
    else advance_to<T, SPIKES, RESET, BEFORE, NORMED>(n, b, s, around);
}

template <class T, bool SPIKES, bool NORMED> void advance_any(const Neuron& n, const Block<T>& b, Scratch& s, bool around) {
    if (n.flags & SIGNED) advance_leaking<T, SPIKES, SIGNED_RESET, NORMED>(n, b, s, around);
    else if (n.flags & HARD) advance_leaking<T, SPIKES, HARD_RESET, NORMED>(n, b, s, around);
    else advance_leaking<T, SPIKES, SOFT, NORMED>(n, b, s, around);
}

template <class T, int KIND, bool NORMED>
double retrace_kind(const Neuron& n, const Block<T>& b, Scratch& s, float* plain, float* centered, bool around) {
    if (n.flags & SIGNED) return retrace<T, KIND, true, NORMED, false>(n, b, s, plain, centered);
    if (around) return retrace<T, KIND, false, NORMED, true>(n, b, s, plain, centered);
    return retrace<T, KIND, false, NORMED, false>(n, b, s, plain, centered);
}

template <class T, bool NORMED>
double retrace_any(const Neuron& n, const Block<T>& b, Scratch& s, float* plain, float* centered, bool around) {
    switch (n.surrogate) {
        case RECTANGLE: return retrace_kind<T, RECTANGLE, NORMED>(n, b, s, plain, centered, around);
        case TRIANGLE: return retrace_kind<T, TRIANGLE, NORMED>(n, b, s, plain, centered, around);
        case SIGMOID: return retrace_kind<T, SIGMOID, NORMED>(n, b, s, plain, centered, around);
        case EXPONENTIAL: return retrace_kind<T, EXPONENTIAL, NORMED>(n, b, s, plain, centered, around);
        default: return retrace_kind<T, ARCTAN, NORMED>(n, b, s, plain, centered, around);
    }
}

// What a thread holds while it takes blocks.
template <class T, bool BACK, bool NORMED> struct Worker {
    Worker(const Neuron& n, const Layer& layer, const Affine* affine, int64_t block, bool around)
        : n(n), around(around), theta(n.thresholds, n.threshold, layer, block), initial(n.initials, n.initial, layer, block),
          mean(NORMED ? affine->mean : nullptr, 0, layer, NORMED ? block : 0), gain(NORMED ? affine->gain : nullptr, 0, layer, NORMED ? block : 0),
          shift(NORMED ? affine->shift : nullptr, 0, layer, NORMED ? block : 0), plain(layer, BACK && NORMED ? block : 0),
          centered(layer, BACK && NORMED ? block : 0) {
        const int64_t kept = BACK ? layer.steps : 0;
        // Each part begins on a cache line: a vector across two lines costs twice.
        s.memory.resize(static_cast<size_t>((2 + 2 * kept) * block + 16));
        const auto start = (reinterpret_cast<uintptr_t>(s.memory.data()) + 63) / 64 * 64;
        s.v = reinterpret_cast<float*>(start);
        s.emitted = s.v + block;
        s.h = s.emitted + block;
        s.able = s.h + kept * block;
    }

    void operator()(Block<T>& b, int64_t at, int64_t size) {
        s.theta = theta.of(at, size);
        s.initial = initial.of(at, size);
        if (NORMED) {
            b.mean = mean.of(at, size);
            b.gain = gain.of(at, size);
            b.shift = shift.of(at, size);
        }
        const bool past = around && size == b.size;
        if (!BACK) return advance_any<T, true, NORMED>(n, b, s, past);
        advance_any<T, false, NORMED>(n, b, s, false);
        ddecay += retrace_any<T, NORMED>(n, b, s, plain.of(at, size), centered.of(at, size), past);
        if (NORMED) {
            plain.done(at, size);
            centered.done(at, size);
        }
    }

    const Neuron& n;
    bool around;
    Scratch s;
    Spread theta, initial, mean, gain, shift;
    Sums plain, centered;
    double ddecay = 0;
};

template <class T, bool BACK, bool NORMED>
double run(const Neuron& n, const Layer& layer, const Affine* affine, const T* x, const T* residual, const T* grad, T* out, double* sums) {
    // The potentials of a block, all steps of them, stay close; the runs that are read and written stay long.
    const int64_t room = BACK ? int64_t{1} << 13 : int64_t{1} << 20;
    const int64_t block = std::max<int64_t>(64, std::min<int64_t>(512, room / layer.steps / 64 * 64));
    const int64_t blocks = (layer.total + block - 1) / block, bytes = layer.steps * layer.total * static_cast<int64_t>(sizeof(T));
    const bool aligned = reinterpret_cast<uintptr_t>(out) % 64 == 0 && (layer.steps == 1 || layer.total * sizeof(T) % 64 == 0);
    const bool around = aligned && !(BACK && NORMED) && larger_than_cache(bytes);
    const Block<T> whole{layer.steps, 0, x, residual, grad, out, layer.x_step, layer.residual_step, layer.grad_step, layer.total, nullptr, nullptr, nullptr};
    big_pages(out, bytes);
    std::vector<Worker<T, BACK, NORMED>*> workers(static_cast<size_t>(layer.threads), nullptr);
    double ddecay = 0;
#pragma omp parallel num_threads(layer.threads)
    {
        auto* worker = new Worker<T, BACK, NORMED>(n, layer, affine, block, around);
        std::vector<T> copy;
#pragma omp for schedule(static)
        for (int64_t i = 0; i < blocks; ++i) {
            const int64_t at = i * block;
            in_vectors(whole, at, std::min(block, layer.total - at), copy, *worker);
        }
        if (around) settle();
        workers[static_cast<size_t>(omp_get_thread_num())] = worker;
    }
    // In the order of the threads, so that the same machine gives the same sums.
    for (auto* worker : workers) {
        if (!worker) continue;
        ddecay += worker->ddecay;
        if (BACK && NORMED) {
            worker->plain.close();
            worker->centered.close();
            for (int64_t c = 0; c < layer.channels; ++c) {
                sums[c] += worker->plain.totals[static_cast<size_t>(c)];
                sums[layer.channels + c] += worker->centered.totals[static_cast<size_t>(c)];
            }
        }
        delete worker;
    }
    return ddecay;
}

template <bool BACK, bool NORMED>
double run_any(const Neuron& n, const Layer& layer, const Affine* affine, const void* x, const void* residual, const void* grad, void* out, double* sums) {
    if (layer.bf16)
        return run<uint16_t, BACK, NORMED>(n, layer, affine, static_cast<const uint16_t*>(x), static_cast<const uint16_t*>(residual),
                                           static_cast<const uint16_t*>(grad), static_cast<uint16_t*>(out), sums);
    return run<float, BACK, NORMED>(n, layer, affine, static_cast<const float*>(x), static_cast<const float*>(residual),
                                    static_cast<const float*>(grad), static_cast<float*>(out), sums);
}

double forward(const Neuron& n, const Layer& layer, const Affine* affine, const void* x, const void* residual, void* out) {
    return affine ? run_any<false, true>(n, layer, affine, x, residual, nullptr, out, nullptr)
                  : run_any<false, false>(n, layer, affine, x, residual, nullptr, out, nullptr);
}

double backward(const Neuron& n, const Layer& layer, const Affine* affine, const void* x, const void* residual, const void* grad, void* out, double* sums) {
    return affine ? run_any<true, true>(n, layer, affine, x, residual, grad, out, sums)
                  : run_any<true, false>(n, layer, affine, x, residual, grad, out, sums);
}
