// DOT and POPCOUNT of rows.h, with the instructions of AVX2. Part of rows.h.

// R rows times 4 vectors of 8 output channels (2 where one block is all): bytes of the source times weights of 4 inputs.
// WORDS: op.flush units of products fit into words with a sign, which the codes prove; else products are 32 bits at once.
template <int R, bool TWO, bool WORDS>
INLINE void multiply_rows(const Op& op, const uint8_t* const* rows, const int64_t* jumps, int runs, int length, const int8_t* w0,
                          const int8_t* w1, int32_t* sums, int stride) {
    constexpr int V = TWO ? 4 : 2;
    const __m256i ones = _mm256_set1_epi16(1), even = _mm256_set1_epi32(0x00ff00ff);
    __m256i sum[R][V], words[R][V];
    for (int r = 0; r < R; ++r)
        for (int v = 0; v < V; ++v) sum[r][v] = words[r][v] = _mm256_setzero_si256();
    int left = op.flush;
    for (int run = 0; run < runs; ++run) {
        const int64_t jump = jumps[run];
        for (int k = 0; k < length; ++k, w0 += 64, w1 += 64) {
            __m256i x[R], odd[R];
            for (int r = 0; r < R; ++r) {
                x[r] = _mm256_set1_epi32(unit_at(rows[r] + jump + 4 * k));
                if (WORDS) continue;
                odd[r] = _mm256_srli_epi16(x[r], 8);
                x[r] = _mm256_and_si256(x[r], even);
            }
#pragma GCC unroll 4
            for (int v = 0; v < V; ++v) {
                const __m256i w = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(v < 2 ? w0 : w1) + v % 2);
                if (WORDS) {
                    for (int r = 0; r < R; ++r) words[r][v] = _mm256_add_epi16(words[r][v], _mm256_maddubs_epi16(x[r], w));
                    continue;
                }
                const __m256i second = _mm256_srai_epi16(w, 8), first = _mm256_srai_epi16(_mm256_slli_epi16(w, 8), 8);
                for (int r = 0; r < R; ++r) {
                    const __m256i products = _mm256_add_epi32(_mm256_madd_epi16(x[r], first), _mm256_madd_epi16(odd[r], second));
                    sum[r][v] = _mm256_add_epi32(sum[r][v], products);
                }
            }
            if (WORDS && --left == 0) {
                left = op.flush;
                for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
                    for (int v = 0; v < V; ++v) {
                        sum[r][v] = _mm256_add_epi32(sum[r][v], _mm256_madd_epi16(words[r][v], ones));
                        words[r][v] = _mm256_setzero_si256();
                    }
            }
        }
    }
    for (int r = 0; r < R; ++r)
        for (int v = 0; v < V; ++v) {
            if (WORDS) sum[r][v] = _mm256_add_epi32(sum[r][v], _mm256_madd_epi16(words[r][v], ones));
            _mm256_storeu_si256(reinterpret_cast<__m256i*>(sums + r * stride) + v, sum[r][v]);
        }
}
template <int R, bool TWO>
INLINE void dot_rows(const Op& op, const uint8_t* const* rows, const int64_t* jumps, int runs, int length, const int8_t* w0,
                     const int8_t* w1, int32_t* sums, int stride) {
    if (op.flush > 1) multiply_rows<R, TWO, true>(op, rows, jumps, runs, length, w0, w1, sums, stride);
    else multiply_rows<R, TWO, false>(op, rows, jumps, runs, length, w0, w1, sums, stride);
}

// The number of bits in every byte; and bytes added up in lanes of 32 bits.
INLINE __m256i bits_in_bytes(__m256i x) {
    const __m256i half = _mm256_set1_epi8(15);
    const __m256i bits = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4, 0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4);
    const __m256i low = _mm256_and_si256(x, half), high = _mm256_and_si256(_mm256_srli_epi16(x, 4), half);
    return _mm256_add_epi8(_mm256_shuffle_epi8(bits, low), _mm256_shuffle_epi8(bits, high));
}
INLINE __m256i in_lanes(__m256i bytes) {
    return _mm256_madd_epi16(_mm256_maddubs_epi16(bytes, _mm256_set1_epi8(1)), _mm256_set1_epi16(1));
}

