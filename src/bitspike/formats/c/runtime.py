"""The functions that a C program of a network may need, as templates; only those that it calls are written.

``@X`` is the type of what is read, ``@A`` that of the sums, ``@W`` the type in which a product is computed.
"""

from __future__ import annotations

SHIFT = """\
/* x / 2**k rounded down, without shifting a negative number: that would be up to the compiler. */
static int@B_t shift@B(int@B_t x, unsigned k)
{
    return x < 0 ? -1 - ((-1 - x) >> k) : x >> k;
}
"""

WEIGHTS = """\
/* Weight codes: indices of `bits` bits into `levels`, lowest bit first, without gaps; or, where `levels` is 0, integers
 * of 8, 16 or 32 bits. */
struct weights {
    const ROM void *codes;
    const ROM int16_t *levels;
    uint32_t bits;
};

static void load_codes(const ROM struct weights *w, uint32_t first, uint32_t count, int32_t *out)
{
    uint32_t i;
    if (w->levels) {
        const ROM uint8_t *bytes = (const ROM uint8_t *)w->codes;
        const uint32_t mask = ((uint32_t)1 << w->bits) - 1;
        uint32_t bit = first * w->bits;
        for (i = 0; i < count; i++, bit += w->bits) {
            const uint32_t two = bytes[bit >> 3] | ((uint32_t)bytes[(bit >> 3) + 1] << 8);
            out[i] = w->levels[(two >> (bit & 7)) & mask];
        }
    } else if (w->bits == 8) {
        const ROM int8_t *codes = (const ROM int8_t *)w->codes + first;
        for (i = 0; i < count; i++) out[i] = codes[i];
    } else if (w->bits == 16) {
        const ROM int16_t *codes = (const ROM int16_t *)w->codes + first;
        for (i = 0; i < count; i++) out[i] = codes[i];
    } else {
        const ROM int32_t *codes = (const ROM int32_t *)w->codes + first;
        for (i = 0; i < count; i++) out[i] = codes[i];
    }
}
"""

LINEAR = """\
/* sum[o] = sum over i of code[i][o] * x[i]; codes lie [in][out], and an x of 0 costs nothing. */
static void linear_@N(const ROM struct weights *w, uint32_t in, uint32_t out, const @X *x, @A *sum)
{
    int32_t codes[SOME];
    uint32_t i, o, j, n;
    memset(sum, 0, out * sizeof *sum);
    for (i = 0; i < in; i++) {
        if (x[i] == 0) continue;
        for (o = 0; o < out; o += SOME) {
            n = out - o < SOME ? out - o : SOME;
            load_codes(w, i * out + o, n, codes);
            for (j = 0; j < n; j++) sum[o + j] = (@A)(sum[o + j] + (@W)codes[j] * x[i]);
        }
    }
}
"""

CONVOLUTION = """\
/* A convolution over three axes; missing ones count 1. Moving on by `out_step` outputs and `tap_step` taps of the
 * kernel along an axis stays at the same input. */
struct convolution {
    int32_t groups, from, to; /* groups, and the channels of one of them */
    int32_t transposed;
    int32_t in[3], out[3], kernel[3], stride[3], padding[3], dilation[3], out_step[3], tap_step[3];
};

/* An input that is not 0: the first output and tap that it meets, and how many of them along each axis. */
struct event {
    int32_t out, tap, x;
    int32_t count[3];
};

/* Find what position i of axis a meets: output o through tap k where o * stride + k * dilation == i + padding or, in a
 * transposed convolution, o == i * stride - padding + k * dilation. */
static int32_t meet(const ROM struct convolution *c, int a, int32_t i, int32_t *out, int32_t *tap)
{
    const int32_t s = c->stride[a], d = c->dilation[a], last_tap = c->kernel[a] - 1, last_out = c->out[a] - 1;
    int32_t at, low, high;
    if (c->transposed) {
        at = i * s - c->padding[a];
        if (at > last_out) return 0;
        low = at < 0 ? (-at + d - 1) / d : 0;
        high = (last_out - at) / d;
        if (high > last_tap) high = last_tap;
        *out = at + low * d;
        *tap = low;
        return high < low ? 0 : high - low + 1;
    }
    at = i + c->padding[a];
    low = at > last_tap * d ? (at - last_tap * d + s - 1) / s : 0;
    high = at / s;
    if (high > last_out) high = last_out;
    while (low <= high && (at - low * s) % d != 0) low++;
    if (low > high) return 0;
    *out = low;
    *tap = (at - low * s) / d;
    return (high - low) / c->out_step[a] + 1;
}

/* Make an event of the input x at one position of the plane; return whether it meets any output. */
static int prepare(const ROM struct convolution *c, int32_t position, int32_t x, struct event *e)
{
    int32_t o[3], k[3];
    const int32_t rest = position / c->in[2];
    e->count[0] = meet(c, 0, rest / c->in[1], &o[0], &k[0]);
    if (e->count[0] == 0) return 0;
    e->count[1] = meet(c, 1, rest % c->in[1], &o[1], &k[1]);
    if (e->count[1] == 0) return 0;
    e->count[2] = meet(c, 2, position % c->in[2], &o[2], &k[2]);
    if (e->count[2] == 0) return 0;
    e->out = (o[0] * c->out[1] + o[1]) * c->out[2] + o[2];
    e->tap = (k[0] * c->kernel[1] + k[1]) * c->kernel[2] + k[2];
    e->x = x;
    return 1;
}
"""

