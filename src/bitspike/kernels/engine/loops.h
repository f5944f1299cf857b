// The loops of the integer engine. engine.cpp includes this file once per instruction set, inside a namespace and
// between target pragmas: LEVEL 5 is AVX-512 with VNNI, VPOPCNTDQ and VBMI, LEVEL 4 the same without VBMI, LEVEL 3 AVX2,
// LEVEL 1 any machine. PER_UNIT is the number of channels in a byte of PLANES.
//
// Two families. "Channels": the lanes of a vector are 16 output channels; rows of the source stand on the stack as
// pointers, so steps and places share each weight that is loaded. "Samples": the lanes are 64 samples; one table look-up
// adds the products of 4 binary inputs with 4 weights at once.

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

// ---------------------------------------------------------------- the neuron: integer/network.py, one step of 16 lanes

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

// ---------------------------------------------------------------- channels; VBMI adds nothing to them

#if LEVEL == 5
using avx512::layer_channels;
#else
INLINE I16 read_channels(const Wire& w, int64_t row, int y, int x, int channel) {
    if (w.layout == RAW_CHANNELS)
        return load(static_cast<const int32_t*>(w.data) + ((row * w.h + y) * w.w + x) * w.units * 16 + channel);
    const int64_t hp = w.h + 2 * w.border_h, wp = w.w + 2 * w.border_w;
    const int64_t place = (row * hp + y + w.border_h) * wp + x + w.border_w;
    if (w.layout == BYTES) return widen_bytes(static_cast<const uint8_t*>(w.data) + place * w.units * 4 + channel) + w.low;
    return lanes_of(static_cast<const uint16_t*>(w.data)[place * w.units * 2 + channel / 16]);
}

INLINE void write_channels(const Wire& w, int64_t row, int y, int x, int channel, I16 value) {
    if (w.layout == RAW_CHANNELS) {
        store(static_cast<int32_t*>(w.data) + ((row * w.h + y) * w.w + x) * w.units * 16 + channel, value);
    } else {
        const int64_t hp = w.h + 2 * w.border_h, wp = w.w + 2 * w.border_w;
        const int64_t place = (row * hp + y + w.border_h) * wp + x + w.border_w;
        if (w.layout == BYTES)
            narrow_bytes(static_cast<uint8_t*>(w.data) + place * w.units * 4 + channel, value - w.low);
        else
            static_cast<uint16_t*>(w.data)[place * w.units * 2 + channel / 16] = static_cast<uint16_t>(mask_of(-value));
    }
}

// Sums of 16 channels to spikes, at `places` of a row: [place][T or 1][32]. STILL: no parameter changes over time.
template <bool PLAIN, bool STILL>
static void fire_channels(const Op& op, const int32_t* sums, int n, int y, int x0, int places, int channel) {
    const Unit& u = *op.unit;
    const bool timed = op.source && op.source->timed;
    const I16 initial = load(u.initial + channel);
    I16 gain = load(u.gain + channel), bias = load(u.bias + channel);
    Numbers p{load(u.fire_at + channel), load(u.threshold + channel), load(u.v_reset + channel), load(u.retract + channel)};
    for (int x = x0; x < x0 + places; ++x, sums += timed ? op.steps * 32 : 32) {
        State state{initial, I16{}};
        for (int t = 0; t < op.steps; ++t) {
            const int64_t at = static_cast<int64_t>(t) * op.padded + channel, row = static_cast<int64_t>(t) * op.samples + n;
            if (!STILL) {
                gain = load(u.gain + at), bias = load(u.bias + at);
                p.fire_at = load(u.fire_at + at), p.threshold = load(u.threshold + at);
            }
            I16 current{};
            if (op.method != NONE) current = load(sums + (timed ? t : 0) * 32) * gain;
            for (int i = 0; i < op.n_terms; ++i) {
                const Term& term = op.terms[i];
                current += load(term.gain + at) * read_channels(*term.wire, term.wire->timed ? row : n, y, x, channel);
            }
            current = (current >> u.right_shift) + bias;
            I16 h;
            const I16 spike = step<PLAIN>(u, p, current, state, h);
            for (int i = 0; i < op.n_outs; ++i) write_channels(op.outs[i], row, y, x, channel, spike);
            if (op.spikes) {
                for (int j = 0; j < 16 && channel + j < op.out_channels; ++j) {
                    const int64_t to = ((row * op.out_channels + channel + j) * op.oh + y) * op.ow + x;
                    op.spikes[to] = static_cast<int8_t>(spike[j]);
                    op.potentials[to] = h[j];
                }
            }
        }
    }
}
static void fire_places(const Op& op, const int32_t* sums, int n, int y, int x0, int places, int channel) {
    if (is_plain(*op.unit) && op.unit->still) fire_channels<true, true>(op, sums, n, y, x0, places, channel);
    else fire_channels<false, false>(op, sums, n, y, x0, places, channel);
}

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
                int32_t four;
                std::memcpy(&four, rows[r] + jump + 4 * k, 4);
                const __m512i x = _mm512_set1_epi32(four);
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
        I16 a{}, b{};
        const int8_t *u = w0, *v = w1;
        for (int run = 0; run < runs; ++run) {
            const uint8_t* x = rows[r] + jumps[run];
            for (int k = 0; k < length; ++k, u += 64, v += 64)
                for (int j = 0; j < 16; ++j)
                    for (int c = 0; c < 4; ++c) {
                        a[j] += x[4 * k + c] * u[4 * j + c];
                        b[j] += x[4 * k + c] * v[4 * j + c];
                    }
        }
        store(sums + r * stride, a);
        store(sums + r * stride + 16, b);
    }
