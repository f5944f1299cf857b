// The quantized ReLU over blocks of elements, forward and backward; the operations are those of ops/activation.py.

struct Numbers {
    float clip, levels;
    V per_clip, per_level;
};

// a / b as division rounds it, from r = 1 / b rounded: two corrections with fused products make up for the division.
INLINE V divided(V a, float b, V r) {
#if LEVEL == 5
    const __m512 x = reinterpret_cast<__m512>(a), d = _mm512_set1_ps(b), i = reinterpret_cast<__m512>(r);
    __m512 q = _mm512_mul_ps(x, i);
    q = _mm512_fmadd_ps(_mm512_fnmadd_ps(q, d, x), i, q);
    return reinterpret_cast<V>(_mm512_fmadd_ps(_mm512_fnmadd_ps(q, d, x), i, q));
#else
    (void)r;
    return a / b;
#endif
}

// The share of the clip, before rounding: 0 for x <= 0, 1 above the clip. What is not a number stays so.
INLINE V share_of(V x, const Numbers& n) {
    // Outside [0, clip] the corrections could overflow; a number outside never meets them.
    const V bounded = choose(above(x, all(n.clip)), all(n.clip), choose(above(V{}, x), V{}, x));
    const V share = divided(bounded, n.clip, n.per_clip);
    return choose(above(share, all(1.0f)), all(1.0f), share);
}

INLINE V code_share(V share, const Numbers& n) { return divided(nearest(share * n.levels), n.levels, n.per_level); }

template <class T, bool BACK, bool NORMED> struct Worker {
    Worker(const QuantReLU& q, const Layer& layer, const Affine* affine, int64_t block, bool around)
        : n{q.clip, q.levels, all(1.0f) / q.clip, all(1.0f) / q.levels}, around(around),
          mean(NORMED ? affine->mean : nullptr, 0, layer, NORMED ? block : 0), gain(NORMED ? affine->gain : nullptr, 0, layer, NORMED ? block : 0),
          shift(NORMED ? affine->shift : nullptr, 0, layer, NORMED ? block : 0), plain(layer, BACK && NORMED ? block : 0),
          centered(layer, BACK && NORMED ? block : 0) {}

    void operator()(Block<T>& b, int64_t at, int64_t size) {
        if (NORMED) {
            b.mean = mean.of(at, size);
            b.gain = gain.of(at, size);
            b.shift = shift.of(at, size);
        }
        if (around && size == b.size) go<true>(b, at, size);
        else go<false>(b, at, size);
    }

    template <bool AROUND> INLINE void go(const Block<T>& b, int64_t at, int64_t size) {
        if (!BACK) {
            for (int64_t j = 0; j < b.size; j += LANES)
                store<AROUND>(b.out + j, code_share(share_of(input_of<T, NORMED>(b, 0, j), n), n) * n.clip);
            return;
        }
        float *first = plain.of(at, size), *second = centered.of(at, size);
        V total{};
        for (int64_t j = 0; j < b.size; j += LANES) {
            const V x = input_of<T, NORMED>(b, 0, j), g = load(b.grad + j), share = share_of(x, n);
            // Above the clip the code is 1 and x / clip counts as 0; below zero both are 0.
            const Mask over = above(x, all(n.clip));
            total = fused(g, code_share(share, n) - choose(over, V{}, share), total);
            const V gx = kept(above(x, V{}) & ~over, g);
            store<AROUND>(b.out + j, gx);
            if (NORMED) {
                store(first + j, load(first + j) + gx);
                store(second + j, fused(gx, load(b.x + j) - load(b.mean + j), load(second + j)));
            }
        }
        dclip += sum_of(total);
        if (NORMED) {
            plain.done(at, size);
            centered.done(at, size);
        }
    }

    Numbers n;
    bool around;
    Spread mean, gain, shift;
    Sums plain, centered;
    double dclip = 0;
};

template <class T, bool BACK, bool NORMED>
double run(const QuantReLU& q, const Layer& layer, const Affine* affine, const T* x, const T* residual, const T* grad, T* out, double* sums) {
    constexpr int64_t block = 1024;
    const int64_t blocks = (layer.total + block - 1) / block, bytes = layer.total * static_cast<int64_t>(sizeof(T));
    const bool around = reinterpret_cast<uintptr_t>(out) % 64 == 0 && !(BACK && NORMED) && larger_than_cache(bytes);
    const Block<T> whole{1, 0, x, residual, grad, out, 0, 0, 0, 0, nullptr, nullptr, nullptr};
    big_pages(out, bytes);
    std::vector<Worker<T, BACK, NORMED>*> workers(static_cast<size_t>(layer.threads), nullptr);
    double dclip = 0;
#pragma omp parallel num_threads(layer.threads)
    {
        auto* worker = new Worker<T, BACK, NORMED>(q, layer, affine, block, around);
        std::vector<T> copy;
#pragma omp for schedule(static)
        for (int64_t i = 0; i < blocks; ++i) {
            const int64_t at = i * block;
            in_vectors(whole, at, std::min(block, layer.total - at), copy, *worker);
        }
        if (around) settle();
        workers[static_cast<size_t>(omp_get_thread_num())] = worker;
    }
    for (auto* worker : workers) {  // in the order of the threads
        if (!worker) continue;
        dclip += worker->dclip;
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
    return dclip;
}

template <bool BACK, bool NORMED>
double run_any(const QuantReLU& q, const Layer& layer, const Affine* affine, const void* x, const void* residual, const void* grad, void* out, double* sums) {
    if (layer.bf16)
        return run<uint16_t, BACK, NORMED>(q, layer, affine, static_cast<const uint16_t*>(x), static_cast<const uint16_t*>(residual),
                                           static_cast<const uint16_t*>(grad), static_cast<uint16_t*>(out), sums);
    return run<float, BACK, NORMED>(q, layer, affine, static_cast<const float*>(x), static_cast<const float*>(residual),
                                    static_cast<const float*>(grad), static_cast<float*>(out), sums);
}

double forward(const QuantReLU& q, const Layer& layer, const Affine* affine, const void* x, const void* residual, void* out) {
    return affine ? run_any<false, true>(q, layer, affine, x, residual, nullptr, out, nullptr)
                  : run_any<false, false>(q, layer, affine, x, residual, nullptr, out, nullptr);
}

double backward(const QuantReLU& q, const Layer& layer, const Affine* affine, const void* x, const void* residual, const void* grad, void* out, double* sums) {
    return affine ? run_any<true, true>(q, layer, affine, x, residual, grad, out, sums)
                  : run_any<true, false>(q, layer, affine, x, residual, grad, out, sums);
}
