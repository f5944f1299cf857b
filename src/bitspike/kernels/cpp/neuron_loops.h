// The time loop of a neuron, forward and backward, over blocks of elements whose state stays in the first-level cache.
// The order of every product and sum is that of ops/dynamics.py, so spikes are equal bit for bit.

enum Reset { SOFT = 0, HARD_RESET = 1, SIGNED_RESET = 2 };
enum Leakage { NONE = 0, BEFORE = 1, OTHER = 2, ANY_LEAKAGE = 3 };

template <int LEAKAGE> INLINE V integrate(const Neuron& n, V v, V x) {
    if (LEAKAGE == NONE || (LEAKAGE == ANY_LEAKAGE && !(n.flags & LEAKS))) return v + x;
    if (n.input_gain != 1.0f) x = x * n.input_gain;  // a branch that is foreseen costs less than a product
    if (LEAKAGE == BEFORE) return v * n.decay + x;
    const bool after = n.flags & LEAK_AFTER;
    V leaked = (after ? v + x : v) * n.decay;
    if (n.resolution > 0) leaked = floor_of(leaked / n.resolution) * n.resolution;
    return after ? leaked : leaked + x;
}

template <int RESET> INLINE V after_reset(const Neuron& n, V h, V theta, Mask fired, Mask back) {
    if (RESET == HARD_RESET) return choose(fired, all(n.v_reset), h);
    const V v = choose(fired, h - theta, h);
    return RESET == SIGNED_RESET ? choose(back, h + theta, v) : v;
}

// A signed neuron takes a spike back below -retract, if one is out.
template <int RESET> INLINE Mask takes_back(const Neuron& n, V h, V emitted) {
    return RESET == SIGNED_RESET ? at_least(-h - n.retract, V{}) & above(emitted, V{}) : Mask{};
}

INLINE V as_spikes(Mask fired, Mask back) { return choose(back, all(-1.0f), kept(fired, all(1.0f))); }

template <bool AROUND> INLINE void store_spikes(float* p, Mask fired, Mask back) { store<AROUND>(p, as_spikes(fired, back)); }
template <bool AROUND> INLINE void store_spikes(uint16_t* p, Mask fired, Mask back) {
#if LEVEL == 5
    const __m256i words = _mm256_mask_mov_epi16(_mm256_maskz_mov_epi16(fired, _mm256_set1_epi16(0x3f80)), back, _mm256_set1_epi16(-0x4080));
    if (AROUND) return _mm256_stream_si256(reinterpret_cast<__m256i*>(p), words);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), words);
#else
    store<AROUND>(p, as_spikes(fired, back));
#endif
}

// What is sent: spikes, each worth so much.
template <bool AROUND, class T> INLINE void send(const Neuron& n, T* p, Mask fired, Mask back) {
    if (n.worth == 1.0f) return store_spikes<AROUND>(p, fired, back);
    store<AROUND>(p, as_spikes(fired, back) * n.worth);
}
// What arrives, in units of the worth.
template <bool NORMED, class T> INLINE V current_of(const Neuron& n, const Block<T>& b, const Map& map, int64_t t, int64_t j) {
    const V x = input_of<NORMED>(b, map, t, j);
    return n.worth == 1.0f ? x : x / n.worth;
}

struct State {
    float *v, *emitted, *h, *able;       // [block], [block], [steps, block], [steps, block]
    const float *theta, *bar, *initial;  // of the block at hand; a spike is sent where h >= bar
};

// Steps whose state stays in registers; older machines have too few of them to gain by it.
constexpr int CHUNK = LEVEL == 5 ? 4 : 1;

#if defined(__GNUC__) && !defined(__clang__)
#define UNROLLED _Pragma("GCC unroll 4")
#else
#define UNROLLED
#endif