#endif
}

INLINE I16 count_bits(I16 x) {
#if LEVEL >= 4
    return reinterpret_cast<I16>(_mm512_popcnt_epi32(reinterpret_cast<__m512i>(x)));
#else
    I16 out;
    for (int j = 0; j < 16; ++j) out[j] = __builtin_popcount(static_cast<uint32_t>(x[j]));
    return out;
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
                    int32_t word;
                    std::memcpy(&word, rows[r] + jump + 4 * k, 4);
                    const I16 x = all(word);
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

// Rows of weights, int16 [unit * 32 + channel][padded], added where there is a spike; 32 channels from `channel` on.
INLINE void add_events(const Op& op, const uint8_t* row, const int64_t* jumps, int runs, int length, const int16_t* weights,
                       int channel, int32_t* sums) {
    typedef int16_t W32 __attribute__((vector_size(64), aligned(2), may_alias));
    W32 a{};
    const int16_t* w = weights + channel;
    const int64_t next = static_cast<int64_t>(op.padded);
    for (int run = 0; run < runs; ++run)
        for (int k = 0; k < length; ++k, w += 32 * next) {
            uint32_t word;
            std::memcpy(&word, row + jumps[run] + 4 * k, 4);
            for (; word; word &= word - 1) a += *reinterpret_cast<const W32*>(w + __builtin_ctz(word) * next);
        }
    for (int j = 0; j < 32; ++j) sums[j] = a[j];
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
        if (k < length) {
            uint32_t word;
            std::memcpy(&word, p + 4 * k, 4);
            n += __builtin_popcount(word);
        }
    }
    return n;
}

template <int R>
static void sum_rows(const Op& op, const uint8_t* const* rows, const int32_t* counts, const int64_t* jumps, int runs, int length,
                     int channel, int32_t* sums) {
    const bool two = channel + 16 < op.padded;
    const int64_t block = channel / 16, size = static_cast<int64_t>(runs) * length;
    if (op.method == DOT) {
        const int8_t* w = static_cast<const int8_t*>(op.weights) + block * size * 64;
        if (two) dot_rows<R, true>(op, rows, jumps, runs, length, w, w + size * 64, sums, 32);
        else dot_rows<R, false>(op, rows, jumps, runs, length, w, w, sums, 32);
        const I16 a = load(op.correction + channel), b = two ? load(op.correction + channel + 16) : I16{};
        for (int r = 0; r < R; ++r) {
            store(sums + r * 32, load(sums + r * 32) + a);
            store(sums + r * 32 + 16, load(sums + r * 32 + 16) + b);
        }
    } else if (op.method == POPCOUNT) {
        const int32_t* w = static_cast<const int32_t*>(op.weights) + block * op.planes * size * 16;
        if (two) count_rows<R, true>(op, rows, jumps, runs, length, w, w + op.planes * size * 16, sums, 32);
        else count_rows<R, false>(op, rows, jumps, runs, length, w, w, sums, 32);
        for (int r = 0; r < R; ++r)
            for (int half = 0; half < 32; half += 16)
                store(sums + r * 32 + half, load(sums + r * 32 + half) + counts[r] * op.offset);
    } else {
        for (int r = 0; r < R; ++r)
            add_events(op, rows[r], jumps, runs, length, static_cast<const int16_t*>(op.weights), channel, sums + r * 32);
    }
}

