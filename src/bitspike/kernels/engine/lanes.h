// One step of 16 neurons. Part of loops.h, which says what LEVEL is.

#include "sixteen.h"

// ---------------------------------------------------------------- the neuron: integer/nodes/neuron.py, one step of 16 lanes

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
        h = choose(h < lower, lower, h);
        h = choose(h > upper, upper, h);
    }
    const I16 one = all(1), none{};
    const I16 fires = h >= p.fire_at;
    I16 spike = choose(fires, one, none);
    if (PLAIN) {
        state.v = choose(fires, h - p.threshold, h);
        return spike;
    }
    state.v = choose(fires, u.hard ? p.v_reset : h - p.threshold, h);
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
