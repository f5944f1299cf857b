// Moments per channel, and the gradient through them, each in one pass over memory.

// Sums of x - around and of its square over `rows` runs that lie `distance` apart and begin at the same channel.
template <int ROWS, class T> INLINE void accumulate(const T* x, int64_t distance, int64_t length, const float* around, float* first, float* second) {
    int64_t j = 0;
    for (; j + LANES <= length; j += LANES) {
        const V k = load(around + j);
        V a = load(first + j), b = load(second + j);
        for (int r = 0; r < ROWS; ++r) {
            const V d = load(x + r * distance + j) - k;
            a = a + d;
            b = fused(d, d, b);
        }
        store(first + j, a);
        store(second + j, b);
    }
    if (j == length) return;
    for (int r = 0; r < ROWS; ++r) {  // the last, ragged vector: what follows its end is filled up so that it adds nothing
        T end[LANES] = {};
        std::copy(x + r * distance + j, x + r * distance + length, end);
        V d = load(end) - load(around + j);
        for (int64_t i = length - j; i < LANES; ++i) d[i] = 0.0f;
        store(first + j, load(first + j) + d);
        store(second + j, load(second + j) + d * d);
    }
}

template <class T> INLINE float as_float(T x) {
    T some[LANES] = {x};
    return load(some)[0];
}

// A value near every channel's mean, the median of a few. Sums of what is left after it is taken away do not cancel.
template <class T> std::vector<float> near_mean(const Layer& layer, const T* x) {
    constexpr int64_t samples = 9;
    const int64_t places = layer.total / layer.channels;
    std::vector<float> around(static_cast<size_t>(layer.channels));
    for (int64_t c = 0; c < layer.channels; ++c) {
        float found[samples];
        for (int64_t s = 0; s < samples; ++s) {
            const int64_t place = s * places / samples, t = s * layer.steps / samples;
            const int64_t at = (place / layer.inner * layer.channels + c) * layer.inner + place % layer.inner;
            found[s] = as_float(x[t * layer.x_step + at]);
        }
        std::nth_element(found, found + samples / 2, found + samples);
        around[static_cast<size_t>(c)] = found[samples / 2];
    }
    return around;
}

// Mean and biased variance of every channel, over time too.
template <class T> void moments(const Layer& layer, const T* x, double* mean, double* var) {
    const std::vector<float> around = near_mean(layer, x);
    const int64_t channels = layer.channels, inner = layer.inner;
    const int64_t length = layer.total * (layer.x_step ? layer.steps : 1);  // repeated steps have the moments of one
    std::vector<std::vector<double>> totals(static_cast<size_t>(layer.threads));
#pragma omp parallel num_threads(layer.threads)
    {
        std::vector<double> sums(static_cast<size_t>(2 * channels));
        if (inner == 1) {
            constexpr int rows = 4;
            const int64_t run = channels * ((255 + channels) / channels), chunk = rows * run, chunks = length / chunk;
            const auto room = static_cast<size_t>(run + LANES);
            std::vector<float> pattern(room), first(room), second(room);
            for (size_t i = 0; i < room; ++i) pattern[i] = around[i % static_cast<size_t>(channels)];
            int waiting = 0;
            const auto close = [&] {
                for (int64_t i = 0; i < run; i += channels)
                    for (int64_t c = 0; c < channels; ++c) {
                        sums[static_cast<size_t>(c)] += first[static_cast<size_t>(i + c)];
                        sums[static_cast<size_t>(channels + c)] += second[static_cast<size_t>(i + c)];
                    }
                std::fill(first.begin(), first.end(), 0.0f);
                std::fill(second.begin(), second.end(), 0.0f);
                waiting = 0;
            };
#pragma omp for schedule(static)
            for (int64_t i = 0; i < chunks; ++i) {
                accumulate<rows>(x + i * chunk, run, run, pattern.data(), first.data(), second.data());
                if (++waiting == 16) close();
            }
            if (omp_get_thread_num() == 0)
                for (int64_t at = chunks * chunk; at < length; at += channels)
                    accumulate<1>(x + at, 0, channels, pattern.data(), first.data(), second.data());
            close();
        } else {
            std::vector<float> pattern(static_cast<size_t>(4 * LANES)), first(pattern.size()), second(pattern.size());
#pragma omp for schedule(static)
            for (int64_t i = 0; i < length / inner; ++i) {
                const auto c = static_cast<size_t>(i % channels);
                std::fill(pattern.begin(), pattern.end(), around[c]);
                std::fill(first.begin(), first.end(), 0.0f);
                std::fill(second.begin(), second.end(), 0.0f);
                const T* from = x + i * inner;
                for (int64_t at = 0; at < inner; at += 4 * LANES)
                    accumulate<1>(from + at, 0, std::min(inner - at, 4 * LANES), pattern.data(), first.data(), second.data());
                for (size_t j = 0; j < pattern.size(); ++j) {
                    sums[c] += first[j];
                    sums[static_cast<size_t>(channels) + c] += second[j];
                }
            }
        }
        totals[static_cast<size_t>(omp_get_thread_num())] = std::move(sums);
    }
    const double count = static_cast<double>(length / channels);
    for (int64_t c = 0; c < channels; ++c) {
        double first = 0, second = 0;
        for (const auto& sums : totals) {
            if (sums.empty()) continue;
            first += sums[static_cast<size_t>(c)];
            second += sums[static_cast<size_t>(channels + c)];
        }
        first /= count;
        mean[c] = around[static_cast<size_t>(c)] + first;
        var[c] = std::max(0.0, second / count - first * first);
    }
}