// STEPS steps of one block, with the state of a vector in registers. With SPIKES, spikes go to b.out; without, h (and for a
// signed neuron the spikes that were out before each step) of every step are kept for the way back. Structures are taken by
// value: the compiler would read them again after every store.
template <class T, bool SPIKES, int RESET, int LEAKAGE, bool NORMED, bool AROUND, int STEPS>
INLINE void advance_by(const Neuron n, const Block<T> b, const State s, const int64_t start) {
    const float* const from = start ? s.v : s.initial;
    for (int64_t j = 0; j < b.size; j += LANES) {
        const V theta = load(s.theta + j), bar = load(s.bar + j);
        const Map map = map_of<NORMED>(b, j);
        V v = load(from + j), emitted{};
        if (RESET == SIGNED_RESET && start) emitted = load(s.emitted + j);
        UNROLLED for (int k = 0; k < STEPS; ++k) {
            const int64_t t = start + k;
            expect(b.x + t * b.x_step + j, j, b.size);
            if (NORMED && b.residual) expect(b.residual + t * b.residual_step + j, j, b.size);
            const V h = integrate<LEAKAGE>(n, v, current_of<NORMED>(n, b, map, t, j));
            if (!SPIKES) {
                store(s.h + t * b.size + j, h);
                if (RESET == SIGNED_RESET) store(s.able + t * b.size + j, emitted);
            }
            const Mask fired = at_least(h, bar), back = takes_back<RESET>(n, h, emitted);
            v = after_reset<RESET>(n, h, theta, fired, back);
            if (RESET == SIGNED_RESET) emitted = emitted + as_spikes(fired, back);
            if (SPIKES) send<AROUND>(n, b.out + t * b.out_step + j, fired, back);
        }
        store(s.v + j, v);
        if (RESET == SIGNED_RESET) store(s.emitted + j, emitted);
    }
}

template <class T, bool SPIKES, int RESET, int LEAKAGE, bool NORMED, bool AROUND>
INLINE void advance(const Neuron& n, const Block<T>& b, const State& s) {
    int64_t t = 0;
    if constexpr (CHUNK > 1)
        for (; t + CHUNK <= b.steps; t += CHUNK) advance_by<T, SPIKES, RESET, LEAKAGE, NORMED, AROUND, CHUNK>(n, b, s, t);
    for (; t < b.steps; ++t) advance_by<T, SPIKES, RESET, LEAKAGE, NORMED, AROUND, 1>(n, b, s, t);
}

// Surrogates that have a loop of their own; one is SIGMOID and EXPONENTIAL, whose exponential hides a branch. In the loops of
// signed spikes, which are rarely trained, ANY chooses at every vector.
enum Kind { A_RECTANGLE = RECTANGLE, A_TRIANGLE = TRIANGLE, AN_ARCTAN = ARCTAN, AN_EXPONENTIAL, ANY };

// The surrogate at potential h. `origin` is where it peaks, threshold + center; for ARCTAN, -a times that.
template <int KIND> INLINE V slope(V h, V origin, const Neuron& n) {
    if (KIND == ANY) {
        if (n.surrogate == ARCTAN) return slope<AN_ARCTAN>(h, origin, n);
        if (n.surrogate == RECTANGLE) return slope<A_RECTANGLE>(h, origin, n);
        if (n.surrogate == TRIANGLE) return slope<A_TRIANGLE>(h, origin, n);
        return slope<AN_EXPONENTIAL>(h, origin, n);
    }
    if (KIND == ARCTAN) {  // a = pi*alpha/2, b = alpha/2
        const V y = fused(h, all(n.a), origin), r = reciprocal(fused(y, y, all(1.0f)));
        return n.b != 1.0f ? r * n.b : r;
    }
    const V x = h - origin;
    if (KIND == RECTANGLE) return kept(above(all(n.a), magnitude(x)), all(n.b));  // a = width/2, b = 1/width
    if (KIND == TRIANGLE) {                                                    // a = 1/width, b = height
        const V tent = 1.0f - magnitude(x) * n.a;
        return kept(above(tent, V{}), tent) * n.b;
    }
    const V e = exp_of_negative(magnitude(x) * -n.a);  // a = alpha
    if (n.surrogate == EXPONENTIAL) return e * n.b;    // b = alpha/2
    const V r = reciprocal(1.0f + e);                  // sigmoid: alpha * s * (1 - s), the same on both sides; b = alpha
    return e * r * r * n.b;
}

// Whether gradients are written around the caches: never, always, or where `around` says so, by a branch at every vector.
enum Around { NEVER = 0, ALWAYS = 1, ASKED = 2 };
template <bool NORMED> constexpr bool goes_around = AROUND_PAYS && !NORMED;  // a norm reads it again at once