SPREAD = """\
/* Add code * x to every output that the events meet, in one output channel. */
static void spread_@A(const ROM struct convolution *c, const struct event *e, int32_t n, const int32_t *codes, @A *sum)
{
    const int32_t o2 = c->out_step[2], o1 = c->out_step[1] * c->out[2], o0 = c->out_step[0] * c->out[1] * c->out[2];
    const int32_t k2 = c->tap_step[2], k1 = c->tap_step[1] * c->kernel[2];
    const int32_t k0 = c->tap_step[0] * c->kernel[1] * c->kernel[2];
    int32_t i, a, b, d;
    for (i = 0; i < n; i++, e++)
        for (a = 0; a < e->count[0]; a++)
            for (b = 0; b < e->count[1]; b++) {
                int32_t o = e->out + a * o0 + b * o1, k = e->tap + a * k0 + b * k1;
                for (d = 0; d < e->count[2]; d++, o += o2, k += k2)
                    sum[o] = (@A)(sum[o] + (@W)codes[k] * e->x);
            }
}
"""

CONVOLVE = """\
/* Convolve x [channels][plane]: an x of 0 costs one comparison. */
static void convolve_@N(const ROM struct convolution *c, const ROM struct weights *w, const @X *x, @A *sum)
{
    struct event events[SOME];
    int32_t codes[TAPS];
    const int32_t inside = c->in[0] * c->in[1] * c->in[2], outside = c->out[0] * c->out[1] * c->out[2];
    const int32_t taps = c->kernel[0] * c->kernel[1] * c->kernel[2];
    int32_t g, i, o, n, p;
    memset(sum, 0, (size_t)(c->groups * c->to * outside) * sizeof *sum);
    for (g = 0; g < c->groups; g++)
        for (i = 0; i < c->from; i++) {
            const @X *plane = x + (g * c->from + i) * inside;
            for (p = 0; p < inside;) {
                for (n = 0; n < SOME && p < inside; p++)
                    if (plane[p] != 0) n += prepare(c, p, (int32_t)plane[p], &events[n]);
                for (o = 0; n > 0 && o < c->to; o++) {
                    const int32_t from = c->transposed ? (g * c->from + i) * c->to + o : (g * c->to + o) * c->from + i;
                    load_codes(w, (uint32_t)from * (uint32_t)taps, (uint32_t)taps, codes);
                    spread_@A(c, events, n, codes, sum + (g * c->to + o) * outside);
                }
            }
        }
}
"""

SOME = 64
"""Inputs, or weights of a linear layer, that are worked on together."""

EVENT_BYTES = 24


def call(x: str, a: str) -> str:
    """Return the ending of a function's name.

    Example:
        >>> call("int8_t", "int32_t")
        'int8_int32'
    """
    return f"{x}_{a}".replace("_t", "")


def typed(template: str, x: str, a: str) -> str:
    """Return a template's function that reads ``x`` and sums in ``a``."""
    work = "int64_t" if a == "int64_t" else "int32_t"
    filled = template.replace("@N", call(x, a)).replace("@X", x).replace("@W", work)
    return filled.replace("spread_@A", f"spread_{a[:-2]}").replace("@A", a)
