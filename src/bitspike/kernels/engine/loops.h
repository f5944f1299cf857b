// The loops of the integer engine. engine.cpp includes this file once per instruction set, inside a namespace and
// between target pragmas: LEVEL 5 is AVX-512 with VNNI, VPOPCNTDQ and VBMI, LEVEL 4 the same without VBMI, LEVEL 3 AVX2,
// LEVEL 1 any machine. PER_UNIT is the number of channels in a byte of PLANES.
//
// Two families. channels.h: the lanes of a vector are 16 output channels; rows of the source stand on the stack as
// pointers, so steps and places share each weight that is loaded. samples.h: the lanes are 64 samples; one table look-up
// adds the products of 4 binary inputs with 4 weights at once.

#include "lanes.h"

#if LEVEL == 5
using avx512::layer_channels;  // VBMI adds nothing to channels
#else
#include "channels.h"
#endif

#if LEVEL >= 3
#include "samples.h"
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
                    // Eight bytes are read where a row has fewer left: memory goes on after it, and no bit of it is kept.
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