// One line of places of one sample, 32 channels.
static void line_channels(const Op& op, int n, int y, int channel, const int64_t* jumps, int runs, int length, std::vector<int32_t>& sums,
                          std::vector<const uint8_t*>& rows, std::vector<int32_t>& counts) {
    const int lanes = std::min(32, op.padded - channel);
    if (op.method == NONE) {
        for (int c = 0; c < lanes; c += 16) fire_places(op, nullptr, n, y, 0, op.ow, channel + c);
        return;
    }
    const Wire& w = *op.source;
    const int steps = w.timed ? op.steps : 1, across = std::max(1, 8 / steps);
    const int64_t hp = w.h + 2 * w.border_h, wp = w.w + 2 * w.border_w, unit = 4;
    for (int x0 = 0; x0 < op.ow; x0 += across) {
        const int places = std::min(across, op.ow - x0), total = places * steps;
        for (int x = 0; x < places; ++x)
            for (int t = 0; t < steps; ++t) {
                const int64_t row = static_cast<int64_t>(t) * op.samples + n;
                const int64_t at = (row * hp + y * op.sh - op.ph + w.border_h) * wp + (x0 + x) * op.sw - op.pw + w.border_w;
                rows[x * steps + t] = static_cast<const uint8_t*>(w.data) + at * w.units * unit;
                if (op.method == POPCOUNT && op.offset) counts[x * steps + t] = spikes_in(rows[x * steps + t], jumps, runs, length);
            }
#if LEVEL < 4
        // Too few registers to share what is loaded among rows.
        for (int r = 0; r < total; ++r) sum_rows<1>(op, rows.data() + r, counts.data() + r, jumps, runs, length, channel, sums.data() + r * 32);
#else
        for (int r = 0; r < total; r += 8) {
            const uint8_t* const* p = rows.data() + r;
            const int32_t* s = counts.data() + r;
            int32_t* to = sums.data() + r * 32;
            switch (std::min(8, total - r)) {
                case 8: sum_rows<8>(op, p, s, jumps, runs, length, channel, to); break;
                case 7: sum_rows<7>(op, p, s, jumps, runs, length, channel, to); break;
                case 6: sum_rows<6>(op, p, s, jumps, runs, length, channel, to); break;
                case 5: sum_rows<5>(op, p, s, jumps, runs, length, channel, to); break;
                case 4: sum_rows<4>(op, p, s, jumps, runs, length, channel, to); break;
                case 3: sum_rows<3>(op, p, s, jumps, runs, length, channel, to); break;
                case 2: sum_rows<2>(op, p, s, jumps, runs, length, channel, to); break;
                default: sum_rows<1>(op, p, s, jumps, runs, length, channel, to);
            }
        }
#endif
        for (int c = 0; c < lanes; c += 16) {
            if (op.unit) {
                fire_places(op, sums.data() + c, n, y, x0, places, channel + c);
                continue;
            }
            for (int x = 0; x < places; ++x)
                for (int t = 0; t < steps; ++t)
                    write_channels(op.outs[0], static_cast<int64_t>(t) * op.samples + n, y, x0 + x, channel + c,
                                   load(sums.data() + (x * steps + t) * 32 + c));
        }
    }
}

static void layer_channels(const Op& op, int threads) {
    std::vector<int64_t> jumps;
    int length = 0;
    if (op.source) {  // taps that lie side by side in memory make one run
        const Wire& w = *op.source;
        const int64_t wp = w.w + 2 * w.border_w;
        const bool joined = op.dw == 1;
        length = joined ? op.kw * w.units : w.units;
        for (int ky = 0; ky < op.kh; ++ky)
            for (int kx = 0; kx < (joined ? 1 : op.kw); ++kx) jumps.push_back((ky * op.dh * wp + kx * op.dw) * w.units * 4);
    }
    const int runs = static_cast<int>(jumps.size()), steps = op.source && op.source->timed ? op.steps : 1;
    const int64_t blocks = (op.padded + 31) / 32, lines = static_cast<int64_t>(op.samples) * op.oh;
    // Small weights stay in the cache while the lines go by; of large ones each block is read once.
    const bool by_line = static_cast<int64_t>(runs) * length * 64 * op.padded / 16 < (1 << 18);
#pragma omp parallel num_threads(threads)
    {
        const size_t most = static_cast<size_t>(std::max(8, steps)) + 8;
        std::vector<int32_t> sums(most * 32), counts(most);
        std::vector<const uint8_t*> rows(most);
#pragma omp for schedule(static)
        for (int64_t i = 0; i < blocks * lines; ++i) {
            const int64_t block = by_line ? i % blocks : i / lines, line = by_line ? i / blocks : i % lines;
            line_channels(op, static_cast<int>(line / op.oh), static_cast<int>(line % op.oh), static_cast<int>(block) * 32, jumps.data(),
                          runs, length, sums, rows, counts);
        }
    }
}

#endif

// ---------------------------------------------------------------- samples