// STEPS steps of one block towards the first; arguments as `retrace`.
template <class T, int KIND, int RESET, bool NORMED, int AROUND, bool LEARNED, int STEPS>
INLINE V retrace_by(const Neuron n, const Block<T> b, const State s, const bool around, float* const plain, float* const centered, const int64_t end) {
    const bool after = n.flags & LEAK_AFTER, leaks = n.flags & LEAKS, last = end == b.steps;
    const float in = leaks ? n.input_gain : 1.0f, to_v = leaks ? n.decay : 1.0f, to_x = in * (after && leaks ? n.decay : 1.0f) / n.worth;
    const Mask coupled = everywhere(!(n.flags & DETACH));        // the gradient runs through the reset
    const float inside = (n.flags & DECAY_INPUT) ? 1.0f : 0.0f;  // x is scaled by 1 - decay
    V dlearned{};
    for (int64_t j = 0; j < b.size; j += LANES) {
        const V theta = load(s.theta + j), bar = load(s.bar + j);
        const float scale = KIND == ARCTAN || (KIND == ANY && n.surrogate == ARCTAN) ? -n.a : 1.0f, below = scale * (n.retract + n.center);
        const V origin = scale * (theta + n.center);
        const Map map = map_of<NORMED>(b, j);
        V gv = last ? V{} : load(s.v + j), sum{}, product{};
        if (NORMED) sum = load(plain + j), product = load(centered + j);
        UNROLLED for (int k = 1; k <= STEPS; ++k) {
            const int64_t t = end - k;
            const float* const ht = s.h + t * b.size;
            const V h = load(ht + j);
            expect(b.grad + t * b.grad_step + j, j, b.size);
            // dv/ds is v_reset - h or -threshold; dv/dh with the spike held is 1, or 0 after a hard reset.
            const V jump = RESET == HARD_RESET ? n.v_reset - h : -theta;
            const V gy = load(b.grad + t * b.grad_step + j), gs = fused(kept(coupled, gv), jump, n.worth == 1.0f ? gy : gy * n.worth);
            const V past = RESET == HARD_RESET ? kept(~at_least(h, bar), gv) : gv;
            V steep = slope<KIND>(h, origin, n);
            if (RESET == SIGNED_RESET)
                steep = steep + kept(above(load(s.able + t * b.size + j), V{}), slope<KIND>(-h, all(below), n));
            const V gh = fused(gs, steep, past), gx = to_x != 1.0f ? gh * to_x : gh;
            gv = gh * to_v;
            if (AROUND == ALWAYS || (AROUND == ASKED && around)) store<true>(b.out + t * b.out_step + j, gx);
            else store<false>(b.out + t * b.out_step + j, gx);
            if (NORMED) {
                sum = sum + gx;
                product = fused(gx, load(b.x + t * b.x_step + j) - map.mean, product);
            }
            if (LEARNED && (n.flags & LEARNED_WORTH)) {
                // y = worth * s(x / worth): the spikes themselves, and x / worth that falls as the worth rises.
                const Mask fired = at_least(h, bar), back = RESET == SIGNED_RESET ? takes_back<RESET>(n, h, load(s.able + t * b.size + j)) : Mask{};
                dlearned = dlearned + (gy * as_spikes(fired, back) - gx * (input_of<NORMED>(b, map, t, j) * (1.0f / n.worth)));
            } else if (LEARNED) {
                V v = load(s.initial + j);
                if (t > 0) {
                    const V earlier = load(ht - b.size + j);
                    v = after_reset<RESET>(n, earlier, theta, at_least(earlier, bar), Mask{});
                }
                const V x = input_of<NORMED>(b, map, t, j);
                dlearned = dlearned + gh * (v - inside * x + (after ? x * in - inside * (n.decay - 1.0f) * x : V{}));
            }
        }
        store(s.v + j, gv);
        if (NORMED) store(plain + j, sum), store(centered + j, product);
    }
    return dlearned;
}

// From the last step to the first: b.out receives the gradient of what the neuron read. With NORMED its sums, plain and
// times x - mean, are added to `plain` and `centered`.
template <class T, int KIND, int RESET, bool NORMED, int AROUND>
INLINE void retrace_to(const Neuron& n, const Block<T>& b, const State& s, bool around, float* plain, float* centered) {
    int64_t t = b.steps;
    if constexpr (CHUNK > 1)
        for (; t >= CHUNK; t -= CHUNK) retrace_by<T, KIND, RESET, NORMED, AROUND, false, CHUNK>(n, b, s, around, plain, centered, t);
    for (; t > 0; --t) retrace_by<T, KIND, RESET, NORMED, AROUND, false, 1>(n, b, s, around, plain, centered, t);
}