// dx = gain * grad + slant * (x - mean) + base; grad may be dx itself.
template <class T, bool CONSTANT> struct Through {
    Through(const Layer& layer, const float* mean, const float* gain, const float* slant, const float* base, int64_t block)
        : layer(layer), mean(mean, 0, layer, block), gain(gain, 0, layer, block), slant(slant, 0, layer, block), base(base, 0, layer, block) {}

    void operator()(Block<T>& whole, int64_t at, int64_t size) {
        const float *const m = mean.of(at, size), *const a = gain.of(at, size), *const s = slant.of(at, size), *const l = base.of(at, size);
        const Block<T> b = whole;  // a copy, which stores cannot touch
        const int64_t row = row_of(layer, at, size);
        for (int64_t t = 0; t < b.steps; ++t)
            for (int64_t c = 0; c < std::min(row, b.size); c += LANES) {
                const V factor = load(a + c), middle = load(m + c), slope = load(s + c), rest = load(l + c);
                for (int64_t j = c; j < b.size; j += row) {
                    const T *const g = b.grad + t * b.grad_step + j, *const x = b.x + t * b.x_step + j;
                    expect(g, j, b.size);
                    V out = load(g) * factor;
                    if (!CONSTANT) {
                        expect(x, j, b.size);
                        out = out + fused(load(x) - middle, slope, rest);
                    }
                    store<false>(b.out + t * b.out_step + j, out);
                }
            }
    }

    const Layer& layer;
    Spread mean, gain, slant, base;
};

template <class T, bool CONSTANT>
void through(const Layer& layer, const T* x, const T* grad, T* out, const float* mean, const float* gain, const float* slant, const float* base) {
    const int64_t block = block_of(layer, 1024);
    const int64_t blocks = (layer.total + block - 1) / block;
    const Block<T> whole{layer.steps, 0, x, nullptr, grad, out, layer.x_step, 0, layer.total, layer.total, nullptr, nullptr, nullptr};
    big_pages(out, layer.steps * layer.total * static_cast<int64_t>(sizeof(T)));
#pragma omp parallel num_threads(layer.threads)
    {
        Through<T, CONSTANT> work(layer, mean, gain, slant, base, block);
        std::vector<T> copy;
#pragma omp for schedule(static)
        for (int64_t i = 0; i < blocks; ++i) {
            const int64_t at = i * block;
            in_vectors(whole, at, std::min(block, layer.total - at), copy, work);
        }
    }
}

void any_moments(const Layer& layer, const void* x, double* mean, double* var) {
    if (layer.bf16) moments(layer, static_cast<const uint16_t*>(x), mean, var);
    else moments(layer, static_cast<const float*>(x), mean, var);
}

void any_through(const Layer& layer, bool constant, const void* x, const void* grad, void* out, const float* mean, const float* gain,
                 const float* slant, const float* base) {
    const auto run = [&](auto type, auto fixed) {
        using T = decltype(type);
        through<T, decltype(fixed)::value>(layer, static_cast<const T*>(x), static_cast<const T*>(grad), static_cast<T*>(out), mean, gain, slant, base);
    };
    if (layer.bf16 && constant) run(uint16_t{}, std::true_type{});
    else if (layer.bf16) run(uint16_t{}, std::false_type{});
    else if (constant) run(float{}, std::true_type{});
    else run(float{}, std::false_type{});
}
