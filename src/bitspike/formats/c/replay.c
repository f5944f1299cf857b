/* @MARK: runs @NAME on its golden vectors; exits with 1 and the first difference if there is one. */
#include <string.h>

#include "@NAME.h"
#include "@NAME_vectors.h"
#ifdef BOARD
#include "board.h"
#else
#include <stdio.h>
static void board_put(char c) { putchar(c); }
#endif

#define STEPS_READ (@UPPER_INPUT_CONSTANT ? 1 : @UPPER_STEPS)

/* An image is packed while no network runs, so it may lie where the state does. */
static union {
    @NAME_state state;
#ifdef @UPPER_IMAGE_SIZE
    @PIXEL pixels[@UPPER_IMAGE_SIZE];
#endif
} memory;
static @NAME_input codes[@UPPER_INPUT_SIZE * STEPS_READ];
@OUTS
static int64_t *const computed[] = {@NAMES};
static uint32_t sample; /* the one that runs */
static enum { RUNS, COMPARES, COUNTS } observes;
static uint32_t differences;

/* The first difference: of the first layer, its first step, sample and index. */
static struct {
    const ROM char *path;
    const char *what;
    uint32_t position, step, sample, index, axes;
    const ROM uint32_t *shape;
    int64_t expected, computed;
} first;

static void say(const char *text)
{
    while (*text) board_put(*text++);
}

static void say_path(const ROM char *path)
{
    while (*path) board_put(*path++);
}

static void say_number(int64_t value)
{
    uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    char digits[20];
    int n = 0;
    if (value < 0) board_put('-');
    do digits[n++] = (char)('0' + rest % 10);
    while ((rest /= 10) != 0);
    while (n > 0) board_put(digits[--n]);
}

static void differ(const ROM char *path, uint32_t position, uint32_t axes, const ROM uint32_t *shape, uint32_t step,
                   uint32_t index, const char *what, int64_t expected, int64_t value)
{
    if (differences++ != 0 && (position > first.position || (position == first.position && step >= first.step))) return;
    first.path = path;
    first.what = what;
    first.position = position;
    first.step = step;
    first.sample = sample;
    first.index = index;
    first.axes = axes;
    first.shape = shape;
    first.expected = expected;
    first.computed = value;
}

#ifdef BOARD
static uint64_t counts[NEURON_LAYERS + 1], counted; /* up to the spikes of each neuron layer, and after the last */
#endif

void @NAME_observer(uint32_t neuron, uint32_t step, const int8_t *spikes)
{
    const ROM struct neurons *n = &neurons[neuron];
    const uint32_t row = (sample * @UPPER_STEPS + step) * ((n->size + 7) / 8);
    uint32_t i;
    if (neuron >= neuron_layers) return;
#ifdef BOARD
    if (observes == COUNTS) {
        counts[neuron] += board_count() - counted;
        counted = board_count(); /* what happens here is not counted */
    }
#endif
    if (observes != COMPARES) return;
    for (i = 0; i < n->size; i++) {
        int expected = n->spikes[row + i / 8] >> (i % 8) & 1;
        if (n->back) expected -= n->back[row + i / 8] >> (i % 8) & 1;
        if (spikes[i] != expected)
            differ(n->path, n->position, n->axes, n->shape, step, i, "spike", expected, spikes[i]);
    }
}

static void read_codes(void)
{
    uint32_t i;
    for (i = 0; i < sizeof codes / sizeof *codes; i++) codes[i] = sample_codes[sample * (sizeof codes / sizeof *codes) + i];
}

static void compare(const char *what)
{
    uint32_t o, i;
    for (o = 0; o < OUTPUTS; o++) {
        const ROM struct outputs *g = &outputs[o];
        for (i = 0; i < g->size; i++) {
            const int64_t expected = g->values[sample * g->size + i];
            if (computed[o][i] != expected)
                differ(g->path, g->position, g->axes, g->shape, @UPPER_STEPS - 1, i, what, expected, computed[o][i]);
        }
    }
}

