// Sixteen 32-bit integers, one per lane. Part of loops.h, which says what LEVEL is.
//
// With AVX-512 they are one vector. GCC takes vectors that are wider than the machine's apart into single numbers wherever it
// compares or chooses, so below that sixteen lanes are two vectors of AVX2, or four of 16 bytes that any machine has.

#if LEVEL >= 4
// A typedef: clang (14) keeps the alignment of the whole vector where `using` asks for less.
typedef int32_t I16 __attribute__((vector_size(64), aligned(4), may_alias));
INLINE I16 choose(I16 mask, I16 x, I16 y) { return mask ? x : y; }
INLINE void read(const int32_t* p, I16& x) { x = *reinterpret_cast<const I16*>(p); }
INLINE void write(int32_t* p, I16 x) { *reinterpret_cast<I16*>(p) = x; }
#else
template <class Half>
struct Both {
    Half a, b;
};
#define PAIRWISE(sign)                                                                    \
    template <class H>                                                                    \
    INLINE Both<H> operator sign(Both<H> x, Both<H> y) {                                  \
        return {x.a sign y.a, x.b sign y.b};                                              \
    }                                                                                     \
    template <class H>                                                                    \
    INLINE Both<H> operator sign(Both<H> x, int32_t y) {                                  \
        return {x.a sign y, x.b sign y};                                                  \
    }
PAIRWISE(+) PAIRWISE(-) PAIRWISE(*) PAIRWISE(&) PAIRWISE(<<) PAIRWISE(>>) PAIRWISE(<) PAIRWISE(>) PAIRWISE(<=) PAIRWISE(>=) PAIRWISE(!=)
#undef PAIRWISE
template <class H>
INLINE Both<H> operator-(Both<H> x) {
    return {-x.a, -x.b};
}
template <class H>
INLINE void operator+=(Both<H>& x, Both<H> y) {
    x = x + y;
}

constexpr int NATIVE = LEVEL == 3 ? 8 : 4;  // lanes of a vector of the machine
typedef int32_t Lanes __attribute__((vector_size(NATIVE * 4)));
#if LEVEL == 3
using I16 = Both<Lanes>;
#else
using I16 = Both<Both<Lanes>>;
#endif

// In memory, at any place. Part by part: sixteen lanes copied at once would go through narrower registers, and the next load
// would wait for them.
typedef int32_t Unaligned __attribute__((vector_size(NATIVE * 4), aligned(4), may_alias));
INLINE void read(const int32_t* p, Lanes& x) { x = *reinterpret_cast<const Unaligned*>(p); }
INLINE void write(int32_t* p, Lanes x) { *reinterpret_cast<Unaligned*>(p) = x; }
template <class H>
INLINE void read(const int32_t* p, Both<H>& x) {
    read(p, x.a);
    read(p + sizeof(H) / 4, x.b);
}
template <class H>
INLINE void write(int32_t* p, Both<H> x) {
    write(p, x.a);
    write(p + sizeof(H) / 4, x.b);
}

INLINE Lanes choose(Lanes mask, Lanes x, Lanes y) { return mask ? x : y; }
template <class H>
INLINE Both<H> choose(Both<H> mask, Both<H> x, Both<H> y) {
    return {choose(mask.a, x.a, y.a), choose(mask.b, x.b, y.b)};
}
#endif

INLINE I16 all(int32_t x) { return I16{} + x; }
INLINE I16 load(const int32_t* p) {
    I16 x;
    read(p, x);
    return x;
}
INLINE void store(int32_t* p, I16 x) { write(p, x); }

#if LEVEL == 3
INLINE __m256i first8(I16 x) { return reinterpret_cast<__m256i>(x.a); }
INLINE __m256i last8(I16 x) { return reinterpret_cast<__m256i>(x.b); }
INLINE I16 both(__m256i a, __m256i b) { return {reinterpret_cast<Lanes>(a), reinterpret_cast<Lanes>(b)}; }
// Numbers from -128 to 127 as sixteen bytes.
INLINE __m128i bytes_of(I16 x) {
    const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(first8(x), last8(x)), 0xd8);
    return _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
}
#endif

INLINE uint32_t mask_of(I16 x) {  // one bit per lane that is negative
#if LEVEL >= 4
    return _mm512_movepi32_mask(reinterpret_cast<__m512i>(x));
#elif LEVEL == 3
    const int a = _mm256_movemask_ps(_mm256_castsi256_ps(first8(x))), b = _mm256_movemask_ps(_mm256_castsi256_ps(last8(x)));
    return static_cast<uint32_t>(a | b << 8);
#else
    int32_t lanes[16];
    store(lanes, x);
    uint32_t bits = 0;
    for (int j = 0; j < 16; ++j) bits |= static_cast<uint32_t>(lanes[j] < 0) << j;
    return bits;
#endif
}
INLINE I16 lanes_of(uint32_t bits) {  // 1 in every lane whose bit is set
#if LEVEL >= 4
    return reinterpret_cast<I16>(_mm512_maskz_set1_epi32(static_cast<__mmask16>(bits), 1));
#else
    static const int32_t place[16] = {1 << 0, 1 << 1, 1 << 2,  1 << 3,  1 << 4,  1 << 5,  1 << 6,  1 << 7,
                                      1 << 8, 1 << 9, 1 << 10, 1 << 11, 1 << 12, 1 << 13, 1 << 14, 1 << 15};
    return -((all(static_cast<int32_t>(bits)) & load(place)) != 0);
#endif
}
INLINE I16 widen_bytes(const uint8_t* p) {
#if LEVEL >= 4
    return reinterpret_cast<I16>(_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
#elif LEVEL == 3
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return both(_mm256_cvtepu8_epi32(bytes), _mm256_cvtepu8_epi32(_mm_srli_si128(bytes, 8)));
#else
    int32_t lanes[16];
    for (int j = 0; j < 16; ++j) lanes[j] = p[j];
    return load(lanes);
#endif
}
INLINE void narrow_bytes(uint8_t* p, I16 x) {  // the lowest byte of each lane
#if LEVEL >= 4
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(reinterpret_cast<__m512i>(x)));
#elif LEVEL == 3
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), bytes_of((x << 24) >> 24));
#else
    int32_t lanes[16];
    store(lanes, x);
    for (int j = 0; j < 16; ++j) p[j] = static_cast<uint8_t>(lanes[j]);
#endif
}
INLINE I16 widen_words(const uint16_t* p) {
#if LEVEL >= 4
    return reinterpret_cast<I16>(_mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))));
#elif LEVEL == 3
    const __m128i* words = reinterpret_cast<const __m128i*>(p);
    return both(_mm256_cvtepu16_epi32(_mm_loadu_si128(words)), _mm256_cvtepu16_epi32(_mm_loadu_si128(words + 1)));
#else
    int32_t lanes[16];
    for (int j = 0; j < 16; ++j) lanes[j] = p[j];
    return load(lanes);
#endif
}
