// Vectors of 16 integers, and one step of 16 neurons. Part of loops.h, which says what LEVEL is.

// 16 channels or samples. A typedef: clang (14) keeps the alignment of the whole vector where `using` asks for less.
typedef int32_t I16 __attribute__((vector_size(64), aligned(4), may_alias));

INLINE I16 all(int32_t x) { return I16{} + x; }
INLINE I16 load(const int32_t* p) { return *reinterpret_cast<const I16*>(p); }
INLINE void store(int32_t* p, I16 x) { *reinterpret_cast<I16*>(p) = x; }

INLINE uint32_t mask_of(I16 x) {  // one bit per lane that is negative
#if LEVEL >= 4
    return _mm512_movepi32_mask(reinterpret_cast<__m512i>(x));
#else
    uint32_t bits = 0;
    for (int j = 0; j < 16; ++j) bits |= static_cast<uint32_t>(x[j] < 0) << j;
    return bits;
#endif
}
INLINE I16 lanes_of(uint32_t bits) {  // 1 in every lane whose bit is set
#if LEVEL >= 4
    return reinterpret_cast<I16>(_mm512_maskz_set1_epi32(static_cast<__mmask16>(bits), 1));
#else
    const I16 place = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    return (all(static_cast<int32_t>(bits)) >> place) & 1;
#endif
}
INLINE I16 widen_bytes(const uint8_t* p) {
#if LEVEL >= 4
    return reinterpret_cast<I16>(_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
#else
    I16 out;
    for (int j = 0; j < 16; ++j) out[j] = p[j];
    return out;
#endif
}
INLINE void narrow_bytes(uint8_t* p, I16 x) {
#if LEVEL >= 4
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(reinterpret_cast<__m512i>(x)));
#else
    for (int j = 0; j < 16; ++j) p[j] = static_cast<uint8_t>(x[j]);
#endif
}

// ---------------------------------------------------------------- the neuron: integer/nodes/neuron.py, one step of 16 lanes

struct Numbers {
    I16 fire_at, threshold, v_reset, retract;
};
struct State {
    I16 v, sent;
};

// PLAIN: no leak, no limits, reset by subtraction, no negative spikes; known when the loop is compiled.
template <bool PLAIN>
INLINE I16 step(const Unit& u, const Numbers& p, I16 current, State& state, I16& h) {
    if (PLAIN || !u.leaks)
        h = state.v + current;
    else if (u.leak_after)
        h = ((state.v + current) * u.leak_numerator) >> u.leak_shift;
    else
        h = ((state.v * u.leak_numerator) >> u.leak_shift) + current;
    if (!PLAIN) {
        const I16 lower = all(u.lower), upper = all(u.upper);
        h = h < lower ? lower : h;
        h = h > upper ? upper : h;
    }
    const I16 one = all(1), none{};
    I16 spike = h >= p.fire_at ? one : none;
    if (PLAIN) {
        state.v = h >= p.fire_at ? h - p.threshold : h;
        return spike;
    }
    state.v = u.hard ? (h >= p.fire_at ? p.v_reset : h) : (h >= p.fire_at ? h - p.threshold : h);
    if (u.has_signs) {
        const I16 back = (h <= -p.retract) & (state.sent > 0);  // -1 where a spike is taken back
        state.v += p.threshold & back;
        spike += back;
        state.sent += spike;
    }
    return spike;
}
INLINE bool is_plain(const Unit& u) {
    return !u.leaks && !u.hard && !u.has_signs && u.lower == INT32_MIN && u.upper == INT32_MAX;
}
