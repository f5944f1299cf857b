/* @MARK: the least firmware: the codes of an image, all steps, the outputs. Yours from here on. */
#include "@NAME.h"

/* An image is packed while no network runs, so it may lie where the state does. */
static union {
    @NAME_state state;
#ifdef @UPPER_IMAGE_SIZE
    @PIXEL pixels[@UPPER_IMAGE_SIZE];
#endif
} memory;
static @NAME_input codes[@UPPER_INPUT_SIZE * (@UPPER_INPUT_CONSTANT ? 1 : @UPPER_STEPS)];
@OUTS

int main(void)
{
    for (;;) {
#ifdef @UPPER_IMAGE_SIZE
        /* here a camera writes memory.pixels */
        @NAME_pack(memory.pixels, codes);
#else
        /* here the codes are written: README.md says how they follow from values */
#endif
        @NAME_run(&memory.state, codes, @NAMES);
        /* here the outputs are read: README.md says what one is worth */
    }
}
