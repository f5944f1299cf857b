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
using I = int32_t __attribute__((vector_size(4 * LANES)));
// A typedef: clang (14) keeps the alignment of the whole vector where `using` asks for less, and says nothing.
typedef float LooseV __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

INLINE V all(float x) { return V{} + x; }

// Which lanes something holds for; `&`, `|` and `~` work on it. AVX-512 has registers of their own for it.
#if LEVEL == 5
using Mask = __mmask16;
INLINE Mask at_least(V a, V b) { return _mm512_cmp_ps_mask(reinterpret_cast<__m512>(a), reinterpret_cast<__m512>(b), _CMP_GE_OQ); }
INLINE Mask above(V a, V b) { return _mm512_cmp_ps_mask(reinterpret_cast<__m512>(a), reinterpret_cast<__m512>(b), _CMP_GT_OQ); }
INLINE V choose(Mask m, V yes, V no) {
    return reinterpret_cast<V>(_mm512_mask_blend_ps(m, reinterpret_cast<__m512>(no), reinterpret_cast<__m512>(yes)));
}
INLINE V kept(Mask m, V x) { return reinterpret_cast<V>(_mm512_maskz_mov_ps(m, reinterpret_cast<__m512>(x))); }
INLINE Mask everywhere(bool yes) { return yes ? 0xffff : 0; }
#else
using Mask = I;
INLINE Mask at_least(V a, V b) { return a >= b; }
INLINE Mask above(V a, V b) { return a > b; }
INLINE V choose(Mask m, V yes, V no) { return m ? yes : no; }
INLINE V kept(Mask m, V x) { return reinterpret_cast<V>(m & reinterpret_cast<I>(x)); }
INLINE Mask everywhere(bool yes) { return I{} - yes; }
#endif

// a * b + c, rounded once where the machine can: for gradients, never for potentials.
INLINE V fused(V a, V b, V c) {
#if LEVEL == 5
    return reinterpret_cast<V>(_mm512_fmadd_ps(reinterpret_cast<__m512>(a), reinterpret_cast<__m512>(b), reinterpret_cast<__m512>(c)));
#elif LEVEL == 3
    return reinterpret_cast<V>(_mm256_fmadd_ps(reinterpret_cast<__m256>(a), reinterpret_cast<__m256>(b), reinterpret_cast<__m256>(c)));
#else
    return a * b + c;
#endif
}

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

// Ask for memory that is read a while later. Runs are short and steps far apart, so the machine does not foresee it.
// `j` counts elements of a run of `size`; the next run follows it. One line of 64 bytes is asked for once.
template <class T> INLINE void expect(const T* p, int64_t j, int64_t size) {
#if defined(__GNUC__)
    if (sizeof(T) * LANES >= 64 || j * sizeof(T) % 64 == 0) __builtin_prefetch(p + size, 0, 2);
#else
    (void)p, (void)j, (void)size;
#endif
}

// With AROUND, past the caches; the address is then a multiple of what is written.
constexpr bool AROUND_PAYS = LEVEL >= 3;
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

// Nearest integer, ties to even, for |x| below 2**22: a sum with 1.5 * 2**23 has no bits left after the point.
INLINE V nearest(V x) { return (x + 12582912.0f) - 12582912.0f; }

// The smaller and the larger; where b is not a number, b.
INLINE V least_of(V a, V b) {
#if LEVEL == 5
    return reinterpret_cast<V>(_mm512_min_ps(reinterpret_cast<__m512>(a), reinterpret_cast<__m512>(b)));
#elif LEVEL == 3
    return reinterpret_cast<V>(_mm256_min_ps(reinterpret_cast<__m256>(a), reinterpret_cast<__m256>(b)));
#else
    return choose(above(b, a), a, b);
#endif
}
INLINE V most_of(V a, V b) {
#if LEVEL == 5
    return reinterpret_cast<V>(_mm512_max_ps(reinterpret_cast<__m512>(a), reinterpret_cast<__m512>(b)));
#elif LEVEL == 3
    return reinterpret_cast<V>(_mm256_max_ps(reinterpret_cast<__m256>(a), reinterpret_cast<__m256>(b)));
#else
    return choose(above(a, b), a, b);
#endif
}

INLINE V magnitude(V x) { return reinterpret_cast<V>(reinterpret_cast<I>(x) & 0x7fffffff); }

// 1 / x to the rounding of single precision; x is at least 1. A division waits four times as long.
INLINE V reciprocal(V x) {
#if LEVEL == 5
    // Beyond the largest number the correction would not be one; a minimum keeps what is not a number.
    const __m512 d = _mm512_min_ps(_mm512_set1_ps(1e38f), reinterpret_cast<__m512>(x)), r = _mm512_rcp14_ps(d);
    const __m512 error = _mm512_fnmadd_ps(d, r, _mm512_set1_ps(1.0f));
    return reinterpret_cast<V>(_mm512_fmadd_ps(r, error, r));
#else
    return 1.0f / x;
#endif
}

// exp(x) for x <= 0, relative error below 2e-7; 0 below -87, where single precision runs out of normal numbers.
INLINE V exp_of_negative(V x) {
    const V shifted = x * 1.44269504f + 12582912.0f;  // 1.5 * 2**23: the sum has no bits left after the point
    const V n = shifted - 12582912.0f;
    const V r = (x - n * 0.693359375f) + n * 2.12194440e-4f;  // ln 2 in two parts; the first product is exact
    V p = all(1.0f / 5040);
    p = fused(p, r, all(1.0f / 720));
    p = fused(p, r, all(1.0f / 120));
    p = fused(p, r, all(1.0f / 24));
    p = fused(p, r, all(1.0f / 6));
    p = fused(p, r, all(0.5f));
    p = fused(p, r * r, r + 1.0f);
    const I power = (reinterpret_cast<I>(shifted) << 23) + (127 << 23);  // the integer n stands in the last bits
    return kept(at_least(x, all(-87.0f)), p * reinterpret_cast<V>(power));
}

INLINE double sum_of(V x) {
    double total = 0;
    for (int j = 0; j < LANES; ++j) total += x[j];
    return total;
}
