// Spikes to bits and back, a vector at a time.

// The bits of one vector, lowest first; `binary` becomes false where an element is neither 0 nor 1.
INLINE uint32_t bits_of(V x, bool& binary) {
#if LEVEL == 5
    const __m512 v = reinterpret_cast<__m512>(x);
    const __mmask16 ones = _mm512_cmp_ps_mask(v, _mm512_set1_ps(1.0f), _CMP_EQ_OQ);
    const __mmask16 zeros = _mm512_cmp_ps_mask(v, _mm512_setzero_ps(), _CMP_EQ_OQ);
    binary &= static_cast<uint16_t>(ones | zeros) == 0xffffu;
    return ones;
#else
    uint32_t bits = 0;
    for (int j = 0; j < LANES; ++j) {
        bits |= static_cast<uint32_t>(x[j] == 1.0f) << j;
        binary &= x[j] == 1.0f || x[j] == 0.0f;
    }
    return bits;
#endif
}

INLINE V spikes_of(uint32_t bits) {
#if LEVEL == 5
    return reinterpret_cast<V>(_mm512_maskz_mov_ps(static_cast<__mmask16>(bits), _mm512_set1_ps(1.0f)));
#else
    V x;
    for (int j = 0; j < LANES; ++j) x[j] = static_cast<float>((bits >> j) & 1u);
    return x;
#endif
}

// Words of 32 elements; `size` is a multiple of 32.
template <class T> bool pack(const T* x, int64_t size, uint32_t* words, int threads) {
    bool binary = true;
#pragma omp parallel for schedule(static) num_threads(threads) reduction(&& : binary)
    for (int64_t i = 0; i < size / 32; ++i) {
        if (!binary) continue;  // a thread that has met a current looks no further
        uint32_t word = 0;
        for (int64_t j = 0; j < 32; j += LANES) word |= bits_of(load(x + 32 * i + j), binary) << j;
        words[i] = word;
    }
    return binary;
}

template <class T> void unpack(const uint32_t* words, int64_t size, T* x, int threads) {
    big_pages(x, size * static_cast<int64_t>(sizeof(T)));
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t i = 0; i < size / 32; ++i)
        for (int64_t j = 0; j < 32; j += LANES) store<false>(x + 32 * i + j, spikes_of(words[i] >> j));
}