#if LEVEL >= 4
using Bytes = __m512i;
INLINE Bytes read_bytes(const uint8_t* p) { return _mm512_loadu_si512(p); }
INLINE Bytes four_bits(Bytes x) { return _mm512_and_si512(x, _mm512_set1_epi8(15)); }
INLINE Bytes shift_four(Bytes x) { return _mm512_srli_epi16(x, 4); }
INLINE Bytes spread(const uint8_t* p) { return _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
INLINE Bytes shuffle(Bytes table, Bytes index) { return _mm512_shuffle_epi8(table, index); }
INLINE Bytes add_bytes(Bytes a, Bytes b) { return _mm512_add_epi8(a, b); }
INLINE Bytes add_words(Bytes a, Bytes b) { return _mm512_add_epi16(a, b); }
INLINE Bytes high_bytes(Bytes x) { return _mm512_srli_epi16(x, 8); }
INLINE Bytes low_bytes(Bytes both, Bytes high) { return _mm512_sub_epi16(both, _mm512_slli_epi16(high, 8)); }
INLINE Bytes nothing() { return _mm512_setzero_si512(); }
INLINE void write_words(uint16_t* p, Bytes even, Bytes odd, bool first) {
    const Bytes a = _mm512_unpacklo_epi16(even, odd), b = _mm512_unpackhi_epi16(even, odd);
    const Bytes front = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11), back = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
    Bytes x = _mm512_permutex2var_epi64(a, front, b), y = _mm512_permutex2var_epi64(a, back, b);
    if (!first) {
        x = _mm512_add_epi16(x, _mm512_loadu_si512(p));
        y = _mm512_add_epi16(y, _mm512_loadu_si512(p + 32));
    }
    _mm512_storeu_si512(p, x);
    _mm512_storeu_si512(p + 32, y);
}
#elif LEVEL == 3
using Bytes = __m256i;
INLINE Bytes read_bytes(const uint8_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
INLINE Bytes four_bits(Bytes x) { return _mm256_and_si256(x, _mm256_set1_epi8(15)); }
INLINE Bytes shift_four(Bytes x) { return _mm256_srli_epi16(x, 4); }
INLINE Bytes spread(const uint8_t* p) { return _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
INLINE Bytes shuffle(Bytes table, Bytes index) { return _mm256_shuffle_epi8(table, index); }
INLINE Bytes add_bytes(Bytes a, Bytes b) { return _mm256_add_epi8(a, b); }
INLINE Bytes add_words(Bytes a, Bytes b) { return _mm256_add_epi16(a, b); }
INLINE Bytes high_bytes(Bytes x) { return _mm256_srli_epi16(x, 8); }
INLINE Bytes low_bytes(Bytes both, Bytes high) { return _mm256_sub_epi16(both, _mm256_slli_epi16(high, 8)); }
INLINE Bytes nothing() { return _mm256_setzero_si256(); }
INLINE void write_words(uint16_t* p, Bytes even, Bytes odd, bool first) {
    const Bytes a = _mm256_unpacklo_epi16(even, odd), b = _mm256_unpackhi_epi16(even, odd);
    Bytes x = _mm256_permute2x128_si256(a, b, 0x20), y = _mm256_permute2x128_si256(a, b, 0x31);
    __m256i* to = reinterpret_cast<__m256i*>(p);
    if (!first) {
        x = _mm256_add_epi16(x, _mm256_loadu_si256(to));
        y = _mm256_add_epi16(y, _mm256_loadu_si256(to + 1));
    }
    _mm256_storeu_si256(to, x);
    _mm256_storeu_si256(to + 1, y);
}
#endif

#if LEVEL >= 3
constexpr int WIDE = sizeof(Bytes);

constexpr bool SIX = PER_UNIT == 6;
constexpr int GROUP = SIX ? 3 : 4;                       // output channels that are looked up together
constexpr int ENTRIES = SIX ? 64 : 32;                   // bytes of all tables of a unit for one output channel
constexpr int MOST_VECTORS = LEVEL >= 4 ? 2 : 1;

// Adds to the sums of GROUP channels for V vectors of samples at one place. A table holds the sum of the weights whose bit
// is set in its index, less the smallest such sum, so bytes never go below 0. `flush` units fit into a byte; then even and
// odd bytes are added up in words. Tables are uint8 [channels / GROUP][tap][unit][tables of a unit][GROUP][entries]:
//   SIX   6 channels in a unit, one table of 64   the index is the byte of the wire itself
//   else  8 channels in a unit, two tables of 16  one for each half of the byte
template <int V>
INLINE void look_up_unit(const uint8_t* x, const uint8_t* table, Bytes (&bytes)[GROUP][V]) {
#if LEVEL == 5
    Bytes index[V];
    for (int v = 0; v < V; ++v) {
        index[v] = read_bytes(x + v * WIDE);
        asm("" : "+v"(index[v]));  // loaded once and kept: loads are what this loop has least of
    }
#pragma GCC unroll 3
    for (int c = 0; c < GROUP; ++c) {
        Bytes entries = read_bytes(table + c * ENTRIES);
        asm("" : "+v"(entries));
#pragma GCC unroll 3
        for (int v = 0; v < V; ++v) bytes[c][v] = add_bytes(bytes[c][v], _mm512_permutexvar_epi8(index[v], entries));
    }
#else
    Bytes low[V], top[V];
    for (int v = 0; v < V; ++v) {
        const Bytes halves = read_bytes(x + v * WIDE);
        low[v] = four_bits(halves);
        top[v] = four_bits(shift_four(halves));
    }
#pragma GCC unroll 4
    for (int c = 0; c < GROUP; ++c) {
        const Bytes entries = spread(table + c * 16), more = spread(table + (GROUP + c) * 16);
#pragma GCC unroll 2
        for (int v = 0; v < V; ++v) {
            bytes[c][v] = add_bytes(bytes[c][v], shuffle(entries, low[v]));
            bytes[c][v] = add_bytes(bytes[c][v], shuffle(more, top[v]));
        }
    }
#endif
}

// Where one unit of one tap lies: in the wire, from the first tap's place on, and among the tables.
struct Line {
    int64_t wire, table;
};

template <int V>
INLINE void look_up(const uint8_t* source, const Line* lines, int n_lines, int flush, const uint8_t* tables, uint16_t* sums,
                    int64_t stride, bool first) {
    Bytes bytes[GROUP][V], both[GROUP][V], high[GROUP][V];
    for (int c = 0; c < GROUP; ++c)
        for (int v = 0; v < V; ++v) bytes[c][v] = both[c][v] = high[c][v] = nothing();
    for (int i = 0; i < n_lines;) {
        const int end = std::min(i + flush, n_lines);
        for (; i < end; ++i) look_up_unit<V>(source + lines[i].wire, tables + lines[i].table, bytes);
#pragma GCC unroll 4
        for (int c = 0; c < GROUP; ++c)
#pragma GCC unroll 3
            for (int v = 0; v < V; ++v) {
                both[c][v] = add_words(both[c][v], bytes[c][v]);
                high[c][v] = add_words(high[c][v], high_bytes(bytes[c][v]));
                bytes[c][v] = nothing();
            }
    }
    for (int c = 0; c < GROUP; ++c)
        for (int v = 0; v < V; ++v)
            write_words(sums + c * stride + v * WIDE, low_bytes(both[c][v], high[c][v]), high[c][v], first);
}

INLINE void look_up_rows(const uint8_t* source, const Line* lines, int n_lines, int flush, const uint8_t* tables, uint16_t* sums,
                         int64_t stride, int64_t rows, bool first) {
    constexpr int M = MOST_VECTORS;
    int64_t left = (rows + WIDE - 1) / WIDE, s = 0;
    while (left > 0) {
        const int64_t take = std::min<int64_t>(M, left);
        if (take == 2) look_up<std::min(2, M)>(source + s, lines, n_lines, flush, tables, sums + s, stride, first);
        else look_up<1>(source + s, lines, n_lines, flush, tables, sums + s, stride, first);
        s += take * WIDE;
        left -= take;
    }
}

INLINE I16 widen_words(const uint16_t* p) {
#if LEVEL >= 4
    return reinterpret_cast<I16>(_mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))));
