// Pools over channels-last memory: rows of results are shared out, a vector of channels is taken through a whole window.

// Small whole numbers as bytes, and back.
INLINE void keep(uint8_t* p, I places) {
#if LEVEL == 5
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(reinterpret_cast<__m512i>(places)));
#else
    for (int j = 0; j < LANES; ++j) p[j] = static_cast<uint8_t>(places[j]);
#endif
}
INLINE I kept(const uint8_t* p) {
#if LEVEL == 5
    return reinterpret_cast<I>(_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
#else
    I places;
    for (int j = 0; j < LANES; ++j) places[j] = p[j];
    return places;
#endif
}

// Calls `take` with the first channel of every vector; the last one may overlap the one before, which only repeats work.
template <class Take> INLINE void each_vector(int64_t channels, Take take) {
    for (int64_t c = 0; c + LANES <= channels; c += LANES) take(c);
    if (channels % LANES) take(channels - LANES);
}

// `x` is the first pixel of a window, `line` the distance of its rows.
template <class T> INLINE void mean_of(const T* x, int64_t line, const Pool& p, T* out) {
    const float area = static_cast<float>(p.kernel * p.kernel);
    each_vector(p.channels, [&](int64_t c) {
        V sum = load(x + c);
        for (int64_t i = 1; i < p.kernel * p.kernel; ++i) sum = sum + load(x + i / p.kernel * line + i % p.kernel * p.channels + c);
        store<false>(out + c, sum / area);
    });
}

// The largest, and which it was: the first of equal ones; what is not a number is larger than any.
template <class T> INLINE void largest_of(const T* x, int64_t line, const Pool& p, T* out, uint8_t* where) {
    each_vector(p.channels, [&](int64_t c) {
        V best = load(x + c);
        I place{};
        for (int64_t i = 1; i < p.kernel * p.kernel; ++i) {
            const V value = load(x + i / p.kernel * line + i % p.kernel * p.channels + c);
            const I takes = (value > best) | (value != value);
            best = takes ? value : best;
            place = takes ? I{} + static_cast<int32_t>(i) : place;
        }
        store<false>(out + c, best);
        if (where) keep(where + c, place);
    });
}

template <class T> void forward(const Pool& p, const T* x, T* out, uint8_t* where) {
    const int64_t line = p.width * p.kernel * p.channels;
#pragma omp parallel for schedule(static) num_threads(p.threads)
    for (int64_t row = 0; row < p.rows; ++row)
        for (int64_t j = 0; j < p.width; ++j) {
            const int64_t at = (row * p.width + j) * p.channels;
            const T* window = x + row * p.kernel * line + j * p.kernel * p.channels;
            if (p.largest) largest_of(window, line, p, out + at, where ? where + at : nullptr);
            else mean_of(window, line, p, out + at);
        }
}

template <class T> void backward(const Pool& p, const T* grad, const uint8_t* where, T* dx) {
    const int64_t line = p.width * p.kernel * p.channels;
    const float area = static_cast<float>(p.kernel * p.kernel);
    big_pages(dx, p.rows * p.kernel * line * static_cast<int64_t>(sizeof(T)));
#pragma omp parallel for schedule(static) num_threads(p.threads)
    for (int64_t row = 0; row < p.rows; ++row)
        for (int64_t j = 0; j < p.width; ++j) {
            const int64_t at = (row * p.width + j) * p.channels;
            T* window = dx + row * p.kernel * line + j * p.kernel * p.channels;
            each_vector(p.channels, [&](int64_t c) {
                V g = load(grad + at + c);
                I place{};
                if (p.largest) place = kept(where + at + c);
                else g = g / area;
                for (int64_t i = 0; i < p.kernel * p.kernel; ++i) {
                    T* pixel = window + i / p.kernel * line + i % p.kernel * p.channels + c;
                    if (p.largest) store<false>(pixel, place == static_cast<int32_t>(i) ? g : V{});
                    else store<false>(pixel, g);
                }
            });
        }
}
