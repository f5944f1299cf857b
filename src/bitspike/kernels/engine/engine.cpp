// Runs the fused steps of an integer network: sums, neurons, pools, read-outs. Plain C++ with OpenMP and a C interface;
// the loops are compiled for several instruction sets and chosen when the library is loaded.

#include "engine.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <vector>

#if defined(__GNUC__)
#define INLINE inline __attribute__((always_inline))
#else
#define INLINE inline
#endif

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("wrapv")  // lanes that pad a vector may overflow; nobody reads them
#endif

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define X86 1
#include <immintrin.h>
#endif

#if X86
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vpopcntdq,popcnt,bmi,bmi2,prefer-vector-width=512")
namespace avx512 {
#define LEVEL 4
#define PER_UNIT 8
#include "loops.h"
#undef PER_UNIT
#undef LEVEL
}  // namespace avx512
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vpopcntdq,popcnt,bmi,bmi2,prefer-vector-width=512,avx512vbmi")
namespace vbmi {
#define LEVEL 5
#define PER_UNIT 6
#include "loops.h"
#undef PER_UNIT
#undef LEVEL
}  // namespace vbmi
#pragma GCC pop_options
#define PER_UNIT 8
#pragma GCC push_options
#pragma GCC target("avx2,popcnt,bmi,bmi2")
namespace avx2 {
#define LEVEL 3
#include "loops.h"
#undef LEVEL
}  // namespace avx2
#pragma GCC pop_options
#else
#define PER_UNIT 8
#endif
namespace anywhere {
#define LEVEL 1
#include "loops.h"
#undef LEVEL
}  // namespace anywhere
#undef PER_UNIT

namespace {

int most = 5;  // tests lower it

int level() {
#if X86
    static const int here = [] {
        __builtin_cpu_init();
        if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512vpopcntdq") &&
            __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq"))
            return __builtin_cpu_supports("avx512vbmi") ? 5 : 4;
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("popcnt") ? 3 : 1;
    }();
    return std::min(here, most);
#else
    return 1;
#endif
}

const uint8_t* place_of(const Wire& w, int64_t row, int y, int x) {
    const int64_t hp = w.h + 2 * w.border_h, wp = w.w + 2 * w.border_w;
    return static_cast<const uint8_t*>(w.data) + ((row * hp + y + w.border_h) * wp + x + w.border_w) * w.units * 4;
}

// The value of one channel; for read-outs, which are few.
int64_t value_of(const Wire& w, int64_t row, int y, int x, int channel) {
    if (w.layout == RAW_CHANNELS) return static_cast<const int32_t*>(w.data)[((row * w.h + y) * w.w + x) * w.units * 16 + channel];
    const uint8_t* p = place_of(w, row, y, x);
    return w.layout == BYTES ? p[channel] + w.low : (p[channel / 8] >> (channel % 8)) & 1;
}

// The largest of binary windows, 8 channels in a byte, one sample after the other.
void pool_planes(const Op& op, int threads) {
    const Wire& in = *op.source;
    const Wire& out = op.outs[0];
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t i = 0; i < static_cast<int64_t>(in.units) * op.oh; ++i) {
        const int64_t unit = i / op.oh, y = i % op.oh;
        for (int x = 0; x < op.ow; ++x) {
            uint8_t* to = static_cast<uint8_t*>(out.data) + ((y * op.ow + x) * out.units + unit) * out.lanes;
            std::memset(to, 0, static_cast<size_t>(out.lanes));
            for (int k = 0; k < op.kh * op.kw; ++k) {
                const int64_t iy = y * op.sh - op.ph + k / op.kw, ix = x * op.sw - op.pw + k % op.kw;
                if (iy < 0 || iy >= in.h || ix < 0 || ix >= in.w) continue;
                const uint8_t* from = static_cast<const uint8_t*>(in.data) + ((iy * in.w + ix) * in.units + unit) * in.lanes;
                for (int64_t s = 0; s < out.lanes; ++s) to[s] |= from[s];
            }
        }
    }
}