#else
    I16 out;
    for (int j = 0; j < 16; ++j) out[j] = p[j];
    return out;
#endif
}

// Adds the sums of another layer, or spikes, to the current of one channel at one step.
INLINE void add_term(const Wire& w, int32_t gain, int channel, int64_t place, int64_t first, int N, int32_t* current) {
    if (w.layout == PLANES) {
        const uint8_t* p = static_cast<const uint8_t*>(w.data) + (place * w.units + channel / PER_UNIT) * w.lanes + first;
        const int bit = 1 << (channel % PER_UNIT);
        for (int n = 0; n < N; n += 16) {
            const I16 set = widen_bytes(p + n) & bit;
            store(current + n, load(current + n) + (set != 0 ? all(gain) : I16{}));
        }
    } else {
        const uint16_t* p = static_cast<const uint16_t*>(w.data) + (place * w.units * PER_UNIT + channel) * w.lanes + first;
        for (int n = 0; n < N; n += 16) store(current + n, load(current + n) + (((widen_words(p + n) << 16) >> 16) * gain));
    }
}

// Spikes of one channel that are added as they are, as a shortcut does; none where `data` is null.
struct Plane {
    const uint8_t* data;
    int32_t bit, gain;
};

// All samples of one channel at one step: currents to spikes, whose bit is set in `to`. Without `current` it is
// gain * sum + start.
template <bool PLAIN>
INLINE void fire_line(const Unit& u, const Numbers& p, const int32_t* current, const uint16_t* sums, int32_t gain, int32_t start,
                      const Plane& plane, int32_t* v, int N, int bit, uint8_t* to, int32_t* h) {
    for (int n = 0; n < N; n += 16) {
        State state{load(v + n), I16{}};
        I16 potential;
        I16 i = current ? load(current + n) : widen_words(sums + n) * gain + start;
        if (plane.data) i += (widen_bytes(plane.data + n) & plane.bit) != 0 ? all(plane.gain) : I16{};
        const I16 spike = step<PLAIN>(u, p, i, state, potential);
        store(v + n, state.v);
        if (h) store(h + n, potential);
#if LEVEL >= 4
        const __m128i old = _mm_loadu_si128(reinterpret_cast<const __m128i*>(to + n));
        const __mmask16 fired = _mm512_test_epi32_mask(reinterpret_cast<__m512i>(spike), reinterpret_cast<__m512i>(spike));
        _mm_storeu_si128(reinterpret_cast<__m128i*>(to + n), _mm_or_si128(old, _mm_maskz_set1_epi8(fired, static_cast<char>(bit))));
#else
        for (int j = 0; j < 16; ++j) to[n + j] |= static_cast<uint8_t>(spike[j] ? bit : 0);
#endif
    }
}

