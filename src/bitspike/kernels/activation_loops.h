// The quantized ReLU over blocks of elements, forward and backward; the operations are those of ops/activation.py.

struct Numbers {
    float clip, levels;
    V per_level;
};

// The share of the clip, before rounding: 0 for x <= 0, 1 above the clip. What is not a number stays so.
INLINE V share_of(V x, const Numbers& n) { return least_of(all(n.clip), most_of(V{}, x)) / n.clip; }

INLINE V code_of(V share, const Numbers& n) { return nearest(share * n.levels); }

// code / levels as division rounds it; a product and its correction take half the time. A test goes through all of them.
INLINE V share_of_code(V code, const Numbers& n) {
#if LEVEL == 5
    const V q = code * n.per_level;
    return fused(fused(-q, all(n.levels), code), n.per_level, q);
#else
    return code / n.levels;
#endif
}

template <class T, bool BACK, bool NORMED> struct Worker {
    Worker(const QuantReLU& q, const Layer& layer, const Affine* affine, int64_t block, bool around)
        : layer(layer), n{q.clip, q.levels, all(1.0f) / q.levels}, around(around),
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

    template <bool AROUND> INLINE void go(const Block<T> b, const int64_t at, int64_t size) {
        const Numbers numbers = n;  // a copy, which stores cannot touch
        const int64_t row = row_of(layer, at, size);
        float *const first = plain.of(at, size), *const second = centered.of(at, size);
        V total{};
        for (int64_t c = 0; c < std::min(row, b.size); c += LANES) {
            const Map map = map_of<NORMED>(b, c);
            V sum{}, product{};
            if (BACK && NORMED) sum = load(first + c), product = load(second + c);
            for (int64_t j = c; j < b.size; j += row) {
                expect(b.x + j, j, b.size);
                const V x = input_of<NORMED>(b, map, 0, j), share = share_of(x, numbers), code = code_of(share, numbers);
                if (!BACK) {
                    store<AROUND>(b.out + j, share_of_code(code, numbers) * numbers.clip);
                    continue;
                }
                expect(b.grad + j, j, b.size);
                // Above the clip the code is 1 and x / clip counts as 0; below zero both are 0.
                const Mask over = above(x, all(numbers.clip));
                const V g = load(b.grad + j), gx = kept(above(x, V{}) & ~over, g);
                total = fused(g, code * numbers.per_level - choose(over, V{}, share), total);
                store<AROUND>(b.out + j, gx);
                if (NORMED) {
                    sum = sum + gx;
                    product = fused(gx, load(b.x + j) - map.mean, product);
                }
            }
            if (BACK && NORMED) store(first + c, sum), store(second + c, product);
        }
        if (!BACK) return;
        dclip += sum_of(total);
        if (NORMED) {
            plain.done(at, size);
            centered.done(at, size);
        }
    }

    const Layer& layer;
    Numbers n;
    bool around;
    Spread mean, gain, shift;
    Sums plain, centered;
    double dclip = 0;
};

template <class T, bool BACK, bool NORMED>
double run(const QuantReLU& q, const Layer& layer, const Affine* affine, const T* x, const T* residual, const T* grad, T* out, double* sums) {
    const int64_t block = block_of(layer, 1024);
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