// What the largest running count of each window grows by, BITS to BITS. Every window counts for itself, sample by sample.
void pool_counts(const Op& op, int threads) {
    const Wire& in = *op.source;
    const Wire& out = op.outs[0];
    const size_t channels = static_cast<size_t>(in.units) * 32, taps = static_cast<size_t>(op.kh * op.kw);
#pragma omp parallel num_threads(threads)
    {
        std::vector<uint16_t> counts(taps * channels), largest(channels), before(channels);
#pragma omp for schedule(static)
        for (int64_t i = 0; i < static_cast<int64_t>(op.samples) * op.oh; ++i) {
            const int64_t n = i / op.oh;
            const int y = static_cast<int>(i % op.oh);
            for (int x = 0; x < op.ow; ++x) {
                std::fill(counts.begin(), counts.end(), uint16_t{0});
                std::fill(before.begin(), before.end(), uint16_t{0});
                for (int t = 0; t < op.steps; ++t) {
                    const int64_t row = static_cast<int64_t>(t) * op.samples + n;
                    std::fill(largest.begin(), largest.end(), uint16_t{0});
                    for (size_t k = 0; k < taps; ++k) {
                        const int iy = y * op.sh - op.ph + static_cast<int>(k) / op.kw, ix = x * op.sw - op.pw + static_cast<int>(k) % op.kw;
                        if (iy < 0 || iy >= in.h || ix < 0 || ix >= in.w) continue;  // a border counts 0
                        const uint8_t* p = place_of(in, row, iy, ix);
                        uint16_t* count = counts.data() + k * channels;
                        for (size_t c = 0; c < channels; ++c) {
                            count[c] = static_cast<uint16_t>(count[c] + ((p[c / 8] >> (c % 8)) & 1));
                            largest[c] = std::max(largest[c], count[c]);
                        }
                    }
                    uint8_t* to = const_cast<uint8_t*>(place_of(out, row, y, x));
                    std::memset(to, 0, static_cast<size_t>(out.units) * 4);
                    for (size_t c = 0; c < channels; ++c) to[c / 8] = static_cast<uint8_t>(to[c / 8] | ((largest[c] - before[c]) << (c % 8)));
                    std::swap(largest, before);
                }
            }
        }
    }
}

// Eight bits as the bytes 0 and 1, the lowest first.
uint64_t bytes_of(uint64_t bits) { return (((bits * 0x0101010101010101) & 0x8040201008040201) + 0x7f7f7f7f7f7f7f7f) >> 7 & 0x0101010101010101; }

// Sums of windows, BITS to BYTES. Eight channels are added at once: no sum is more than a byte, nor less than 0.
void pool_bits(const Op& op, int threads) {
    const Wire& in = *op.source;
    const Wire& out = op.outs[0];
    const int64_t rows = in.timed ? static_cast<int64_t>(op.steps) * op.samples : op.samples;
    const size_t width = static_cast<size_t>(in.units) * 4;
#pragma omp parallel num_threads(threads)
    {
        std::vector<uint64_t> sums(width);
#pragma omp for schedule(static)
        for (int64_t i = 0; i < rows * op.oh; ++i) {
            const int y = static_cast<int>(i % op.oh);
            for (int x = 0; x < op.ow; ++x) {
                std::fill(sums.begin(), sums.end(), uint64_t{0});
                for (int k = 0; k < op.kh * op.kw; ++k) {
                    const int iy = y * op.sh - op.ph + k / op.kw, ix = x * op.sw - op.pw + k % op.kw;
                    if (iy < 0 || iy >= in.h || ix < 0 || ix >= in.w) continue;
                    const uint8_t* p = place_of(in, i / op.oh, iy, ix);
                    for (size_t c = 0; c < width; ++c) sums[c] += bytes_of(p[c]);
                }
                uint8_t* to = const_cast<uint8_t*>(place_of(out, i / op.oh, y, x));
                std::memcpy(to, sums.data(), std::min<size_t>(width * 8, static_cast<size_t>(out.units) * 4));
            }
        }
    }
}

// Windows of BITS to BITS or of PLANES to PLANES (largest), or of BYTES to BYTES (sum, largest).
void pool(const Op& op, int threads) {
    const Wire& in = *op.source;
    const Wire& out = op.outs[0];
    if (op.largest == 2) return pool_counts(op, threads);
    if (in.layout == PLANES) return pool_planes(op, threads);
    if (in.layout == BITS && out.layout == BYTES) return pool_bits(op, threads);
    const int64_t rows = in.timed ? static_cast<int64_t>(op.steps) * op.samples : op.samples;
    const int width = out.units * 4;
#pragma omp parallel num_threads(threads)
    {
        std::vector<int32_t> sums(static_cast<size_t>(out.units * 4));
#pragma omp for schedule(static)
        for (int64_t i = 0; i < rows * op.oh; ++i) {
            const int64_t row = i / op.oh;
            const int y = static_cast<int>(i % op.oh);
            for (int x = 0; x < op.ow; ++x) {
                uint8_t* to = const_cast<uint8_t*>(place_of(out, row, y, x));
                if (out.layout == BITS) std::memset(to, 0, static_cast<size_t>(width));
                std::fill(sums.begin(), sums.end(), op.largest ? -256 : 0);
                for (int k = 0; k < op.kh * op.kw; ++k) {
                    const int iy = y * op.sh - op.ph + k / op.kw, ix = x * op.sw - op.pw + k % op.kw;
                    if (iy < 0 || iy >= in.h || ix < 0 || ix >= in.w) continue;  // a border's 0 is more than negative numbers
                    const uint8_t* p = place_of(in, row, iy, ix);
                    if (out.layout == BITS) {
                        for (int c = 0; c < width; ++c) to[c] = to[c] | p[c];
                    } else if (op.largest) {
                        for (int c = 0; c < width; ++c) sums[c] = std::max<int32_t>(sums[c], p[c] + in.low);
                    } else {
                        for (int c = 0; c < width; ++c) sums[c] += p[c] + in.low;
                    }
                }
                if (out.layout == BYTES)
                    for (int c = 0; c < width; ++c) to[c] = static_cast<uint8_t>(c < op.out_channels ? sums[c] - out.low : -out.low);
            }
        }
    }
}