// The channels of a unit at one place: sums to spikes, one bit per channel into `spikes`. Its steps lie `apart`, a multiple of
// 16, so that no vector reaches into the next step.
static void fire_samples(const Op& op, const uint16_t* sums, int64_t stride, const int32_t* less, int y, int x, int channel,
                         uint8_t* spikes, int64_t apart, int32_t* v, int32_t* current, int32_t* h) {
    const Unit& u = *op.unit;
    const int N = op.samples;
    const bool plain = is_plain(u), timed = op.source->timed;
    const Wire* shortcut = op.n_terms == 1 && op.terms[0].wire->layout == PLANES ? op.terms[0].wire : nullptr;
    const bool simple = (op.n_terms == 0 || shortcut) && u.right_shift == 0;
    const int64_t place = static_cast<int64_t>(y) * op.ow + x;
    std::memset(spikes, 0, static_cast<size_t>(apart * op.steps));
    for (int c = 0; c < PER_UNIT && channel + c < op.out_channels; ++c) {
        const int o = channel + c;
        for (int n = 0; n < N; n += 16) store(v + n, all(u.initial[o]));
        for (int t = 0; t < op.steps; ++t) {
            const int64_t at = static_cast<int64_t>(t) * op.padded + o, row = static_cast<int64_t>(t) * N;
            const uint16_t* from = sums + c * stride + (timed ? row : 0);
            const int32_t gain = u.gain[at];
            // Without a shift the bias can be added at once.
            const int32_t start = less[c] * gain + (u.right_shift ? 0 : u.bias[at]);
            if (!simple) {
                for (int n = 0; n < N; n += 16) store(current + n, widen_words(from + n) * gain + start);
                for (int i = 0; i < op.n_terms; ++i) {
                    const Wire& w = *op.terms[i].wire;
                    add_term(w, op.terms[i].gain[at], o, place, w.timed ? row : 0, N, current);
                }
                if (u.right_shift)
                    for (int n = 0; n < N; n += 16) store(current + n, (load(current + n) >> u.right_shift) + u.bias[at]);
            }
            const Numbers p{all(u.fire_at[at]), all(u.threshold[at]), all(u.v_reset[o]), I16{}};
            int32_t* kept = op.spikes ? h : nullptr;
            uint8_t* to = spikes + t * apart;
            Plane plane{};
            if (simple && shortcut)
                plane = {static_cast<const uint8_t*>(shortcut->data) + (place * shortcut->units + o / PER_UNIT) * shortcut->lanes +
                             (shortcut->timed ? row : 0),
                         1 << (o % PER_UNIT), op.terms[0].gain[at]};
            if (plain && simple) fire_line<true>(u, p, nullptr, from, gain, start, plane, v, N, 1 << c, to, kept);
            else if (plain) fire_line<true>(u, p, current, from, gain, start, plane, v, N, 1 << c, to, kept);
            else fire_line<false>(u, p, simple ? nullptr : current, from, gain, start, plane, v, N, 1 << c, to, kept);
            if (op.spikes)
                for (int n = 0; n < N; ++n) {
                    const int64_t there = (((row + n) * op.out_channels + o) * op.oh + y) * op.ow + x;
                    op.spikes[there] = static_cast<int8_t>((to[n] >> c) & 1);
                    op.potentials[there] = h[n];
                }
        }
    }
}

