// Layers whose vectors hold 64 (AVX2: 32) samples: the method TABLE. Part of loops.h.
//
// Binary inputs come in PLANES, a byte for 6 or 8 channels of one sample. One look-up turns such a byte into the sum of
// their weights for all samples of a vector at once, so no input is multiplied with any weight.

#if LEVEL >= 4
using Bytes = __m512i;
INLINE Bytes read_bytes(const void* p) { return _mm512_loadu_si512(p); }
INLINE Bytes four_bits(Bytes x) { return _mm512_and_si512(x, _mm512_set1_epi8(15)); }
INLINE Bytes shift_four(Bytes x) { return _mm512_srli_epi16(x, 4); }
INLINE Bytes spread(const void* p) { return _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
INLINE Bytes shuffle(Bytes table, Bytes index) { return _mm512_shuffle_epi8(table, index); }
INLINE Bytes add_bytes(Bytes a, Bytes b) { return _mm512_add_epi8(a, b); }
INLINE Bytes add_words(Bytes a, Bytes b) { return _mm512_add_epi16(a, b); }
INLINE Bytes high_bytes(Bytes x) { return _mm512_srli_epi16(x, 8); }
INLINE Bytes low_bytes(Bytes both, Bytes high) { return _mm512_sub_epi16(both, _mm512_slli_epi16(high, 8)); }
INLINE Bytes nothing() { return _mm512_setzero_si512(); }
INLINE Bytes all_words(int32_t x) { return _mm512_set1_epi16(static_cast<int16_t>(x)); }
INLINE Bytes both_bits(Bytes a, Bytes b) { return _mm512_and_si512(a, b); }
INLINE Bytes bytes_to_words(const uint8_t* p) { return _mm512_cvtepu8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))); }
INLINE Bytes equal_words(Bytes a, Bytes b) { return _mm512_movm_epi16(_mm512_cmpeq_epi16_mask(a, b)); }
INLINE Bytes greater_words(Bytes a, Bytes b) { return _mm512_movm_epi16(_mm512_cmpgt_epi16_mask(a, b)); }
INLINE void set_bits(uint8_t* to, Bytes a, Bytes b, int bit) {  // where a lane of a, then of b, is -1
    const __mmask64 fired = _cvtu64_mask64(_mm512_movepi16_mask(a) | static_cast<uint64_t>(_mm512_movepi16_mask(b)) << 32);
    _mm512_storeu_si512(to, _mm512_or_si512(_mm512_loadu_si512(to), _mm512_maskz_set1_epi8(fired, static_cast<char>(bit))));
}
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
#else
using Bytes = __m256i;
INLINE Bytes read_bytes(const void* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
INLINE Bytes four_bits(Bytes x) { return _mm256_and_si256(x, _mm256_set1_epi8(15)); }
INLINE Bytes shift_four(Bytes x) { return _mm256_srli_epi16(x, 4); }
INLINE Bytes spread(const void* p) { return _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
INLINE Bytes shuffle(Bytes table, Bytes index) { return _mm256_shuffle_epi8(table, index); }
INLINE Bytes add_bytes(Bytes a, Bytes b) { return _mm256_add_epi8(a, b); }
INLINE Bytes add_words(Bytes a, Bytes b) { return _mm256_add_epi16(a, b); }
INLINE Bytes high_bytes(Bytes x) { return _mm256_srli_epi16(x, 8); }
INLINE Bytes low_bytes(Bytes both, Bytes high) { return _mm256_sub_epi16(both, _mm256_slli_epi16(high, 8)); }
INLINE Bytes nothing() { return _mm256_setzero_si256(); }
INLINE Bytes all_words(int32_t x) { return _mm256_set1_epi16(static_cast<int16_t>(x)); }
INLINE Bytes both_bits(Bytes a, Bytes b) { return _mm256_and_si256(a, b); }
INLINE Bytes bytes_to_words(const uint8_t* p) { return _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
INLINE Bytes equal_words(Bytes a, Bytes b) { return _mm256_cmpeq_epi16(a, b); }
INLINE Bytes greater_words(Bytes a, Bytes b) { return _mm256_cmpgt_epi16(a, b); }
INLINE void set_bits(uint8_t* to, Bytes a, Bytes b, int bit) {  // where a lane of a, then of b, is -1
    __m256i* there = reinterpret_cast<__m256i*>(to);
    const Bytes fired = _mm256_permute4x64_epi64(_mm256_packs_epi16(a, b), 0xd8);
    const Bytes bits = _mm256_and_si256(fired, _mm256_set1_epi8(static_cast<char>(bit)));
    _mm256_storeu_si256(there, _mm256_or_si256(_mm256_loadu_si256(there), bits));
}
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
        const int end = i + flush < n_lines ? i + flush : n_lines;  // std::min is a call here: it was compiled for any machine
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

// Adds the sums of another layer, or spikes, to the current of one channel at one step.
INLINE void add_term(const Wire& w, int32_t gain, int channel, int64_t place, int64_t first, int N, int32_t* current) {
    if (w.layout == PLANES) {
        const uint8_t* p = static_cast<const uint8_t*>(w.data) + (place * w.units + channel / PER_UNIT) * w.lanes + first;
        const int bit = 1 << (channel % PER_UNIT);
        for (int n = 0; n < N; n += 16) {
            const I16 set = widen_bytes(p + n) & bit;
            store(current + n, load(current + n) + choose(set != 0, all(gain), I16{}));
        }
    } else {
        const uint16_t* p = static_cast<const uint16_t*>(w.data) + (place * w.units * PER_UNIT + channel) * w.lanes + first;
        for (int n = 0; n < N; n += 16) store(current + n, load(current + n) + (((widen_words(p + n) << 16) >> 16) * gain));
    }
}

#include "counted.h"

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
        if (plane.data) i += choose((widen_bytes(plane.data + n) & plane.bit) != 0, all(plane.gain), I16{});
        const I16 spike = step<PLAIN>(u, p, i, state, potential);
        store(v + n, state.v);
        if (h) store(h + n, potential);
#if LEVEL >= 4
        const __m128i old = _mm_loadu_si128(reinterpret_cast<const __m128i*>(to + n));
        const __mmask16 fired = _mm512_test_epi32_mask(reinterpret_cast<__m512i>(spike), reinterpret_cast<__m512i>(spike));
        _mm_storeu_si128(reinterpret_cast<__m128i*>(to + n), _mm_or_si128(old, _mm_maskz_set1_epi8(fired, static_cast<char>(bit))));
#else
        __m128i* there = reinterpret_cast<__m128i*>(to + n);
        const __m128i fired = _mm_and_si128(bytes_of(-spike), _mm_set1_epi8(static_cast<char>(bit)));
        _mm_storeu_si128(there, _mm_or_si128(_mm_loadu_si128(there), fired));
#endif
    }
}

// The channels of a unit at one place: sums to spikes, one bit per channel into `spikes`. Its steps lie `apart`, a multiple of
// a vector, so that none reaches into the next step.
static void fire_samples(const Op& op, const Counted& counted, const uint16_t* sums, int64_t stride, const int32_t* less, int y, int x, int channel,
                         uint8_t* spikes, int64_t apart, int32_t* v, int32_t* current, int32_t* h) {
    const Unit& u = *op.unit;
    const int N = op.samples;
    const bool plain = is_plain(u), timed = op.source->timed;
    const Wire* shortcut = shortcut_of(op);
    const bool simple = (op.n_terms == 0 || shortcut) && u.right_shift == 0;
    const int64_t place = static_cast<int64_t>(y) * op.ow + x;
    std::memset(spikes, 0, static_cast<size_t>(apart * op.steps));
    for (int c = 0; c < PER_UNIT && channel + c < op.out_channels; ++c) {
        const int o = channel + c;
        if (!counted.tables.empty()) {
            const uint16_t* from = sums + c * stride;
            const int16_t* tables = counted.of(o);
            const int64_t jump = timed ? N : 0;
            if (!shortcut) {
                count_line<false>(op, tables, from, jump, less[c], nullptr, 0, 0, spikes, apart, 1 << c);
                continue;
            }
            const int64_t skipped = (place * shortcut->units + o / PER_UNIT) * shortcut->lanes;
            count_line<true>(op, tables, from, jump, less[c], shortcut, skipped, 1 << (o % PER_UNIT), spikes, apart, 1 << c);
            continue;
        }
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
    const Counted limits = counted(op);
#pragma omp parallel num_threads(threads)
    {
        std::vector<uint16_t> sums(static_cast<size_t>(across * PER_UNIT * wide + 64));
        const int64_t apart = (op.samples + WIDE - 1) / WIDE * WIDE;
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
                        fire_samples(op, limits, here, wide, less, y, x, unit * PER_UNIT, spikes.data(), apart, v.data(), current.data(), potentials.data());
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