void read_out(const Op& op, int threads) {
    const int64_t total = static_cast<int64_t>(op.samples) * op.out_channels;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t i = 0; i < total; ++i) {
        const int64_t n = i / op.out_channels;
        const int channel = static_cast<int>(i % op.out_channels);
        for (int y = 0; y < op.oh; ++y)
            for (int x = 0; x < op.ow; ++x) {
                int64_t sum = 0;
                for (int t = 0; t < op.steps; ++t) {
                    const int64_t at = static_cast<int64_t>(t) * op.padded + channel;
                    sum += op.readout_bias[at];
                    for (int k = 0; k < op.n_terms; ++k) {
                        const Wire& w = *op.terms[k].wire;
                        sum += op.terms[k].gain[at] * value_of(w, w.timed ? static_cast<int64_t>(t) * op.samples + n : n, y, x, channel);
                    }
                }
                op.result[(i * op.oh + y) * op.ow + x] = sum;
            }
    }
}

void layer(const Op& op, int threads) {
#if X86
    if (level() == 5) return vbmi::layer(op, threads);
    if (level() == 4) return avx512::layer(op, threads);
    if (level() == 3) return avx2::layer(op, threads);
#endif
    anywhere::layer(op, threads);
}

void convert(const Op& op, int threads) {
#if X86
    if (level() == 5) return vbmi::convert(op, threads);
    if (level() == 4) return avx512::convert(op, threads);
    if (level() == 3) return avx2::convert(op, threads);
#endif
    anywhere::convert(op, threads);
}

#include "pack.h"

}  // namespace

extern "C" {

int32_t bitspike_abi() { return 2; }

// 5 and 4: AVX-512 with VNNI and VPOPCNTDQ, 5 with VBMI; 3: AVX2; 1: anything else, where look-up tables are not offered.
int32_t bitspike_engine_level() { return level(); }

// Use no more than this level, so that one machine can test them all.
void bitspike_engine_limit(int32_t limit) { most = limit; }

// The largest sum of magnitudes of an output, and of so many of its inputs that are read `together`.
void bitspike_engine_bounds(const int8_t* codes, int64_t outputs, int64_t inputs, int64_t taps, int32_t together, int64_t* sums) {
    for (int64_t o = 0; o < outputs; ++o) {
        int64_t all = 0;
        for (int64_t tap = 0; tap < taps; ++tap)
            for (int64_t c = 0; c < inputs; c += together) {
                int64_t table = 0;
                for (int64_t i = c; i < std::min<int64_t>(c + together, inputs); ++i) table += std::abs(int{codes[(o * inputs + i) * taps + tap]});
                all += table;
                sums[1] = std::max(sums[1], table);
            }
        sums[0] = std::max(sums[0], all);
    }
}

// Fill `to`, which is zeros, with the codes of a layer, packed for the method of `op`; its planes, factor and offset are used.
void bitspike_engine_pack(const Op* op, const int8_t* codes, int64_t outputs, int64_t inputs, int64_t taps, int64_t units,
                          int32_t per_unit, void* to, int32_t* least, int32_t threads) {
    const Codes w{codes, outputs, inputs, taps};
    const int64_t padded = (outputs + 15) / 16 * 16, groups = (outputs + per_unit - 1) / per_unit * 2;
    if (op->method == DOT) pack_dot(w, units, static_cast<int8_t*>(to), threads);
    else if (op->method == POPCOUNT) pack_bits(w, units, op->planes, op->factor, op->offset, static_cast<uint32_t*>(to), threads);
    else if (op->method == EVENTS) pack_events(w, units, padded, static_cast<int16_t*>(to), threads);
    else if (per_unit == 6) pack_tables<6, 1, 3>(w, units, groups, static_cast<uint8_t*>(to), least, threads);
    else pack_tables<4, 2, 4>(w, units, groups, static_cast<uint8_t*>(to), least, threads);
}

// Codes int64 [rows][channels][h][w] to BYTES.
void bitspike_engine_enter(const Wire* to, const int64_t* codes, int64_t rows, int32_t threads) {
    const int64_t area = static_cast<int64_t>(to->h) * to->w;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t i = 0; i < rows * to->h; ++i) {
        const int64_t row = i / to->h, y = i % to->h;
        uint8_t* line = const_cast<uint8_t*>(place_of(*to, row, static_cast<int>(y), 0));
        for (int64_t c = 0; c < to->channels; ++c) {
            const int64_t* from = codes + (row * to->channels + c) * area + y * to->w;
            for (int x = 0; x < to->w; ++x) line[static_cast<int64_t>(x) * to->units * 4 + c] = static_cast<uint8_t>(from[x] - to->low);
        }
    }
}

void bitspike_engine_run(const Op* ops, int32_t count, int32_t threads) {
    for (int32_t i = 0; i < count; ++i) {
        if (ops[i].kind == LAYER) layer(ops[i], threads);
        else if (ops[i].kind == POOL) pool(ops[i], threads);
        else if (ops[i].kind == CONVERT) convert(ops[i], threads);
        else read_out(ops[i], threads);
    }
}
}