// The taps `from` to `to` of the window that lie inside the image at one place, unit by unit.
INLINE int lines_inside(const Op& op, int y, int x, int from, int to, Line* lines) {
    const Wire& w = *op.source;
    int n = 0;
    for (int tap = from; tap < to; ++tap) {
        const int ky = tap / op.kw * op.dh, kx = tap % op.kw * op.dw;
        const int iy = y * op.sh - op.ph + ky, ix = x * op.sw - op.pw + kx;
        if (iy < 0 || iy >= w.h || ix < 0 || ix >= w.w) continue;
        const int64_t wire = (static_cast<int64_t>(ky) * w.w + kx) * w.units * w.lanes, table = static_cast<int64_t>(tap) * w.units;
        for (int g = 0; g < w.units; ++g) lines[n++] = {wire + g * w.lanes, (table + g) * GROUP * ENTRIES};
    }
    return n;
}

// The sums of one unit of output channels at some places of a row: [place][channel][wide]. The tables of some taps stay in
// the first-level cache while all places and samples go by.
static void sums_of_unit(const Op& op, int unit, int y, int x0, int places, Line* lines, uint16_t* sums, int64_t wide, int64_t rows) {
    const Wire& w = *op.source;
    const int n_taps = op.kh * op.kw;
    const int64_t bytes = static_cast<int64_t>(w.units) * GROUP * ENTRIES, step = static_cast<int64_t>(w.units) * w.lanes;
    const int together = static_cast<int>(std::max<int64_t>(1, std::min<int64_t>(n_taps, 20000 / bytes)));
    const int reach = (op.kw - 1) * op.dw;
    for (int tap = 0; tap < n_taps; tap += together) {
        int n = 0;
        bool whole = false;  // the lines at hand are those of a place whose window does not leave the image to the side
        for (int x = 0; x < places; ++x) {
            const int ix = (x0 + x) * op.sw - op.pw;
            const bool inside = ix >= 0 && ix + reach < w.w;
            if (!(whole && inside)) n = lines_inside(op, y, x0 + x, tap, std::min(n_taps, tap + together), lines);
            whole = inside;
            if (n == 0 && tap > 0) continue;
            const uint8_t* source = static_cast<const uint8_t*>(w.data) + (static_cast<int64_t>(y * op.sh - op.ph) * w.w + ix) * step;
            for (int c = 0; c < PER_UNIT; c += GROUP) {
                const uint8_t* tables = static_cast<const uint8_t*>(op.weights) + static_cast<int64_t>(unit * PER_UNIT + c) / GROUP * n_taps * bytes;
                look_up_rows(source, lines, n, op.flush, tables, sums + (x * PER_UNIT + c) * wide, wide, rows, tap == 0);
            }
        }
    }
}

static void layer_samples(const Op& op, int threads) {
    const Wire& w = *op.source;
    const int64_t rows = w.timed ? static_cast<int64_t>(op.steps) * op.samples : op.samples;
    const int64_t units = (op.out_channels + PER_UNIT - 1) / PER_UNIT, all_rows = static_cast<int64_t>(op.steps) * op.samples;
    const int64_t wide = std::max<int64_t>(w.lanes, (all_rows + 63) / 64 * 64);
    const int across = static_cast<int>(std::max<int64_t>(1, std::min<int64_t>(op.ow, 24000 / (PER_UNIT * (wide + 64) * 2))));
#pragma omp parallel num_threads(threads)
    {
        std::vector<uint16_t> sums(static_cast<size_t>(across * PER_UNIT * wide + 64));
        const int64_t apart = (op.samples + 15) / 16 * 16;
        std::vector<uint8_t> spikes(static_cast<size_t>(op.steps * apart));
        const size_t line = static_cast<size_t>(op.samples) + 16;
        std::vector<int32_t> v(line), current(line), potentials(line);
        std::vector<Line> lines(static_cast<size_t>(op.kh * op.kw * w.units));
#pragma omp for schedule(static)
        for (int64_t i = 0; i < units * op.oh; ++i) {
            const int unit = static_cast<int>(i / op.oh), y = static_cast<int>(i % op.oh);
            const Wire& out = op.outs[0];
            for (int x0 = 0; x0 < op.ow; x0 += across) {
                const int places = std::min(across, op.ow - x0);
                sums_of_unit(op, unit, y, x0, places, lines.data(), sums.data(), wide, rows);
                for (int x = x0; x < x0 + places; ++x) {
                    const uint16_t* here = sums.data() + (x - x0) * PER_UNIT * wide;
                    int32_t less[PER_UNIT] = {};
                    for (int tap = 0; tap < op.kh * op.kw; ++tap) {
                        const int iy = y * op.sh - op.ph + tap / op.kw * op.dh, ix = x * op.sw - op.pw + tap % op.kw * op.dw;
                        if (iy < 0 || iy >= w.h || ix < 0 || ix >= w.w) continue;
                        for (int c = 0; c < PER_UNIT; ++c) less[c] += op.correction[(tap * units + unit) * PER_UNIT + c];
                    }
                    const int64_t place = static_cast<int64_t>(y) * out.w + x;
                    if (op.unit) {
                        fire_samples(op, here, wide, less, y, x, unit * PER_UNIT, spikes.data(), apart, v.data(), current.data(), potentials.data());
                        uint8_t* to = static_cast<uint8_t*>(out.data) + (place * out.units + unit) * out.lanes;
                        for (int t = 0; t < op.steps; ++t)
                            std::memcpy(to + static_cast<int64_t>(t) * op.samples, spikes.data() + t * apart, static_cast<size_t>(op.samples));
                        continue;
                    }
                    for (int c = 0; c < PER_UNIT; ++c) {
                        uint16_t* to = static_cast<uint16_t*>(out.data) + (place * out.units * PER_UNIT + unit * PER_UNIT + c) * out.lanes;
                        const uint16_t all_less = static_cast<uint16_t>(less[c]), *from = here + c * wide;
                        for (int64_t s = 0; s < rows; ++s) to[s] = static_cast<uint16_t>(from[s] + all_less);
                    }
                }
            }
        }
    }
}
#endif