// A loop of its own for what is written around the caches pays for float32, by a fifth; bfloat16 does with a branch.
template <class T, int KIND, int RESET, bool NORMED>
void retrace(const Neuron& n, const Block<T>& b, const State& s, bool around, float* plain, float* centered) {
    if constexpr (RESET == SIGNED_RESET || !goes_around<NORMED>) retrace_to<T, KIND, RESET, NORMED, NEVER>(n, b, s, around, plain, centered);
    else if constexpr (sizeof(T) == 2) retrace_to<T, KIND, RESET, NORMED, ASKED>(n, b, s, around, plain, centered);
    else if (around) retrace_to<T, KIND, RESET, NORMED, ALWAYS>(n, b, s, around, plain, centered);
    else retrace_to<T, KIND, RESET, NORMED, NEVER>(n, b, s, around, plain, centered);
}

// The same, step by step; returns the block's share of the gradient of what is learned, the decay or the worth.
template <class T, int KIND, int RESET, bool NORMED>
double retrace_learned(const Neuron& n, const Block<T>& b, const State& s, bool around, float* plain, float* centered) {
    constexpr int AROUND = goes_around<NORMED> ? ASKED : NEVER;
    V dlearned{};
    for (int64_t t = b.steps; t > 0; --t) dlearned = dlearned + retrace_by<T, KIND, RESET, NORMED, AROUND, true, 1>(n, b, s, around, plain, centered, t);
    return sum_of(dlearned);
}

// ------------------------------------------------------------------------------------------- every choice, once per block

// PCs without AVX2 are older than 2013: there, a branch at every vector saves a tenth of all compiling.
#if X86 && LEVEL == 1
constexpr bool FEW_LOOPS = true;
#else
constexpr bool FEW_LOOPS = false;
#endif

template <class T, bool SPIKES, int RESET, int LEAKAGE, bool NORMED>
INLINE void advance_to(const Neuron& n, const Block<T>& b, const State& s, bool around) {
    if (SPIKES && AROUND_PAYS && around) advance<T, SPIKES, RESET, LEAKAGE, NORMED, SPIKES && AROUND_PAYS>(n, b, s);
    else advance<T, SPIKES, RESET, LEAKAGE, NORMED, false>(n, b, s);
}

template <class T, bool SPIKES, int RESET, bool NORMED>
void advance_leaking(const Neuron& n, const Block<T>& b, const State& s, bool around) {
    if constexpr (FEW_LOOPS || (RESET == SIGNED_RESET && !SPIKES)) advance_to<T, SPIKES, RESET, ANY_LEAKAGE, NORMED>(n, b, s, around);
    else if (!(n.flags & LEAKS)) advance_to<T, SPIKES, RESET, NONE, NORMED>(n, b, s, around);
    else if ((n.flags & LEAK_AFTER) || n.resolution > 0) advance_to<T, SPIKES, RESET, OTHER, NORMED>(n, b, s, around);
    else advance_to<T, SPIKES, RESET, BEFORE, NORMED>(n, b, s, around);
}

template <class T, bool SPIKES, bool NORMED> void advance_any(const Neuron& n, const Block<T>& b, const State& s, bool around) {
    if (n.flags & SIGNED) advance_leaking<T, SPIKES, SIGNED_RESET, NORMED>(n, b, s, around);
    else if (n.flags & HARD) advance_leaking<T, SPIKES, HARD_RESET, NORMED>(n, b, s, around);
    else advance_leaking<T, SPIKES, SOFT, NORMED>(n, b, s, around);
}

template <class T, int KIND, int RESET, bool NORMED>
INLINE double retrace_leaking(const Neuron& n, const Block<T>& b, const State& s, bool around, float* plain, float* centered) {
    if (n.flags & (LEARNED_LEAK | LEARNED_WORTH)) return retrace_learned<T, KIND, RESET, NORMED>(n, b, s, around, plain, centered);
    retrace<T, KIND, RESET, NORMED>(n, b, s, around, plain, centered);
    return 0;
}

