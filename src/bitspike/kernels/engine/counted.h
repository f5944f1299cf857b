// Neurons that count: all samples of one channel over all steps, in words. Part of samples.h.
//
// A neuron without leak or limits that is reset by subtraction sends its next spike at step t when
//     initial + gain * A + t * bias + skip * X - threshold * n >= fire_at
// where A are the sums, X the spikes of a shortcut and n its own spikes so far. Its potential may need 32 bits; A, X and n do not.
// So for every t and n one limit of A is computed beforehand, and all that is left per spike is to count, look a limit up
// and compare. A shortcut moves the limit by skip * X / gain, whose remainder is compared as well:
//     A + high(X) > limit(t, n) - (remainder(X) < rest(t, n) ? 0 : 1)

constexpr int COUNTS = 8;  // n and X are 0 to 7: entries of two bytes in a table of 16

struct Counted {
    std::vector<int16_t> tables;  // [channel][limits of every step, rests of every step, high, remainder][COUNTS]; empty: it cannot be
    int64_t channel = 0;          // numbers of one channel
    const int16_t* of(int o) const { return tables.data() + o * channel; }
};

INLINE int64_t divided(int64_t x, int64_t by) { return x / by - (x % by < 0); }  // down, where by > 0

// The only term of a neuron, where it is spikes; none elsewhere.
INLINE const Wire* shortcut_of(const Op& op) { return op.n_terms == 1 && op.terms[0].wire->layout == PLANES ? op.terms[0].wire : nullptr; }

static Counted counted(const Op& op) {
    Counted found;
    // Limits are worth their divisions where many samples share them. A trace wants potentials.
    if (!op.unit || op.spikes || static_cast<int64_t>(op.samples) * op.oh * op.ow < 512) return found;
    const Unit& u = *op.unit;
    const bool skips = shortcut_of(op) != nullptr;
    // `offset` is the largest sum of one step.
    if (!is_plain(u) || !u.still || u.right_shift || (op.n_terms && !skips) || op.steps >= COUNTS || op.offset <= 0) return found;
    const int64_t most = static_cast<int64_t>(op.offset) * op.steps;
    for (int o = 0; o < op.out_channels; ++o) {
        const int64_t skip = skips ? std::abs(static_cast<int64_t>(op.terms[0].gain[o])) : 0;
        if (u.gain[o] <= 0 || u.gain[o] > INT16_MAX || most + skip * op.steps / u.gain[o] > INT16_MAX - 4) return found;
        for (int t = 1; skips && t < op.steps; ++t)
            if (op.terms[0].gain[static_cast<int64_t>(t) * op.padded + o] != op.terms[0].gain[o]) return found;
    }
    found.channel = (2 * op.steps + 2) * COUNTS;
    found.tables.resize(static_cast<size_t>(found.channel * op.out_channels));
    for (int o = 0; o < op.out_channels; ++o) {
        const int64_t gain = u.gain[o], skip = skips ? op.terms[0].gain[o] : 0;
        int16_t *limit = found.tables.data() + o * found.channel, *rest = limit + op.steps * COUNTS;
        int16_t *high = rest + op.steps * COUNTS, *remainder = high + COUNTS;
        for (int64_t t = 0; t < op.steps; ++t)
            for (int64_t n = 0; n <= t; ++n) {
                const int64_t wanted = u.fire_at[o] - int64_t{u.initial[o]} - (t + 1) * u.bias[o] + n * u.threshold[o];
                const int64_t whole = divided(wanted, gain);
                const int64_t left = wanted - whole * gain, least = whole - 1 + (!skips && left > 0);
                limit[t * COUNTS + n] = static_cast<int16_t>(std::max<int64_t>(INT16_MIN, std::min<int64_t>(INT16_MAX, least)));
                rest[t * COUNTS + n] = static_cast<int16_t>(left);
            }
        for (int64_t x = 0; x <= op.steps; ++x) {
            const int64_t whole = divided(skip * x, gain);
            high[x] = static_cast<int16_t>(whole);
            remainder[x] = static_cast<int16_t>(skip * x - whole * gain);
        }
    }
    return found;
}

// All steps of one channel at one place; its spikes are set as `bit` in `to`, whose steps lie `apart`.
template <bool SKIPS>
INLINE void count_line(const Op& op, const int16_t* tables, const uint16_t* sums, int64_t jump, int32_t less, const Wire* skip,
                       int64_t skipped, int skip_bit, uint8_t* to, int64_t apart, int bit) {
    const int16_t *limits = tables, *rests = limits + op.steps * COUNTS, *high = rests + op.steps * COUNTS;
    // Bytes of the first entry of a table of words; and how far it is to the next.
    const Bytes first = all_words(0x0100), next = all_words(0x0202), added = all_words(less), wanted = all_words(skip_bit);
    for (int64_t n = 0; n < op.samples; n += WIDE) {
        Bytes sum[2] = {nothing(), nothing()}, sent[2] = {first, first}, seen[2] = {first, first};
        for (int t = 0; t < op.steps; ++t) {
            const Bytes limit = spread(limits + t * COUNTS);
            Bytes fired[2];
#pragma GCC unroll 2
            for (int half = 0; half < 2; ++half) {
                const int64_t at = n + half * (WIDE / 2);
                sum[half] = add_words(sum[half], add_words(read_bytes(sums + t * jump + at), added));
                Bytes reached = sum[half];
                if (SKIPS) {
                    const uint8_t* p = static_cast<const uint8_t*>(skip->data) + skipped + (skip->timed ? static_cast<int64_t>(t) * op.samples : 0);
                    seen[half] = add_words(seen[half], both_bits(equal_words(both_bits(bytes_to_words(p + at), wanted), wanted), next));
                    reached = add_words(reached, shuffle(spread(high), seen[half]));
                    // -1 where the rest is more than the remainder
                    const Bytes more = greater_words(shuffle(spread(rests + t * COUNTS), sent[half]), shuffle(spread(high + COUNTS), seen[half]));
                    reached = add_words(reached, more);
                }
                fired[half] = greater_words(reached, shuffle(limit, sent[half]));
                sent[half] = add_words(sent[half], both_bits(fired[half], next));
            }
            set_bits(to + t * apart + n, fired[0], fired[1], bit);
        }
    }
}