// BITS to PLANES and back, and PLANES to BYTES. Eight units are PER_UNIT bytes of a row of bits.
static void convert(const Op& op, int threads) {
    const Wire& in = *op.source;
    const Wire& out = op.outs[0];
    const bool to_planes = out.layout == PLANES;
    const Wire &planes = to_planes ? out : in, &rowed = to_planes ? in : out;
    const int64_t rows = in.timed ? static_cast<int64_t>(op.steps) * op.samples : op.samples;
    const int64_t hp = rowed.h + 2 * rowed.border_h, wp = rowed.w + 2 * rowed.border_w, width = rowed.units * 4, jump = hp * wp * width;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t i = 0; i < static_cast<int64_t>(planes.h) * planes.w; ++i) {
        uint8_t* row = static_cast<uint8_t*>(rowed.data) + ((i / planes.w + rowed.border_h) * wp + i % planes.w + rowed.border_w) * width;
        uint8_t* lane = static_cast<uint8_t*>(planes.data) + i * planes.units * planes.lanes;
        uint64_t words[64];
        for (int first = 0; first < planes.units; first += 8) {
            const int units = std::min(8, planes.units - first), offset = first / 8 * PER_UNIT;
            const size_t size = static_cast<size_t>(std::min<int64_t>(PER_UNIT, width - offset));
            for (int64_t s0 = 0; s0 < rows; s0 += 64) {
                const int count = static_cast<int>(std::min<int64_t>(64, rows - s0));
                if (to_planes) {
                    // Eight bytes are read where a row has fewer left: memory goes on behind it, and no bit of it is kept.
                    for (int s = 0; s < count; ++s) std::memcpy(&words[s], row + (s0 + s) * jump + offset, 8);
                    for (int u = 0; u < units; ++u) {
                        uint8_t* to = lane + (first + u) * planes.lanes + s0;
                        const int left = planes.channels - (first + u) * PER_UNIT, mask = (1 << std::min(left, PER_UNIT)) - 1;
                        for (int s = 0; s < count; ++s) to[s] = static_cast<uint8_t>((words[s] >> (PER_UNIT * u)) & mask);
                    }
                } else {
                    std::memset(words, 0, sizeof words);
                    for (int u = 0; u < units; ++u) {
                        const uint8_t* from = lane + (first + u) * planes.lanes + s0;
                        for (int s = 0; s < count; ++s) words[s] |= static_cast<uint64_t>(from[s]) << (PER_UNIT * u);
                    }
                    for (int s = 0; s < count; ++s) {
                        uint8_t* to = row + (s0 + s) * jump;
                        if (out.layout == BITS)
                            std::memcpy(to + offset, &words[s], size);
                        else
                            for (int c = 0; c < 8 * PER_UNIT && offset * 8 + c < out.channels; ++c)
                                to[offset * 8 + c] = static_cast<uint8_t>(((words[s] >> c) & 1) - out.low);
                    }
                }
            }
        }
    }
}

static void layer(const Op& op, int threads) {
    if (op.method != TABLE) return layer_channels(op, threads);
#if LEVEL >= 3
    layer_samples(op, threads);
#endif
}
