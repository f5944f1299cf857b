// Activations with a learned clip over blocks of elements, forward and backward. A rule says what happens to one vector.

// The operations are those of ops/activation.py.
struct Rounded {
    using Numbers = QuantReLU;
    static constexpr bool EACH = false;  // a clip per channel

    Rounded(const QuantReLU& q, const Layer&, int64_t) : clip(q.clip), levels(q.levels), per_level(all(1.0f) / q.levels) {}

    void begin(int64_t, int64_t) {}
    INLINE Rounded at(int64_t) const { return *this; }  // a copy, which stores cannot touch

    // The share of the clip, before rounding: 0 for x <= 0, 1 above the clip. What is not a number stays so.
    INLINE V share_of(V x) const { return least_of(all(clip), most_of(V{}, x)) / clip; }

    INLINE V code_of(V share) const { return nearest(share * levels); }

    // code / levels as division rounds it; a product and its correction take half the time. A test goes through all of them.
    INLINE V share_of_code(V code) const {
#if LEVEL == 5
        const V q = code * per_level;
        return fused(fused(-q, all(levels), code), per_level, q);
#else
        return code / levels;
#endif
    }

    INLINE V forth(V x) const { return share_of_code(code_of(share_of(x))) * clip; }

    // Returns the gradient of x, and adds to that of the clip.
    INLINE V back(V x, V g, V& total) const {
        // Above the clip the code is 1 and x / clip counts as 0; below zero both are 0.
        const V share = share_of(x);
        const Mask over = above(x, all(clip));
        total = fused(g, code_of(share) * per_level - choose(over, V{}, share), total);
        return kept(above(x, V{}) & ~over, g);
    }

    float clip, levels;
    V per_level;
};

// The operations are those of nn/clip_floor_shift.py.
template <bool PER_CHANNEL> struct Floored {
    using Numbers = ClipFloor;
    static constexpr bool EACH = PER_CHANNEL;

    // One vector of channels; their numbers stay in registers.
    struct At {
        V clip, level, low, high;
        float steps, shift;

        // x steps first: with that product exact, the quotient at a tie is exact too.
        INLINE V forth(V x) const { return floor_of(least_of(all(steps), most_of(V{}, x * steps / clip + shift))) * level; }

        // Returns the gradient of x, and adds to clip times that of the clip: y - x inside, the clip above, 0 below.
        INLINE V back(V x, V g, V& total) const {
            const Mask inside = above(x, low) & above(high, x);
            total = fused(g, forth(x) - kept(inside, x), total);
            return kept(inside, g);
        }
    };

    Floored(const ClipFloor& f, const Layer& layer, int64_t block)
        : f(f), levels(levels_of(f, layer)), clip_at(f.clips, f.clip, layer, EACH ? block : 0),
          level_at(EACH ? levels.data() : nullptr, f.clip / f.steps, layer, EACH ? block : 0) {}

    void begin(int64_t at, int64_t size) {
        if (!EACH) return;
        clips = clip_at.of(at, size);
        level = level_at.of(at, size);
    }

    INLINE At at(int64_t j) const {
        const V clip = EACH ? load(clips + j) : all(f.clip), l = EACH ? load(level + j) : all(f.clip / f.steps);
        return {clip, l, clip * f.low, clip * f.high, f.steps, f.shift};
    }

private:
    static std::vector<float> levels_of(const ClipFloor& f, const Layer& layer) {
        std::vector<float> found(static_cast<size_t>(EACH ? layer.channels : 0));
        for (size_t c = 0; c < found.size(); ++c) found[c] = f.clips[c] / f.steps;
        return found;
    }

    ClipFloor f;
    std::vector<float> levels;
    Spread clip_at, level_at;
    const float *clips = nullptr, *level = nullptr;
};