template <class T, int RESET, bool NORMED>
double retrace_kind(const Neuron& n, const Block<T>& b, const State& s, bool around, float* plain, float* centered) {
    if constexpr (FEW_LOOPS) return retrace_leaking<T, ANY, RESET, NORMED>(n, b, s, around, plain, centered);
    switch (n.surrogate) {
        case RECTANGLE: return retrace_leaking<T, A_RECTANGLE, RESET, NORMED>(n, b, s, around, plain, centered);
        case TRIANGLE: return retrace_leaking<T, A_TRIANGLE, RESET, NORMED>(n, b, s, around, plain, centered);
        case ARCTAN: return retrace_leaking<T, AN_ARCTAN, RESET, NORMED>(n, b, s, around, plain, centered);
        default: return retrace_leaking<T, AN_EXPONENTIAL, RESET, NORMED>(n, b, s, around, plain, centered);
    }
}

template <class T, bool NORMED>
double retrace_any(const Neuron& n, const Block<T>& b, const State& s, bool around, float* plain, float* centered) {
    if (n.flags & SIGNED) return retrace_leaking<T, ANY, SIGNED_RESET, NORMED>(n, b, s, false, plain, centered);
    if (n.flags & HARD) return retrace_kind<T, HARD_RESET, NORMED>(n, b, s, around, plain, centered);
    return retrace_kind<T, SOFT, NORMED>(n, b, s, around, plain, centered);
}

// What a thread holds while it takes blocks.
template <class T, bool BACK, bool NORMED> struct Worker {
    Worker(const Neuron& n, const Layer& layer, const Affine* affine, int64_t block, bool around)
        : n(n), around(around), theta(n.thresholds, n.threshold, layer, block), initial(n.initials, n.initial, layer, block),
          bar(n.bars, n.bar, layer, block), mean(NORMED ? affine->mean : nullptr, 0, layer, NORMED ? block : 0), gain(NORMED ? affine->gain : nullptr, 0, layer, NORMED ? block : 0),
          shift(NORMED ? affine->shift : nullptr, 0, layer, NORMED ? block : 0), plain(layer, BACK && NORMED ? block : 0),
          centered(layer, BACK && NORMED ? block : 0) {
        const int64_t kept = BACK ? layer.steps : 0;
        // Each part begins on a cache line: a vector across two lines costs twice.
        memory.resize(static_cast<size_t>((2 + 2 * kept) * block + 16));
        const auto start = (reinterpret_cast<uintptr_t>(memory.data()) + 63) / 64 * 64;
        s.v = reinterpret_cast<float*>(start);
        s.emitted = s.v + block;
        s.h = s.emitted + block;
        s.able = s.h + kept * block;
    }

    void operator()(Block<T>& b, int64_t at, int64_t size) {
        s.theta = theta.of(at, size);
        s.bar = bar.of(at, size);
        s.initial = initial.of(at, size);
        if (NORMED) {
            b.mean = mean.of(at, size);
            b.gain = gain.of(at, size);
            b.shift = shift.of(at, size);
        }
        const bool past = around && size == b.size;
        if constexpr (BACK) {
            advance_any<T, false, NORMED>(n, b, s, false);
            dlearned += retrace_any<T, NORMED>(n, b, s, past, plain.of(at, size), centered.of(at, size));
            if (NORMED) {
                plain.done(at, size);
                centered.done(at, size);
            }
        } else {
            advance_any<T, true, NORMED>(n, b, s, past);
        }
    }

    const Neuron& n;
    bool around;
    std::vector<float> memory;
    State s;
    Spread theta, initial, bar, mean, gain, shift;
    Sums plain, centered;
    double dlearned = 0;
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
    double dlearned = 0;
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
        dlearned += worker->dlearned;
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
    return dlearned;
}

template <bool BACK, bool NORMED>
double run_any(const Neuron& n, const Layer& layer, const Affine* affine, const void* x, const void* residual, const void* grad, void* out, double* sums) {
    if (layer.bf16)
        return run<uint16_t, BACK, NORMED>(n, layer, affine, static_cast<const uint16_t*>(x), static_cast<const uint16_t*>(residual),
                                           static_cast<const uint16_t*>(grad), static_cast<uint16_t*>(out), sums);
    return run<float, BACK, NORMED>(n, layer, affine, static_cast<const float*>(x), static_cast<const float*>(residual),
                                    static_cast<const float*>(grad), static_cast<float*>(out), sums);
}