// Adds two vectors of bits to a column of bits; what is carried has twice the weight.
INLINE __m256i carried(__m256i& column, __m256i x, __m256i y) {
    const __m256i differ = _mm256_xor_si256(column, x);
    const __m256i carry = _mm256_or_si256(_mm256_and_si256(column, x), _mm256_and_si256(differ, y));
    column = _mm256_xor_si256(differ, y);
    return carry;
}

constexpr int COUNTED = 248;  // words whose eights are counted in bytes: 31 times 8 of them

// The bits that each of 8 output channels has in common with `words`; weights are [word][16]. Eight words are first added bit
// by bit (Harley and Seal), so that only one in eight is counted by looking up.
INLINE __m256i count_words(const int32_t* words, int n, const int32_t* weights) {
    const __m256i* w = reinterpret_cast<const __m256i*>(weights);
    const auto common = [&](int64_t k) { return _mm256_and_si256(_mm256_set1_epi32(words[k]), _mm256_loadu_si256(w + 2 * k)); };
    __m256i ones, twos, fours, eights, rest;
    ones = twos = fours = eights = rest = _mm256_setzero_si256();
    int left = n;
    for (; left >= 8; left -= 8, words += 8, w += 16) {
        const __m256i a = carried(ones, common(0), common(1)), b = carried(ones, common(2), common(3));
        const __m256i c = carried(twos, a, b);
        const __m256i d = carried(ones, common(4), common(5)), e = carried(ones, common(6), common(7));
        const __m256i f = carried(twos, d, e);
        eights = _mm256_add_epi8(eights, bits_in_bytes(carried(fours, c, f)));
    }
    for (; left; --left, ++words, w += 2) rest = _mm256_add_epi8(rest, bits_in_bytes(common(0)));  // up to 56 in a byte
    // Up to 8 in a byte each: 4 * 8 + 2 * 8 + 8 and the 56 stay below 128.
    const __m256i few = _mm256_add_epi8(bits_in_bytes(ones), rest), of_fours = bits_in_bytes(fours);
    const __m256i pairs = _mm256_add_epi8(bits_in_bytes(twos), _mm256_add_epi8(of_fours, of_fours));
    const __m256i bytes = _mm256_add_epi8(few, _mm256_add_epi8(pairs, pairs));
    return _mm256_add_epi32(_mm256_slli_epi32(in_lanes(eights), 3), in_lanes(bytes));
}

// Bits: weights are uint32 [block][plane][unit][16]; a sum is factor * sum(2**p * plane p) + offset * spikes.
template <int R, bool TWO>
INLINE void count_rows(const Op& op, const uint8_t* const* rows, const int64_t* jumps, int runs, int length, const int32_t* w0,
                       const int32_t* w1, int32_t* sums, int stride) {
    const int64_t size = static_cast<int64_t>(runs) * length;
    for (int r = 0; r < R; ++r) {
        __m256i total[4] = {};
        int32_t words[COUNTED];
        int run = 0, k = 0;
        for (int64_t first = 0; first < size;) {
            int n = 0;
            while (n < COUNTED && run < runs) {  // a row's words, side by side
                const int take = std::min(COUNTED - n, length - k);
                std::memcpy(words + n, rows[r] + jumps[run] + 4 * k, static_cast<size_t>(take) * 4);
                n += take, k += take;
                if (k == length) ++run, k = 0;
            }
            for (int p = 0; p < op.planes; ++p)
                for (int v = 0; v < (TWO ? 4 : 2); ++v) {
                    const __m256i count = count_words(words, n, (v < 2 ? w0 : w1) + (p * size + first) * 16 + v % 2 * 8);
                    total[v] = _mm256_add_epi32(total[v], _mm256_slli_epi32(count, p));
                }
            first += n;
        }
        for (int v = 0; v < 4; ++v) {
            const __m256i sum = _mm256_mullo_epi32(total[v], _mm256_set1_epi32(op.factor));
            _mm256_storeu_si256(reinterpret_cast<__m256i*>(sums + r * stride) + v, sum);
        }
    }
}
