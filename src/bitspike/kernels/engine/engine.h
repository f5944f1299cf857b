// What Python hands to the integer engine: one Op per fused step of an integer network. Mirrored in structs.py.
//
// Three layouts of a wire. S = steps * samples rows in the order [T, N], or N rows where nothing changes over time:
//   BYTES   uint8  [S][hp][wp][units * 4]    value - low; the border holds the value 0
//   BITS    uint32 [S][hp][wp][units]        32 channels in a word; the border is empty
//   PLANES  uint8  [h * w][units][lanes]     6 or 8 channels in a byte; lanes = S rounded up to 64; no border
#pragma once
#include <cstdint>

extern "C" {

enum Kind : int32_t { LAYER = 0, POOL = 1, READOUT = 2, CONVERT = 3 };
enum Method : int32_t { NONE = 0, DOT = 1, POPCOUNT = 2, EVENTS = 3, TABLE = 4 };
enum Layout : int32_t { BYTES = 0, BITS = 1, PLANES = 2, RAW_CHANNELS = 3, RAW_SAMPLES = 4 };

// A wire in one layout. RAW_CHANNELS is int32 [S][h * w][units * 16], RAW_SAMPLES int16 [h * w][channels][lanes].
struct Wire {
    void* data;
    int32_t layout, timed, channels, h, w, border_h, border_w, units, low;
    int64_t lanes;
};

// Anything that is added to the current: gain[t][channel] * wire.
struct Term {
    const Wire* wire;
    const int32_t* gain;
};

// int32 [T][padded channels] each; the equations are those of integer/nodes/neuron.py.
struct Unit {
    const int32_t *gain, *bias, *fire_at, *threshold, *initial, *v_reset, *retract;
    int32_t right_shift, leak_numerator, leak_shift, leak_after, leaks, hard, has_signs, still;  // still: gain, bias, thresholds are the same at all steps
    int32_t lower, upper;  // clamp of the potential; the whole range where there is none
};

struct Op {
    int32_t kind, method, steps, samples;
    const Wire* source;
    int32_t kh, kw, sh, sw, ph, pw, dh, dw;  // window of the layer or the pool
    int32_t out_channels, oh, ow, padded;    // padded: length of one row of the parameters
    const void* weights;
    const int32_t* correction;  // DOT: added to every sum, [padded]; TABLE: per place of the window, [kh * kw][whole units]
    int32_t planes, factor, offset;  // of POPCOUNT; offset of TABLE: the largest sum of one step
    int32_t flush;  // units that are added up before they are widened: TABLE in bytes; DOT in words, from 2 on
    const Unit* unit;  // none: the sums themselves are the result
    const Term* terms;
    int32_t n_terms, n_outs;
    const Wire* outs;  // one, or BYTES and BITS
    int8_t* spikes;    // trace, [T, N, C, H, W]; none in ordinary runs
    int32_t* potentials;
    int64_t* result;  // READOUT: [N, C, H, W]
    const int32_t* readout_bias;
    int32_t largest;  // POOL: 0 the sum, 1 the largest, 2 what the largest running count grows by (BITS to BITS)
};
}
