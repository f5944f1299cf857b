// Vectors of floats as wide as the instruction set at hand; included once per LEVEL by every_level.h.
//
// Floating-point contraction is off (-ffp-contract=off): products and sums round one by one, as plain torch does, unless
// `fused` asks otherwise.

#if LEVEL == 5
constexpr int64_t LANES = 16;
#elif LEVEL == 3
constexpr int64_t LANES = 8;
#else
constexpr int64_t LANES = 4;
#endif

using V = float __attribute__((vector_size(4 * LANES)));
using I = int32_t __attribute__((vector_size(4 * LANES)));  // also what a comparison gives: -1 where it holds
using LooseV = float __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

INLINE V all(float x) { return V{} + x; }

INLINE V load(const float* p) { return *reinterpret_cast<const LooseV*>(p); }
INLINE V load(const uint16_t* p) {
#if LEVEL == 5
    return reinterpret_cast<V>(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))), 16));
#elif LEVEL == 3
    return reinterpret_cast<V>(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))), 16));
#else
    I bits;
    for (int j = 0; j < LANES; ++j) bits[j] = static_cast<int32_t>(static_cast<uint32_t>(p[j]) << 16);
    return reinterpret_cast<V>(bits);
#endif
}

// With AROUND, past the caches; the address is then a multiple of what is written.
template <bool AROUND> INLINE void store(float* p, V x) {
#if LEVEL == 5
    if (AROUND) return _mm512_stream_ps(p, reinterpret_cast<__m512>(x));
#elif LEVEL == 3
    if (AROUND) return _mm256_stream_ps(p, reinterpret_cast<__m256>(x));
#endif
    *reinterpret_cast<LooseV*>(p) = x;
}

// Rounded to nearest, ties to even.
template <bool AROUND> INLINE void store(uint16_t* p, V x) {
#if LEVEL == 5
    const __m256i half = (__m256i)_mm512_cvtneps_pbh(reinterpret_cast<__m512>(x));
    if (AROUND) return _mm256_stream_si256(reinterpret_cast<__m256i*>(p), half);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), half);
#else
    using U = uint32_t __attribute__((vector_size(4 * LANES)));
    const U bits = reinterpret_cast<U>(x);
    const U rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    const U kept = (bits & 0x7fffffffu) > 0x7f800000u ? U{} + 0x7fc0u : rounded;
#if LEVEL == 3
    const __m256i words = _mm256_permute4x64_epi64(_mm256_packus_epi32(reinterpret_cast<__m256i>(kept), _mm256_setzero_si256()), 8);
    if (AROUND) return _mm_stream_si128(reinterpret_cast<__m128i*>(p), _mm256_castsi256_si128(words));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_castsi256_si128(words));
#else
    for (int j = 0; j < LANES; ++j) p[j] = static_cast<uint16_t>(kept[j]);
#endif
#endif
}
INLINE void store(float* p, V x) { store<false>(p, x); }

// Writes around the caches become visible to other threads.
INLINE void settle() {
#if LEVEL >= 3
    _mm_sfence();
#endif
}

INLINE V floor_of(V x) {
#if LEVEL == 5
    return reinterpret_cast<V>(_mm512_roundscale_ps(reinterpret_cast<__m512>(x), 0x09));
#elif LEVEL == 3
    return reinterpret_cast<V>(_mm256_floor_ps(reinterpret_cast<__m256>(x)));
#else
    for (int j = 0; j < LANES; ++j) x[j] = std::floor(x[j]);
    return x;
#endif
}

// Nearest integer, ties to even.
INLINE V nearest(V x) {
#if LEVEL == 5
    return reinterpret_cast<V>(_mm512_roundscale_ps(reinterpret_cast<__m512>(x), 0x08));
#elif LEVEL == 3
    return reinterpret_cast<V>(_mm256_round_ps(reinterpret_cast<__m256>(x), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
#else
    for (int j = 0; j < LANES; ++j) x[j] = std::nearbyint(x[j]);
    return x;
#endif
}

INLINE V magnitude(V x) { return reinterpret_cast<V>(reinterpret_cast<I>(x) & 0x7fffffff); }

// 1 / x to the rounding of single precision; x is a normal number of at least 1. A division waits four times as long.
INLINE V reciprocal(V x) {
#if LEVEL == 5
    const __m512 d = reinterpret_cast<__m512>(x), r = _mm512_rcp14_ps(d);
    // Where x is infinite the correction is not a number, and the first guess, 0, is right.
    const __m512 error = _mm512_fnmadd_ps(d, r, _mm512_set1_ps(1.0f));
    return reinterpret_cast<V>(_mm512_mask_fmadd_ps(r, _mm512_cmp_ps_mask(error, error, _CMP_ORD_Q), error, r));
#else
    return 1.0f / x;
#endif
}

// exp(x) for x <= 0, relative error below 2e-7; 0 below -87, where single precision runs out of normal numbers.
INLINE V exp_of_negative(V x) {
    const V shifted = x * 1.44269504f + 12582912.0f;  // 1.5 * 2**23: the sum has no bits left behind the point
    const V n = shifted - 12582912.0f;
    const V r = (x - n * 0.693359375f) + n * 2.12194440e-4f;  // ln 2 in two parts; the first product is exact
    V p = all(1.0f / 5040);
    p = p * r + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r * r + r + 1.0f;
    const I power = (reinterpret_cast<I>(shifted) << 23) + (127 << 23);  // the integer n stands in the last bits
    return x < -87.0f ? all(0.0f) : p * reinterpret_cast<V>(power);
}

INLINE double sum_of(V x) {
    double total = 0;
    for (int j = 0; j < LANES; ++j) total += x[j];
    return total;
}