template <class T, class Rule, bool BACK, bool NORMED> struct Worker {
    // Sums per channel: of the gradient after a norm, of a clip's where each channel has its own.
    static constexpr bool SUMMED = BACK && (NORMED || Rule::EACH);

    Worker(const typename Rule::Numbers& numbers, const Layer& layer, const Affine* affine, int64_t block, bool around)
        : layer(layer), rule(numbers, layer, block), around(around),
          mean(NORMED ? affine->mean : nullptr, 0, layer, NORMED ? block : 0), gain(NORMED ? affine->gain : nullptr, 0, layer, NORMED ? block : 0),
          shift(NORMED ? affine->shift : nullptr, 0, layer, NORMED ? block : 0), plain(layer, SUMMED ? block : 0),
          centered(layer, BACK && NORMED ? block : 0) {}

    void operator()(Block<T>& b, int64_t at, int64_t size) {
        if (NORMED) {
            b.mean = mean.of(at, size);
            b.gain = gain.of(at, size);
            b.shift = shift.of(at, size);
        }
        rule.begin(at, size);
        if constexpr (!AROUND_PAYS || (BACK && NORMED)) go<false>(b, at, size);
        else if (around && size == b.size) go<true>(b, at, size);
        else go<false>(b, at, size);
    }

    template <bool AROUND> INLINE void go(const Block<T> b, const int64_t at, int64_t size) {
        const int64_t row = row_of(layer, at, size);
        float *const first = plain.of(at, size), *const second = centered.of(at, size);
        V total{};
        for (int64_t c = 0; c < std::min(row, b.size); c += LANES) {
            const Map map = map_of<NORMED>(b, c);
            const auto rule_at = rule.at(c);
            V sum{}, product{};
            if (SUMMED) sum = load(first + c);
            if (BACK && NORMED) product = load(second + c);
            for (int64_t j = c; j < b.size; j += row) {
                expect(b.x + j, j, b.size);
                const V x = input_of<NORMED>(b, map, 0, j);
                if (!BACK) {
                    store<AROUND>(b.out + j, rule_at.forth(x));
                    continue;
                }
                expect(b.grad + j, j, b.size);
                const V gx = rule_at.back(x, load(b.grad + j), Rule::EACH ? sum : total);
                store<AROUND>(b.out + j, gx);
                if (NORMED) {
                    sum = sum + gx;
                    product = fused(gx, load(b.x + j) - map.mean, product);
                }
            }
            if (SUMMED) store(first + c, sum);
            if (BACK && NORMED) store(second + c, product);
        }
        if (!BACK) return;
        dclip += sum_of(total);
        if (SUMMED) plain.done(at, size);
        if (NORMED) centered.done(at, size);
    }

    const Layer& layer;
    Rule rule;
    bool around;
    Spread mean, gain, shift;
    Sums plain, centered;
    double dclip = 0;
};

template <class T, class Rule, bool BACK, bool NORMED>
double run(const typename Rule::Numbers& numbers, const Layer& layer, const Affine* affine, const T* x, const T* residual, const T* grad, T* out, double* sums) {
    const int64_t block = block_of(layer, 1024);
    const int64_t blocks = (layer.total + block - 1) / block, bytes = layer.total * static_cast<int64_t>(sizeof(T));
    const bool around = reinterpret_cast<uintptr_t>(out) % 64 == 0 && !(BACK && NORMED) && larger_than_cache(bytes);
    const Block<T> whole{1, 0, x, residual, grad, out, 0, 0, 0, 0, nullptr, nullptr, nullptr};
    big_pages(out, bytes);
    using Work = Worker<T, Rule, BACK, NORMED>;
    std::vector<Work*> workers(static_cast<size_t>(layer.threads), nullptr);
    double dclip = 0;
#pragma omp parallel num_threads(layer.threads)
    {
        auto* worker = new Work(numbers, layer, affine, block, around);
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
        if (Work::SUMMED) {
            worker->plain.close();
            for (int64_t c = 0; c < layer.channels; ++c) sums[c] += worker->plain.totals[static_cast<size_t>(c)];
        }
        if (BACK && NORMED) {
            worker->centered.close();
            for (int64_t c = 0; c < layer.channels; ++c) sums[layer.channels + c] += worker->centered.totals[static_cast<size_t>(c)];
        }
        delete worker;
    }
    return dclip;
}

template <class Rule, bool BACK, bool NORMED>
double run_any(const typename Rule::Numbers& numbers, const Layer& layer, const Affine* affine, const void* x, const void* residual, const void* grad,
               void* out, double* sums) {
    const auto as = [&](auto type) {
        using T = decltype(type);
        return run<T, Rule, BACK, NORMED>(numbers, layer, affine, static_cast<const T*>(x), static_cast<const T*>(residual),
                                          static_cast<const T*>(grad), static_cast<T*>(out), sums);
    };
    return layer.bf16 ? as(uint16_t{}) : as(float{});
}

double forward(const QuantReLU& q, const Layer& layer, const Affine* affine, const void* x, const void* residual, void* out) {
    return affine ? run_any<Rounded, false, true>(q, layer, affine, x, residual, nullptr, out, nullptr)
                  : run_any<Rounded, false, false>(q, layer, affine, x, residual, nullptr, out, nullptr);
}

double backward(const QuantReLU& q, const Layer& layer, const Affine* affine, const void* x, const void* residual, const void* grad, void* out, double* sums) {
    return affine ? run_any<Rounded, true, true>(q, layer, affine, x, residual, grad, out, sums)
                  : run_any<Rounded, true, false>(q, layer, affine, x, residual, grad, out, sums);
}

double forward(const ClipFloor& f, const Layer& layer, const void* x, void* out) {
    return f.clips ? run_any<Floored<true>, false, false>(f, layer, nullptr, x, nullptr, nullptr, out, nullptr)
                   : run_any<Floored<false>, false, false>(f, layer, nullptr, x, nullptr, nullptr, out, nullptr);
}

double backward(const ClipFloor& f, const Layer& layer, const void* x, const void* grad, void* out, double* sums) {
    return f.clips ? run_any<Floored<true>, true, false>(f, layer, nullptr, x, nullptr, grad, out, sums)
                   : run_any<Floored<false>, true, false>(f, layer, nullptr, x, nullptr, grad, out, nullptr);
}
