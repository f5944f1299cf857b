// Layers whose vectors hold 16 output channels: the methods DOT, POPCOUNT, EVENTS and NONE. Part of loops.h.
//
// A row is the memory of one window at one step; a vector of weights is loaded once and meets up to 8 rows. `jumps` says
// where the runs of a window begin in a row, `length` how many units one run has.

#include "rows.h"

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
                int32_t fired[16], reached[16];
                store(fired, spike);
                store(reached, h);
                for (int j = 0; j < 16 && channel + j < op.out_channels; ++j) {
                    const int64_t to = ((row * op.out_channels + channel + j) * op.oh + y) * op.ow + x;
                    op.spikes[to] = static_cast<int8_t>(fired[j]);
                    op.potentials[to] = reached[j];
                }
            }
        }
    }
}
static void fire_places(const Op& op, const int32_t* sums, int n, int y, int x0, int places, int channel) {
    if (is_plain(*op.unit) && op.unit->still) fire_channels<true, true>(op, sums, n, y, x0, places, channel);
    else fire_channels<false, false>(op, sums, n, y, x0, places, channel);
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
        // Too few registers to share what is loaded among many rows.
        constexpr int MANY = LEVEL == 3 ? 2 : 1;
        int r = 0;
        for (; r + MANY <= total; r += MANY)
            sum_rows<MANY>(op, rows.data() + r, counts.data() + r, jumps, runs, length, channel, sums.data() + r * 32);
        if (r < total) sum_rows<1>(op, rows.data() + r, counts.data() + r, jumps, runs, length, channel, sums.data() + r * 32);
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
