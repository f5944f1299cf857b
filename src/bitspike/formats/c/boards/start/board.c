/* @MARK: how deep the stack gets: what lies below it is painted, and what is no longer paint was used. */
#include "board.h"

#define PAINT 0xa5
#define OWN 64 /* bytes that painting itself may need */

extern uint8_t board_stack_end[]; /* the lowest byte that the stack may take */
static volatile uint8_t *top;

void board_paint(void)
{
    volatile uint8_t *p;
    top = (volatile uint8_t *)__builtin_frame_address(0);
    for (p = board_stack_end; p < top - OWN; p++) *p = PAINT;
}

uint32_t board_stack(void)
{
    const volatile uint8_t *p = board_stack_end;
    while (p < top && *p == PAINT) p++;
    return (uint32_t)(top - p);
}