/* Compare a sample, run in one call and step by step; a run leaves nothing behind for the next one. */
static void replay(void)
{
#if @UPPER_STEPWISE
    uint32_t t;
#endif
    read_codes();
    memset(&memory, 0x55, sizeof memory);
    observes = COMPARES;
    @NAME_run(&memory.state, codes, @NAMES);
    compare("output");
    observes = RUNS;
#if @UPPER_STEPWISE
    memset(&memory, 0xaa, sizeof memory);
    @NAME_reset(&memory.state);
    for (t = 0; t < @UPPER_STEPS; t++) @NAME_step(&memory.state, codes + (STEPS_READ > 1 ? t * @UPPER_INPUT_SIZE : 0));
    @NAME_read(&memory.state, @NAMES);
    compare("output of single steps");
#endif
}

static int packs_wrongly(void)
{
#ifdef @UPPER_IMAGE_SIZE
    uint32_t i;
    for (i = 0; i < @UPPER_IMAGE_SIZE; i++) memory.pixels[i] = image_pixels[i];
    @NAME_pack(memory.pixels, codes);
    for (i = 0; i < @UPPER_INPUT_SIZE; i++) {
        if (codes[i] == image_codes[i]) continue;
        say("@NAME: code ");
        say_number(i);
        say(" of a packed image is ");
        say_number(codes[i]);
        say(", expected ");
        say_number(image_codes[i]);
        say("\n");
        return 1;
    }
#endif
    return 0;
}

#ifdef BOARD
/* Run all samples once more as a firmware would, and say what a run takes. */
static void measure(void)
{
    uint64_t total = 0, most = 0;
    uint32_t stack = 0, i;
    memset(counts, 0, sizeof counts);
    for (sample = 0; sample < SAMPLES; sample++) {
        const uint64_t before = total;
        read_codes();
        observes = COUNTS;
        board_paint();
        counted = board_count();
        @NAME_run(&memory.state, codes, @NAMES);
        counts[NEURON_LAYERS] += board_count() - counted;
        if (board_stack() > stack) stack = board_stack();
        observes = RUNS;
        for (total = 0, i = 0; i <= neuron_layers; i++) total += counts[i];
        if (total - before > most) most = total - before;
    }
    say("@NAME: ");
    say_number((int64_t)(total / SAMPLES));
    say(" " BOARD_COUNTS " an inference in the mean, at most ");
    say_number((int64_t)most);
    say("; ");
    say_number(stack);
    say(" bytes of stack\n");
    for (i = 0; i <= neuron_layers; i++) {
        say("@NAME:   ");
        say_number((int64_t)(counts[i] / SAMPLES));
        say(i < neuron_layers ? " up to the spikes of " : " after them\n");
        if (i < neuron_layers) {
            say_path(neurons[i].path);
            say("\n");
        }
    }
}
#endif

static void say_index(uint32_t axis, uint32_t index)
{
    if (axis > 0) say_index(axis - 1, index / first.shape[axis]);
    say(", ");
    say_number(axis > 0 ? index % first.shape[axis] : index);
}

static void say_first(void)
{
    say("@NAME: ");
    say_number(differences);
    say(" differences, the first: layer ");
    say_path(first.path);
    say(", step ");
    say_number(first.step);
    say(", index [");
    say_number(first.sample);
    say_index(first.axes - 1, first.index);
    say("]: ");
    say(first.what);
    say(" is ");
    say_number(first.computed);
    say(", expected ");
    say_number(first.expected);
    say("\n");
}

static int test(void)
{
    uint64_t spikes = 0;
    uint32_t i;
    for (sample = 0; sample < SAMPLES; sample++) replay();
    for (i = 0; i < neuron_layers; i++) spikes += (uint64_t)neurons[i].size * @UPPER_STEPS * SAMPLES;
    if (packs_wrongly()) return 1;
    say("@NAME: ");
    say_number((int64_t)spikes);
    say(" spikes of ");
    say_number(SAMPLES);
    say(" samples compared; the state is ");
    say_number(sizeof(@NAME_state));
    say(" bytes\n");
    if (differences != 0) {
        say_first();
        return 1;
    }
    say("@NAME: all equal\n");
#ifdef BOARD
    measure();
#endif
    return 0;
}

int main(void)
{
    const int failed = test();
#ifdef BOARD
    board_exit(failed);
#endif
    return failed;
}
