// The sums of windows, by vectors of 16 output channels: multiplied (DOT), counted (POPCOUNT), added up (EVENTS). Part of
// channels.h.

// Four bytes of a row: the inputs of one unit, or 32 bits.
INLINE int32_t unit_at(const uint8_t* p) {
    int32_t four;
    std::memcpy(&four, p, sizeof four);
    return four;
}

#if LEVEL == 3
#include "rows_avx2.h"
#else

// R rows times 2 blocks of 16 channels. Weights are [block][unit][16][4], a window's units in the order (ky, kx, unit).
template <int R, bool TWO>
INLINE void dot_rows(const Op& op, const uint8_t* const* rows, const int64_t* jumps, int runs, int length, const int8_t* w0,
                     const int8_t* w1, int32_t* sums, int stride) {
#if LEVEL >= 4
    __m512i a[R], b[R];
    for (int r = 0; r < R; ++r) a[r] = b[r] = _mm512_setzero_si512();
    for (int run = 0; run < runs; ++run) {
        const int64_t jump = jumps[run];
        for (int k = 0; k < length; ++k, w0 += 64, w1 += 64) {
            const __m512i u = _mm512_loadu_si512(w0), v = _mm512_loadu_si512(w1);
#pragma GCC unroll 8
            for (int r = 0; r < R; ++r) {
                const __m512i x = _mm512_set1_epi32(unit_at(rows[r] + jump + 4 * k));
                a[r] = _mm512_dpbusd_epi32(a[r], x, u);
                if (TWO) b[r] = _mm512_dpbusd_epi32(b[r], x, v);
            }
        }
    }
    for (int r = 0; r < R; ++r) {
        _mm512_storeu_si512(sums + r * stride, a[r]);
        _mm512_storeu_si512(sums + r * stride + 16, b[r]);
    }
#else
    for (int r = 0; r < R; ++r) {
        int32_t* to = sums + r * stride;
        std::memset(to, 0, 32 * sizeof *to);
        const int8_t *u = w0, *v = w1;
        for (int run = 0; run < runs; ++run) {
            const uint8_t* x = rows[r] + jumps[run];
            for (int k = 0; k < length; ++k, u += 64, v += 64)
                for (int j = 0; j < 16; ++j)
                    for (int c = 0; c < 4; ++c) {
                        to[j] += x[4 * k + c] * u[4 * j + c];
                        if (TWO) to[j + 16] += x[4 * k + c] * v[4 * j + c];
                    }
        }
    }
#endif
}

INLINE I16 count_bits(I16 x) {
#if LEVEL >= 4
    return reinterpret_cast<I16>(_mm512_popcnt_epi32(reinterpret_cast<__m512i>(x)));
#else
    // Bits added up in fields of 2, 4 and 8 bits.
    x = x - ((x >> 1) & 0x55555555);
    x = (x & 0x33333333) + ((x >> 2) & 0x33333333);
    x = (x + (x >> 4)) & 0x0f0f0f0f;
    x = x + (x >> 8);
    return (x + (x >> 16)) & 0x3f;
#endif
}

// As above for bits: weights are uint32 [block][plane][unit][16]; a sum is factor * sum(2**p * plane p) + offset * spikes.
template <int R, bool TWO>
INLINE void count_rows(const Op& op, const uint8_t* const* rows, const int64_t* jumps, int runs, int length, const int32_t* w0,
                       const int32_t* w1, int32_t* sums, int stride) {
    I16 total_a[R], total_b[R];
    for (int p = op.planes - 1; p >= 0; --p) {
        I16 a[R], b[R];
        for (int r = 0; r < R; ++r) a[r] = b[r] = I16{};
        const int32_t *u = w0 + static_cast<int64_t>(p) * runs * length * 16, *v = w1 + static_cast<int64_t>(p) * runs * length * 16;
        for (int run = 0; run < runs; ++run) {
            const int64_t jump = jumps[run];
            for (int k = 0; k < length; ++k, u += 16, v += 16) {
                const I16 wu = load(u), wv = load(v);
#pragma GCC unroll 8
                for (int r = 0; r < R; ++r) {
                    const I16 x = all(unit_at(rows[r] + jump + 4 * k));
                    a[r] += count_bits(x & wu);
                    if (TWO) b[r] += count_bits(x & wv);
                }
            }
        }
        for (int r = 0; r < R; ++r) {
            total_a[r] = p == op.planes - 1 ? a[r] : a[r] + total_a[r] + total_a[r];
            total_b[r] = p == op.planes - 1 ? b[r] : b[r] + total_b[r] + total_b[r];
        }
    }
    for (int r = 0; r < R; ++r) {
        store(sums + r * stride, total_a[r] * op.factor);
        store(sums + r * stride + 16, total_b[r] * op.factor);
    }
}
#endif

// Rows of weights, int16 [unit * 32 + channel][padded], added where there is a spike; 32 channels from `channel` on.
INLINE void add_events(const Op& op, const uint8_t* row, const int64_t* jumps, int runs, int length, const int16_t* weights,
                       int channel, int32_t* sums) {
    // What sixteen.h says of wide vectors holds here too.
    typedef int16_t Words __attribute__((vector_size(LEVEL >= 4 ? 64 : LEVEL == 3 ? 32 : 16), aligned(2), may_alias));
    constexpr int WORDS = sizeof(Words) / 2, PARTS = 32 / WORDS;
    Words sum[PARTS] = {};
    const int16_t* w = weights + channel;
    const int64_t next = static_cast<int64_t>(op.padded);
    for (int run = 0; run < runs; ++run)
        for (int k = 0; k < length; ++k, w += 32 * next) {
            for (uint32_t word = static_cast<uint32_t>(unit_at(row + jumps[run] + 4 * k)); word; word &= word - 1) {
                const int16_t* added = w + __builtin_ctz(word) * next;
#pragma GCC unroll 4
                for (int i = 0; i < PARTS; ++i) sum[i] += *reinterpret_cast<const Words*>(added + i * WORDS);
            }
        }
    int16_t words[32];  // from memory they are widened eight and more at a time
    std::memcpy(words, sum, sizeof words);
    for (int j = 0; j < 32; ++j) sums[j] = words[j];
}

// The number of spikes in each window, that a weight's lowest code is multiplied with.
INLINE int32_t spikes_in(const uint8_t* row, const int64_t* jumps, int runs, int length) {
    int32_t n = 0;
    for (int run = 0; run < runs; ++run) {
        const uint8_t* p = row + jumps[run];
        int k = 0;
        for (; k + 2 <= length; k += 2) {
            uint64_t word;
            std::memcpy(&word, p + 4 * k, 8);
            n += __builtin_popcountll(word);
        }
        if (k < length) n += __builtin_popcount(static_cast<uint32_t>(unit_at(p + 4 * k)));
    }
    return n;
}
